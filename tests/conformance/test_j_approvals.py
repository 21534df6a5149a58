"""Cases J: what a person decides."""

import pytest

from tests.conformance.asking import states, told
from tests.harness import Receiver, Warden, job, once, webhook
from tests.harness.manifests import Document, child


@pytest.mark.parametrize("cause", ["Schedule", "Manual", "Chain"])
def test_S149_nothing_of_a_gated_job_runs_before_somebody_agrees(
    warden: Warden, receiver: Receiver, cause: str
) -> None:
    """Whatever asked for it: the dispatch waits, one approval is open, whoever wants to know is told once."""
    gate: Document = {
        "approval": {"required": True, "message": "Is the room empty?"},
        "notifications": [{"events": ["ApprovalRequested"], "targetRef": {"name": "team"}}],
    }
    script = f"touch {warden.work}/ran"
    gated = {
        "Schedule": once("gated", script, **gate),
        "Manual": job("gated", script, **gate),
        "Chain": child("gated", "parent", script, **gate),
    }[cause]
    warden.write("all", webhook("team", receiver.url("/team")), gated, once("parent"))
    warden.start(applied=("gated", "parent"))
    if cause == "Manual":
        warden.trigger("gated").ok()
    approval = warden.wait_for(lambda: warden.approvals("gated"), "an approval")[0]
    assert approval["status"]["state"] == "Pending"
    assert approval["spec"]["message"] == "Is the room empty?"
    assert [(one["spec"]["cause"], one["status"]["state"]) for one in warden.queue("gated")] == [
        (cause, "AwaitingApproval")
    ]
    warden.wait_for(lambda: told(receiver, "/team"), "the message")
    assert warden.condition("gated", "AwaitingApproval")["status"] == "True"
    assert warden.runs("gated") == []
    assert not (warden.work / "ran").exists()
    warden.cli("approve", approval["metadata"]["name"]).ok()
    assert warden.wait_run("gated", "Succeeded")[0]["spec"]["cause"] == cause
    assert told(receiver, "/team") == [("ApprovalRequested", "gated")]


def test_S149_a_gate_for_chains_only_lets_other_causes_pass(warden: Warden) -> None:
    """`gate: Chain` asks only when another job asked for the run."""
    approval = {"required": True, "gate": "Chain"}
    warden.write("jobs", child("gated", "parent", approval=approval), job("parent"))
    warden.start(applied=("gated", "parent"))
    warden.trigger("gated", "--wait").ok()
    warden.trigger("parent", "--wait").ok()
    warden.wait_for(lambda: warden.approvals("gated"), "an approval")
    assert len(warden.runs("gated")) == 1


def test_S151_silence_that_means_yes_runs_once(each_warden: Warden) -> None:
    """However often anybody looks."""
    warden = each_warden
    approval = {"required": True, "timeout": "2s", "onTimeout": "Approve"}
    warden.write("job", once("gated", f"echo x >> {warden.work}/ran", approval=approval))
    warden.run_until_idle()
    assert states(warden.runs("gated")) == ["Succeeded"]
    assert (warden.work / "ran").read_text() == "x\n"
    assert states(warden.approvals("gated")) == ["Approved"]


def test_S152_silence_that_means_no_ends_the_dispatch(each_warden: Warden) -> None:
    """The approval timed out, nothing waits any more, and nothing has run."""
    warden = each_warden
    warden.write("job", once("gated", f"touch {warden.work}/ran", approval={"required": True, "timeout": "2s"}))
    warden.run_until_idle()
    assert warden.runs("gated") == []
    assert warden.queue("gated") == []
    assert states(warden.approvals("gated")) == ["TimedOut"]
    assert not (warden.work / "ran").exists()


def test_S154_a_decision_about_nothing_is_an_error(warden: Warden) -> None:
    """With the name that nobody knows."""
    warden.write("job", job("gated", approval={"required": True}))
    warden.run_until_idle()
    for verb in ("approve", "reject"):
        answer = warden.cli(verb, "no-such-approval")
        assert answer.code == 1
        assert "no-such-approval" in answer.err


def test_S154_a_decision_can_be_made_once(each_warden: Warden) -> None:
    """A second one is refused and changes nothing."""
    warden = each_warden
    warden.write("job", job("gated", approval={"required": True}))
    warden.start(applied=("gated",))
    warden.trigger("gated").ok()
    name = warden.wait_for(lambda: warden.approvals("gated"), "an approval")[0]["metadata"]["name"]
    warden.cli("reject", name).ok()
    warden.wait_for(lambda: warden.queue("gated") == [], "the dispatch to end")
    assert warden.cli("approve", name).code == 1
    assert states(warden.approvals("gated")) == ["Rejected"]
    assert warden.runs("gated") == []
