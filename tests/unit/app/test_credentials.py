"""What providers may use follows from whose they are."""

import pytest

from controller.app.credentials import around, providers
from controller.base.clock import SystemClock
from controller.base.references import Allowed
from controller.domain.trust import Provider
from controller.providers.calling import Caller
from controller.providers.instances import Key
from controller.providers.protocol import Refused
from controller.providers.registry import PROVIDERS, Registry

ENV = Provider("env", {"keys": {"token": "TOKEN"}}, namespaces=("team",))


class Cluster:
    """Stands for one; nobody asks it."""

    async def read(self, namespace: str, name: str, key: str) -> str:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("cluster", "key", "may"),
    [
        (None, Key("CredentialProvider", "team", "x"), True),
        (None, Key("ClusterCredentialProvider", "", "x"), True),
        (Cluster(), Key("CredentialProvider", "team", "x"), False),
        (Cluster(), Key("ClusterCredentialProvider", "", "x"), True),
    ],
)
async def test_in_a_cluster_only_administrators_providers_touch_the_host(
    cluster: Cluster | None, key: Key, may: bool
) -> None:
    """In files whoever writes them may run programs anyway."""
    made = providers(Registry(PROVIDERS, []), around(SystemClock(), allowed=Allowed(), environment={}, secrets=cluster))  # type: ignore[arg-type]
    assert isinstance(await made.of(key, ENV, "team"), Caller if may else Refused)
