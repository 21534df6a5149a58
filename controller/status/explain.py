"""The account of a job's instants: which come next, and for each recent one whether and why it ran, waits, was skipped or was missed.

`views` hands over rows. Pure. Invariant: every dispatch is in the account with a sentence, a row that stands for a range with its bounds.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from controller.domain.reasons import Reason
from controller.domain.records import Dispatch, Job
from controller.domain.states import Cause, DispatchState, RunState
from controller.schedule import plan
from controller.status.conditions import sentence
from controller.status.shapes import API_VERSION, Shape
from controller.status.text import maybe, rfc3339

NEXT = 5


def explanation(job: Job, recent: Iterable[tuple[Dispatch, RunState | None]], now: datetime) -> Shape:
    """The whole account; `recent` is newest first."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Explanation",
        "metadata": {"name": job.name, "namespace": job.namespace},
        "status": {
            "next": [rfc3339(one) for one in upcoming(job, now)],
            "nextRunAt": maybe(job.next_fire_at),
            "note": note(job, now),
            "recent": [_entry(dispatch, run_state) for dispatch, run_state in recent],
        },
    }


def upcoming(job: Job, now: datetime, count: int = NEXT) -> list[datetime]:
    """The next nominal instants of the job's schedule, none when it has none or has completed; those before the end of a hold will not fire. Pure."""
    if job.spec.schedule is None or job.completed_at is not None:
        return []
    # What the timer has not come to yet counts as upcoming.
    start = max(job.fired_through, now) if job.next_fire_at is None or job.next_fire_at > now else job.fired_through
    if job.hold is not None and job.hold.until is not None:
        start = max(start, job.hold.until)
    try:
        return plan.preview(job.spec.schedule, job.key, start, job.anchor_at, count)
    except ValueError:
        return []  # a zone that this machine no longer has; the job's own condition says so


def note(job: Job, now: datetime) -> str:
    """Why the next instants may not be what happens; "" when nothing stands in their way. Pure."""
    if job.completed_at is not None:
        return Reason.ScheduleEnded.sentence
    if job.blocked_reason is not None:
        return job.blocked_message or sentence(job.blocked_reason)
    if job.spec.suspend:
        return Reason.Suspended.sentence
    if job.hold is not None:
        until = f" until {rfc3339(job.hold.until)}" if job.hold.until else ""
        return f"Held by {job.hold.by}{until}: {job.hold.reason}"
    if job.spec.trigger is not None:
        parents = ", ".join(f"{one.job} ({one.when})" for one in job.spec.trigger.after)
        return f"It runs after {parents}."
    if job.spec.schedule is None:
        return "It runs on request only."
    if job.spec.error_backoff.enabled and job.consecutive_errors and (job.next_fire_at or now) > now:
        return f"It has failed {job.consecutive_errors} times in a row, so it may start later than its instants."
    return ""


def why(dispatch: Dispatch, run_state: RunState | None) -> str:
    """One sentence on what became of a dispatch. Pure."""
    if run_state is RunState.Denied:
        return f"It was refused as {dispatch.run}; `jobwarden trust explain {dispatch.run}` tells why."
    if dispatch.state is DispatchState.Done:
        ran = f"It ran as {dispatch.run}" + (f" ({run_state})" if run_state else "")
        return f"{ran}: {_cause(dispatch)}"
    ended = dispatch.state in (DispatchState.Skipped, DispatchState.Missed, DispatchState.Cancelled)
    text = dispatch.message or sentence(dispatch.reason)
    if ended:
        return text or f"It was {dispatch.state.lower()}."
    if dispatch.state is DispatchState.AwaitingApproval:
        asked = dispatch.escalation if dispatch.reason == Reason.Escalated else dispatch.approval
        how = f" `jobwarden approve {asked}` does." if asked else ""
        return sentence(dispatch.reason or Reason.AwaitingApproval) + how
    return f"It waits: {text}" if text else "It is about to start."


def _cause(dispatch: Dispatch) -> str:
    if dispatch.cause is Cause.Schedule:
        return "made up for after an absence." if dispatch.catch_up else "its instant had come."
    if dispatch.cause is Cause.Manual:
        return f"{dispatch.actor or 'somebody'} asked for it."
    if dispatch.cause is Cause.Chain:
        return f"it follows {', '.join(dispatch.parents) or 'another run'}."
    if dispatch.cause is Cause.Retry:
        return f"attempt {dispatch.attempt}, because {dispatch.retry_of} failed."
    return f"run again, because {dispatch.retry_of} was interrupted."


def _entry(dispatch: Dispatch, run_state: RunState | None) -> dict[str, Any]:
    return {
        "scheduledFor": rfc3339(dispatch.scheduled_for),
        "through": maybe(dispatch.through),
        "count": dispatch.count,
        "cause": dispatch.cause.value,
        "attempt": dispatch.attempt,
        "state": dispatch.state.value,
        "reason": dispatch.reason,
        "message": dispatch.message,
        "run": dispatch.run,
        "runState": run_state.value if run_state else None,
        "dispatch": dispatch.id,
        "notBefore": rfc3339(dispatch.not_before),
        "why": why(dispatch, run_state),
    }
