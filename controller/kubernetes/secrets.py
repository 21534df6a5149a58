"""Keys of Secrets that notification targets and credential providers name: read when they are needed, one at a time, and kept nowhere.

The sender and the providers ask. Invariant: no error carries what a Secret holds, and nothing is read that no document names.
"""

import base64
import binascii

from lightkube import AsyncClient
from lightkube.resources.core_v1 import Secret

from controller.base.references import LARGEST, Unreadable
from controller.kubernetes.objects import ApiFailed, answered


class Secrets:
    """Those of one API server. `home` is the controller's own namespace."""

    def __init__(self, client: AsyncClient, home: str) -> None:
        self._client, self._home = client, home

    async def read(self, namespace: str, name: str, key: str) -> str | Unreadable:
        """The value as text, or why there is none. Namespace "": the controller's own."""
        home = namespace or self._home
        try:
            secret = await answered(self._client.get(Secret, name, namespace=home))
        except ApiFailed as error:
            return Unreadable(_words(error, home, name), permanent=False)
        value = (secret.data or {}).get(key)
        if value is None:
            return Unreadable(f"the Secret {home}/{name} has no key {key}", permanent=False)
        try:
            text = base64.b64decode(value).decode().removesuffix("\n").removesuffix("\r")
        except (binascii.Error, UnicodeDecodeError):
            return Unreadable(f"the key {key} of the Secret {home}/{name} is not UTF-8 text", permanent=False)
        if len(text) > LARGEST:
            return Unreadable(
                f"the key {key} of the Secret {home}/{name} has more than {LARGEST} characters", permanent=False
            )
        return text


def _words(error: ApiFailed, namespace: str, name: str) -> str:
    if error.code == 404:
        return f"there is no Secret {namespace}/{name}"
    if error.code in (401, 403):
        return (
            f"the Secret {namespace}/{name} may not be read: give the controller the verb get on that Secret in a Role "
            "(in the chart: credentials.secrets for a provider, notifications.secrets for a notification target)"
        )
    return f"the Secret {namespace}/{name} cannot be read: {error}"
