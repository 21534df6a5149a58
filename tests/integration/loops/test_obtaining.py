"""What a run is given: asked for once it is open, written down before where it can be revoked, and refused in words."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from controller.app.credentials import around, providers
from controller.base.clock import SystemClock
from controller.base.errors import Conflict, NotFound
from controller.base.references import Allowed
from controller.domain.trust import CredentialPolicy, Delivery, Grant, Ref
from controller.executors.credentials import Given
from controller.loops import obtaining
from controller.loops.obtaining import Obtaining, ProviderAway
from controller.providers.protocol import GROUP, Answer, Refused, Request, Secret, Session, Unavailable
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings
from controller.store import cleanups
from controller.store.database import open_store
from controller.store.store import Store
from tests.integration.dispatch.world import World
from tests.integration.store.test_cleanups import running
from tests.integration.store.test_governors import declare

ACME = Ref("acme", "CredentialProvider")


class Acme:
    """A plug-in that does what the test says."""

    answers: ClassVar[list[Answer]] = []
    asked: ClassVar[list[Request]] = []
    revoked: ClassVar[list[str]] = []

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Nothing can be told to it."""

    async def resolve(self, request: Request) -> Answer:
        self.asked.append(request)
        return self.answers.pop(0)

    async def revoke(self, lease: str) -> Refused | Unavailable | None:
        self.revoked.append(lease)
        return None


@pytest.fixture(autouse=True)
def acme() -> None:
    """As if nobody had ever asked it."""
    Acme.answers, Acme.asked, Acme.revoked = [], [], []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/jobwarden.db")
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store) -> World:
    world = World(store)
    declare(world, "CredentialProvider", "acme", {"plugin": {"type": "acme"}})
    return world


@pytest.fixture
def giver(store: Store) -> Obtaining:
    point = EntryPoint("acme", f"{__name__}:Acme", GROUP)

    def make() -> Any:
        return providers(Registry([point]), around(SystemClock(), allowed=Allowed(), environment={}))

    return Obtaining(store, make, SystemClock())


async def given(giver: Obtaining, world: World, *deliveries: Delivery) -> Any:
    """What a run with these deliveries is given."""
    if not world.live():
        running(world)
    [run] = world.live()
    grant = Grant(digest="", credentials=CredentialPolicy(deliver=deliveries, max_lifetime=timedelta(minutes=5)))
    return await giver.for_run(msgspec.structs.replace(run, grant=grant))


async def test_a_credential_is_asked_for_in_the_name_of_the_run(giver: Obtaining, world: World) -> None:
    """For as long as the policy says, and with the scopes of the delivery."""
    Acme.answers.append(Session(credentials={"token": Secret("hush")}, scopes=("read",)))
    found = await given(giver, world, Delivery("t", ACME, "token", ("read",), env="TOKEN"))
    assert found == [Given("t", b"hush", env="TOKEN")]
    [request] = Acme.asked
    assert (request.namespace, request.job, request.scopes) == ("default", "job", ("read",))
    assert request.keys == ("token",)
    assert request.lifetime == timedelta(minutes=5)


async def test_a_lease_is_written_down_and_revoked(giver: Obtaining, world: World, store: Store) -> None:
    """Before it is used; and what was never granted leaves nothing to undo."""
    Acme.answers.append(Session(credentials={"token": Secret("hush")}, lease="lease-1"))
    await given(giver, world, Delivery("t", ACME, "token", env="TOKEN"))
    [run] = [one.name for one in world.runs()]
    [record] = await store.read(lambda tx: cleanups.of_run(tx, run))
    assert record.handle == b"lease-1"
    await giver.undo(record.provider, record.namespace, record.handle)
    assert Acme.revoked == ["lease-1"]


async def test_what_a_provider_refuses_stays_refused(giver: Obtaining, world: World, store: Store) -> None:
    """In its words, and with nothing to undo."""
    Acme.answers.append(Refused("no such role"))
    found = await given(giver, world, Delivery("t", ACME, "token", env="TOKEN"))
    assert isinstance(found, str)
    assert "the credential t" in found
    assert "no such role" in found
    [run] = [one.name for one in world.runs()]
    assert await store.read(lambda tx: cleanups.of_run(tx, run)) == []


async def test_a_provider_that_is_away_is_asked_again_for_a_while(
    giver: Obtaining, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the run cannot be started."""
    monkeypatch.setattr(obtaining, "_PAUSE_S", 0.01)
    Acme.answers += [Unavailable("busy"), Session(credentials={"token": Secret("hush")})]
    assert await given(giver, world, Delivery("t", ACME, env="TOKEN")) == [Given("t", b"hush", env="TOKEN")]
    monkeypatch.setattr(obtaining, "_PATIENCE", timedelta(0))
    Acme.answers.append(Unavailable("busy"))
    assert "busy" in await given(giver, world, Delivery("t", ACME, env="TOKEN"))


async def test_a_provider_that_nobody_declares_gives_nothing(giver: Obtaining, world: World) -> None:
    """And says what is missing; one of another namespace is as good as none."""
    missing = Ref("nobody", "CredentialProvider")
    assert "nobody" in await given(giver, world, Delivery("t", missing, env="TOKEN"))
    with pytest.raises(NotFound):
        await giver.undo(missing, "default", b"lease")
    with pytest.raises(NotFound):
        await giver.key(ACME, "elsewhere")


async def test_the_only_credential_needs_no_name_and_of_several_one_is_named(giver: Obtaining, world: World) -> None:
    """Otherwise nobody knows which is meant."""
    Acme.answers.append(Session(credentials={"a": Secret("1"), "b": Secret("2")}))
    assert "name one in key" in await given(giver, world, Delivery("t", ACME, env="TOKEN"))


async def test_a_key_that_signs_is_the_only_one_of_its_provider(giver: Obtaining, world: World) -> None:
    """What cannot be had now is asked for again, what is odd is told."""
    assert world
    Acme.answers += [
        Session(credentials={"key": Secret("PEM")}),
        Session(credentials={"a": Secret("1"), "b": Secret("2")}),
        Unavailable("busy"),
    ]
    assert await giver.key(ACME, "default") == b"PEM"
    with pytest.raises(Conflict):
        await giver.key(ACME, "default")
    with pytest.raises(ProviderAway):
        await giver.key(ACME, "default")
