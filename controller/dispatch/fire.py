"""Step 5, due: instants that have come become dispatches, and those that will never fire become rows that say so.

Reads jobs whose `next_fire_at` has passed, asks `schedule.plan.due` what they owe, writes dispatches and moves the jobs on, all in the caller's
transaction. Invariant: every instant of a schedule ends up in exactly one dispatch row, alone or within a range.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from controller.domain.job import CatchUp, NotificationEvent, Schedule
from controller.domain.reasons import Reason
from controller.domain.records import Dispatch, Job, OutboxItem
from controller.domain.states import Cause, DispatchState
from controller.domain.story import StoryEvent, StoryKind
from controller.finalise import parameters, tell
from controller.schedule import plan
from controller.store import dispatches, jobs, outbox
from controller.store.store import Tx

NewId = Callable[[datetime], str]


class Fired(msgspec.Struct, frozen=True):
    """What became due: how many jobs were looked at, news of what was missed, and the jobs as they were read."""

    jobs: int
    news: tuple[StoryEvent, ...] = ()
    touched: Mapping[int, Job] = {}


def fire(tx: Tx, now: datetime, most: int, new_id: NewId) -> Fired:
    """Fire at most `most` jobs that are due.

    Effect: Schedule dispatches, rows of missed ranges, `fired_through` and `next_fire_at`. Errors: StoreUnavailable.
    """
    due = jobs.due(tx, now, most)
    if not due:
        return Fired(0)
    rows: list[Dispatch] = []
    moves: list[dict[str, Any]] = []
    told: list[OutboxItem] = []
    news: list[StoryEvent] = []
    for job, backlog in due:
        owed, move = _owed(job, now, new_id, backlog)
        rows += owed
        moves.append(move)
        for row in owed:
            if row.state is not DispatchState.Pending:
                told += _told(job, row, now, new_id)
                news.append(_news(row, now))
    dispatches.insert_all(tx, rows)
    jobs.fired(tx, moves)
    jobs.bury(tx, [job for (job, _), move in zip(due, moves, strict=True) if move["completed"] is not None], now)
    jobs.unhealthy(tx, [row.job_id for row in rows if row.state is DispatchState.Missed])
    outbox.enqueue(tx, told)
    return Fired(len(due), tuple(news), {job.id: job for job, _ in due})


def _owed(job: Job, now: datetime, new_id: NewId, waiting: int) -> tuple[list[Dispatch], dict[str, Any]]:
    """The rows that a job owes at `now`, and how it moves on."""
    schedule = job.spec.schedule
    if schedule is None or job.completed_at is not None or job.spec.suspend or job.hold is not None:
        return [], _move(job, job.fired_through, None, job.completed_at)
    owed = _due(schedule, job, now)
    rows = [_missed(job, schedule, owed.missed, now, new_id)] if owed.missed is not None else []
    late = len(owed.fire) > 1 and schedule.catch_up is CatchUp.All
    previous = job.last_instant
    for instant in owed.fire:
        row = _pending(job, schedule, instant, now, new_id, catch_up=late)
        row = msgspec.structs.replace(row, previous=previous)
        previous = instant
        if waiting >= job.spec.concurrency.max_queued:
            row = _ended(
                row, DispatchState.Skipped, Reason.QueueFull, f"{waiting} dispatches of this job wait already", now
            )
        elif row.state is DispatchState.Pending:
            waiting += 1
        rows.append(row)
    ended = now if owed.next is None and (owed.fire or owed.missed) else None
    return rows, {**_move(job, max(job.fired_through, now), owed.next, ended), "last": previous}


def _due(schedule: Schedule, job: Job, now: datetime) -> plan.Due:
    """What the schedule owes; after an error backoff only the latest instant, whatever `catchUp` says of outages."""
    if job.backoff_until is None:
        return plan.due(schedule, job.key, job.fired_through, now, job.anchor_at)
    latest = msgspec.structs.replace(schedule, catch_up=CatchUp.Latest)
    return plan.due(latest, job.key, job.fired_through, now, job.anchor_at, on_time=timedelta(0))


def _move(job: Job, through: datetime, following: datetime | None, completed: datetime | None) -> dict[str, Any]:
    return {
        "job": job.id,
        "was_through": job.fired_through,
        "through": through,
        "next": following,
        "completed": completed,
        "backoff": None,
        "last": job.last_instant,
    }


def _pending(
    job: Job, schedule: Schedule, instant: datetime, now: datetime, new_id: NewId, *, catch_up: bool
) -> Dispatch:
    resolved = parameters.resolve(job.spec.parameters, {})
    row = Dispatch(
        id=new_id(now),
        job_id=job.id,
        namespace=job.namespace,
        job=job.name,
        cause=Cause.Schedule,
        state=DispatchState.Pending,
        scheduled_for=instant,
        not_before=plan.not_before(schedule, job.uid, instant),
        created_at=now,
        priority=job.spec.priority,
        parameters=resolved.values,
        catch_up=catch_up,
    )
    if resolved.missing:
        message = f"no value for parameter {', '.join(resolved.missing)}"
        return _ended(row, DispatchState.Skipped, Reason.ParameterMissing, message, now)
    return row


def _missed(job: Job, schedule: Schedule, missed: plan.Missed, now: datetime, new_id: NewId) -> Dispatch:
    row = Dispatch(
        id=new_id(now),
        job_id=job.id,
        namespace=job.namespace,
        job=job.name,
        cause=Cause.Schedule,
        state=DispatchState.Pending,
        scheduled_for=missed.first,
        not_before=missed.first,
        created_at=now,
        through=missed.last,
        count=missed.count,
    )
    if job.backoff_until is not None:
        return _ended(row, DispatchState.Skipped, Reason.ErrorBackoff, Reason.ErrorBackoff.sentence, now)
    deadline = schedule.starting_deadline
    reason = Reason.DeadlineExceeded if deadline is not None and now - missed.last > deadline else Reason.NotCaughtUp
    return _ended(row, DispatchState.Missed, reason, reason.sentence, now)


def _ended(row: Dispatch, state: DispatchState, reason: Reason, message: str, now: datetime) -> Dispatch:
    return msgspec.structs.replace(row, state=state, reason=reason, message=message, ended_at=now)


def _told(job: Job, row: Dispatch, now: datetime, new_id: NewId) -> Sequence[OutboxItem]:
    event = NotificationEvent.Missed if row.state is DispatchState.Missed else NotificationEvent.Skipped
    notice = tell.of_dispatch(event, row, job.spec.description, now, row.reason, row.message)
    return tell.items(job.spec, notice, row.id, now, new_id)


def _news(row: Dispatch, now: datetime) -> StoryEvent:
    kind = StoryKind.Missed if row.state is DispatchState.Missed else StoryKind.Skipped
    return StoryEvent(
        at=now,
        kind=kind,
        cause=row.cause,
        namespace=row.namespace,
        job=row.job,
        reason=row.reason,
        message=row.message,
        due=row.scheduled_for,
    )
