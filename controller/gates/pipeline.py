"""The gates in their order: the first that refuses ends it, and everything that was said up to there is kept.

`dispatch` asks before it opens a run, `status` asks for `jobwarden trust check`. Invariant: pure; a thing that is not known denies or defers, and
is never taken for a yes.
"""

from typing import Any

import msgspec

from controller.domain.abilities import confines
from controller.domain.reasons import Reason
from controller.domain.trust import Authorization, Decision, Detail, Grant, Identity, Outcome
from controller.gates import authorization, box, contract, decision_points, identity
from controller.gates.enquiries import Enquiry
from controller.gates.facts import Answer, Escalated, Granted, Refused, TrustFacts, Unanswered, Withheld


def decide(facts: TrustFacts) -> Answer:
    """What becomes of a dispatch that everything else allows. Pure."""
    governed = facts.governed
    if governed.broken:
        return Withheld(Reason.GovernorInvalid, f"{', '.join(governed.broken)}: {Reason.GovernorInvalid.sentence}")
    if governed.missing:
        return Withheld(Reason.ReferenceNotFound, f"{', '.join(governed.missing)} does not exist")
    return _Passage(facts).through()


class _Passage:
    """One dispatch on its way through the gates; keeps what they said."""

    def __init__(self, facts: TrustFacts) -> None:
        self._facts = facts
        self._identity: Identity | None = None
        self._contract = contract.together(one for _, one in facts.governed.contracts)
        self._digest = facts.governed.digest(facts.effective_digest)
        self._outcomes: list[Outcome] = []

    def through(self) -> Answer:
        for gate in (self._who, self._children, self._level, self._box, self._authorization):
            answer = gate()
            if answer is not None:
                return answer
        return Granted(self._grant())

    def _who(self) -> Answer | None:
        self._identity, outcome = identity.resolve(self._facts)
        return self._note(outcome)

    def _children(self) -> Answer | None:
        left = identity.hand_down(self._facts, self._identity)
        if left is None:
            return None
        self._identity = left.identity
        return self._note(left.outcome)

    def _level(self) -> Answer | None:
        for name, one in self._facts.governed.contracts:
            refused = self._note(contract.satisfied(name, one, self._identity))
            if refused is not None:
                return refused
        accounted = contract.accounted(self._contract)
        return self._note(accounted) if accounted is not None else None

    def _box(self) -> Answer | None:
        """What cannot be enforced here is refused, or told, as the box says; a run without one passes in silence."""
        facts = self._facts
        if facts.spec is None or not confines(self._contract.box):
            return None
        return self._note(box.enforced(self._contract, facts.spec, facts.abilities))

    def _authorization(self) -> Answer | None:
        if not self._facts.governed.policies:
            return None
        values: dict[str, Any] = authorization.values(self._facts, self._identity)
        escalations: list[authorization.Asked] = []
        open_: list[Enquiry] = []
        for name, policy in self._facts.governed.policies:
            voices, enquiries = self._voices(name, policy, values)
            if enquiries:
                open_ += enquiries
                continue
            outcome, asked = authorization.verdict(name, policy, voices)
            if asked is not None:
                escalations.append(asked)
            refused = self._note(outcome)
            if refused is not None:
                return refused
        if open_:
            return Unanswered(tuple(open_))
        return self._escalate(escalations) if escalations else None

    def _voices(
        self, name: str, policy: Authorization, values: dict[str, Any]
    ) -> tuple[list[authorization.Voice], list[Enquiry]]:
        """What was said so far, and who has to be asked first. Where somebody denies nobody else is asked."""
        rules = authorization.by_rules(name, policy, values)
        if rules is not None and rules.decision is Decision.Deny:
            return [rules], []
        voices, enquiries = decision_points.asked(name, policy, self._facts, self._identity, values)
        if any(one.decision is Decision.Deny for one in voices):
            enquiries = []
        return ([rules, *voices] if rules is not None else voices), enquiries

    def _escalate(self, escalations: list[authorization.Asked]) -> Answer | None:
        """Ask for the first; once everybody whom it needs has said yes to this very digest, all of them are answered."""
        given = self._facts.escalation
        if given is not None and authorization.answered(self._facts, self._digest):
            people = ", ".join(one.by for one in given.decisions if one.approved) or "nobody"
            message = f"approved by {people} ({given.name})"
            return self._note(
                Outcome(
                    authorization.GATE, Decision.Permit, Reason.EscalationApproved, message, {"approval": given.name}
                )
            )
        rule = authorization.strictest([one.rule for one in escalations])
        return Escalated(self._digest, escalations[0].policy, rule, "; ".join(one.message for one in escalations))

    def _note(self, outcome: Outcome) -> Refused | None:
        self._outcomes.append(outcome)
        if outcome.decision is not Decision.Deny:
            return None
        return Refused(self._grant(), outcome.reason, outcome.message)

    def _grant(self) -> Grant:
        governed = self._facts.governed
        return Grant(
            digest=self._digest,
            identity=self._identity,
            credentials=governed.credentials,
            contract=self._contract,
            outcomes=tuple(_recorded(one, self._contract.audit) for one in self._outcomes),
            governors=dict(governed.by),
        )


def _recorded(outcome: Outcome, audit: Detail) -> Outcome:
    """What is kept of an outcome: what it looked at only where a contract wants a full audit."""
    return outcome if audit is Detail.Full else msgspec.structs.replace(outcome, facts={})
