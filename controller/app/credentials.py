"""What credential providers, decision points and verifiers of this controller may use: its settings, its environment, and its cluster, where there is one.

The composition root makes one `Instances` for everybody who needs credentials.
"""

from collections.abc import Callable, Mapping

from controller.base.clock import Clock
from controller.base.references import Allowed
from controller.providers.instances import Instances
from controller.providers.protocol import IdentityProvider, SecretReader, TokenIssuer
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings

Around = Callable[[str, str], Surroundings]
"""The surroundings of a document, by its name for messages and its namespace, "" for a Cluster kind."""


def providers(registry: Registry[IdentityProvider], made: Around) -> Instances:
    """All providers of one controller."""
    return Instances(registry, lambda key: made(str(key), key.namespace))


def around(
    clock: Clock,
    *,
    allowed: Allowed,
    environment: Mapping[str, str],
    secrets: SecretReader | None = None,
    tokens: TokenIssuer | None = None,
) -> Around:
    """What documents may use that refer to secrets; `secrets` and `tokens` are the controller's cluster's.

    Where there is a cluster, a document of a namespace is a tenant's, and touches nothing of this host: not its variables, files or programs.
    """
    in_cluster = secrets is not None or tokens is not None

    def make(name: str, namespace: str) -> Surroundings:
        return Surroundings(
            name,
            namespace,
            clock=clock,
            allowed=allowed,
            environment=environment,
            host=not in_cluster or not namespace,
            secrets=secrets,
            tokens=tokens,
        )

    return make
