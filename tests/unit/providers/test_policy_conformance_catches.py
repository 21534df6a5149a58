"""The suites for plug-ins of policies fail for those that break a promise: one for each."""

import asyncio
import unittest
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from controller.base.clock import SystemClock
from controller.domain.trust import Decision
from controller.providers.authorization import Decided
from controller.providers.policy_conformance import (
    DecisionConformance,
    DecisionSubject,
    VerifierConformance,
    VerifierSubject,
    asked,
)
from controller.providers.protocol import Secret, Unavailable
from controller.providers.surroundings import Surroundings
from controller.providers.verification import Rejected, Verified, Wanted

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


class Takes:
    """A verifier that breaks nothing: NAME!ID, signed with a row of question marks."""

    used: set[str] = set()  # noqa: RUF012 - shared by instances, as a backend is

    async def verify(self, proof: Secret, wanted: Wanted) -> Any:
        name, _, rest = proof.reveal().partition("!")
        if not rest.endswith("????") or rest.endswith("?????") or "!" in rest:
            return Rejected()
        return self.says(name, rest.rstrip("?"))

    def says(self, name: str, number: str) -> Verified:
        end = datetime.now(UTC) + timedelta(minutes=5)
        return Verified(subject=name, id=number, expires_at=end, issuer="urn:shop", audiences=("urn:us",))


class TakesAll(Takes):
    async def verify(self, proof: Secret, wanted: Wanted) -> Any:
        return self.says("ann", "1")


class Agreeable(Takes):
    """Says of every proof that it is what the policy wants."""

    async def verify(self, proof: Secret, wanted: Wanted) -> Any:
        said = await super().verify(proof, wanted)
        if not isinstance(said, Verified):
            return said
        return msgspec.structs.replace(said, issuer=wanted.issuer or "", audiences=(wanted.audience or "",))


class Breaks(Takes):
    async def verify(self, proof: Secret, wanted: Wanted) -> Any:
        said = await super().verify(proof, wanted)
        if isinstance(said, Verified):
            return said
        raise ValueError(proof.reveal())


class Endless(Takes):
    def says(self, name: str, number: str) -> Verified:
        return Verified(subject=name, id=number)


class Spends(Takes):
    async def verify(self, proof: Secret, wanted: Wanted) -> Any:
        if proof.reveal() in self.used:
            return Rejected()
        self.used.add(proof.reveal())
        return await super().verify(proof, wanted)


class Sums(Takes):
    """Numbers what it looks at."""

    count = 0

    def says(self, name: str, number: str) -> Verified:
        self.count += 1
        return msgspec.structs.replace(super().says(name, number), id=str(self.count))


class Repeats(Takes):
    def says(self, name: str, number: str) -> Verified:
        return msgspec.structs.replace(super().says(name, number), subject=f"{name}!{number}????")


class Looks(VerifierConformance):
    def __init__(self, kind: type) -> None:
        self.kind = kind

    async def subject(self) -> VerifierSubject:
        Takes.used.clear()
        around = Surroundings("AuthorizationPolicy team/x", "team", clock=SystemClock())
        return VerifierSubject(
            plug=self.kind(),
            surroundings=around,
            secrets=(CANARY,),
            proof="ann!4711????",
            rejected=("ann!4711", "ann!4711!????"),
            issuer="urn:shop",
            audience="urn:us",
        )

    async def broken(self) -> VerifierSubject:
        return await self.subject()


LOOKS = sorted({name for name in dir(VerifierConformance) if name.startswith("test_")} - _ABOUT_BACKENDS)


@pytest.mark.parametrize("promise", LOOKS)
def test_an_honest_verifier_passes(promise: str) -> None:
    """All of it."""
    getattr(Looks(Takes), promise)()


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (TakesAll, "test_it_takes_nothing_else"),
        (TakesAll, "test_several_proofs_at_once_do_not_meet"),
        (Breaks, "test_it_takes_nothing_else"),
        (Agreeable, "test_nobody_elses_proof_is_taken"),
        (Endless, "test_it_takes_a_proof_that_holds"),
        (Repeats, "test_it_takes_a_proof_that_holds"),
        (Spends, "test_looking_at_a_proof_uses_nothing_up"),
        (Sums, "test_looking_at_a_proof_uses_nothing_up"),
        (Takes, "test_a_broken_backend_is_never_a_yes_and_has_words"),
    ],
)
def test_a_broken_promise_of_a_verifier_is_found(kind: type, promise: str) -> None:
    """By the test that has its name; what is shown of it holds no secret."""
    with pytest.raises(AssertionError) as error:
        getattr(Looks(kind), promise)()
    assert CANARY not in str(error.value)


def test_what_a_plugin_does_not_promise_is_skipped() -> None:
    """And told as such."""
    with pytest.raises(unittest.SkipTest):
        Suite(Good).test_a_hanging_backend_is_cut_off()
