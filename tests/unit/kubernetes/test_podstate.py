"""What a Pod says about a run: every end by its own reason."""

from typing import Any

import pytest

from controller.domain.job import FailureReason
from controller.domain.reasons import Reason
from controller.kubernetes import podstate

BEGAN, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z"


def pod(phase: str, *statuses: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Pod with these container statuses."""
    return {"status": {"phase": phase, "containerStatuses": list(statuses), **more}}


def gone(code: int, name: str = "run", **more: Any) -> dict[str, Any]:
    """A container that has ended."""
    return {"name": name, "state": {"terminated": {"exitCode": code, "startedAt": BEGAN, "finishedAt": ENDED, **more}}}


def waits(reason: str, name: str = "run") -> dict[str, Any]:
    """A container that has not begun."""
    return {"name": name, "image": "i:1", "state": {"waiting": {"reason": reason, "message": "the words"}}}


DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "m"}]

ENDS = [
    (pod("Succeeded", gone(0, message="a=b\n")), {"exit_code": 0, "words": "a=b\n"}),
    (pod("Succeeded", gone(0), conditions=DISRUPTED), {"exit_code": 0}),
    (pod("Failed", gone(3)), {"exit_code": 3}),
    (pod("Failed", gone(137, reason="OOMKilled")), {"exit_code": 137, "failure": FailureReason.OOMKilled}),
    (pod("Failed", gone(143), conditions=DISRUPTED), {"interrupted": Reason.Evicted}),
    (pod("Failed", reason="Evicted", message="out of disk"), {"interrupted": Reason.Evicted}),
    (pod("Failed", reason="NodeLost"), {"interrupted": Reason.Evicted}),
    (pod("Failed", gone(137, reason="ContainerStatusUnknown")), {"interrupted": Reason.Evicted}),
    (pod("Failed", gone(0), gone(2, "side")), {"exit_code": 2}),
    (pod("Failed", gone(4, "side"), {"name": "run", "state": {"waiting": {}}}), {"start_error": "container side"}),
    (pod("Failed", gone(128, reason="StartError", message="no such file")), {"start_error": "no such file"}),
    (pod("Failed", reason="UnexpectedAdmissionError", message="no GPU"), {"start_error": "no GPU"}),
]


@pytest.mark.parametrize(("said", "expected"), ENDS)
def test_every_end_has_its_own_reason(said: dict[str, Any], expected: dict[str, Any]) -> None:
    """Exactly one of exit code, error and interruption, and never a guess."""
    ended = podstate.ended(said, "run")
    assert ended is not None
    for field, value in expected.items():
        found = getattr(ended, field)
        assert value in found if field == "start_error" else found == value
    given = [one for one in (ended.exit_code, ended.start_error, ended.interrupted) if one is not None]
    assert len(given) == 1


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown", ""])
def test_a_pod_that_goes_on_has_not_ended(phase: str) -> None:
    """Nor has one of which nothing is known, or one whose main container ended before the others."""
    assert podstate.ended(pod(phase, gone(0)), "run") is None
    assert podstate.ended({}, "run") is None


@pytest.mark.parametrize(
    ("said", "failure", "words", "final"),
    [
        (None, FailureReason.StartFailed, "no Pod", False),
        (pod("Pending", waits("ImagePullBackOff")), FailureReason.ImagePull, "i:1", False),
        (pod("Pending", waits("InvalidImageName")), FailureReason.ImagePull, "the words", True),
        (pod("Pending", waits("CreateContainerConfigError")), FailureReason.StartFailed, "the words", False),
        (pod("Pending", waits("ContainerCreating")), FailureReason.StartFailed, "has not started", False),
        (
            pod("Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]),
            FailureReason.Unschedulable,
            "0/3 nodes",
            False,
        ),
    ],
)
def test_what_keeps_it_from_starting_is_told(said: Any, failure: FailureReason, words: str, final: bool) -> None:
    """In the words of whoever knows, and at once where waiting changes nothing."""
    stuck = podstate.stuck(said, "run")
    assert (stuck.failure, stuck.final) == (failure, final)
    assert words in stuck.message


def test_a_job_that_was_ended_by_its_deadline_says_so() -> None:
    """What bounds a run whose controller is gone."""
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "lastTransitionTime": ENDED}
    assert podstate.deadline_exceeded({"status": {"conditions": [failed]}})
    assert not podstate.deadline_exceeded({"status": {"conditions": [{**failed, "status": "False"}]}})
    assert not podstate.deadline_exceeded(None)
    assert podstate.finished({"status": {"conditions": [failed]}})
    assert podstate.finished_order({"status": {"conditions": [failed]}}) == ENDED
