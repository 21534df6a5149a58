"""Pauses: holds by hand and `suspend`. Instants meanwhile become one Skipped row and are never caught up.

Used by `reconcile` (annotation, `spec.suspend`) and by `dispatch` (verbs, the end of a hold).
"""

from collections.abc import Callable
from datetime import datetime

from controller.domain.reasons import Reason
from controller.domain.records import Dispatch, Hold, Job
from controller.domain.states import Cause, DispatchState
from controller.schedule import plan
from controller.store import dispatches, jobs
from controller.store.store import Tx


def hold(tx: Tx, job: Job, what: Hold) -> None:
    """Put a job on hold: no instant fires and no dispatch opens until it is released. A second hold replaces the first.

    Effect: the schedule rests where it is (`fired_through`), so that `release` can account for what passed.
    """
    jobs.set_hold(tx, job.id, what)
    jobs.reschedule(tx, job.id, job.fired_through, None)


def release(tx: Tx, job: Job, now: datetime, new_id: Callable[[datetime], str]) -> None:
    """Take the hold away: the schedule starts at now, waiting dispatches may be looked at."""
    jobs.set_hold(tx, job.id, None)
    resume(tx, job, now, new_id, Reason.Held)
    dispatches.look_now(tx, job.id, now)


def resume(tx: Tx, job: Job, now: datetime, new_id: Callable[[datetime], str], reason: Reason) -> None:
    """Start the schedule at now; the instants that passed meanwhile are recorded as one Skipped row with `reason`."""
    schedule = job.spec.schedule
    if schedule is None or job.completed_at is not None or job.spec.suspend:
        return
    skipped = plan.passed(schedule, job.key, job.fired_through, now, job.anchor_at)
    if skipped is not None:
        dispatches.insert_all(tx, [_skipped(job, skipped, now, new_id, reason)])
    following = plan.next_fire(schedule, job.key, now, job.anchor_at)
    jobs.reschedule(tx, job.id, now, following)
    if following is None and skipped is not None:
        jobs.complete(tx, job.id, now)
        jobs.bury(tx, [job], now)


def _skipped(
    job: Job, skipped: plan.Missed, now: datetime, new_id: Callable[[datetime], str], reason: Reason
) -> Dispatch:
    return Dispatch(
        id=new_id(now),
        job_id=job.id,
        namespace=job.namespace,
        job=job.name,
        cause=Cause.Schedule,
        state=DispatchState.Skipped,
        reason=reason,
        message=reason.sentence,
        scheduled_for=skipped.first,
        through=skipped.last,
        count=skipped.count,
        not_before=skipped.first,
        created_at=now,
        ended_at=now,
    )
