"""The gates in their order: the first that refuses ends it, and everything that was said up to there is kept.

`dispatch` asks before it opens a run, `status` asks for `jobwarden trust check`. Invariant: pure; a thing that is not known denies or defers, and
is never taken for a yes.
"""

from typing import Any

import msgspec

from controller.domain.abilities import confines
from controller.domain.proofs import Proven
from controller.domain.reasons import Reason
from controller.domain.trust import Authorization, Decision, Detail, Grant, Identity, Outcome
from controller.gates import authorization, box, contract, credentials, decision_points, delivery, identity, proof
from controller.gates.enquiries import Enquiry, ProofEnquiry, Vouching
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
        self._borrowed = False
        self._contract = contract.together(one for _, one in facts.governed.contracts)
        self._digest = facts.governed.digest(facts.effective_digest)
        self._outcomes: list[Outcome] = []
        self._proven: dict[str, Proven | None] = {}

    def through(self) -> Answer:
        gates = (
            self._who,
            self._taken,
            self._children,
            self._given,
            self._level,
            self._box,
            self._proof,
            self._authorization,
        )
        for gate in gates:
            answer = gate()
            if answer is not None:
                return answer
        return Granted(self._grant(), proof.spends(self._proven.values(), self._facts))

    def _who(self) -> Answer | None:
        return self._settle(identity.resolve(self._facts))

    def _taken(self) -> Answer | None:
        """A run that takes nothing of its policy by name passes in silence."""
        spec = self._facts.spec
        outcome = delivery.possible(self._facts.governed.credentials, spec) if spec is not None else None
        return self._note(outcome) if outcome is not None else None

    def _children(self) -> Answer | None:
        left = identity.hand_down(self._facts, self._identity)
        return self._settle(left) if left is not None else None

    def _settle(self, found: identity.Resolved | Vouching) -> Answer | None:
        if isinstance(found, Vouching):
            return Unanswered((found,))
        self._identity, outcome, self._borrowed = found
        return self._note(outcome)

    def _given(self) -> Answer | None:
        outcome = credentials.allowed(self._facts.governed.credentials, self._identity, borrowed=self._borrowed)
        return self._note(outcome) if outcome is not None else None

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

    def _proof(self) -> Answer | None:
        """What each policy wants proved; all that has to be looked at is asked at once."""
        enquiries = []
        for name, policy in self._facts.governed.policies:
            if policy.proof is None:
                continue
            checked = proof.check(name, policy.proof, self._facts)
            if isinstance(checked, ProofEnquiry):
                enquiries.append(checked)
                continue
            self._proven[name] = checked.proven
            refused = self._note(checked.outcome)
            if refused is not None:
                return refused
        return Unanswered(tuple(enquiries)) if enquiries else None

    def _authorization(self) -> Answer | None:
        if not self._facts.governed.policies:
            return None
        values: dict[str, Any] = authorization.values(self._facts, self._identity)
        escalations: list[authorization.Asked] = []
        open_: list[Enquiry] = []
        for name, policy in self._facts.governed.policies:
            values["proof"] = proof.values(self._proven.get(name))
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
            governors={**governed.by, **self._behind()},
            presented=proof.presentation(self._facts) if self._proven else None,
        )

    def _behind(self) -> dict[str, str]:
        """Who stands behind the identity that the run has in the end, with the digest: a run that acts as another names that provider nowhere itself."""
        name = identity.provider_of(self._facts, self._identity) if self._identity is not None else ""
        return {name: self._facts.providers[name]} if name in self._facts.providers else {}


def _recorded(outcome: Outcome, audit: Detail) -> Outcome:
    """What is kept of an outcome: what it looked at only where a contract wants a full audit."""
    return outcome if audit is Detail.Full else msgspec.structs.replace(outcome, facts={})
