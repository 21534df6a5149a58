"""Approvals as objects: who may decide is RBAC's matter, that nobody decides for somebody else is admission's, and what follows is the controller's."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.conftest import ADMISSION, RIGHTS, condition, hourly, verified, watch
from tests.cluster.test_requests import asker, create, finished, request
from tests.harness import Warden
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import Document, document

ALICE = {"alice": {"decision": "Approved"}}


def approver(name: str, *jobs: str) -> list[Document]:
    """Rights of one person: to decide about these jobs, and to patch Approvals."""
    rules: list[Document] = [
        {"apiGroups": ["jobwarden.dev"], "resources": ["approvals"], "verbs": ["get", "list", "patch"]}
    ]
    if jobs:
        rules.append(
            {
                "apiGroups": ["jobwarden.dev"],
                "resources": ["scheduledjobs"],
                "resourceNames": list(jobs),
                "verbs": ["approve"],
            }
        )
    return granted(f"approves-{name}", name, rules)


def granted(role: str, person: str, rules: list[Document]) -> list[Document]:
    """A Role and its binding to one person."""
    api = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": {"name": role}, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": api, "kind": "Role", "name": role},
            "subjects": [{"apiGroup": api, "kind": "User", "name": person}],
        },
    ]


def approval(name: str = "promote-1", **spec: Any) -> Document:
    """An Approval as the controller makes it."""
    owner = {"apiVersion": "jobwarden.dev/v1alpha1", "kind": "ScheduledJob", "name": "promote", "uid": "0"}
    asked = {
        "jobRef": {"name": "promote"},
        "dispatch": "d1",
        "gate": "Approval",
        "digest": "sha256:1",
        "message": "go?",
    }
    metadata = {"ownerReferences": [owner], "annotations": {"jobwarden.dev/admission": "mark"}}
    return document("Approval", name, {**asked, **spec}, **metadata)


def patched(api: ControlPlane, namespace: str, person: str, patch: Any, *more: str) -> str:
    """What the API server says to a merge patch of the Approval; empty when it is accepted."""
    text = json.dumps(patch)
    asked = api.kubectl("patch", "appr/promote-1", "-n", namespace, "--type=merge", "-p", text, *more, as_user=person)
    return "" if asked.code == 0 else asked.err


@pytest.fixture
def asked(api: ControlPlane, namespace: str) -> str:
    """A namespace with an open Approval that nobody watches; alice may decide about its job, bob about none."""
    api.apply(*approver("alice", "promote"), *approver("bob"), namespace=namespace).ok()
    made = api.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(approval()), as_user="controller")
    made.ok()
    return namespace


def test_the_rightful_decision_is_accepted(api: ControlPlane, asked: str) -> None:
    """One's own key, with the right to approve that job."""
    assert patched(api, asked, "alice", {"spec": {"decisions": ALICE}}) == ""
    assert api.get("appr", "promote-1", asked)["spec"]["decisions"] == ALICE


FORGERIES = {
    "without the verb approve": ("bob", {"spec": {"decisions": {"bob": {"decision": "Approved"}}}}, "bob may not approve runs of the job promote"),
    "for somebody else": ("alice", {"spec": {"decisions": {"carol": {"decision": "Approved"}}}}, "only your own decision may be added"),
    "two at once": ("alice", {"spec": {"decisions": {**ALICE, "carol": {"decision": "Approved"}}}}, "only your own decision may be added"),
    "about another job": ("alice", {"spec": {"jobRef": {"name": "other"}}}, "nothing of spec but decisions may be changed"),
    "another digest": ("alice", {"spec": {"digest": "sha256:2", "decisions": ALICE}}, "nothing of spec but decisions may be changed"),
    "a field more": ("alice", {"spec": {"requestedBy": "carol"}}, "nothing of spec but decisions may be changed"),
    "a field less": ("alice", {"spec": {"message": None}}, "nothing of spec but decisions may be changed"),
    "another mark": ("alice", {"metadata": {"annotations": {"jobwarden.dev/admission": "x"}}}, "is the controller's and may not be changed"),
    "no mark": ("alice", {"metadata": {"annotations": None}}, "is the controller's and may not be changed"),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_decision_is_refused(api: ControlPlane, asked: str, forgery: tuple[str, Any, str]) -> None:
    """The policy's own words say why."""
    person, patch, words = forgery
    said = patched(api, asked, person, patch)
    assert "ValidatingAdmissionPolicy 'approvals.jobwarden.dev'" in said
    assert words in said


def test_a_decision_is_permanent(api: ControlPlane, asked: str) -> None:
    """It is neither taken back nor turned round, not even by whoever made it."""
    assert patched(api, asked, "alice", {"spec": {"decisions": ALICE}}) == ""
    assert "decisions are permanent" in patched(api, asked, "alice", {"spec": {"decisions": None}})
    assert "decisions are permanent" in patched(api, asked, "admin", {"spec": {"decisions": {"alice": None}}})
    # The definition refuses this one even without the policy.
    assert "it cannot be changed once it is made" in patched(
        api, asked, "alice", {"spec": {"decisions": {"alice": {"decision": "Rejected"}}}}
    )


def test_a_person_makes_no_approval_and_writes_no_status(api: ControlPlane, asked: str) -> None:
    """Not even with every right that RBAC can give."""
    made = api.kubectl("create", "-n", asked, "-f", "-", stdin=json.dumps(approval("mine")), as_user="admin")
    assert "only the controller makes Approvals" in made.err
    said = patched(api, asked, "admin", {"status": {"state": "Approved"}}, "--subresource=status")
    assert "only the controller writes the status" in said


def test_an_approval_belongs_to_its_job(api: ControlPlane, asked: str) -> None:
    """Also the controller makes none that would outlive it; this is what it probes admission with."""
    lonely = approval("lonely")
    del lonely["metadata"]["ownerReferences"]
    made = api.kubectl("create", "-n", asked, "-f", "-", stdin=json.dumps(lonely), as_user="controller")
    assert "belongs to the ScheduledJob" in made.err


# What the controller makes of it


def gated(name: str, script: str = "true", **approval: Any) -> Document:
    """A job whose runs have to be approved."""
    return hourly(name, script, approval={"required": True, **approval})


def only(api: ControlPlane, namespace: str) -> Any:
    """The Approval of a namespace; None unless there is exactly one that says how it stands."""
    found = json.loads(api.kubectl("get", "appr", "-n", namespace, "-o", "json").ok().out)["items"]
    return found[0] if len(found) == 1 and found[0].get("status") else None


def trusted(api: ControlPlane, namespace: str) -> Any:
    """The Approval once decisions in it count."""
    found = only(api, namespace)
    return found if found and condition(found, "Guarded").get("status") == "True" else None


def decide(api: ControlPlane, namespace: str, name: str, person: str, decision: str = "Approved") -> None:
    """`kubectl patch`, as people do it."""
    patch = json.dumps({"spec": {"decisions": {person: {"decision": decision, "reason": "words"}}}})
    api.kubectl("patch", f"appr/{name}", "-n", namespace, "--type", "merge", "-p", patch, as_user=person).ok()


@pytest.fixture
def warden(cluster_warden: Warden, namespace: str) -> Warden:
    """A controller that watches the namespace of the test."""
    return cluster_warden.start(*watch(namespace))


@pytest.fixture
def asks(api: ControlPlane, namespace: str, warden: Warden) -> Callable[..., Document]:
    """Applies a job, asks for a run of it, and gives the Approval that comes of it."""
    verified(api)
    people = [*approver("alice", "promote"), *approver("bob", "promote"), *asker("alice"), *asker("bob")]

    def ask(job: Document, by: str = "bob") -> Document:
        api.apply(job, *people, namespace=namespace).ok()
        name = job["metadata"]["name"]
        api.kubectl("wait", f"sjob/{name}", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
        assert create(api, namespace, request("now", name, by=by), as_user=by) == ""
        return dict(warden.wait_for(lambda: trusted(api, namespace), "the approval to be asked for"))

    return ask


def told(api: ControlPlane, namespace: str, name: str, kind: str) -> str:
    """The message of a condition of an Approval."""
    return str(condition(api.get("appr", name, namespace), kind).get("message", ""))


def test_an_approval_is_asked_for_decided_and_the_run_follows(
    api: ControlPlane, namespace: str, warden: Warden, asks: Callable[..., Document]
) -> None:
    """All of it with kubectl; the object says what is asked, and goes with its job."""
    asked = asks(gated("promote", message="to production?", timeout="1h"))
    job = api.get("sjob", "promote", namespace)
    owner = {"apiVersion": "jobwarden.dev/v1alpha1", "kind": "ScheduledJob", "name": "promote"}
    assert asked["metadata"]["ownerReferences"] == [{**owner, "uid": job["metadata"]["uid"]}]
    spec = asked["spec"]
    assert (spec["jobRef"], spec["requestedBy"], spec["message"]) == ({"name": "promote"}, "bob", "to production?")
    assert spec["digest"]
    assert asked["status"]["state"] == "Pending"
    assert asked["status"]["expiresAt"]
    name = asked["metadata"]["name"]
    assert name == api.get("sjob", "promote", namespace)["status"].get("pendingApproval", name)
    assert "AwaitingApproval" in str(condition(api.get("rreq", "now", namespace), "Finished"))
    decide(api, namespace, name, "alice")
    assert warden.wait_for(lambda: finished(api, namespace, "now"), "the run to end")["reason"] == "Succeeded"
    warden.wait_for(lambda: api.get("appr", name, namespace)["status"]["state"] == "Approved", "the state to be told")
    assert "alice" in told(api, namespace, name, "Decided")
    api.kubectl("delete", "sjob", "promote", "-n", namespace).ok()
    warden.wait_for(lambda: api.get("appr", name, namespace) is None, "the approval to go with its job")


def test_one_rejection_is_enough(
    api: ControlPlane, namespace: str, warden: Warden, asks: Callable[..., Document]
) -> None:
    """The request tells of it, and nothing runs."""
    name = asks(gated("promote", approvals=2))["metadata"]["name"]
    decide(api, namespace, name, "alice", "Rejected")
    warden.wait_for(lambda: api.get("appr", name, namespace)["status"]["state"] == "Rejected", "the state to be told")
    ended = warden.wait_for(lambda: finished(api, namespace, "now"), "the end of the request")
    assert ended["reason"] == "Cancelled"
    assert "rejected by alice: words" in ended["message"]
    assert warden.items("runs", "-n", namespace) == []


def test_two_of_two_are_two_people(
    api: ControlPlane, namespace: str, warden: Warden, asks: Callable[..., Document]
) -> None:
    """The first one is counted and not enough; embedded `approvers` say nothing about objects."""
    name = asks(gated("promote", approvals=2, approvers=["max", "zoe"]))["metadata"]["name"]
    decide(api, namespace, name, "alice")
    warden.wait_for(lambda: "1 of 2 have approved: alice" in told(api, namespace, name, "Decided"), "the first one")
    assert warden.items("runs", "-n", namespace) == []
    decide(api, namespace, name, "bob")
    warden.wait_for(lambda: finished(api, namespace, "now"), "the run to end")
    assert len(warden.items("runs", "-n", namespace)) == 1


def test_nobody_approves_what_they_asked_for(
    api: ControlPlane, namespace: str, warden: Warden, asks: Callable[..., Document]
) -> None:
    """With `allowSelf: false` the own decision does not count, and says why; somebody else's does."""
    name = asks(gated("promote", allowSelf=False), by="alice")["metadata"]["name"]
    decide(api, namespace, name, "alice")
    warden.wait_for(lambda: "somebody else has to approve" in told(api, namespace, name, "Decided"), "the refusal")
    assert warden.items("runs", "-n", namespace) == []
    decide(api, namespace, name, "bob")
    warden.wait_for(lambda: finished(api, namespace, "now"), "the run to end")
    assert len(warden.items("runs", "-n", namespace)) == 1


def test_who_asked_by_annotation_may_have_been_anybody(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """So with `allowSelf: false` nobody can approve it."""
    api.apply(gated("promote", allowSelf=False), *approver("alice", "promote"), namespace=namespace).ok()
    api.kubectl("wait", "sjob/promote", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
    api.kubectl("annotate", "sjob", "promote", "jobwarden.dev/run-requested-at=now", "-n", namespace).ok()
    name = warden.wait_for(lambda: trusted(api, namespace), "the approval")["metadata"]["name"]
    decide(api, namespace, name, "alice")
    warden.wait_for(lambda: "is not known" in told(api, namespace, name, "Decided"), "the refusal")
    assert warden.items("runs", "-n", namespace) == []


def test_an_approval_expires(api: ControlPlane, namespace: str, warden: Warden, asks: Callable[..., Document]) -> None:
    """Nobody decides in time: the object says so, and so does the request."""
    name = asks(gated("promote", timeout="12s"))["metadata"]["name"]
    warden.wait_for(lambda: api.get("appr", name, namespace)["status"]["state"] == "TimedOut", "it to expire")
    warden.wait_for(lambda: finished(api, namespace, "now"), "the end of the request")
    assert warden.items("runs", "-n", namespace) == []


def test_a_deleted_approval_is_asked_for_again_and_a_restart_changes_nothing(
    api: ControlPlane, namespace: str, warden: Warden, asks: Callable[..., Document]
) -> None:
    """The database is the truth: what was decided already is in the new object."""
    asked = asks(gated("promote", approvals=2))
    name = asked["metadata"]["name"]
    decide(api, namespace, name, "alice")
    warden.wait_for(lambda: "1 of 2" in told(api, namespace, name, "Decided"), "the first one")
    api.kubectl("delete", "appr", name, "-n", namespace, "--wait=false").ok()
    again = warden.wait_for(lambda: trusted(api, namespace), "it to be made anew")
    assert again["metadata"]["name"] == name
    assert again["metadata"]["uid"] != asked["metadata"]["uid"]
    assert set(again["spec"]["decisions"]) == {"alice"}
    before = warden.wait_for(
        lambda: "1 of 2" in told(api, namespace, name, "Decided") and api.get("appr", name, namespace)
    )
    warden.kill9()
    warden.start(*watch(namespace))
    decide(api, namespace, name, "bob")
    warden.wait_for(lambda: finished(api, namespace, "now"), "the run to end")
    assert api.get("appr", name, namespace)["metadata"]["uid"] == before["metadata"]["uid"]
    assert len(warden.items("runs", "-n", namespace)) == 1


@pytest.mark.slow
def test_no_decision_is_taken_while_the_policy_is_missing_and_none_of_that_time_later(
    plane: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """What was written without it is void for good; the object says what to install, and is made anew under the policy."""
    warden = make_warden(environment=plane.environment("controller")).start(*watch("default"))
    plane.apply(gated("promote"), *approver("alice", "promote"), namespace="default").ok()
    plane.kubectl("wait", "sjob/promote", "--for=condition=Ready", "--timeout=55s").ok()
    plane.kubectl("annotate", "sjob", "promote", "jobwarden.dev/run-requested-at=now").ok()
    name = warden.wait_for(lambda: only(plane, "default"), "the approval")["metadata"]["name"]
    said = told(plane, "default", name, "Guarded")
    assert "kubectl apply -f manifests/kubernetes/admission.yaml" in said
    forged = json.dumps({"spec": {"decisions": {"bob": {"decision": "Approved"}}}})
    plane.kubectl("patch", f"appr/{name}", "--type=merge", "-p", forged, as_user="alice").ok()
    plane.apply(*ADMISSION).ok()
    again = warden.wait_for(lambda: trusted(plane, "default"), "it to be made anew")
    assert "decisions" not in again["spec"]
    assert warden.runs() == []
    weaker = json.dumps({"spec": {"validationActions": ["Audit"]}})
    binding = ("validatingadmissionpolicybinding", "approvals.jobwarden.dev")
    plane.kubectl("patch", *binding, "--type=merge", "-p", weaker).ok()
    patch = ("patch", f"appr/{name}", "--type=merge", "-p", forged)
    warden.wait_for(lambda: plane.kubectl(*patch, as_user="alice").code == 0, "the weaker policy to let it through")
    warden.wait_for(lambda: "does not deny" in told(plane, "default", name, "Guarded"), "it to be noticed")
    assert warden.runs() == []
    plane.apply(*ADMISSION).ok()
    plane.kubectl("patch", *binding, "--type=merge", "-p", json.dumps({"spec": {"validationActions": ["Deny"]}})).ok()
    fresh = warden.wait_for(
        lambda: (found := trusted(plane, "default")) and "decisions" not in found["spec"] and found, "a new one"
    )
    decide(plane, "default", fresh["metadata"]["name"], "alice")
    warden.wait_run("promote", "Succeeded")


def test_a_missing_right_to_make_approvals_is_told_and_requests_are_obeyed(
    plane: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """Rights of an older version hold up only what they are missing for."""
    role = next(one for one in RIGHTS if one["metadata"]["name"] == "jobwarden-controller")
    less = [one for one in role["rules"] if "create" not in one["verbs"]]
    less.append({"apiGroups": ["jobwarden.dev"], "resources": ["approvals"], "verbs": ["get", "list", "watch"]})
    plane.apply({**role, "rules": less}, *ADMISSION).ok()
    warden = make_warden(environment=plane.environment("controller")).start(*watch("default"))
    plane.apply(gated("promote"), hourly("other")).ok()
    plane.kubectl("wait", "sjob/promote", "sjob/other", "--for=condition=Ready", "--timeout=55s").ok()
    assert create(plane, "default", request("gated", "promote")) == ""
    warden.wait_for(lambda: b"an object could not be written" in warden.log.read_bytes(), "the warning")
    assert b"forbidden" in warden.log.read_bytes()
    assert create(plane, "default", request("other", "other")) == ""
    warden.wait_for(lambda: finished(plane, "default", "other"), "the other one to end")
