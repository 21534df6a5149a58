"""What a policy asks others than its rules: who is asked, when, and that nobody's silence is a yes."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.governors import Governed
from controller.domain.reasons import Reason
from controller.domain.records import Approval
from controller.domain.records import Decision as Vote
from controller.domain.states import ApprovalState, Cause
from controller.domain.trust import (
    AccessResource,
    AccessReview,
    AccessSubject,
    Authorization,
    Decision,
    Escalation,
    External,
    Plugin,
    Rule,
    Subject,
    SubjectKind,
    TrustLevel,
)
from controller.gates.authorization import VARIABLES
from controller.gates.enquiries import AccessAsked, Away, DecisionAsked, Enquiry, Finding, Judged, NoAnswer
from controller.gates.facts import Answer, Escalated, Granted, Refused, TrustFacts, Unanswered
from controller.gates.pipeline import decide
from tests.unit.gates import world

NAME = "AuthorizationPolicy default/p"
POINT = External("https://opa.example.org/v1/data/jobs")
ORDER = (Decision.Deny, Decision.Escalate, Decision.Permit)
FINDINGS = st.builds(Judged, st.sampled_from(ORDER), st.sampled_from(["", "because"]), st.booleans()) | st.builds(
    NoAnswer, st.just("nobody is there")
)


class Other(Finding, frozen=True):
    """What somebody else asked about."""


def facts(*policies: Authorization, **fields: Any) -> TrustFacts:
    """A dispatch under these policies, by an identity that is trusted."""
    named = tuple((f"{NAME}{number}", one) for number, one in enumerate(policies))
    who = fields.pop("identity", world.identity(principal="system:serviceaccount:default:deployer"))
    return world.facts(Governed(identity=who, identity_from="x", policies=named), **fields)


def rules(*decisions: Decision) -> tuple[Rule, ...]:
    """Rules that hold."""
    return tuple(Rule(f"r{number}", "true", decision) for number, decision in enumerate(decisions))


def answering(asked: TrustFacts, finding: Finding) -> TrustFacts:
    """The same dispatch once all that it asks has been answered so."""
    answer = decide(asked)
    assert isinstance(answer, Unanswered), answer
    return msgspec.structs.replace(asked, found={one.key: finding for one in answer.enquiries})


def enquiry_of(asked: TrustFacts) -> Enquiry:
    """The only question."""
    answer = decide(asked)
    assert isinstance(answer, Unanswered), answer
    [enquiry] = answer.enquiries
    return enquiry


def word(answer: Answer) -> Decision:
    """What it comes to."""
    return {Granted: Decision.Permit, Escalated: Decision.Escalate, Refused: Decision.Deny}[type(answer)]  # type: ignore[index]


def reason(answer: Answer) -> str:
    """Of a refusal."""
    assert isinstance(answer, Refused), answer
    return answer.reason


@given(
    st.lists(st.sampled_from(ORDER), max_size=3), FINDINGS, FINDINGS, st.sampled_from([Decision.Permit, Decision.Deny])
)
def test_the_strictest_of_all_that_is_said_holds(
    held: list[Decision], external: Finding, access: Finding, default: Decision
) -> None:
    """Rules, decision point and API server each have their say; what is no decision denies, and no default fills in for one."""
    policy = Authorization(rules(*held), default, POINT, AccessReview("run"))
    asked = facts(policy)
    answer = decide(asked)
    if Decision.Deny in held:
        assert reason(answer) == Reason.RuleDenied
        return
    assert isinstance(answer, Unanswered)
    found = {one.key: external if isinstance(one, DecisionAsked) else access for one in answer.enquiries}
    said = [
        *held,
        *(one.decision if isinstance(one, Judged) and one.understood else Decision.Deny for one in (external, access)),
    ]
    if isinstance(access, Judged) and access.decision is Decision.Escalate:
        said.append(Decision.Deny)  # an API server does not ask people
    assert word(decide(msgspec.structs.replace(asked, found=found))) is next(one for one in ORDER if one in said)


@given(st.permutations([0, 1, 2]), st.lists(st.sampled_from(ORDER), min_size=3, max_size=3))
def test_over_policies_as_well(order: list[int], said: list[Decision]) -> None:
    """In whatever order they bind, and whoever of them is asked over HTTP."""
    policies = [
        Authorization(external=msgspec.structs.replace(POINT, url=f"https://a.example/{number}"))
        if number
        else Authorization(rules(said[0]))
        for number in order
    ]
    asked = facts(*policies)
    answer = decide(asked)
    if said[0] is Decision.Deny:
        assert reason(answer) == Reason.RuleDenied
        return
    assert isinstance(answer, Unanswered)
    found = {
        one.key: Judged(said[int(one.external.url[-1])]) for one in answer.enquiries if isinstance(one, DecisionAsked)
    }
    assert word(decide(msgspec.structs.replace(asked, found=found))) is next(one for one in ORDER if one in said)


def test_where_a_rule_denies_nobody_is_asked() -> None:
    """Nothing of the dispatch leaves the controller for it; also where another policy has the rule."""
    assert reason(decide(facts(Authorization(rules(Decision.Deny), external=POINT)))) == Reason.RuleDenied
    two = facts(Authorization(external=POINT), Authorization(rules(Decision.Deny)))
    assert reason(decide(two)) == Reason.RuleDenied
    broken = Rule("broken", 'job.labels["missing"] == "x"', Decision.Permit)
    assert reason(decide(facts(Authorization((broken,), external=POINT)))) == Reason.RuleFailed


def test_where_one_has_denied_the_others_are_not_waited_for() -> None:
    """Whoever answers first."""
    asked = facts(Authorization(external=POINT, access=AccessReview("run")))
    answer = decide(asked)
    assert isinstance(answer, Unanswered)
    for one in answer.enquiries:
        denied = msgspec.structs.replace(asked, found={one.key: Judged(Decision.Deny)})
        assert isinstance(decide(denied), Refused)
        permitted = msgspec.structs.replace(asked, found={one.key: Judged(Decision.Permit)})
        assert isinstance(decide(permitted), Unanswered)


def test_a_decision_point_is_shown_what_rules_see_but_for_the_time() -> None:
    """Which is told as it is when it is asked: else the question would be another one at each look, and never answered."""
    asked = facts(Authorization(external=POINT), time_zone="Europe/Berlin")
    enquiry = enquiry_of(asked)
    assert isinstance(enquiry, DecisionAsked)
    assert enquiry.input.keys() == VARIABLES - {"time"}
    assert enquiry.input["identity"]["principal"] == "system:serviceaccount:default:deployer"
    assert enquiry.time_zone == "Europe/Berlin"
    later = msgspec.structs.replace(asked, now=asked.now + timedelta(hours=7))
    assert enquiry_of(later).key == enquiry.key
    assert "https://opa.example.org/v1/data/jobs" in enquiry.words


@pytest.mark.parametrize(
    "other",
    [
        facts(Authorization(external=External("https://opa.example.org/v1/data/others"))),
        facts(Authorization(external=POINT), labels={"team": "x"}),
        facts(Authorization(external=POINT), dispatch=world.dispatch(parameters={"to": "x"})),
        facts(Authorization(external=POINT), identity=world.identity(principal="other")),
        facts(Authorization(external=POINT), identity=world.identity(TrustLevel.Autonomous)),
        facts(Authorization(external=POINT), effective_digest="v1:sha256:other"),
        facts(Authorization(external=POINT), time_zone="Asia/Tokyo"),
    ],
)
def test_another_question_is_asked_anew(other: TrustFacts) -> None:
    """An answer to one is none to the other: whatever a policy or a job was edited to meanwhile."""
    answered = answering(facts(Authorization(external=POINT)), Judged(Decision.Permit))
    assert isinstance(decide(answered), Granted)
    assert isinstance(decide(msgspec.structs.replace(other, found=answered.found)), Unanswered)


def test_a_policy_of_the_whole_cluster_reads_secrets_of_the_controllers_namespace() -> None:
    """And one of a namespace those of its own."""
    one = enquiry_of(facts(Authorization(external=POINT)))
    whole = world.facts(Governed(policies=(("ClusterAuthorizationPolicy p", Authorization(external=POINT)),)))
    all_ = enquiry_of(whole)
    assert isinstance(one, DecisionAsked)
    assert isinstance(all_, DecisionAsked)
    assert (one.home, all_.home) == ("default", "")


@pytest.mark.parametrize(
    ("finding", "why", "said"),
    [
        (Judged(Decision.Deny, "not on Fridays"), Reason.DecisionPointDenied, "not on Fridays"),
        (Judged(Decision.Deny, "it answered 404", understood=False), Reason.DecisionInvalid, "it answered 404"),
        (Judged(Decision.Permit, "odd", understood=False), Reason.DecisionInvalid, "odd"),
        (Judged(Decision.Warn), Reason.DecisionInvalid, "no decision"),
        (NoAnswer("it cannot be reached"), Reason.NoAnswer, "it cannot be reached"),
        (Other(), Reason.NoAnswer, "Other"),
    ],
)
def test_a_refusal_says_what_was_answered(finding: Finding, why: Reason, said: str) -> None:
    """No, no decision, and no answer are told apart."""
    answer = decide(answering(facts(Authorization(external=POINT)), finding))
    assert isinstance(answer, Refused)
    assert answer.reason == why
    assert said in answer.message
    assert NAME in answer.message


def test_whoever_escalates_the_policy_says_how_people_are_asked() -> None:
    """By default one, somebody else, within a day; with rules that escalate as well as the strictest of them."""
    escalated = decide(answering(facts(Authorization(external=POINT)), Judged(Decision.Escalate, "large sum")))
    assert isinstance(escalated, Escalated)
    assert (escalated.rule.approvals, escalated.rule.allow_self, escalated.rule.timeout) == (
        1,
        False,
        timedelta(hours=24),
    )
    assert "large sum" in escalated.message
    point = msgspec.structs.replace(POINT, escalation=Escalation(3, allow_self=True, timeout=timedelta(hours=2)))
    asking = Rule("ask", "true", Decision.Escalate, allow_self=False, timeout=timedelta(hours=1))
    both = decide(answering(facts(Authorization((asking,), external=point)), Judged(Decision.Escalate)))
    assert isinstance(both, Escalated)
    assert (both.rule.approvals, both.rule.allow_self, both.rule.timeout) == (3, False, timedelta(hours=1))


def test_after_a_yes_of_people_the_decision_point_is_asked_again() -> None:
    """Its Escalate is answered then, its Deny is not."""
    asked = facts(Authorization(external=POINT))
    escalated = decide(answering(asked, Judged(Decision.Escalate)))
    assert isinstance(escalated, Escalated)
    approval = Approval(
        name="a1",
        namespace="default",
        job="job",
        job_id=1,
        dispatch="d1",
        gate="Escalation",
        state=ApprovalState.Approved,
        digest=escalated.digest,
        created_at=world.NOW,
        expires_at=world.NOW,
        scheduled_for=world.NOW,
        decisions=(Vote("bob", approved=True, at=world.NOW),),
    )
    approved = msgspec.structs.replace(asked, escalation=approval)
    assert isinstance(decide(approved), Unanswered)
    assert isinstance(decide(answering(approved, Judged(Decision.Escalate))), Granted)
    assert isinstance(decide(answering(approved, Judged(Decision.Permit))), Granted)
    assert isinstance(decide(answering(approved, Judged(Decision.Deny))), Refused)


# The API server


def review(asked: TrustFacts) -> AccessAsked:
    """What the API server is asked."""
    enquiry = enquiry_of(asked)
    assert isinstance(enquiry, AccessAsked)
    return enquiry


def test_the_api_server_is_asked_about_the_job_itself_unless_something_else_is_named() -> None:
    """The user is in the groups that the API server would put it in, and in those that the policy names."""
    asked = review(facts(Authorization(access=AccessReview("run", groups=("ops",)))))
    assert (asked.user, asked.verb, asked.namespace) == ("system:serviceaccount:default:deployer", "run", "default")
    assert asked.resource == AccessResource("scheduledjobs", "jobwarden.dev", name="job")
    assert asked.groups == (
        "system:authenticated",
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "ops",
    )
    jobs = AccessResource("jobs", "batch")
    assert review(facts(Authorization(access=AccessReview("create", resource=jobs)))).resource == jobs
    path = review(facts(Authorization(access=AccessReview("get", path="/metrics"))))
    assert (path.path, path.resource) == ("/metrics", None)


@pytest.mark.parametrize(
    "user", ["ann", "system:serviceaccount:", "system:serviceaccount:x", "system:serviceaccount::x"]
)
def test_only_an_account_is_in_the_groups_of_accounts(user: str) -> None:
    """A name that begins like one is none."""
    asked = review(facts(Authorization(access=AccessReview("run")), identity=world.identity(principal=user)))
    assert asked.groups == ("system:authenticated",)


@pytest.mark.parametrize(
    ("subject", "fields", "said"),
    [
        (AccessSubject.Principal, {"identity": None}, "Untrusted"),
        (AccessSubject.Principal, {"identity": world.identity(TrustLevel.Untrusted)}, "Untrusted"),
        (AccessSubject.RunAs, {"identity": world.identity()}, "runAs"),
        (AccessSubject.Requester, {}, "nobody who is known"),
        (
            AccessSubject.Requester,
            {"dispatch": world.dispatch(actor="annotation", cause=Cause.Manual)},
            "nobody who is known",
        ),
        (AccessSubject.Requester, {"dispatch": world.dispatch(actor="unverified:ann")}, "nobody who is known"),
    ],
)
def test_who_is_nobody_for_sure_has_no_rights(subject: AccessSubject, fields: dict[str, Any], said: str) -> None:
    """A name that anybody may write into a job is looked up nowhere."""
    answer = decide(facts(Authorization(access=AccessReview("run", subject)), **fields))
    assert reason(answer) == Reason.AccessDenied
    assert isinstance(answer, Refused)
    assert said in answer.message


def test_whose_rights_are_meant_can_be_chosen() -> None:
    """The account that the work is done under, or whoever asked for the run."""
    who = msgspec.structs.replace(world.identity(), subject=Subject(SubjectKind.Service, "svc", run_as="worker"))
    assert review(facts(Authorization(access=AccessReview("run", AccessSubject.RunAs)), identity=who)).user == "worker"
    asked = facts(
        Authorization(access=AccessReview("run", AccessSubject.Requester)),
        dispatch=world.dispatch(actor="ann", cause=Cause.Manual),
    )
    assert review(asked).user == "ann"


@pytest.mark.parametrize(
    ("finding", "why"),
    [
        (Judged(Decision.Deny, "RBAC says so"), Reason.AccessDenied),
        (Judged(Decision.Escalate), Reason.AccessDenied),
        (Judged(Decision.Deny, "webhook broke", understood=False), Reason.DecisionInvalid),
        (Judged(Decision.Permit, "webhook broke", understood=False), Reason.DecisionInvalid),
        (NoAnswer("it cannot be reached"), Reason.NoAnswer),
        (Other(), Reason.NoAnswer),
    ],
)
def test_only_a_plain_yes_of_the_api_server_permits(finding: Finding, why: Reason) -> None:
    """Words say who may not do what."""
    asked = facts(Authorization(access=AccessReview("run")))
    assert isinstance(decide(answering(asked, Judged(Decision.Permit))), Granted)
    answer = decide(answering(asked, finding))
    assert reason(answer) == why


def test_an_outage_is_no_finding() -> None:
    """The gates never see one."""
    assert not issubclass(Away, Finding)


def test_a_plugin_is_asked_like_an_address_and_named_as_what_it_is() -> None:
    """What it is told is part of the question: another configuration is another question."""
    questions = []
    for config in ({"days": []}, {"days": ["2026-12-24"]}):
        asked = facts(Authorization(external=External(plugin=Plugin("freeze", config))))
        answer = decide(asked)
        assert isinstance(answer, Unanswered)
        [enquiry] = answer.enquiries
        assert "asks the plug-in freeze" in enquiry.words
        questions.append(enquiry.key)
        granted = decide(answering(asked, Judged(Decision.Permit)))
        assert isinstance(granted, Granted)
    assert len(set(questions)) == 2
