"""What has to be undone at a provider once a run has ended: written before it is done, so that no crash leaves it behind.

    record → (the provider acts) → amend → … the run ends … → claim → undone | failed

A claim is a later `not_before`: while it lasts nobody else sees the row as due, and when whoever claimed it dies it becomes due again.
Invariants: an undo is due only when its run is not open (any more), however that ended and whoever ended it; a row goes only by `undone`, so every undo
is carried out at least once. Nothing secret is in a row.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, exists, func, insert, select, update

from controller.domain.records import Cleanup
from controller.domain.states import RunState
from controller.domain.trust import Ref
from controller.store.schema import cleanups, runs
from controller.store.store import Tx

LEASE = timedelta(minutes=1)
"""How long a claim lasts: longer than the longest attempt."""


def record(tx: Tx, cleanup: Cleanup) -> None:
    """Write what will have to be undone. Before it is done: in a transaction that is durable by then."""
    tx.execute(
        insert(cleanups).values(
            id=cleanup.id,
            run=cleanup.run,
            provider=cleanup.provider.name,
            provider_kind=cleanup.provider.kind,
            namespace=cleanup.namespace,
            handle=cleanup.handle,
            created_at=cleanup.created_at,
            not_before=cleanup.not_before,
        )
    )


def amend(tx: Tx, cleanup_id: str, handle: bytes) -> None:
    """Now it is known what the provider calls it."""
    tx.execute(update(cleanups).where(cleanups.c.id == cleanup_id).values(handle=handle))


def claim(tx: Tx, now: datetime, limit: int, lease: timedelta = LEASE) -> list[Cleanup]:
    """Take what is due, the longest due first. Effect: attempts + 1, not due again before `now + lease`; on PostgreSQL what others claim is skipped."""
    due = select(cleanups.c.id).where(cleanups.c.not_before <= now, _closed()).order_by(cleanups.c.not_before)
    due = due.limit(limit)
    if tx.dialect.name == "postgresql":
        due = due.with_for_update(skip_locked=True)
    ids = [row.id for row in tx.execute(due)]
    if not ids:
        return []
    tx.execute(
        update(cleanups).where(cleanups.c.id.in_(ids)).values(attempts=cleanups.c.attempts + 1, not_before=now + lease)
    )
    rows = tx.execute(select(cleanups).where(cleanups.c.id.in_(ids)).order_by(cleanups.c.created_at, cleanups.c.id))
    return [_cleanup_of(row) for row in rows]


def undone(tx: Tx, cleanup_id: str) -> None:
    """There is nothing left of it."""
    tx.execute(delete(cleanups).where(cleanups.c.id == cleanup_id))


def failed(tx: Tx, cleanup_id: str, error: str, not_before: datetime) -> None:
    """It could not be undone: due again at `not_before`. `error` is shown to people: masked."""
    tx.execute(update(cleanups).where(cleanups.c.id == cleanup_id).values(last_error=error, not_before=not_before))


def next_due(tx: Tx) -> datetime | None:
    """When the next one becomes due, claimed ones by the end of their claim; None: nothing is to be undone until a run ends. May lie in the past."""
    at: datetime | None = tx.execute(select(func.min(cleanups.c.not_before)).where(_closed())).scalar_one()
    return at


def of_run(tx: Tx, run: str) -> Sequence[Cleanup]:
    """What is still to be undone of a run, in the order in which it was recorded."""
    rows = tx.execute(select(cleanups).where(cleanups.c.run == run).order_by(cleanups.c.created_at, cleanups.c.id))
    return [_cleanup_of(row) for row in rows]


def failing(tx: Tx, attempts: int, limit: int = 100) -> Sequence[Cleanup]:
    """Those that have failed at least that often, the oldest first: for people."""
    rows = tx.execute(
        select(cleanups)
        .where(cleanups.c.attempts >= attempts, cleanups.c.last_error.is_not(None))
        .order_by(cleanups.c.created_at, cleanups.c.id)
        .limit(limit)
    )
    return [_cleanup_of(row) for row in rows]


def _closed() -> ColumnElement[bool]:
    """The run has ended, was forgotten, or was never opened."""
    return ~exists().where(runs.c.name == cleanups.c.run, runs.c.state == RunState.Running.value)


def _cleanup_of(row: Row[Any]) -> Cleanup:
    return Cleanup(
        id=row.id,
        run=row.run,
        provider=Ref(row.provider, row.provider_kind),
        namespace=row.namespace,
        handle=row.handle,
        created_at=row.created_at,
        not_before=row.not_before,
        attempts=row.attempts,
        last_error=row.last_error,
    )
