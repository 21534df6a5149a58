"""What time alone changes: questions that nobody answered, holds that have run out, alerts that are crossed.

Each looks only at rows whose instant has come; the dispatcher wakes for the earliest of them. Requests to cancel are noticed here too.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from controller.domain.job import NotificationEvent, OnTimeout
from controller.domain.reasons import Reason
from controller.domain.records import Approval, Decision, Dispatch, Job, Run
from controller.domain.states import ApprovalState, Cause, DispatchState
from controller.domain.story import StoryEvent, StoryKind
from controller.finalise import tell
from controller.schedule import plan
from controller.store import approvals, dispatches, jobs, outbox, pausing, runs
from controller.store.store import Tx

_MOST = 256
_CONTROLLER = "jobwarden"


class Swept(msgspec.Struct, frozen=True):
    """News, the jobs that look different now, and whether open runs may have been asked to end."""

    news: tuple[StoryEvent, ...] = ()
    touched: tuple[int, ...] = ()
    cancels: bool = False


NOTHING = Swept()


def sweep(tx: Tx, now: datetime, new_id: Callable[[datetime], str]) -> Swept:
    """Look at everything whose instant has come. Errors: StoreUnavailable."""
    expired = approvals.expired(tx, now, _MOST)
    released = jobs.holds_ended(tx, now)
    alerted = jobs.alerts_due(tx, now, _MOST)
    news = [event for approval in expired for event in _expire(tx, approval, now)]
    news += [_release(tx, job, now, new_id) for job in released]
    news += [event for job in alerted for event in _alert(tx, job, now, new_id)]
    touched = (*(approval.job_id for approval in expired), *(job.id for job in (*released, *alerted)))
    return Swept(tuple(news), touched, cancels=True)


def _expire(tx: Tx, approval: Approval, now: datetime) -> list[StoryEvent]:
    """Nobody decided in time. Source: cases S151, S152."""
    dispatch = dispatches.get(tx, approval.dispatch)
    waiting = dispatch is not None and dispatch.state is DispatchState.AwaitingApproval
    late = _too_late(tx, approval, dispatch, now)
    approve = approval.on_timeout == OnTimeout.Approve and waiting and not late
    if approve:
        decision = Decision(_CONTROLLER, approved=True, at=now, reason="approval.onTimeout is Approve")
        ended = msgspec.structs.replace(
            approval, state=ApprovalState.Approved, decided_at=now, decisions=(*approval.decisions, decision)
        )
    else:
        ended = msgspec.structs.replace(approval, state=ApprovalState.TimedOut, decided_at=now)
    if not approvals.save(tx, ended, ApprovalState.Pending):
        return []
    if approve:
        dispatches.approved(tx, approval.dispatch, now)
    elif waiting:
        state, reason = (
            (DispatchState.Missed, Reason.DeadlineExceeded)
            if late
            else (DispatchState.Cancelled, Reason.ApprovalTimedOut)
        )
        dispatches.end(tx, [dispatches.End(approval.dispatch, state, reason, reason.sentence)], now)
        if late:
            jobs.unhealthy(tx, [approval.job_id])
    return [
        StoryEvent(
            at=now,
            kind=StoryKind.ApprovalDecided,
            namespace=approval.namespace,
            job=approval.job,
            subject=approval.name,
            state=ended.state,
            message="nobody decided in time",
        )
    ]


def _too_late(tx: Tx, approval: Approval, dispatch: Dispatch | None, now: datetime) -> bool:
    """Whether it is the schedule's deadline that has passed, not the approval's timeout."""
    if dispatch is None or dispatch.cause is not Cause.Schedule:
        return False
    job = jobs.by_id(tx, [approval.job_id]).get(approval.job_id)
    schedule = job.spec.schedule if job is not None else None
    if schedule is None or schedule.starting_deadline is None:
        return False
    return now >= approval.scheduled_for + schedule.starting_deadline


def _release(tx: Tx, job: Job, now: datetime, new_id: Callable[[datetime], str]) -> StoryEvent:
    pausing.release(tx, job, now, new_id)
    return StoryEvent(
        at=now, kind=StoryKind.Released, namespace=job.namespace, job=job.name, message="the hold has run out"
    )


def _alert(tx: Tx, job: Job, now: datetime, new_id: Callable[[datetime], str]) -> list[StoryEvent]:
    """Compare a job with its bounds; tell once when it becomes overdue."""
    live = [run for run in runs.live_of_jobs(tx, {job.id}) if run.started_at is not None]
    crossed, next_look = overdue(job, live, now)
    if crossed is None:
        jobs.set_alert(tx, job.id, next_look, None, None, None)
        return []
    reason, message = crossed
    since = job.overdue_since or now
    jobs.set_alert(tx, job.id, next_look, reason, message, since)
    if job.overdue_reason == reason:
        return []
    notice = tell.of_job(NotificationEvent.Overdue, job, now, reason, message)
    outbox.enqueue(tx, tell.items(job.spec, notice, f"overdue since {since.isoformat()} {reason}", now, new_id))
    return [
        StoryEvent(at=now, kind=StoryKind.Alert, namespace=job.namespace, job=job.name, reason=reason, message=message)
    ]


def overdue(job: Job, live: list[Run], now: datetime) -> tuple[tuple[Reason, str] | None, datetime | None]:
    """Which bound of `alerts` is crossed (the first of noSuccessFor, maxDuration, finishBy), and when to look again. Pure."""
    alerts, looks = job.spec.alerts, []
    crossed: tuple[Reason, str] | None = None
    if alerts.no_success_for is not None:
        bound = (job.last_success_at or job.created_at) + alerts.no_success_for
        if now >= bound:
            crossed = (Reason.NoSuccess, "no run has succeeded for longer than alerts.noSuccessFor")
        else:
            looks.append(bound)
    if alerts.max_duration is not None:
        ends = [(run.started_at or run.created_at) + alerts.max_duration for run in live]
        if any(now >= end for end in ends):
            crossed = crossed or (Reason.RunsTooLong, "a run has taken longer than alerts.maxDuration")
        looks += [end for end in ends if now < end]
    if alerts.finish_by is not None:
        zone = job.spec.schedule.time_zone if job.spec.schedule is not None else "UTC"
        day_end = plan.finish_by(alerts.finish_by, zone, now)
        since = day_end - timedelta(days=1)
        done = job.last_success_at is not None and job.last_success_at > since
        if not done and job.created_at <= day_end:
            crossed = crossed or (Reason.NotFinished, f"nothing has succeeded by {alerts.finish_by}")
        # The next one; a day on which the clock is set back is longer than a day.
        following = (plan.finish_by(alerts.finish_by, zone, now + timedelta(hours=hours)) for hours in (24, 26, 48))
        looks.append(next(instant for instant in following if instant > now))
    return crossed, min(looks, default=None)
