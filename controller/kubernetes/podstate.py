"""What a Job and its Pod say about a run: has it started, why not, how did it end.

`executor` asks whenever either has changed. Invariant: pure; an object that says nothing yet gives None, never a guess.
Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/, https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from controller.domain.job import FailureReason
from controller.domain.reasons import Reason

Object = Mapping[str, Any]

_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"})
_NEVER = frozenset({"ErrImageNeverPull", "InvalidImageName"})
_LOST = frozenset({"Evicted", "NodeLost", "NodeAffinity", "Preempting", "Shutdown", "Terminated", "NodeShutdown"})
_UNKNOWN = "ContainerStatusUnknown"


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a Pod ended, in the words of an `ExecutionResult`."""

    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    failure: FailureReason | None = None
    interrupted: Reason | None = None
    start_error: str | None = None
    words: str = ""  # the container's termination message: what it wrote to $JOBWARDEN_OUTPUT
    note: str | None = None


class Stuck(msgspec.Struct, frozen=True):
    """Why a Pod has not started. `final`: waiting longer changes nothing."""

    failure: FailureReason
    message: str
    final: bool = False


def started_at(pod: Object, container: str) -> datetime | None:
    """When the container began, None if it has not."""
    state = _container(pod, container).get("state", {})
    began = state.get("running", state.get("terminated", {})).get("startedAt")
    return _instant(began)


def stuck(pod: Object | None, container: str) -> Stuck:
    """Why the container has not begun, as far as it can be told now."""
    if pod is None:
        return Stuck(FailureReason.StartFailed, "no Pod was made for its Job")
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return Stuck(FailureReason.Unschedulable, f"no node can take its Pod: {_words(scheduled)}")
    for status in _statuses(pod):
        waiting = status.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in _IMAGE:
            image = status.get("image") or "its image"
            message = f"the image {image} of container {status['name']} cannot be had: {reason}: {_words(waiting)}"
            return Stuck(FailureReason.ImagePull, message, final=reason in _NEVER)
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            message = f"container {status['name']} cannot start: {reason}: {_words(waiting)}"
            return Stuck(FailureReason.StartFailed, message)
    return Stuck(FailureReason.StartFailed, f"container {container} of its Pod has not started")


def ended(pod: Object, container: str) -> Ended | None:
    """How the Pod ended, None while it has not."""
    status = pod.get("status", {})
    if status.get("phase") not in ("Succeeded", "Failed"):
        return None
    terminated = _container(pod, container).get("state", {}).get("terminated", {})
    lost = _lost(pod, terminated)
    times: dict[str, Any] = {
        "started_at": _instant(terminated.get("startedAt")),
        "finished_at": _instant(terminated.get("finishedAt")),
    }
    code = terminated.get("exitCode")
    if code == 0 and status["phase"] == "Succeeded":
        return Ended(exit_code=0, words=terminated.get("message", ""), **times)
    if lost is not None:
        return Ended(interrupted=Reason.Evicted, note=lost, **times)
    if terminated.get("reason") == "OOMKilled":
        return Ended(exit_code=code, failure=FailureReason.OOMKilled, **times)
    if terminated.get("reason") in ("StartError", "ContainerCannotRun"):
        return Ended(start_error=f"container {container} could not be started: {_words(terminated)}", **times)
    if code:
        return Ended(exit_code=code, **times)
    return _by_others(pod, container, code, times)


def _by_others(pod: Object, container: str, code: int | None, times: Mapping[str, Any]) -> Ended:
    """The container itself did not fail: one beside or before it did, or the Pod never got that far."""
    for status in _statuses(pod):
        failed = status.get("state", {}).get("terminated", {})
        if status["name"] != container and failed.get("exitCode"):
            what = f"container {status['name']} of its Pod ended with exit code {failed['exitCode']}"
            if code is None:
                said = f": {failed['message'].strip()}" if failed.get("message") else ""
                return Ended(start_error=f"{what}, so {container} was not started{said}", **times)
            return Ended(exit_code=failed["exitCode"], note=what, **times)
    status = pod["status"]
    words = ": ".join(filter(None, (status.get("reason"), status.get("message")))) or "it gives no reason"
    return Ended(start_error=f"its Pod failed: {words}", **times)


def _lost(pod: Object, terminated: Object) -> str | None:
    """The words of whoever took the Pod away, None if nobody did."""
    disrupted = _condition(pod, "DisruptionTarget")
    if disrupted.get("status") == "True":
        return f"{disrupted.get('reason', 'DisruptionTarget')}: {_words(disrupted)}"
    reason = pod["status"].get("reason", "")
    if reason in _LOST:
        return f"{reason}: {_words(pod['status'])}"
    return "its node lost it" if terminated.get("reason") == _UNKNOWN else None


def controller_of(body: Object) -> str | None:
    """The uid of what an object was made by and belongs to, None if it is nobody's."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


def deadline_exceeded(job: Object | None) -> bool:
    """Whether Kubernetes ended it because nobody of us did."""
    return job is not None and _job_failed(job).get("reason") == "DeadlineExceeded"


def finished(job: Object) -> bool:
    """Whether the Job is over, for good or bad."""
    return any(
        condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed")
        for condition in _conditions(job)
    )


def failed(job: Object) -> bool:
    """Whether the Job is over for bad."""
    return bool(_job_failed(job))


def finished_order(job: Object) -> str:
    """Sorts finished Jobs by their end: RFC 3339 of one zone sorts as text."""
    times = [condition.get("lastTransitionTime", "") for condition in _conditions(job)]
    return max(times, default="")


def _job_failed(job: Object) -> Object:
    found = _condition(job, "Failed")
    return found if found.get("status") == "True" else {}


def _conditions(body: Object) -> list[Object]:
    return body.get("status", {}).get("conditions") or []


def _condition(body: Object, kind: str) -> Object:
    return next((one for one in _conditions(body) if one.get("type") == kind), {})


def _statuses(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _container(pod: Object, name: str) -> Object:
    found = pod.get("status", {}).get("containerStatuses") or ()
    return next((one for one in found if one.get("name") == name), {})


def _words(said: Object) -> str:
    return said.get("message") or said.get("reason") or "no reason is given"


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
