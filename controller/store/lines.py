"""The list of jobs as one SQL statement for both databases, without SQLAlchemy: what `get jobs` costs is mostly what it imports.

`views` runs it in a transaction, `quick` on a SQLite file by itself. Invariant: one text, so that both ways show the same list.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LINES = """
SELECT j.namespace, j.name, j.schedule_text, j.target, j.suspend, j.hold_reason IS NOT NULL, j.blocked_reason,
       r.rejection IS NOT NULL, s.served, j.completed_at, j.last_state, j.last_finished_at, j.next_fire_at, j.created_at,
       j.consecutive_errors, j.healthy, j.overdue_reason, j.source, {labels}
FROM jobs j JOIN resources r ON r.id = j.id LEFT JOIN sources s ON s.name = j.source
{where} ORDER BY j.namespace, j.name
"""


class JobLine(NamedTuple):
    """One job as a list shows it. `labels` is packed JSON, None unless asked for; `served` is None when the source is not known."""

    namespace: str
    name: str
    schedule: str
    target: str
    suspend: bool
    held: bool
    blocked_reason: str | None
    rejected: bool
    served: bool | None
    completed_at: datetime | None
    last_state: str | None
    last_finished_at: datetime | None
    next_fire_at: datetime | None
    created_at: datetime
    consecutive_errors: int
    healthy: bool | None
    overdue_reason: str | None
    source: str
    labels: bytes | None


def statement(namespace: str, name: str | None, *, labels: bool) -> tuple[str, dict[str, str]]:
    """The SQL and its parameters; namespace "" is every one. Pure."""
    asked = {"namespace": namespace, "name": name or ""}
    given = {column: value for column, value in asked.items() if value}
    where = " AND ".join(f"j.{column} = :{column}" for column in given)
    text = _LINES.format(labels="j.labels" if labels else "NULL", where=f"WHERE {where}" if where else "")
    return text, given


def line(row: Sequence[Any]) -> JobLine:
    """A row of the statement, whatever its driver makes of booleans. Pure."""
    namespace, name, schedule, target, suspend, held, blocked, rejected, served, completed, *rest = row
    last_state, last_end, following, created, errors, healthy, overdue, source, labels = rest
    return JobLine(
        namespace,
        name,
        schedule,
        target,
        bool(suspend),
        bool(held),
        blocked,
        bool(rejected),
        None if served is None else bool(served),
        _instant(completed),
        last_state,
        _instant(last_end),
        _instant(following),
        _EPOCH + timedelta(microseconds=created),
        errors,
        None if healthy is None else bool(healthy),
        overdue,
        source,
        labels,
    )


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)
