"""What people say with objects, read by pure rules: requests, decisions, and what they are told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base.references import SecretKeyRef, SecretSource
from controller.domain import requesters
from controller.domain.records import Approval, Decision, Dispatch, Run
from controller.domain.states import ApprovalState, Cause, DispatchState, RunState
from controller.kubernetes import approvals, run_requests
from controller.kubernetes.admission import MARK, Admission
from controller.kubernetes.run_requests import Asked, Facts, Refusal

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PEOPLE = st.sampled_from(["alice", "bob", "carol", "annotation", "unverified", "unverified:alice"])


def asked(**fields: Any) -> Asked:
    """A request of alice's."""
    said = {
        "uid": "u",
        "namespace": "n",
        "name": "r",
        "job": "j",
        "created": NOW,
        "requested_by": "alice",
        "claim": ("n", "j", "k"),
    }
    return Asked(**(said | fields))


def question(**fields: Any) -> Approval:
    """An open question about a run that bob asked for."""
    made: dict[str, Any] = {
        "name": "j-abc",
        "namespace": "n",
        "job": "j",
        "job_id": 1,
        "dispatch": "d",
        "gate": "Approval",
        "state": ApprovalState.Pending,
        "digest": "sha256:1",
        "created_at": NOW,
        "expires_at": NOW + timedelta(hours=1),
        "scheduled_for": NOW,
        "requested_by": "bob",
        "message": "go?",
    }
    return Approval(**(made | fields))


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """One condition of a status."""
    return next(one for one in status["conditions"] if one["type"] == kind)


@given(
    st.sampled_from(["", "mark"]),
    st.none() | st.integers(-20, 20),
    st.none() | st.integers(-20, 20),
    st.none() | PEOPLE,
)
def test_a_name_is_believed_only_if_the_policy_was_there_before_the_request(
    mark: str, since: int | None, seen: int | None, by: str | None
) -> None:
    """Everything else is somebody whom no rule takes for a person."""
    policy = Admission(mark=mark, since=None if since is None else NOW + since * SECOND)
    actor = run_requests.requester(asked(requested_by=by), policy, None if seen is None else NOW + seen * SECOND)
    known = since if since is not None else seen
    if mark and by and known is not None and known < -5:
        assert actor == by
    else:
        assert requesters.is_unknown(actor)


def test_the_shape_of_an_object_is_read_whole() -> None:
    """Every field; a day that no calendar has is told."""
    body = {
        "metadata": {"uid": "u", "namespace": "n", "name": "r", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {
            "jobRef": {"name": "j"},
            "parameters": {"a": "1"},
            "scheduledFor": "2026-01-02T04:04:05+01:00",
            "requestedBy": "alice",
            "idempotencyKey": "k",
            "ttlAfterFinished": "1h",
            "proofFrom": {"secretKeyRef": {"name": "proof", "key": "token"}},
        },
    }
    read = run_requests.asked_of(body)
    assert (read.scheduled_for, read.proof, read.key) == (
        NOW,
        SecretSource(secret_key_ref=SecretKeyRef("proof", "token")),
        "k",
    )
    assert run_requests.refusal(read, None) is not None
    body["spec"]["scheduledFor"] = "2026-02-30T00:00:00Z"  # type: ignore[index]
    with pytest.raises(ValueError, match="day"):
        run_requests.asked_of(body)


@pytest.mark.parametrize("reference", [{"fileRef": {"path": "/run/proof"}}, {"envRef": {"name": "PROOF"}}])
def test_a_proof_on_the_host_of_the_controller_is_not_for_objects(reference: Any) -> None:
    """Whoever may create requests must not make the controller read or show what is its own."""
    body = {
        "metadata": {"uid": "u", "namespace": "n", "name": "r", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"jobRef": {"name": "j"}, "requestedBy": "alice", "proofFrom": reference},
    }
    refused = run_requests.refusal(run_requests.asked_of(body), None)
    assert refused is not None
    assert refused.reason == "NotAllowed"


def dispatch(state: DispatchState = DispatchState.Done, **fields: Any) -> Dispatch:
    """The dispatch of a request."""
    made: dict[str, Any] = {
        "id": "d",
        "job_id": 1,
        "namespace": "n",
        "job": "j",
        "cause": Cause.Manual,
        "state": state,
        "scheduled_for": NOW,
        "not_before": NOW,
        "created_at": NOW,
        "actor": "alice",
    }
    return Dispatch(**(made | fields))


def run(state: RunState, **fields: Any) -> Run:
    """The run of a request."""
    made: dict[str, Any] = {
        "name": "j-1",
        "job_id": 1,
        "job_uid": "u",
        "namespace": "n",
        "job": "j",
        "dispatch": "d",
        "cause": Cause.Manual,
        "state": state,
        "scheduled_for": NOW,
        "created_at": NOW,
        "root": "j-1",
        "attempt": 1,
    }
    return Run(**(made | fields))


ENDS: list[tuple[Facts | Refusal, str, str]] = [
    (Refusal("JobNotFound", "words"), "True", "Refused"),
    (Facts(dispatch(DispatchState.Pending, reason="PoolFull")), "False", "PoolFull"),
    (Facts(dispatch(DispatchState.AwaitingApproval)), "False", "AwaitingApproval"),
    (Facts(dispatch(DispatchState.Skipped, reason="Forbid")), "True", "Skipped"),
    (Facts(dispatch(run="j-1"), run(RunState.Running)), "False", "Running"),
    (Facts(dispatch(run="j-1"), run(RunState.Failed), retries=True), "False", "Retrying"),
    (Facts(dispatch(run="j-1"), run(RunState.Failed)), "True", "Failed"),
    (Facts(dispatch(run="j-1"), run(RunState.Succeeded)), "True", "Succeeded"),
    (Facts(dispatch(run="j-1")), "True", "Forgotten"),
    (Facts(), "True", "Forgotten"),
]


@pytest.mark.parametrize("end", ENDS, ids=[one[2] + one[1] for one in ENDS])
def test_a_request_is_finished_when_nothing_more_comes_of_it(end: tuple[Facts | Refusal, str, str]) -> None:
    """And says how; the status that says so is read as the end."""
    facts, status, reason = end
    value = run_requests.status_of(facts, 1, (), NOW)
    finished = condition(value, "Finished")
    assert (finished["status"], finished["reason"]) == (status, reason)
    assert condition(value, "Accepted")["status"] == ("False" if isinstance(facts, Refusal) else "True")
    goes = run_requests.goes_at({"status": value, "spec": {"ttlAfterFinished": "1h"}})
    assert goes == (NOW + timedelta(hours=1) if status == "True" else None)


SAID = st.dictionaries(PEOPLE, st.sampled_from(["Approved", "Rejected"]))


@given(SAID, st.sets(PEOPLE))
def test_what_is_new_is_taken_once_and_rejections_come_first(said: dict[str, str], known: set[str]) -> None:
    """A decision that the database has is not taken again, and no approval is counted before a rejection of the same moment."""
    approval = question(decisions=tuple(Decision(by, approved=True, at=NOW) for by in sorted(known)))
    body = {"spec": {"decisions": {by: {"decision": one} for by, one in said.items()}}}
    new = approvals.untaken(body, approval)
    assert {one.by for one in new} == said.keys() - known
    assert sorted(one.approved for one in new) == [one.approved for one in new]


def test_an_object_asks_what_the_database_asks() -> None:
    """It is trusted as it was made, and under no other mark, policy or question."""
    approval = question(parameters={"a": "1"}, decisions=(Decision("alice", approved=True, at=NOW),))
    body = approvals.object_of(approval, "uid", "mark")
    policy = Admission(mark="mark")
    assert approvals.distrust(body, approval, policy) == ""
    assert approvals.untaken(body, approval) == []
    assert "install" in approvals.distrust(body, approval, Admission(problem="install it"))
    assert "delete it" in approvals.distrust(body, approval, Admission(mark="other"))
    for field in ("digest", "dispatch", "requested_by", "message"):
        other = msgspec.structs.replace(approval, **{field: "other"})
        assert "delete it" in approvals.distrust(body, other, policy)
    assert body["metadata"]["annotations"] == {MARK: "mark"}


@given(st.text(max_size=40).map(lambda text: text * 200), st.text(max_size=40).map(lambda text: text * 200))
def test_a_value_that_an_object_cannot_hold_is_shown_by_its_digest(one: str, two: str) -> None:
    """Two that differ are never shown alike."""
    shown = [
        approvals.spec_of(question(parameters={"a": value})).get("parameters", {"a": ""})["a"] for value in (one, two)
    ]
    assert all(len(value) <= 4096 for value in shown)
    assert (shown[0] == shown[1]) == (one == two)


@pytest.mark.parametrize("state", ApprovalState)
def test_an_approval_tells_its_state(state: ApprovalState) -> None:
    """Decided says how, Guarded only matters while it is open."""
    ended = None if state is ApprovalState.Pending else NOW
    approval = question(state=state, decided_at=ended, decisions=(Decision("alice", approved=False, at=NOW),))
    value = approvals.status_of(approval, "trouble", {"carol": "why"}, 1, (), NOW)
    decided = condition(value, "Decided")
    assert (decided["status"], decided["reason"]) == (str(state is not ApprovalState.Pending), state.value)
    assert value["state"] == state.value
    assert any(one["type"] == "Guarded" for one in value["conditions"]) == (state is ApprovalState.Pending)
