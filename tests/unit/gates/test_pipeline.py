"""The gates in their order: the first refusal ends it, what was said before it is kept, and what is not known is never a yes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.governors import Governed
from controller.domain.reasons import Reason
from controller.domain.records import Approval
from controller.domain.records import Decision as Vote
from controller.domain.states import ApprovalState
from controller.domain.trust import (
    Authorization,
    Contract,
    CredentialPolicy,
    Decision,
    Delivery,
    Detail,
    Enforcement,
    Rule,
    TrustLevel,
)
from controller.gates.enquiries import Vouched
from controller.gates.facts import Escalated, Granted, Refused, Unanswered, Withheld
from controller.gates.pipeline import decide
from tests.unit.gates import world

ESCALATING = Authorization((Rule("ask", "true", Decision.Escalate),))
DENYING = Authorization((Rule("no", "true", Decision.Deny, "not today"),))
STRICT = Contract(required=TrustLevel.Autonomous)


def governed(**fields: Any) -> Governed:
    """What holds for a job with an identity."""
    plain: dict[str, Any] = {"identity": world.identity(), "identity_from": "IdentityProfile default/reporter"}
    return Governed(**{**plain, **fields})


def approval(digest: str, state: ApprovalState = ApprovalState.Approved) -> Approval:
    """What people answered."""
    return Approval(
        name="a1",
        namespace="default",
        job="job",
        job_id=1,
        dispatch="d1",
        gate="Escalation",
        state=state,
        digest=digest,
        created_at=world.NOW,
        expires_at=world.NOW,
        scheduled_for=world.NOW,
        decisions=(Vote("bob", approved=True, at=world.NOW),),
    )


def test_what_nothing_objects_to_is_granted_with_everything_that_was_said() -> None:
    """The grant names the identity, the contract, the digest and the documents."""
    by = {"TrustContract default/c": "sha256:1"}
    answer = decide(world.facts(governed(contracts=(("c", Contract(audit=Detail.Full)),), by=by)))
    assert isinstance(answer, Granted)
    assert [one.gate for one in answer.grant.outcomes] == ["Identity", "Contract"]
    assert answer.grant.identity == world.identity()
    assert answer.grant.governors == by
    assert answer.grant.digest != "v1:sha256:job"


def test_the_first_refusal_ends_it() -> None:
    """Later gates are not asked, and the grant shows why."""
    answer = decide(world.facts(governed(contracts=(("c", STRICT),), policies=(("p", DENYING),))))
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.message) == (
        Reason.TrustInsufficient,
        "c asks for Autonomous, and the run is only Supervised",
    )
    assert [one.gate for one in answer.grant.outcomes] == ["Identity", "Contract"]


def test_a_warning_is_kept_and_the_run_goes_on() -> None:
    """Case S083's milder half."""
    lenient = msgspec.structs.replace(STRICT, enforcement=Enforcement.Warn)
    answer = decide(world.facts(governed(contracts=(("c", lenient),))))
    assert isinstance(answer, Granted)
    assert answer.grant.outcomes[-1].decision is Decision.Warn


def test_nothing_is_decided_before_a_provider_has_answered() -> None:
    """Then the contract is judged against what it said."""
    strict = Contract(required=TrustLevel.Supervised)
    facts = world.facts(governed(identity=world.identity(provider=world.ISSUER), contracts=(("c", strict),)))
    asked = decide(facts)
    assert isinstance(asked, Unanswered)
    assert asked.message == "CredentialProvider default/issuer is asked whether it vouches for reporter"
    found = {asked.enquiries[0].key: Vouched(level=TrustLevel.Restricted)}
    answer = decide(msgspec.structs.replace(facts, found=found))
    assert isinstance(answer, Refused)
    assert answer.reason == Reason.TrustInsufficient


def test_a_credential_that_nobody_can_give_refuses() -> None:
    """Before the run is opened."""
    answer = decide(world.facts(governed(credentials=CredentialPolicy(deliver=(Delivery("token", env="TOKEN"),)))))
    assert isinstance(answer, Refused)
    assert [one.gate for one in answer.grant.outcomes] == ["Identity", "Credentials"]
    assert answer.reason == Reason.CredentialRefused


def test_people_are_asked_about_exactly_this() -> None:
    """The digest is that of the job with all that governs it."""
    facts = world.facts(governed(policies=(("p", ESCALATING),), by={"AuthorizationPolicy default/p": "1"}))
    answer = decide(facts)
    assert isinstance(answer, Escalated)
    assert (answer.policy, answer.rule.name) == ("p", "ask")
    granted = decide(msgspec.structs.replace(facts, escalation=approval(answer.digest)))
    assert isinstance(granted, Granted)
    assert granted.grant.outcomes[-1].message == "approved by bob (a1)"


@pytest.mark.parametrize("state", [one for one in ApprovalState if one is not ApprovalState.Approved])
def test_only_a_yes_is_a_yes(state: ApprovalState) -> None:
    """An open, rejected, timed-out or withdrawn question is asked again."""
    facts = world.facts(governed(policies=(("p", ESCALATING),)))
    answer = decide(facts)
    assert isinstance(answer, Escalated)
    assert isinstance(decide(msgspec.structs.replace(facts, escalation=approval(answer.digest, state))), Escalated)


def test_a_yes_to_something_else_counts_for_nothing() -> None:
    """A policy that was edited between approval and run asks again."""
    before = world.facts(governed(policies=(("p", ESCALATING),), by={"AuthorizationPolicy default/p": "1"}))
    asked = decide(before)
    assert isinstance(asked, Escalated)
    after = world.facts(
        governed(policies=(("p", ESCALATING),), by={"AuthorizationPolicy default/p": "2"}),
        escalation=approval(asked.digest),
    )
    assert isinstance(decide(after), Escalated)


def test_an_approval_answers_its_own_gate_alone() -> None:
    """A contract that is not met refuses all the same, and so does another policy."""
    for more in ({"contracts": (("c", STRICT),)}, {"policies": (("p", ESCALATING), ("q", DENYING))}):
        facts = world.facts(governed(**({"policies": (("p", ESCALATING),)} | more)))
        digest = facts.governed.digest(facts.effective_digest)
        assert isinstance(decide(msgspec.structs.replace(facts, escalation=approval(digest))), Refused)


@given(st.booleans(), st.booleans())
def test_what_is_not_known_is_waited_for(broken: bool, missing: bool) -> None:
    """A Cluster document that nobody can read, a name that leads nowhere: nothing opens, and nothing is refused for good."""
    names = {
        "broken": ("ClusterTrustContract x",) if broken else (),
        "missing": ("IdentityProfile y",) if missing else (),
    }
    answer = decide(world.facts(governed(**names)))
    assert isinstance(answer, Withheld) is (broken or missing)


@pytest.mark.parametrize(("audit", "shown"), [(Detail.Nothing, False), (Detail.Summary, False), (Detail.Full, True)])
def test_what_a_gate_looked_at_is_kept_where_a_contract_wants_it(audit: Detail, shown: bool) -> None:
    """`audit: Full`, and only then."""
    answer = decide(world.facts(governed(contracts=(("c", Contract(audit=audit)),))))
    assert isinstance(answer, Granted)
    assert all(bool(one.facts) is shown for one in answer.grant.outcomes)
