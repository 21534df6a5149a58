"""What credential providers of this controller may use: its settings, its environment, and its cluster, where there is one.

The composition root makes one `Instances` for everybody who needs credentials.
"""

from collections.abc import Mapping

from controller.base.clock import Clock
from controller.base.references import Allowed
from controller.providers.instances import Instances, Key
from controller.providers.protocol import SecretReader, TokenIssuer
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings


def providers(
    registry: Registry,
    clock: Clock,
    *,
    allowed: Allowed,
    environment: Mapping[str, str],
    secrets: SecretReader | None = None,
    tokens: TokenIssuer | None = None,
) -> Instances:
    """All providers of one controller; `secrets` and `tokens` are its cluster's.

    Where there is a cluster, a provider of a namespace is a tenant's, and touches nothing of this host: not its variables, files or programs.
    """
    in_cluster = secrets is not None or tokens is not None

    def surroundings(key: Key) -> Surroundings:
        return Surroundings(
            str(key),
            key.namespace,
            clock=clock,
            allowed=allowed,
            environment=environment,
            host=not in_cluster or not key.namespace,
            secrets=secrets,
            tokens=tokens,
        )

    return Instances(registry, surroundings)
