"""Rules: which of them decides, what they see, and that nothing of theirs can be taken for a yes by mistake."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.reasons import Reason
from controller.domain.trust import Authorization, Decision, Outcome, Rule
from controller.gates import authorization as gate
from controller.gates.facts import Origin
from tests.unit.gates import world

ORDER = (Decision.Deny, Decision.Escalate, Decision.Permit)
DECISIONS = st.sampled_from(ORDER)


def rule(decision: Decision, condition: str = "true", name: str = "r", **fields: object) -> Rule:
    """A rule that holds unless its condition says otherwise."""
    return Rule(name, condition, decision, **fields)  # type: ignore[arg-type]


def permitted(name: str, policy: Authorization, values: dict[str, Any]) -> tuple[Outcome, gate.Asked | None]:
    """What a policy of rules alone says."""
    said = gate.by_rules(name, policy, values)
    return gate.verdict(name, policy, [said] if said is not None else [])


def asked(*rules: Rule, default: Decision = Decision.Deny) -> Decision:
    """What a policy of these rules says of a plain dispatch."""
    values = gate.values(world.facts(), world.identity())
    return permitted("p", Authorization(rules, default), values)[0].decision


@given(st.lists(st.tuples(DECISIONS, st.booleans()), min_size=1, max_size=6), st.sampled_from(["Permit", "Deny"]))
def test_deny_beats_escalate_beats_permit_in_whatever_order(said: list[tuple[Decision, bool]], default: str) -> None:
    """Rules that do not hold say nothing; where none holds the default does."""
    rules = [rule(decision, str(holds).lower(), f"r{number}") for number, (decision, holds) in enumerate(said)]
    held = {decision for decision, holds in said if holds}
    expected = next((one for one in ORDER if one in held), Decision(default))
    assert asked(*rules, default=Decision(default)) is expected


@given(st.lists(DECISIONS, max_size=3), st.integers(0, 3))
def test_a_rule_that_fails_denies_whatever_the_others_say(others: list[Decision], place: int) -> None:
    """Also as the only one that would have denied."""
    rules = [rule(decision, name=f"r{number}") for number, decision in enumerate(others)]
    rules.insert(place, rule(Decision.Permit, 'job.labels["missing"] == "x"', "broken"))
    values = gate.values(world.facts(), None)
    outcome, escalation = permitted("p", Authorization(tuple(rules), Decision.Permit), values)
    if outcome.reason == Reason.RuleFailed:
        assert "broken" in outcome.message
    assert outcome.decision is Decision.Deny
    assert escalation is None


@pytest.mark.parametrize(
    "condition",
    [
        'job.name == "job" && job.namespace == "default"',
        'identity.declared && identity.kind == "Service" && identity.principal == "reporter"',
        '"read" in identity.scopes',
        'trust.level == "Supervised" && trust.rank >= 2',
        'request.cause == "Schedule" && request.actor == "" && request.attempt == 1',
        'parents.all(p, p.level == "Supervised")',
        'source.name == "repo" && source.revision.startsWith("abc")',
        "time.hour == 13 && time.weekday == 1 && time.date == '2026-01-05' && time.now == '2026-01-05T12:00:00Z'",
    ],
)
def test_a_rule_sees_the_job_its_identity_and_the_moment(condition: str) -> None:
    """Every name that the schema promises, with a value that can be compared; the hour is that of the schedule's zone."""
    facts = world.facts(time_zone="Europe/Berlin", origin=Origin("repo", "abcdef"))
    values = gate.values(facts, world.identity(scopes=("read",)))
    policy = Authorization((rule(Decision.Permit, condition),))
    outcome, _ = permitted("p", policy, values)
    assert outcome.decision is Decision.Permit, outcome.message


def test_all_names_are_there_also_for_nobody() -> None:
    """So that a rule about identity denies by its own words, and not because something is missing."""
    values = gate.values(world.facts(), None)
    assert values.keys() == gate.VARIABLES
    policy = Authorization((rule(Decision.Deny, "!identity.declared"),), Decision.Permit)
    assert permitted("p", policy, values)[0].reason == Reason.RuleDenied


def test_several_rules_that_escalate_ask_as_the_strictest() -> None:
    """As many people as any wants, not oneself if any forbids it, no longer than the shortest."""
    first = rule(Decision.Escalate, approvals=1, allow_self=True, timeout=timedelta(hours=1), reason="a")
    second = rule(Decision.Escalate, approvals=3, allow_self=False, timeout=timedelta(days=1), reason="b")
    strict = gate.strictest([first, second])
    assert (strict.approvals, strict.allow_self, strict.timeout) == (3, False, timedelta(hours=1))
    assert strict.reason == "a; b"
