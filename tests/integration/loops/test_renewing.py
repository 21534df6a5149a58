"""Credentials of a run that goes on: prolonged or replaced before they end, as they were granted, and given back when nobody needs them."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from controller.app.credentials import around, providers
from controller.base.clock import SystemClock
from controller.base.references import Allowed
from controller.domain.records import Run
from controller.domain.story import StoryEvent, StoryKind
from controller.domain.trust import CredentialPolicy, Delivery, Grant, Ref
from controller.executors.credentials import Refreshing
from controller.executors.execution import LocalExecution
from controller.kubernetes.podrun import PodExecution
from controller.loops import renewing
from controller.loops.obtaining import Obtained, Obtaining
from controller.loops.renewing import Renewing
from controller.providers.protocol import GROUP, Answer, Refused, Request, Secret, Session, Unavailable
from controller.providers.registry import PROVIDERS, Registry
from controller.providers.surroundings import Surroundings
from controller.store import cleanups, governors
from controller.store.database import open_store
from controller.store.store import Store
from tests import builders
from tests.integration.dispatch.world import World
from tests.integration.store.test_cleanups import running
from tests.integration.store.test_governors import declare

SPEC = builders.spec_of(builders.job("job", script="true"))
ACME = Ref("acme", "CredentialProvider")
FILE = Delivery("t", ACME, "token", file="deep/token")
VARIABLE = Delivery("t", ACME, "token", env="TOKEN")
LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Acme:
    """A plug-in that does what the test says; gives a lease to revoke with each answer that has one."""

    answers: ClassVar[list[Answer]] = []
    asked: ClassVar[list[Request]] = []
    revoked: ClassVar[list[str]] = []

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Nothing can be told to it."""

    async def resolve(self, request: Request) -> Answer:
        self.asked.append(request)
        return self.answers.pop(0) if self.answers else Refused("that was all")

    async def revoke(self, lease: str) -> Refused | Unavailable | None:
        self.revoked.append(lease)
        return None


class Prolonging(Acme):
    """The same, and it can prolong."""

    renewed: ClassVar[list[Session]] = []
    prolongs: ClassVar[list[Answer]] = []

    async def renew(self, request: Request, session: Session) -> Answer:
        self.renewed.append(session)
        return self.prolongs.pop(0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is due as soon as it is there; nobody has ever been asked."""
    for kept in (Acme.answers, Acme.asked, Acme.revoked, Prolonging.renewed, Prolonging.prolongs):
        kept.clear()
    monkeypatch.setattr(renewing, "due_at", lambda now, _expires_at: now)
    monkeypatch.setattr(renewing, "again_at", lambda now, _expires_at: now)


class File:
    """The files of a run that goes on."""

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes]] = []

    def refresh(self, path: str, value: bytes) -> str | None:
        self.written.append((path, value))
        return None


class Company:
    """A run with a grant, and everybody who gives it something."""

    def __init__(self, store: Store, kind: str) -> None:
        self.store, self.world, self.told = store, World(store), list[StoryEvent]()
        declare(self.world, "CredentialProvider", "acme", {"plugin": {"type": kind}})
        running(self.world)
        points = [EntryPoint(name, f"{__name__}:{name}", GROUP) for name in ("Acme", "Prolonging")]
        clock = SystemClock()
        self.giver = Obtaining(
            store,
            lambda: providers(Registry(PROVIDERS, points), around(clock, allowed=Allowed(), environment={})),
            clock,
        )
        self.renewing = Renewing(self.giver, clock, self.told.append)
        self.file = File()

    def run(self, delivery: Delivery, *, renew: bool = True) -> Run:
        """The open run, under a grant of what there is now."""
        [run] = self.world.live()
        known = self.world.read(governors.read)
        by = {str(one): one.digest for one in known.documents}
        policy = CredentialPolicy(deliver=(delivery,), max_lifetime=timedelta(minutes=5), renew=renew)
        return msgspec.structs.replace(run, grant=Grant(digest="", credentials=policy, governors=by))

    async def keeps(self, run: Run) -> None:
        """Give it what it gets at its start, then renew until there is nothing more to be had."""
        obtained = await self.giver.for_run(run, SPEC)
        assert isinstance(obtained, Obtained)
        await asyncio.wait_for(self.renewing.keep(run, obtained.held, self.file), 30)

    async def leases(self, run: Run) -> list[bytes]:
        """What is to be undone when the run ends."""
        return [one.handle for one in await self.store.read(lambda tx: cleanups.of_run(tx, run.name))]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/jobwarden.db")
    yield opened
    opened.close()


@pytest.fixture
def company(store: Store) -> Company:
    return Company(store, "Acme")


@pytest.fixture
def prolonging(store: Store) -> Company:
    return Company(store, "Prolonging")


def session(value: str, **fields: Any) -> Session:
    """What a provider gives that ends some day."""
    return Session(**{"credentials": {"token": Secret(value)}, "expires_at": LATER, **fields})


async def test_a_file_gets_what_its_provider_gives_anew(company: Company) -> None:
    """Asked in the words of the first time, as often as it ends; then one that does not end."""
    Acme.answers += [session("first"), session("second"), session("third", expires_at=None)]
    await company.keeps(company.run(FILE))
    assert company.file.written == [("deep/token", b"second"), ("deep/token", b"third")]
    assert len({msgspec.json.encode(one) for one in Acme.asked}) == 1
    assert company.told == []


async def test_of_leases_the_one_before_the_last_is_given_back(company: Company) -> None:
    """Who has just read a file may still need what was in it; the rest is written down for the end of the run."""
    Acme.answers += [session(f"value-{n}", lease=f"lease-{n}") for n in range(4)]
    Acme.answers.append(session("final", lease="lease-4", expires_at=None))
    run = company.run(FILE)
    await company.keeps(run)
    assert Acme.revoked == ["lease-0", "lease-1", "lease-2"]
    assert await company.leases(run) == [b"lease-3", b"lease-4"]


async def test_what_can_be_prolonged_is_and_a_variable_keeps_its_value(prolonging: Company) -> None:
    """Nothing is put anywhere, and there is one lease to undo."""
    Acme.answers.append(session("same", lease="one"))
    Prolonging.prolongs += [session("same", lease="one"), session("same", lease="one", expires_at=None)]
    run = prolonging.run(VARIABLE)
    await prolonging.keeps(run)
    assert len(Acme.asked) == 1
    assert len(Prolonging.renewed) == 2
    assert prolonging.file.written == []
    assert await prolonging.leases(run) == [b"one"]
    assert prolonging.told == []


async def test_what_can_be_prolonged_no_more_is_had_anew_where_it_is_a_file(prolonging: Company) -> None:
    """Backends set an end to the life of a lease; the new one has a record of its own."""
    Acme.answers += [session("first", lease="one"), session("second", lease="two", expires_at=None)]
    Prolonging.prolongs.append(Refused("as old as it gets"))
    run = prolonging.run(FILE)
    await prolonging.keeps(run)
    assert prolonging.file.written == [("deep/token", b"second")]
    assert await prolonging.leases(run) == [b"one", b"two"]


@pytest.mark.parametrize("answer", [Refused("as old as it gets"), session("other", lease="one")])
async def test_a_variable_that_would_need_another_value_goes_on_with_its_own(
    prolonging: Company, answer: Answer
) -> None:
    """People are told; nobody is asked for a new one that could not be delivered."""
    Acme.answers.append(session("first", lease="one"))
    Prolonging.prolongs.append(answer)
    await prolonging.keeps(prolonging.run(VARIABLE))
    assert len(Acme.asked) == 1
    [told] = company_troubles(prolonging)
    assert "the credential t of the run could not be renewed and ends at 2100-01-01T00:00:00+00:00" in told


def company_troubles(company: Company) -> list[str]:
    """What people are told."""
    assert {one.kind for one in company.told} <= {StoryKind.Trouble}
    return [str(one.message) for one in company.told]


async def test_a_provider_that_is_away_is_asked_again_and_told_of_once(company: Company) -> None:
    """The run goes on with what it has until then."""
    Acme.answers += [session("first"), Unavailable("down"), Unavailable("down"), session("second", expires_at=None)]
    await company.keeps(company.run(FILE))
    assert company.file.written == [("deep/token", b"second")]
    [told] = company_troubles(company)
    assert "down" in told


async def test_a_refusal_is_told_and_final(company: Company) -> None:
    """It is not asked for less, nor for anything else."""
    Acme.answers += [session("first"), Refused("dismissed"), session("second")]
    await company.keeps(company.run(FILE))
    assert company.file.written == []
    assert len(Acme.asked) == 2
    [told] = company_troubles(company)
    assert "dismissed" in told


async def test_wider_than_granted_is_refused(company: Company) -> None:
    """Scopes that nobody asked for are not delivered, also when they come with a renewal."""
    narrow = msgspec.structs.replace(FILE, scopes=("read",))
    Acme.answers += [session("first", scopes=("read",)), session("second", scopes=("read", "write"))]
    await company.keeps(company.run(narrow))
    assert company.file.written == []
    assert "write" in company_troubles(company)[0]


async def test_a_provider_that_was_changed_since_is_asked_no_more(company: Company) -> None:
    """The run was granted something else."""
    Acme.answers += [session("first"), session("second")]
    run = company.run(FILE)
    assert run.grant is not None
    changed = msgspec.structs.replace(run.grant, governors=dict.fromkeys(run.grant.governors, "sha256:other"))
    await company.keeps(msgspec.structs.replace(run, grant=changed))
    assert len(Acme.asked) == 1
    assert "is not what it was when the run was granted" in company_troubles(company)[0]


def test_only_processes_of_this_host_are_given_anything_anew() -> None:
    """A Pod, also one that was taken up from another controller, has what it was given at its start, and what its node renews."""
    assert issubclass(LocalExecution, Refreshing)
    assert not issubclass(PodExecution, Refreshing)


async def test_who_says_that_nothing_is_renewed_gets_nothing_renewed(company: Company) -> None:
    """`renew: false`; and what does not end is not asked for again either."""
    for answer, renew in ((session("first"), False), (session("first", expires_at=None), True)):
        Acme.answers.append(answer)
        await company.keeps(company.run(FILE, renew=renew))
    assert len(Acme.asked) == 2
    assert company.file.written == []
