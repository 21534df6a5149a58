"""Decision points that are plug-ins: a yes is a Decided and nothing else, whatever a plug-in does instead."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from controller.app.credentials import around
from controller.base.references import Allowed, EnvRef, SecretSource
from controller.domain.trust import Decision, External, Plugin
from controller.gates.enquiries import Away, DecisionAsked, Judged
from controller.providers import breaker
from controller.providers.authorization import DECISION_POINTS, Decided
from controller.providers.deciding import DecisionPlugins
from controller.providers.plugged import LEFT_ALONE
from controller.providers.protocol import Refused, Secret, Unavailable
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings
from tests.unit.providers.clocks import Hand

CANARY = "canary-5e3c1b-value"
POLICY = "AuthorizationPolicy team/mine"
INPUT = {"job": {"name": "nightly"}, "request": {"parameters": {"to": "ann"}}}
Does = Callable[["Point", Mapping[str, Any]], Awaitable[Any]]


class Point:
    """Does what a test says; `made` are all that there are, `closed` those that were let go of."""

    does: Does
    made: list["Point"] = []  # noqa: RUF012 - a test's own
    closed: list["Point"] = []  # noqa: RUF012

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        if "bad" in config:
            raise ValueError(f"plugin.config.bad: what is {config['bad']!r}?")
        if "key" in config:
            surroundings.check("spec.external.plugin.config.key", SecretSource(env_ref=EnvRef("KEY")))
        self.config, self.surroundings = config, surroundings
        self.asked: list[Mapping[str, Any]] = []
        Point.made.append(self)

    async def decide(self, asked: Any) -> Any:
        self.asked.append(asked)
        return await Point.does(self, asked)

    async def close(self) -> None:
        Point.closed.append(self)


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Callable[..., DecisionPlugins]]:
    """Of a controller that has the plug-in `mine`."""
    Point.made, Point.closed = [], []
    sys.modules["jw_deciding"] = sys.modules[__name__]

    def make(does: Does, clock: Hand | None = None, **options: Any) -> DecisionPlugins:
        Point.does = does
        clock = clock or Hand()
        places = around(clock, allowed=Allowed(frozenset({"KEY"})), environment={"KEY": CANARY}, **options)
        points = [EntryPoint("mine", "jw_deciding:Point", DECISION_POINTS.name)]
        return DecisionPlugins(lambda: Registry(DECISION_POINTS, points), places, clock)

    yield make
    del sys.modules["jw_deciding"]


def question(type_: str = "mine", of: str = POLICY, home: str = "team", **external: Any) -> DecisionAsked:
    plugin = Plugin(type_, external.pop("config", {}))
    return DecisionAsked(
        of=of,
        namespace="team",
        home=home,
        external=External(plugin=plugin, **external),
        input=INPUT,
        time_zone="Europe/Berlin",
    )


def gives(answer: object) -> Does:
    async def give(_point: Point, _asked: Mapping[str, Any]) -> object:
        return answer

    return give


@pytest.mark.parametrize("decision", [Decision.Permit, Decision.Deny, Decision.Escalate])
async def test_what_is_decided_counts_with_its_reason(
    plugins: Callable[..., DecisionPlugins], decision: Decision
) -> None:
    """A secret that was read for it is masked in the reason."""

    async def decide(point: Point, asked: Mapping[str, Any]) -> Decided:
        key = await point.surroundings.read(SecretSource(env_ref=EnvRef("KEY")))
        assert isinstance(key, Secret)
        return Decided(decision, f"so says {key.reveal()}, for {asked['request']['parameters']['to']}")

    deciding = plugins(decide)
    assert await deciding.ask(question()) == Judged(decision, "so says ***, for ann")
    await deciding.close()
    assert Point.closed == Point.made


async def test_it_is_shown_a_copy_of_what_rules_see_and_the_time_as_it_is(
    plugins: Callable[..., DecisionPlugins],
) -> None:
    """What one plug-in writes into it no other sees."""

    async def scribble(_point: Point, asked: Any) -> Decided:
        asked["job"]["name"] = "another"
        return Decided(Decision.Permit)

    clock = Hand()
    clock.move(3600)
    deciding = plugins(scribble, clock)
    await deciding.ask(question())
    assert INPUT["job"] == {"name": "nightly"}
    [[shown]] = [point.asked for point in Point.made]
    assert shown["time"] == {"now": "2026-01-01T01:00:00Z", "date": "2026-01-01", "hour": 2, "minute": 0, "weekday": 4}
    assert shown["request"] == INPUT["request"]
    await deciding.close()


class Boolish:
    def __bool__(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "NoneType"),
        (True, "bool"),
        ("Permit", "str"),
        ({"allow": True}, "dict"),
        (Decision.Permit, "Decision"),
        (Boolish(), "Boolish"),
        (Judged(Decision.Permit), "Judged"),
        (Decided("Permit"), "something else"),  # type: ignore[arg-type]
        (Decided(True), "something else"),  # type: ignore[arg-type]
        (Decided(Decision.Warn), "something else"),
        (Decided(Decision.Permit, None), "something else"),  # type: ignore[arg-type]
        (Decided(Decision.Permit, ["because"]), "something else"),  # type: ignore[arg-type]
        (Refused("there is no such table"), "there is no such table"),
        (Refused(7), "does not say why"),  # type: ignore[arg-type]
        (type("x" * 10_000, (), {})(), "xxx"),
    ],
)
async def test_what_is_no_decision_denies_and_says_what_it_was(
    plugins: Callable[..., DecisionPlugins], answer: object, said: str
) -> None:
    """Nothing that looks like a yes is one."""
    deciding = plugins(gives(answer))
    found = await deciding.ask(question())
    assert isinstance(found, Judged)
    assert (found.decision, found.understood) == (Decision.Deny, False)
    assert said in found.message
    assert len(found.message) < 500
    await deciding.close()


async def test_a_reason_of_any_length_is_cut(plugins: Callable[..., DecisionPlugins]) -> None:
    """And stays on one line."""
    deciding = plugins(gives(Decided(Decision.Deny, "no\n\x1b[2J" * 5_000_000)))
    found = await deciding.ask(question())
    assert isinstance(found, Judged)
    assert len(found.message) <= 300
    assert found.message.isprintable()
    await deciding.close()


async def test_an_outage_is_none_of_its_decisions(plugins: Callable[..., DecisionPlugins]) -> None:
    """What it raises is told without secrets; what it says of a wait is bounded; who exits is an outage too."""

    async def fail(point: Point, _asked: Mapping[str, Any]) -> Any:
        await point.surroundings.read(SecretSource(env_ref=EnvRef("KEY")))
        match point.config["how"]:
            case "raise":
                raise RuntimeError(f"no session with {CANARY}")
            case "exit":
                sys.exit(3)
            case _:
                return Unavailable(f"not now, {CANARY}", timedelta(days=400))

    deciding = plugins(fail)
    for how, said in (("raise", "RuntimeError: no session with ***"), ("exit", "end the process"), ("say", "not now")):
        found = await deciding.ask(question(config={"how": how}))
        assert isinstance(found, Away)
        assert said in found.message
        assert CANARY not in found.message
        assert found.retry_after is None or found.retry_after == LEFT_ALONE
    await deciding.close()


async def test_one_that_hangs_or_blocks_holds_up_itself_alone(plugins: Callable[..., DecisionPlugins]) -> None:
    """It is given up when its time is over; another policy's is asked all the while."""

    async def stuck(point: Point, _asked: Mapping[str, Any]) -> Decided:
        if point.config.get("how") == "block":
            time.sleep(1)
        elif point.config.get("how") == "hang":
            await asyncio.Event().wait()
        return Decided(Decision.Permit)

    deciding = plugins(stuck)
    short = timedelta(milliseconds=100)
    asking = [
        deciding.ask(question(of=f"AuthorizationPolicy team/{how}", config={"how": how}, timeout=short))
        for how in ("block", "hang")
    ]
    blocked, hung, other = await asyncio.gather(*asking, deciding.ask(question()))
    assert blocked == hung == Away("no answer within 100ms")
    assert other == Judged(Decision.Permit)
    await deciding.close()


async def test_one_that_keeps_failing_is_left_alone_and_found_again_within_anybodys_patience(
    plugins: Callable[..., DecisionPlugins],
) -> None:
    """However long it was away."""
    clock, broken = Hand(), [True]

    async def fail(_point: Point, _asked: Mapping[str, Any]) -> Decided:
        if broken[0]:
            raise RuntimeError
        return Decided(Decision.Permit)

    deciding = plugins(fail, clock)
    for _ in range(breaker.THRESHOLD):
        await deciding.ask(question())
    for _ in range(20):
        found = await deciding.ask(question())
        assert isinstance(found, Away)
        assert found.retry_after is None or found.retry_after <= LEFT_ALONE
        clock.move((found.retry_after or timedelta(0)).total_seconds())
    assert breaker.THRESHOLD < len(Point.made[0].asked) < 20
    broken[0] = False
    clock.move(LEFT_ALONE.total_seconds())
    assert await deciding.ask(question()) == Judged(Decision.Permit)
    await deciding.close()


async def test_a_plugin_that_cannot_be_had_denies(plugins: Callable[..., DecisionPlugins]) -> None:
    """One that is not installed, and one that does not take what it is told: its words are for people."""
    deciding = plugins(gives(Decided(Decision.Permit)))
    for asked, said in (
        (question("nobody-has-it"), "the decision point type 'nobody-has-it' is not loaded"),
        (question(config={"bad": 1}), "plugin.config.bad: what is 1?"),
    ):
        found = await deciding.ask(asked)
        assert isinstance(found, Judged)
        assert (found.decision, found.understood) == (Decision.Deny, False)
        assert said in found.message


async def test_a_policy_that_says_something_else_has_another_one_and_the_first_is_closed(
    plugins: Callable[..., DecisionPlugins],
) -> None:
    """And keeps it while it says the same."""
    deciding = plugins(gives(Decided(Decision.Permit)))
    for config in ({"a": 1}, {"a": 1}, {"a": 2}):
        await deciding.ask(question(config=config))
    assert [point.config for point in Point.made] == [{"a": 1}, {"a": 2}]
    async with asyncio.timeout(30):
        while not Point.closed:
            await asyncio.sleep(0)
    assert Point.closed == Point.made[:1]
    await deciding.close()


async def test_the_plug_in_of_a_policy_that_is_gone_is_let_go_of(plugins: Callable[..., DecisionPlugins]) -> None:
    """And that of one that stays is kept."""
    deciding = plugins(gives(Decided(Decision.Permit)))
    for of in (POLICY, "AuthorizationPolicy team/other"):
        await deciding.ask(question(of=of))
    deciding.follow([("team", POLICY)])
    async with asyncio.timeout(30):
        while not Point.closed:
            await asyncio.sleep(0)
    assert Point.closed == Point.made[1:]
    await deciding.ask(question())
    assert len(Point.made) == 2
    await deciding.close()


class Shelf:
    async def read(self, namespace: str, name: str, key: str) -> str:
        return "kept"


async def test_in_a_cluster_a_policy_of_a_namespace_reads_nothing_of_the_controllers_host(
    plugins: Callable[..., DecisionPlugins],
) -> None:
    """As a CredentialProvider of one: it may have a plug-in, which may have a Secret of that namespace."""
    deciding = plugins(gives(Decided(Decision.Permit)), secrets=Shelf())
    refused = await deciding.ask(question(config={"key": True}))
    assert isinstance(refused, Judged)
    assert (refused.decision, refused.understood) == (Decision.Deny, False)
    assert "declare a ClusterAuthorizationPolicy" in refused.message
    assert await deciding.ask(question()) == Judged(Decision.Permit)
    whole = question(of="ClusterAuthorizationPolicy mine", home="", config={"key": True})
    assert await deciding.ask(whole) == Judged(Decision.Permit)
    await deciding.close()
