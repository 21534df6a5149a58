"""Gate 5: whether a run that a policy asks a proof for has one. The proof is looked at outside; here it is decided what that means.

A policy that requires a proof refuses a run without a valid one; another one only knows of it, and its rules decide. Source: spec-scheduler 6.3, case S086; where the
reference took the shape of a proof for a proof (W31), it has to be verified here.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from controller.domain.proofs import Proven, Unproven, Verdict
from controller.domain.reasons import Reason
from controller.domain.trust import Decision, Outcome, Presentation, Proof
from controller.gates.enquiries import Finding, NoAnswer, ProofEnquiry, ProofFinding
from controller.gates.facts import Spend, TrustFacts

GATE = "Proof"
_LONGEST_SHOWN = 200


class Checked(NamedTuple):
    """What the gate says for one policy; the second is there where the proof holds."""

    outcome: Outcome
    proven: Proven | None


def check(name: str, rule: Proof, facts: TrustFacts) -> Checked | ProofEnquiry:
    """The proof as one policy wants it; an enquiry: it has to be looked at first. Pure."""
    enquiry = enquiry_of(name, rule, facts)
    if enquiry is None:
        return _lacking(name, rule)
    finding = facts.finding(enquiry)
    if finding is None:
        return enquiry
    verdict = _judged(finding, rule, facts)
    if isinstance(verdict, Unproven):
        return _failed(name, rule, verdict)
    how = rule.words if rule.plugin is not None else verdict.method
    by = f" by {_shown(verdict.subject)}" if verdict.subject else ""
    return Checked(
        Outcome(GATE, Decision.Permit, Reason.ProofVerified, f"{name}: proved{by} ({how})", _facts(verdict, rule)),
        verdict,
    )


def enquiry_of(name: str, rule: Proof, facts: TrustFacts) -> ProofEnquiry | None:
    """What has to be looked at; None: there is no proof. Pure."""
    presented = facts.dispatch.presented.source if facts.dispatch.presented is not None else None
    if presented is None and rule.source is None:
        return None
    namespace = facts.dispatch.namespace
    return ProofEnquiry(
        of=name,
        namespace=namespace,
        job=facts.dispatch.job,
        policy_namespace="" if name.startswith("Cluster") else namespace,
        rule=rule,
        presented=presented,
    )


def presentation(facts: TrustFacts) -> Presentation:
    """Where the proof of this dispatch is, for another attempt; the dispatch itself where nobody brought one. Pure."""
    return facts.dispatch.presented or Presentation(facts.dispatch.id)


def spends(proven: Iterable[Proven | None], facts: TrustFacts) -> tuple[Spend, ...]:
    """What is spent when the run is opened: each proof with an id, once. Pure."""
    use = presentation(facts).use
    until = {one.once: one.once_until or one.holds_until for one in proven if one is not None and one.once is not None}
    return tuple(Spend(once, use, until[once]) for once in sorted(until))


def values(proven: Proven | None) -> dict[str, Any]:
    """The variable `proof` of rules. Pure."""
    return {
        "verified": proven is not None,
        "method": str(proven.method) if proven else "",
        "issuer": proven.issuer if proven else "",
        "subject": proven.subject if proven else "",
        "claims": dict(proven.claims) if proven else {},
        "lists": {name: list(words) for name, words in proven.lists.items()} if proven else {},
    }


def _judged(finding: Finding, rule: Proof, facts: TrustFacts) -> Verdict:
    """A finding, with what has changed since: time has passed, and others may have been faster."""
    if isinstance(finding, NoAnswer):
        return Unproven(Reason.ProofNotChecked, finding.message)
    verdict = finding.verdict if isinstance(finding, ProofFinding) else None
    if verdict is None:
        return Unproven(Reason.ProofNotChecked, "what was found out about it is of another kind")
    if isinstance(verdict, Unproven):
        return verdict
    if facts.now >= verdict.holds_until:
        return Unproven(Reason.ProofExpired, "it has expired since it was looked at; get a new one and ask again")
    if verdict.method not in rule.methods:
        return Unproven(Reason.ProofWrongAlgorithm, f"it is a {verdict.method}, which the policy does not take")
    use = facts.spent.get(verdict.once) if verdict.once is not None else None
    if use is not None and use != presentation(facts).use:
        return Unproven(Reason.ProofReplayed, "it has been used for another run; a proof with an id is good for one")
    return verdict


def _lacking(name: str, rule: Proof) -> Checked:
    if not rule.required:
        return Checked(Outcome(GATE, Decision.Permit, Reason.ProofAbsent, f"{name} requires none, and none came"), None)
    message = (
        f"{name} requires a proof ({rule.words}), and none came with the request: trigger with --proof-file or --proof-secret, or a RunRequest with "
        "spec.proofFrom"
    )
    return Checked(Outcome(GATE, Decision.Deny, Reason.ProofMissing, message), None)


def _failed(name: str, rule: Proof, verdict: Unproven) -> Checked:
    decision = Decision.Deny if rule.required else Decision.Warn
    return Checked(Outcome(GATE, decision, verdict.reason, f"the proof that {name} asks for: {verdict.message}"), None)


def _facts(proven: Proven, rule: Proof) -> dict[str, str]:
    """What is kept of a proof: who vouches for whom, and how."""
    known = {"issuer": proven.issuer, "subject": proven.subject, "key": proven.key, "algorithm": proven.algorithm}
    plugin = {"plugin": rule.plugin.type} if rule.plugin is not None else {}
    return {"method": str(proven.method)} | plugin | {name: _shown(value) for name, value in known.items() if value}


def _shown(text: str) -> str:
    """Text that somebody else wrote, on one line of a terminal."""
    cut = text[:_LONGEST_SHOWN]
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode("ascii")
