"""The provider `kubernetesSecret`: keys of one Secret, of the provider's namespace, or of the controller's for a ClusterCredentialProvider.

    kubernetesSecret: {name: payments-api, keys: [token]}

Read anew for every run, key by key. The controller needs the verb get on that Secret.
"""

from collections.abc import Mapping
from typing import Any

from controller.base.errors import InvalidInput
from controller.base.structs import described
from controller.providers import config as configuration
from controller.providers.config import Config
from controller.providers.protocol import Answer, Refused, Request, Secret, Unavailable
from controller.providers.references import gathered
from controller.providers.surroundings import Surroundings


@described
class SecretConfig(Config, frozen=True):
    """Which Secret, and which of its keys."""

    name: str
    keys: tuple[str, ...]


class KubernetesSecret:
    """`kubernetesSecret`."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._config = configuration.read("kubernetesSecret", config, SecretConfig)
        if not self._config.keys:
            raise InvalidInput("spec.kubernetesSecret.keys: name at least one key of the Secret")
        self._surroundings = surroundings

    async def resolve(self, request: Request) -> Answer:
        """Source: `IdentityProvider.resolve`."""
        return await gathered(request, {key: key for key in self._config.keys}, self._read)

    async def _read(self, key: str) -> Secret | Refused | Unavailable:
        return await self._surroundings.key(self._config.name, key)
