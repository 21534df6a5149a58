"""The table of jobs by itself: the one view that a command may make without anything that is slow to import."""

from collections.abc import Iterable
from datetime import datetime

from controller.status.text import NONE, since, until
from controller.store.lines import JobLine

_COLUMNS = ("NAME", "SCHEDULE", "TARGET", "SUSPEND", "READY", "LAST", "NEXT", "AGE")
_WIDE = ("LAST-END", "ERRORS", "HEALTHY", "REASON", "SOURCE")
VOLATILE = ("NEXT", "AGE", "LAST-END")


def columns(*, namespaces: bool, wide: bool) -> list[str]:
    """The heading. Pure."""
    return [*(("NAMESPACE",) if namespaces else ()), *_COLUMNS, *(_WIDE if wide else ())]


def rows(lines: Iterable[JobLine], now: datetime, *, namespaces: bool, wide: bool) -> list[list[str]]:
    """One row a job, of as many cells as there are columns. Pure."""
    return [_row(one, now, namespaces=namespaces, wide=wide) for one in lines]


def _row(one: JobLine, now: datetime, *, namespaces: bool, wide: bool) -> list[str]:
    row = [
        one.name,
        one.schedule,
        one.target,
        "Held" if one.held and not one.suspend else str(one.suspend),
        str(not one.rejected and one.blocked_reason is None),
        one.last_state or NONE,
        NONE if one.suspend else until(one.next_fire_at, now),
        since(one.created_at, now),
    ]
    if wide:
        healthy = "Unknown" if one.healthy is None else str(one.healthy)
        row += [since(one.last_finished_at, now), str(one.consecutive_errors), healthy, _reason(one), one.source]
    return [one.namespace, *row] if namespaces else row


def _reason(one: JobLine) -> str:
    """The reason that a person should know of first."""
    if one.rejected:
        return "Invalid"
    if one.blocked_reason is not None:
        return one.blocked_reason
    if one.served is False:
        return "SourceNotServed"
    return one.overdue_reason or ("ScheduleEnded" if one.completed_at else NONE)
