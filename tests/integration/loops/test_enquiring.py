"""What the gates want to know is asked outside of any transaction, for a while, and told to the gates once it is known."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from controller.base.clock import SystemClock
from controller.dispatch import trust
from controller.dispatch.knowledge import Asked, Knowledge
from controller.domain.reasons import Reason
from controller.domain.trust import Grant, Identity, JobTrust, Subject, SubjectKind
from controller.gates.enquiries import Away, Enquiry, Finding, NoAnswer
from controller.gates.facts import Answer, Granted, Refused, TrustFacts, Unanswered
from controller.loops import enquiring
from controller.loops.enquiring import Answerer, Enquiring
from controller.store.database import open_store
from controller.store.store import Store
from tests.integration.dispatch.world import World, at


class Weather(Enquiry, frozen=True, kw_only=True):
    """Whether it rains somewhere."""

    place: str


class Rain(Finding, frozen=True):
    """What was seen."""

    falls: bool


class Moved(SystemClock):
    """The world's wall clock."""

    def __init__(self, world: World) -> None:
        """It stands still."""
        self._world = world

    def now(self) -> datetime:
        return self._world.now


QUESTION = Weather(of="WeatherPolicy default/dry", namespace="default", place="Bergen")
AGENT = Identity(Subject(SubjectKind.Agent, "ann"))


def dry(facts: TrustFacts) -> Answer:
    """Open only where it does not rain."""
    match facts.finding(QUESTION):
        case None:
            return Unanswered((QUESTION,))
        case Rain(falls=False):
            return Granted(Grant("digest"))
        case other:
            return Refused(Grant("digest"), Reason.NoAnswer, str(other))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/store.db")
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(trust.pipeline, "decide", dry)
    monkeypatch.setattr(enquiring, "_PAUSE_S", 0.0)
    world = World(store)
    world.add("walk", schedule=at(world.now), trust=JobTrust(identity=AGENT))
    return world


async def asked(world: World, answerer: Answerer) -> tuple[Enquiring, list[bool]]:
    """The gates have asked, and were told."""
    woken: list[bool] = []
    work = Enquiring(world.store, Moved(world), {Weather: answerer}, lambda: woken.append(True))
    world.knowledge = Knowledge(found=work.found)
    work.ask(world.turn().asked)
    async with asyncio.timeout(60):
        while not woken:
            await asyncio.sleep(0.01)
    return work, woken


async def test_a_dispatch_waits_for_the_answer_and_goes_on_with_it(world: World) -> None:
    """It holds nothing meanwhile, and is told why it waits."""
    release = asyncio.Event()

    async def answer(enquiry: Enquiry) -> Finding | Away:
        assert enquiry == QUESTION
        await release.wait()
        return Rain(falls=False)

    waiting = asyncio.create_task(asked(world, answer))
    await asyncio.sleep(0)
    (dispatch,) = world.dispatches()
    assert (dispatch.state.value, dispatch.reason) == ("Pending", Reason.AwaitingAnswer)
    assert world.turn().opened == ()
    release.set()
    await waiting
    assert world.turns() == ["walk"]


async def test_an_answer_that_says_no_is_a_refusal(world: World) -> None:
    """As any other."""

    async def answer(_enquiry: Enquiry) -> Finding | Away:
        return Rain(falls=True)

    await asked(world, answer)
    world.turn()
    assert [run.state.value for run in world.runs()] == ["Denied"]


async def test_whoever_is_away_is_asked_again(world: World) -> None:
    """An outage is no verdict."""
    answers: list[Finding | Away] = [Rain(falls=False), Away("at lunch"), Away("at lunch", timedelta(0))]

    async def answer(_enquiry: Enquiry) -> Finding | Away:
        return answers.pop()

    await asked(world, answer)
    assert world.turns() == ["walk"]


async def test_whoever_stays_away_denies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within bounds, and with the words of the outage."""
    monkeypatch.setattr(enquiring, "PATIENCE", timedelta(0))

    async def answer(_enquiry: Enquiry) -> Finding | Away:
        return Away("at lunch", timedelta(seconds=1))

    await asked(world, answer)
    world.turn()
    (run,) = world.runs()
    assert (run.state.value, run.reason) == ("Denied", Reason.NoAnswer)
    assert "at lunch" in (run.message or "")


async def test_what_breaks_is_an_outage_and_its_words_are_not_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may hold what was shown to somebody."""
    monkeypatch.setattr(enquiring, "PATIENCE", timedelta(0))

    async def answer(_enquiry: Enquiry) -> Finding | Away:
        raise ValueError("canary")

    await asked(world, answer)
    world.turn()
    (run,) = world.runs()
    assert run.state.value == "Denied"
    assert "ValueError" in (run.message or "")
    assert "canary" not in (run.message or "")


async def test_a_finding_that_is_not_fresh_is_not_acted_upon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever had to wait for something else meanwhile is asked about again."""
    monkeypatch.setattr(enquiring, "FRESH", timedelta(0))

    async def answer(_enquiry: Enquiry) -> Finding | Away:
        return Rain(falls=False)

    await asked(world, answer)
    turned = world.turn()
    assert turned.opened == ()
    assert [one.enquiry for one in turned.asked] == [QUESTION]


async def test_the_same_question_is_asked_once_at_a_time(world: World) -> None:
    """However often the gates look meanwhile."""
    count, release = 0, asyncio.Event()

    async def answer(_enquiry: Enquiry) -> Finding | Away:
        nonlocal count
        count += 1
        await release.wait()
        return Rain(falls=False)

    work = Enquiring(world.store, Moved(world), {Weather: answer}, lambda: None)
    for _ in range(3):
        work.ask([Asked("one", QUESTION)])
        await asyncio.sleep(0)
    assert count == 1
    await work.close()
    assert work.found("one") == {}


async def test_whoever_hangs_keeps_those_waiting_who_ask_him_and_nobody_else(world: World) -> None:
    """However many they are; and not all of them stand before his door at once."""
    out, answered = 0, asyncio.Event()

    async def answer(enquiry: Enquiry) -> Finding | Away:
        nonlocal out
        if enquiry == QUESTION:
            out += 1
            await asyncio.Event().wait()
        answered.set()
        return Rain(falls=False)

    work = Enquiring(world.store, Moved(world), {Weather: answer}, lambda: None)
    work.ask([Asked(f"stuck-{number}", QUESTION) for number in range(100)])
    work.ask([Asked("other", Weather(of="WeatherPolicy default/wet", namespace="default", place="Bergen"))])
    async with asyncio.timeout(60):
        await answered.wait()
    assert 0 < out < 20
    await work.close()


async def test_a_question_that_nobody_can_answer_denies(world: World) -> None:
    """It is not waited for."""
    work = Enquiring(world.store, Moved(world), {}, lambda: None)
    work.ask([Asked("one", QUESTION)])
    async with asyncio.timeout(60):
        while not work.found("one"):
            await asyncio.sleep(0.01)
    assert isinstance(work.found("one")[QUESTION.key], NoAnswer)


def test_every_part_of_a_question_is_in_its_key() -> None:
    """An edited policy, or another place, is another question."""
    others = [
        Weather(of="WeatherPolicy default/wet", namespace="default", place="Bergen"),
        Weather(of=QUESTION.of, namespace="other", place="Bergen"),
        Weather(of=QUESTION.of, namespace="default", place="Oslo"),
    ]
    assert len({QUESTION.key, *(one.key for one in others)}) == 4
    assert QUESTION.key == Weather(of=QUESTION.of, namespace="default", place="Bergen").key
