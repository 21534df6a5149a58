"""The suites for plug-ins of policies fail for those that break a promise: one for each."""

import asyncio
import unittest
from collections.abc import Mapping
from typing import Any

import pytest

from controller.base.clock import SystemClock
from controller.domain.trust import Decision
from controller.providers.authorization import Decided
from controller.providers.policy_conformance import DecisionConformance, DecisionSubject, asked
from controller.providers.protocol import Unavailable
from controller.providers.surroundings import Surroundings

CANARY = "canary-5e3c1b-value"


class Good:
    """Breaks nothing."""

    def __init__(self) -> None:
        self.count = 0

    async def decide(self, asked: Mapping[str, Any]) -> Any:
        self.count += 1
        return Decided(Decision.Permit if asked["job"]["name"] == "job" else Decision.Deny, "so it is")


class Agrees(Good):
    async def decide(self, asked: Mapping[str, Any]) -> Any:
        return Decided(Decision.Permit)


class Says(Good):
    async def decide(self, asked: Mapping[str, Any]) -> Any:
        return "Permit"


class Mixes(Good):
    """Keeps what it is asked where the next question finds it."""

    async def decide(self, asked: Mapping[str, Any]) -> Any:
        self.name = asked["job"]["name"]
        await asyncio.sleep(0)
        return Decided(Decision.Permit if self.name == "job" else Decision.Deny)


class Counts(Good):
    async def decide(self, asked: Mapping[str, Any]) -> Any:
        self.count += 1
        return Decided(Decision.Permit if self.count < 2 else Decision.Deny)


class Mute(Good):
    async def decide(self, asked: Mapping[str, Any]) -> Any:
        return Unavailable("")


class Quotes(Good):
    async def decide(self, asked: Mapping[str, Any]) -> Any:
        return Decided(Decision.Deny, f"who is {CANARY}?")


class Telling(Good):
    def __repr__(self) -> str:
        return f"Telling({CANARY})"


class Suite(DecisionConformance):
    def __init__(self, kind: type) -> None:
        self.kind = kind

    async def subject(self) -> DecisionSubject:
        around = Surroundings("AuthorizationPolicy team/x", "team", clock=SystemClock())
        return DecisionSubject(
            plug=self.kind(),
            surroundings=around,
            secrets=(CANARY,),
            permitted=asked(),
            denied=asked(job={"name": "other"}),
        )

    async def broken(self) -> DecisionSubject:
        return await self.subject()

    def misconfigured(self) -> list[Any]:
        return [self.kind]


_ABOUT_BACKENDS = {
    "test_a_broken_backend_is_never_a_yes_and_has_words",
    "test_a_wrong_configuration_is_told_when_it_is_made",
    "test_a_hanging_backend_is_cut_off",
}
DECISIONS = sorted({name for name in dir(DecisionConformance) if name.startswith("test_")} - _ABOUT_BACKENDS)


@pytest.mark.parametrize("promise", DECISIONS)
def test_an_honest_decision_point_passes(promise: str) -> None:
    """All of it."""
    getattr(Suite(Good), promise)()


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Agrees, "test_it_permits_what_it_permits_and_nothing_else"),
        (Mixes, "test_it_permits_what_it_permits_and_nothing_else"),
        (Says, "test_it_decides"),
        (Mute, "test_it_decides"),
        (Counts, "test_a_question_changes_nothing"),
        (Quotes, "test_no_secret_is_seen_by_accident"),
        (Telling, "test_no_secret_is_seen_by_accident"),
        (Good, "test_a_broken_backend_is_never_a_yes_and_has_words"),
        (Mute, "test_a_broken_backend_is_never_a_yes_and_has_words"),
        (Good, "test_a_wrong_configuration_is_told_when_it_is_made"),
    ],
)
def test_a_broken_promise_of_a_decision_point_is_found(kind: type, promise: str) -> None:
    """By the test that has its name; what is shown of it holds no secret."""
    with pytest.raises(AssertionError) as error:
        getattr(Suite(kind), promise)()
    assert CANARY not in str(error.value)


def test_what_a_plugin_does_not_promise_is_skipped() -> None:
    """And told as such."""
    with pytest.raises(unittest.SkipTest):
        Suite(Good).test_a_hanging_backend_is_cut_off()
