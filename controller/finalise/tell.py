"""Which notifications an event causes. The rows go into the outbox with the event's own commit; sending is somebody else's."""

import hashlib
from collections.abc import Callable
from datetime import datetime

from controller.domain import notices
from controller.domain.job import JobSpec, Notification, NotificationEvent
from controller.domain.notices import Notice
from controller.domain.records import Dispatch, Job, OutboxItem, Run
from controller.domain.states import OutboxState

_COUNTED = frozenset({NotificationEvent.Failed, NotificationEvent.TimedOut, NotificationEvent.Recovered})
"""What `afterFailures` holds back: failures before that many in a row, and the recovery from failures that nobody was told of."""
_MOST_OUTPUT = 2048


def items(
    spec: JobSpec, notice: Notice, occurrence: str, now: datetime, new_id: Callable[[datetime], str]
) -> tuple[OutboxItem, ...]:
    """One item for each notification of the job that wants the notice's event. Pure, but for the ids.

    `occurrence` makes the same event of another run or instant a different one; the same is never told twice. Failures are told from the
    `afterFailures`-th in a row on, and a recovery if the failure before it was.
    """
    event = NotificationEvent(notice.event)
    wanted = [n for n in spec.notifications if event in n.events and _enough(n, event, notice.failures_in_a_row)]
    if not wanted:
        return ()
    payload = notices.encode(notice)
    return tuple(
        OutboxItem(
            id=new_id(now),
            event=event,
            namespace=notice.namespace,
            job=notice.job,
            run=notice.run,
            target=notification.target,
            target_kind=notification.target_kind,
            to=notification.to,
            dedupe=_dedupe(notice, occurrence, notification),
            payload=payload,
            state=OutboxState.Pending,
            created_at=now,
            not_before=now,
        )
        for notification in wanted
    )


def of_run(event: NotificationEvent, run: Run, description: str, now: datetime, failures_in_a_row: int = 0) -> Notice:
    """The notice of something that happened to a run: facts, never parameters or environment. Pure."""
    printed = run.output.stderr or run.output.stdout
    return Notice(
        event=event,
        at=now,
        namespace=run.namespace,
        job=run.job,
        description=description,
        run=run.name,
        cause=run.cause,
        state=run.state,
        reason=run.reason,
        message=run.message,
        attempt=run.attempt,
        root=run.root,
        scheduled_for=run.scheduled_for,
        started_at=run.started_at,
        finished_at=run.finished_at,
        exit_code=run.exit_code,
        signal=run.signal,
        failures_in_a_row=failures_in_a_row,
        requested_by=run.actor,
        output=printed[-_MOST_OUTPUT:].decode("utf-8", "replace"),
    )


def of_dispatch(
    event: NotificationEvent,
    dispatch: Dispatch,
    description: str,
    now: datetime,
    reason: str | None,
    message: str | None,
) -> Notice:
    """The notice of a dispatch that will not run. Pure."""
    return Notice(
        event=event,
        at=now,
        namespace=dispatch.namespace,
        job=dispatch.job,
        description=description,
        cause=dispatch.cause,
        reason=reason,
        message=message,
        attempt=dispatch.attempt,
        root=dispatch.root,
        scheduled_for=dispatch.scheduled_for,
        through=dispatch.through,
        count=dispatch.count,
        requested_by=dispatch.actor,
    )


def of_job(event: NotificationEvent, job: Job, now: datetime, reason: str, message: str) -> Notice:
    """The notice of something about a job as a whole. Pure."""
    return Notice(
        event=event,
        at=now,
        namespace=job.namespace,
        job=job.name,
        description=job.spec.description,
        reason=reason,
        message=message,
    )


def _dedupe(notice: Notice, occurrence: str, notification: Notification) -> str:
    """What makes two notifications the same one."""
    place = (notification.target_kind, notification.target, notification.to or "")
    facts = "\0".join((notice.namespace, notice.job, occurrence, notice.event, *place))
    return hashlib.sha256(facts.encode()).hexdigest()


def _enough(notification: Notification, event: NotificationEvent, failures_in_a_row: int) -> bool:
    return event not in _COUNTED or failures_in_a_row >= notification.after_failures
