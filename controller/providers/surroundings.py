"""What a provider, or the plug-in of a policy, may use of where it runs: references, Secrets and tokens of its own namespace, the clock.

The registry hands one to each provider that it makes. Invariant: what is read here is masked in every message about this provider, and one of a tenant
touches nothing of the controller's host.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from controller.base import references
from controller.base.clock import Clock
from controller.base.errors import InvalidInput
from controller.base.masking import Masker
from controller.base.references import Allowed, SecretSource, Unreadable
from controller.providers.protocol import Issued, Refused, Secret, SecretReader, TokenIssuer, Unavailable

Given = TypeVar("Given")
No = TypeVar("No", Refused, Unavailable, Refused | Unavailable)

_NO_CLUSTER = "this controller is in no cluster, so {} cannot be had; use envRef or fileRef"
_REMEMBERED = 32  # values to mask; the oldest go first, as credentials should not live on in memory


class Surroundings:
    """Those of one document."""

    def __init__(
        self,
        name: str,
        namespace: str,
        *,
        clock: Clock,
        allowed: Allowed = Allowed(),  # noqa: B008 - frozen
        environment: Mapping[str, str] = {},
        host: bool = True,
        secrets: SecretReader | None = None,
        tokens: TokenIssuer | None = None,
    ) -> None:
        """`name` is that of the document for messages, its kind first; `namespace` "" that of the controller; `host` whether variables, files and programs of the controller's host may be used.

        To be made on the event loop that `secrets` and `tokens` belong to, where they are given.
        """
        self.name, self.namespace, self.clock = name, namespace, clock
        self.host = host
        self.masker = Masker()
        self._allowed, self._environment = allowed, environment
        self._secrets, self._tokens = secrets, tokens
        self._home = asyncio.get_running_loop() if secrets is not None or tokens is not None else None
        self._known: list[str] = []
        self._refusals: deque[Refused | Unavailable] = deque(maxlen=_REMEMBERED)

    def demand_host(self, what: str) -> None:
        """Errors: InvalidInput for a document that may not use the controller's host."""
        if not self.host:
            kind = self.name.partition(" ")[0]
            raise InvalidInput(
                f"{what} is not for a {kind} of a namespace, which must not read or run anything on the controller's host: "
                f"declare a Cluster{kind}"
            )

    def check(self, field: str, source: SecretSource) -> None:
        """Errors: InvalidInput for a reference that can never be read."""
        set_ = [one for one in (source.env_ref, source.file_ref, source.secret_key_ref) if one is not None]
        if len(set_) != 1:
            raise InvalidInput(f"{field}: set exactly one of envRef, fileRef and secretKeyRef")
        if source.env_ref is not None or source.file_ref is not None:
            self.demand_host(f"{field}: a reference to a variable or a file")

    async def read(self, source: SecretSource) -> Secret | Refused | Unavailable:
        """What a reference points at."""
        if source.env_ref is not None:
            return self.variable(source.env_ref.name)
        if source.file_ref is not None:
            return await self.file(source.file_ref.path)
        if source.secret_key_ref is not None:
            return await self.key(source.secret_key_ref.name, source.secret_key_ref.key)
        return self._no(Refused("a reference names nothing: set envRef, fileRef or secretKeyRef"))

    def variable(self, name: str) -> Secret | Refused | Unavailable:
        """A variable of the controller, if the settings allow it."""
        return self._judged(references.variable(name, self._allowed, self._environment))

    async def file(self, path: str) -> Secret | Refused | Unavailable:
        """A file of the controller's host, if the settings allow it."""
        return self._judged(await asyncio.to_thread(references.file, Path(path), self._allowed))

    async def key(self, name: str, key: str) -> Secret | Refused | Unavailable:
        """A key of a Secret of the provider's namespace."""
        if self._secrets is None:
            return self._no(Refused(_NO_CLUSTER.format(f"the Secret {name}")))
        return self._judged(await self._at_home(self._secrets.read(self.namespace, name, key)))

    async def token(
        self, account: str, audiences: tuple[str, ...], lifetime: timedelta
    ) -> Issued | Refused | Unavailable:
        """A token of a service account of the provider's namespace."""
        if self._tokens is None:
            return self._no(Refused(_NO_CLUSTER.format(f"a token of the service account {account}")))
        issued = await self._at_home(self._tokens.issue(self.namespace, account, audiences, lifetime))
        if not isinstance(issued, Issued):
            return self._no(issued)
        self.remember(issued.token)
        return issued

    def gave(self, answer: Refused | Unavailable) -> bool:
        """Whether this very refusal or outage came from here lately, so that its words are ours."""
        return any(one is answer for one in self._refusals)

    def remember(self, *secrets: Secret) -> None:
        """Mask these values in messages about this provider."""
        for value in (secret.reveal() for secret in secrets):
            if value and value not in self._known:
                self.masker.add(value)
                self._known.append(value)
        while len(self._known) > _REMEMBERED:
            self.masker.forget(self._known.pop(0))

    def _judged(self, value: str | Unreadable) -> Secret | Refused | Unavailable:
        if isinstance(value, Unreadable):
            return self._no(Refused(value.message) if value.permanent else Unavailable(value.message))
        if not value.strip():
            return self._no(Refused("a reference points at something that is empty"))
        secret = Secret(value)
        self.remember(secret)
        return secret

    def _no(self, answer: No) -> No:
        self._refusals.append(answer)
        return answer

    async def _at_home(self, asked: Coroutine[Any, Any, Given]) -> Given:
        """Connections belong to the loop that they were made on; a plug-in runs on one of its own."""
        home = self._home
        if home is None or home is asyncio.get_running_loop():
            return await asked
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, home))
