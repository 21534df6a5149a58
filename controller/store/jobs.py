"""Statements on the scheduling state of jobs: which are due, and what firing, holds, ends and alerts leave behind.

What a job *is* belongs to `resources`; here is only what happens to it. Every change compares with what was read, so that two replicas that look
at the same job do not both act.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select, update

from controller.domain.records import Hold, Job
from controller.domain.states import WAITING
from controller.finalise.facts import JobChange
from controller.store.rows import job_of
from controller.store.schema import Instant, dispatches, jobs, tombstones
from controller.store.statement import Statement, among, insertion
from controller.store.store import Tx

_BACKLOG = (
    select(func.count())
    .where(dispatches.c.job_id == jobs.c.id, dispatches.c.state.in_([state.value for state in WAITING]))
    .correlate(jobs)
    .scalar_subquery()
    .label("backlog")
)
_DUE = Statement(
    select(jobs, _BACKLOG)
    .where(jobs.c.next_fire_at <= bindparam("now"), jobs.c.blocked_reason.is_(None))
    .order_by(jobs.c.next_fire_at)
    .limit(bindparam("most"))
    .with_for_update(of=jobs, skip_locked=True)
)
_BY_ID = Statement(select(jobs).where(among(jobs.c.id, "ids")))
_FIRED = Statement(
    update(jobs)
    .where(jobs.c.id == bindparam("job"), jobs.c.fired_through == bindparam("was_through"))
    .values(
        fired_through=bindparam("through"),
        next_fire_at=bindparam("next"),
        completed_at=bindparam("completed"),
        backoff_until=bindparam("backoff"),
        last_instant=bindparam("last"),
    )
)
_NEXT_FIRE = Statement(
    select(jobs.c.next_fire_at)
    .where(jobs.c.next_fire_at.is_not(None), jobs.c.blocked_reason.is_(None))
    .order_by(jobs.c.next_fire_at)
    .limit(1)
)


def due(tx: Tx, now: datetime, most: int) -> list[tuple[Job, int]]:
    """Jobs whose next instant has come, earliest first, each with its backlog; locked against other replicas until the transaction ends."""
    return [(job_of(row), row.backlog) for row in _DUE.rows(tx, {"now": now, "most": most})]


def fired(tx: Tx, changes: Sequence[dict[str, Any]]) -> None:
    """Move jobs on: `job, was_through, through, next, completed, backoff, last`; a job that moved meanwhile is left alone."""
    _FIRED.run_all(tx, changes)


def next_fire_at(tx: Tx) -> datetime | None:
    """The earliest instant at which a job that may fire is due."""
    return next(iter(_NEXT_FIRE.scalars(tx)), None)


def get(tx: Tx, namespace: str, name: str) -> Job | None:
    """One job by its identity."""
    row = tx.execute(select(jobs).where(jobs.c.namespace == namespace, jobs.c.name == name)).one_or_none()
    return job_of(row) if row is not None else None


def by_id(tx: Tx, ids: Iterable[int]) -> dict[int, Job]:
    """Those of the jobs that still exist."""
    wanted = list(ids)
    if not wanted:
        return {}
    return {row.id: job_of(row) for row in _BY_ID.rows(tx, {"ids": wanted})}


def names(tx: Tx, namespace: str) -> list[str]:
    """Names of all jobs of a namespace, for suggestions."""
    return list(tx.execute(select(jobs.c.name).where(jobs.c.namespace == namespace).order_by(jobs.c.name)).scalars())


_ENDED = Statement(
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(
        last_run=bindparam("run"),
        last_state=bindparam("state"),
        last_reason=bindparam("reason"),
        last_exit_code=bindparam("exit_code"),
        last_started_at=bindparam("started_at"),
        last_finished_at=bindparam("finished_at"),
        last_success_at=bindparam("success_at"),
        consecutive_errors=bindparam("errors"),
        healthy=bindparam("well"),
        alert_episode=bindparam("episode"),
    )
)


def ended(tx: Tx, changes: Sequence[tuple[int, JobChange]]) -> None:
    """Write what ends of runs mean for their jobs. Deleted jobs are passed over."""
    _ENDED.run_all(tx, [_ended_values(job_id, change) for job_id, change in changes])


def _ended_values(job_id: int, change: JobChange) -> dict[str, Any]:
    last = change.last_run
    return {
        "job": job_id,
        "run": last.name,
        "state": last.state.value,
        "reason": last.reason,
        "exit_code": last.exit_code,
        "started_at": last.started_at,
        "finished_at": last.finished_at,
        "success_at": change.last_success_at,
        "errors": change.consecutive_errors,
        "well": change.healthy,
        "episode": change.alert_episode,
    }


def stretch(tx: Tx, job: Job, until: datetime, next_fire: datetime | None) -> None:
    """Hold the schedule until `until` because the job keeps failing."""
    tx.execute(update(jobs).where(jobs.c.id == job.id).values(backoff_until=until, next_fire_at=next_fire))


def unhealthy(tx: Tx, ids: Sequence[int]) -> None:
    """A missed instant makes a job unhealthy until its next success."""
    if ids:
        tx.execute(update(jobs).where(jobs.c.id.in_(ids)).values(healthy=False))


_BURY = insertion(tombstones, unless_there=True)


def bury(tx: Tx, completed: Sequence[Job], now: datetime) -> None:
    """Remember that these schedules have ended, also after the job is deleted: they never fire again (design 02, tombstones)."""
    rows = [
        {
            "kind": "ScheduledJob",
            "namespace": job.namespace,
            "name": job.name,
            "fire_digest": job.fire_digest,
            "completed_at": now,
        }
        for job in completed
    ]
    _BURY.run_all(tx, rows)


def complete(tx: Tx, job_id: int, now: datetime) -> None:
    """The job's schedule has ended for this fireDigest."""
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(completed_at=now, next_fire_at=None))


def set_hold(tx: Tx, job_id: int, hold: Hold | None) -> None:
    """Put a job on hold, or take the hold away. The schedule is the caller's business."""
    tx.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            hold_reason=hold.reason if hold else None,
            hold_by=hold.by if hold else None,
            hold_since=hold.since if hold else None,
            hold_until=hold.until if hold else None,
        )
    )


def reschedule(tx: Tx, job_id: int, fired_through: datetime, next_fire: datetime | None) -> None:
    """Start a job's schedule anew after a hold."""
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(fired_through=fired_through, next_fire_at=next_fire))


def holds_ended(tx: Tx, now: datetime) -> list[Job]:
    """Jobs whose hold has run out."""
    return [
        job_of(row)
        for row in tx.execute(select(jobs).where(jobs.c.hold_until <= now).with_for_update(skip_locked=True))
    ]


def alerts_due(tx: Tx, now: datetime, most: int) -> list[Job]:
    """Jobs whose `alerts` have to be looked at."""
    query = select(jobs).where(jobs.c.alert_at <= now).order_by(jobs.c.alert_at).limit(most)
    return [job_of(row) for row in tx.execute(query.with_for_update(skip_locked=True))]


def set_alert(
    tx: Tx, job_id: int, next_look: datetime | None, reason: str | None, message: str | None, since: datetime | None
) -> None:
    """Record whether the job is overdue, and when to look again."""
    tx.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(alert_at=next_look, overdue_reason=reason, overdue_message=message, overdue_since=since)
    )


def look_by(tx: Tx, looks: Sequence[tuple[int, datetime]]) -> None:
    """Have `alerts_due` look at these jobs no later than at these instants: a run of them was opened that may take too long."""
    _LOOK_BY.run_all(tx, [{"job": job, "by": by} for job, by in looks])


_LOOK_BY = Statement(
    update(jobs)
    .where(
        jobs.c.id == bindparam("job"), or_(jobs.c.alert_at.is_(None), jobs.c.alert_at > bindparam("by", type_=Instant))
    )
    .values(alert_at=bindparam("by", type_=Instant))
)


def look_again(tx: Tx, ids: Sequence[int], now: datetime) -> None:
    """Have `alerts_due` look at jobs that declare alerts: something happened to them."""
    if ids:
        tx.execute(
            update(jobs)
            .where(jobs.c.id.in_(ids), or_(jobs.c.alert_at.is_(None), jobs.c.alert_at > now))
            .values(alert_at=now)
        )
