"""The gate of proofs: what a policy that wants one makes of what was found out, of time that passes, and of somebody who was faster."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base.references import FileRef, SecretSource
from controller.domain.governors import Governed
from controller.domain.proofs import Proven, Unproven
from controller.domain.reasons import Reason
from controller.domain.trust import (
    Authorization,
    Credential,
    Decision,
    Presentation,
    Proof,
    ProofMethod,
    Ref,
    Rule,
)
from controller.gates import proof as gate
from controller.gates.enquiries import NoAnswer, ProofEnquiry, ProofFinding
from controller.gates.facts import Granted, Refused, Spend, TrustFacts, Unanswered
from controller.gates.pipeline import decide
from tests.unit.gates import world

NAME = "AuthorizationPolicy default/proved"
PRESENTED = Presentation("d0", SecretSource(file_ref=FileRef("/run/proof")))
HOLDS = Proven(
    method=ProofMethod.JWT,
    holds_until=world.NOW + timedelta(minutes=5),
    subject="alice",
    once="v1:id",
    claims={"team": "ops"},
    lists={"groups": ("a", "b")},
)
PROVED = (Rule("proved", "proof.verified", Decision.Permit),)


def rule(**fields: Any) -> Proof:
    """What is wanted."""
    return Proof(**({"required": True, "methods": (ProofMethod.JWT,)} | fields))


def facts(
    finding: Any = None, presented: Presentation | None = PRESENTED, wanted: Proof | None = None, **fields: Any
) -> TrustFacts:
    """A dispatch with a proof that was looked at."""
    before = world.facts(_governed(wanted or rule()), dispatch=world.dispatch(presented=presented), **fields)
    enquiry = gate.enquiry_of(NAME, wanted or rule(), before)
    found = {enquiry.key: finding} if enquiry is not None and finding is not None else {}
    return world.facts(_governed(wanted or rule()), dispatch=before.dispatch, found=found, **fields)


def _governed(wanted: Proof) -> Governed:
    return Governed(policies=((NAME, Authorization(PROVED, proof=wanted)),))


def test_a_proof_is_looked_at_before_anything_is_decided() -> None:
    """The question names the job, the policy and where the proof is; nobody is asked where there is none."""
    answer = decide(facts())
    assert isinstance(answer, Unanswered)
    [enquiry] = answer.enquiries
    assert isinstance(enquiry, ProofEnquiry)
    assert (enquiry.of, enquiry.job, enquiry.presented) == (NAME, "job", PRESENTED.source)
    assert "JWT" in enquiry.words


def test_a_proof_that_holds_lets_the_rules_decide_and_is_spent_with_the_run() -> None:
    """The grant says where it was, for another attempt, and nothing of what it is."""
    answer = decide(facts(ProofFinding(HOLDS)))
    assert isinstance(answer, Granted)
    [proved, permitted] = answer.grant.outcomes[-2:]
    assert (proved.gate, proved.reason, permitted.gate) == ("Proof", Reason.ProofVerified, "Authorization")
    assert "alice" in proved.message
    assert answer.grant.presented == PRESENTED
    assert answer.spends == (Spend("v1:id", "d0", HOLDS.holds_until),)


@pytest.mark.parametrize("required", [True, False])
def test_a_run_without_a_proof_is_refused_where_one_is_required(required: bool) -> None:
    """A schedule brings none. Elsewhere the rules decide, and see that there is none."""
    answer = decide(facts(presented=None, wanted=rule(required=required)))
    assert isinstance(answer, Refused)
    assert answer.reason == (Reason.ProofMissing if required else Reason.DefaultDeny)


def test_the_policy_may_say_where_a_proof_is_that_nobody_brought() -> None:
    """Then a schedule has one, and what a request brings goes before it."""
    wanted = rule(source=Credential(Ref("nightly", "CredentialProvider")))
    answer = decide(facts(presented=None, wanted=wanted))
    assert isinstance(answer, Unanswered)
    granted = decide(facts(ProofFinding(HOLDS), presented=None, wanted=wanted))
    assert isinstance(granted, Granted)
    assert granted.grant.presented == Presentation("d1")


BAD = [
    (ProofFinding(Unproven(Reason.ProofExpired, "it has expired")), Reason.ProofExpired),
    (NoAnswer("the issuer is away"), Reason.ProofNotChecked),
    (ProofFinding(HOLDS.__class__(method=ProofMethod.JWT, holds_until=world.NOW)), Reason.ProofExpired),
    (ProofFinding(HOLDS.__class__(method=ProofMethod.HMAC, holds_until=HOLDS.holds_until)), Reason.ProofWrongAlgorithm),
]


@pytest.mark.parametrize(("finding", "reason"), BAD, ids=lambda one: getattr(one, "value", ""))
@pytest.mark.parametrize("required", [True, False])
def test_a_proof_that_does_not_hold_is_none(finding: Any, reason: Reason, required: bool) -> None:
    """Refused where one is required, told as a warning and not verified for the rules where not; an outage is never a yes."""
    answer = decide(facts(finding, wanted=rule(required=required)))
    assert isinstance(answer, Refused)
    assert answer.reason == (reason if required else Reason.DefaultDeny)
    [said] = [one for one in answer.grant.outcomes if one.gate == "Proof"]
    assert (said.reason, said.decision) == (reason, Decision.Deny if required else Decision.Warn)


@given(st.sampled_from(["d0", "d1", "other"]))
def test_a_proof_with_an_id_is_good_for_one_use(use: str) -> None:
    """For the same use again, whichever attempt that is, and for no other."""
    answer = decide(facts(ProofFinding(HOLDS), spent={"v1:id": use}))
    if use == "d0":
        assert isinstance(answer, Granted)
    else:
        assert isinstance(answer, Refused)
        assert answer.reason == Reason.ProofReplayed


@pytest.mark.parametrize(
    "condition",
    [
        "proof.verified && proof.method == 'JWT' && proof.subject == 'alice' && proof.issuer == ''",
        "proof.claims['team'] == 'ops' && 'b' in proof.lists['groups']",
        "!('admins' in proof.lists) && !has(proof.claims.admin)",
    ],
)
def test_a_rule_sees_what_was_proved(condition: str) -> None:
    """Of the policy's own proof."""
    wanted = rule()
    policy = Authorization((Rule("r", condition, Decision.Permit),), proof=wanted)
    governed = Governed(
        policies=(
            (NAME, policy),
            ("AuthorizationPolicy default/other", Authorization((Rule("r", "!proof.verified", Decision.Permit),))),
        )
    )
    known = facts(ProofFinding(HOLDS))
    answer = decide(world.facts(governed, dispatch=known.dispatch, found=known.found))
    assert isinstance(answer, Granted), answer


def test_another_policy_asks_another_question() -> None:
    """Any change of what is wanted, of the job or of where the proof is."""
    base = facts()
    asked = [
        gate.enquiry_of(NAME, rule(), base),
        gate.enquiry_of(NAME, rule(audience="x"), base),
        gate.enquiry_of("ClusterAuthorizationPolicy proved", rule(), base),
        gate.enquiry_of(NAME, rule(), facts(presented=Presentation("d0", SecretSource(file_ref=FileRef("/other"))))),
    ]
    assert len({one.key for one in asked if one is not None}) == 4


def test_what_others_wrote_does_not_reach_a_terminal_as_it_is() -> None:
    """A subject may be any text."""
    odd = Proven(method=ProofMethod.JWT, holds_until=HOLDS.holds_until, subject="a\x1b[2J\n" + "b" * 1000)
    answer = decide(facts(ProofFinding(odd)))
    assert isinstance(answer, Granted)
    assert all(one.message.isprintable() and len(one.message) < 500 for one in answer.grant.outcomes)
