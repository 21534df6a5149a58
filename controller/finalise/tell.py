"""Which notifications an event causes. The rows go into the outbox with the event's own commit; sending is somebody else's."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from controller.domain.job import JobSpec, Notification, NotificationEvent
from controller.domain.records import OutboxItem
from controller.domain.states import OutboxState

_FAILURES = frozenset({NotificationEvent.Failed, NotificationEvent.TimedOut})


class Subject(msgspec.Struct, frozen=True):
    """What the event is about; `occurrence` makes the same event of another run or instant a different one."""

    namespace: str
    job: str
    occurrence: str
    run: str | None = None


def items(
    spec: JobSpec,
    event: NotificationEvent,
    subject: Subject,
    details: Mapping[str, Any],
    now: datetime,
    new_id: Callable[[datetime], str],
    consecutive_errors: int = 0,
) -> tuple[OutboxItem, ...]:
    """One item for each notification of the job that wants `event`. Pure, but for the ids.

    Failures are told from the `afterFailures`-th in a row on.
    """
    wanted = [n for n in spec.notifications if event in n.events and _enough(n, event, consecutive_errors)]
    if not wanted:
        return ()
    payload = msgspec.json.encode(
        {"event": event, "namespace": subject.namespace, "job": subject.job, "run": subject.run, "at": now, **details}
    )
    return tuple(
        OutboxItem(
            id=new_id(now),
            event=event,
            namespace=subject.namespace,
            job=subject.job,
            run=subject.run,
            target=notification.target,
            target_kind=notification.target_kind,
            to=notification.to,
            dedupe=f"{subject.namespace}/{subject.job}/{subject.occurrence}/{event}/{notification.target_kind}/{notification.target}",
            payload=payload,
            state=OutboxState.Pending,
            created_at=now,
            not_before=now,
        )
        for notification in wanted
    )


def _enough(notification: Notification, event: NotificationEvent, consecutive_errors: int) -> bool:
    return event not in _FAILURES or consecutive_errors >= notification.after_failures
