"""Gate 6: who may run. Over all that rules and decision points of all policies say Deny beats Escalate beats Permit, and what fails denies.

Source: spec-scheduler 6.4; the words of CEL are those of `base.cel`, which bounds what an expression may cost.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from controller.base import cel
from controller.domain.reasons import Reason
from controller.domain.states import ApprovalState
from controller.domain.trust import Authorization, Decision, Identity, Outcome, Rule
from controller.gates import proof
from controller.gates.facts import TrustFacts
from controller.gates.identity import level_of

GATE = "Authorization"

VARIABLES = frozenset({"job", "identity", "trust", "proof", "request", "parents", "source", "time"})
"""What a rule may name. Each is a map with all of its keys present, whatever the dispatch, but for `parents`, a list of maps."""


class Voice(NamedTuple):
    """What one of those says whom a policy asks. `rule` says how people are asked, where that is the word."""

    decision: Decision
    reason: Reason
    message: str
    rule: Rule | None = None
    facts: Mapping[str, str] = {}


class Asked(NamedTuple):
    """A policy that wants people to decide."""

    policy: str
    rule: Rule
    message: str


def by_rules(name: str, policy: Authorization, values: dict[str, Any]) -> Voice | None:
    """What the rules of a policy say together; None: none of them holds. Pure."""
    held: list[Rule] = []
    for rule in policy.rules:
        try:
            if cel.compile(rule.condition, VARIABLES).evaluate(values):
                held.append(rule)
        except cel.CelError as error:
            message = f"the rule {rule.name} of {name} could not be evaluated: {error}"
            return Voice(Decision.Deny, Reason.RuleFailed, message, facts={"rule": rule.name})
    for decision, reason in _BEATS:
        rules = [rule for rule in held if rule.decision is decision]
        if not rules:
            continue
        message = f"the rule {rules[0].name} of {name} says {decision}" + (
            f": {rules[0].reason}" if rules[0].reason else ""
        )
        people = strictest(rules) if decision is Decision.Escalate else None
        return Voice(decision, reason, message, people, {"rule": rules[0].name})
    return None


def verdict(name: str, policy: Authorization, voices: Sequence[Voice]) -> tuple[Outcome, Asked | None]:
    """What a policy says, of all the voices that it has; the second is set when it escalates. Pure."""
    for decision, _ in _BEATS:
        said = [one for one in voices if one.decision is decision]
        if not said:
            continue
        message = "; ".join(one.message for one in said)
        rules = [one.rule for one in said if one.rule is not None]
        asked = Asked(name, strictest(rules), message) if decision is Decision.Escalate else None
        return _outcome(decision, said[0].reason, message, name, said), asked
    if policy.default is Decision.Permit and policy.external is None and policy.access is None:
        return _outcome(Decision.Permit, Reason.DefaultPermit, f"no rule of {name} objects", name), None
    return _outcome(
        Decision.Deny, Reason.DefaultDeny, f"no rule of {name} permits it, and its default is Deny", name
    ), None


_BEATS = (
    (Decision.Deny, Reason.RuleDenied),
    (Decision.Escalate, Reason.Escalated),
    (Decision.Permit, Reason.Permitted),
)


def answered(facts: TrustFacts, digest: str) -> bool:
    """Whether people have approved exactly this. Pure."""
    given = facts.escalation
    return given is not None and given.state is ApprovalState.Approved and given.digest == digest


def strictest(rules: list[Rule]) -> Rule:
    """Several rules that escalate as one: as many approvals as any of them wants, nobody's own if any forbids it, the shortest time. Pure."""
    first = rules[0]
    return Rule(
        name=first.name,
        condition=first.condition,
        decision=Decision.Escalate,
        reason="; ".join(dict.fromkeys(rule.reason for rule in rules if rule.reason)),
        approvals=max(rule.approvals for rule in rules),
        allow_self=all(rule.allow_self for rule in rules),
        timeout=min(rule.timeout for rule in rules),
    )


def values(facts: TrustFacts, identity: Identity | None) -> dict[str, Any]:
    """What rules see, without a proof: each policy has its own. Pure."""
    dispatch = facts.dispatch
    return {
        "job": {
            "name": dispatch.job,
            "namespace": dispatch.namespace,
            "labels": dict(facts.labels),
            "target": facts.target,
            "executor": facts.executor,
            "digest": facts.effective_digest,
        },
        "identity": {
            "declared": identity is not None,
            "kind": identity.subject.kind if identity else "",
            "principal": identity.subject.principal if identity else "",
            "runAs": (identity.subject.run_as or "") if identity else "",
            "scopes": list(identity.scopes) if identity else [],
            "delegation": identity.delegation if identity else "None",
            "attestation": (identity.attestation or "") if identity else "",
        },
        "trust": {"level": str(level_of(identity)), "rank": level_of(identity).rank},
        "proof": proof.values(None),
        "request": {
            "cause": str(dispatch.cause),
            "actor": dispatch.actor or "",
            "attempt": dispatch.attempt,
            "parameters": dict(dispatch.parameters),
        },
        "parents": [
            {
                "job": parent.job,
                "run": parent.run,
                "level": str(level_of(parent.grant.identity if parent.grant else None)),
                "principal": parent.grant.identity.subject.principal if parent.grant and parent.grant.identity else "",
            }
            for parent in facts.parents
        ],
        "source": {
            "name": facts.origin.source,
            "revision": facts.origin.revision or "",
            "signed": facts.origin.signer is not None,
            "signer": facts.origin.signer or "",
        },
        "time": moment(facts.now, facts.time_zone),
    }


@lru_cache(maxsize=64)
def moment(now: datetime, time_zone: str) -> Mapping[str, Any]:
    """The map `time`: the instant, and what a clock on the wall of the job's zone shows. Pure; all of a turn's dispatches share it."""
    local = now.astimezone(ZoneInfo(time_zone))
    return {
        "now": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "date": local.date().isoformat(),
        "hour": local.hour,
        "minute": local.minute,
        "weekday": local.isoweekday(),
    }


def _outcome(decision: Decision, reason: Reason, message: str, policy: str, voices: Sequence[Voice] = ()) -> Outcome:
    facts = {key: value for one in reversed(voices) for key, value in one.facts.items()}
    return Outcome(GATE, decision, reason, message, {"policy": policy, **facts})
