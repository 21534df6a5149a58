"""Notifications on their way: enqueued with what caused them, claimed, sent, tried again.

finalise and the sweeps enqueue inside their own transaction; the outbox loop claims, sends outside of any transaction and writes the outcome.
A claim is a later `not_before` and an owner: while it lasts nobody else sees the item as due, and when its owner dies it becomes due again.

Invariant: delivery is at least once. A crash between sending and `sent` sends the item again, with the same id, by which receivers tell it
from a new one. The same `dedupe` is never enqueued twice while the first is kept.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Select, case, delete, func, literal, null, select, tuple_, update

from controller.domain.records import OutboxItem
from controller.domain.states import OutboxState
from controller.store.rows import outbox_of
from controller.store.schema import outbox, targets
from controller.store.statement import dialect_insert
from controller.store.store import Tx

LEASE = timedelta(minutes=2)
"""How long a claim lasts: longer than the longest attempt, so that nobody sends what is being sent."""

_PENDING = outbox.c.state == OutboxState.Pending.value
# Where the target is looked up: cluster targets have the namespace ''.
_NAMESPACE = case((outbox.c.target_kind.startswith("Cluster"), literal("")), else_=outbox.c.namespace)


class Place(msgspec.Struct, frozen=True):
    """A target by its coordinates; `namespace` is '' for a cluster target."""

    kind: str
    namespace: str
    name: str


class Claimed(msgspec.Struct, frozen=True):
    """An item that the caller may send now. `attempts` of the item counts this attempt; `spec` is None when the target does not exist."""

    item: OutboxItem
    place: Place
    spec: bytes | None


def enqueue(tx: Tx, items: Iterable[OutboxItem]) -> int:
    """Add what is not there yet, judged by `dedupe`; give how many were new. Effect: rows in the caller's transaction."""
    rows = [_values(item) for item in items]
    # Counted by what comes back: drivers do not agree on the row count of an INSERT that may do nothing.
    return len(tx.execute(_insert(tx).returning(outbox.c.id), rows).all()) if rows else 0


def claim(
    tx: Tx,
    now: datetime,
    owner: str,
    limit: int,
    *,
    busy: Collection[Place] = (),
    each: int = 4,
    lease: timedelta = LEASE,
) -> list[Claimed]:
    """Take due items for `owner`: at most `limit`, at most `each` of one target and none of `busy` ones, so that no target crowds out another.

    Shape:  oldest first. Effect: attempts + 1, not due again before `now + lease`; on PostgreSQL items that others are claiming are skipped.
    """
    if limit <= 0:
        return []
    ids = [row.id for row in tx.execute(_due(tx, now, limit, busy, each))]
    if not ids:
        return []
    tx.execute(
        update(outbox)
        .where(outbox.c.id.in_(ids), _PENDING)
        .values(owner=owner, attempts=outbox.c.attempts + 1, not_before=now + lease)
    )
    place = (targets.c.namespace == _NAMESPACE) & (targets.c.name == outbox.c.target)
    rows = tx.execute(
        select(outbox, _NAMESPACE.label("target_namespace"), targets.c.spec)
        .outerjoin(targets, place)
        .where(outbox.c.id.in_(ids))
        .order_by(outbox.c.created_at, outbox.c.id)
    )
    return [Claimed(outbox_of(row), Place(row.target_kind, row.target_namespace, row.target), row.spec) for row in rows]


def sent(tx: Tx, item_id: str) -> None:
    """It was accepted: final, whoever holds the claim by now."""
    tx.execute(
        update(outbox)
        .where(outbox.c.id == item_id, _PENDING)
        .values(state=OutboxState.Sent.value, owner=null(), last_error=null())
    )


def failed(tx: Tx, item_id: str, owner: str, error: str, not_before: datetime | None) -> bool:
    """It was not accepted: due again at `not_before`, or Failed for good when that is None. `error` is shown to people: masked.

    Shape: False, and nothing changed, when the claim has passed to another owner, whose attempt counts now.
    """
    outcome: dict[str, Any] = {"owner": None, "last_error": error}
    if not_before is None:
        outcome["state"] = OutboxState.Failed.value
    else:
        outcome["not_before"] = not_before
    return bool(
        tx.execute(
            update(outbox).where(outbox.c.id == item_id, outbox.c.owner == owner, _PENDING).values(outcome)
        ).rowcount
    )


def release(tx: Tx, now: datetime, *, owners: Collection[str] | None = None) -> int:
    """Make due what dead controllers had claimed; give how many. None: all claims, for a controller that has the database alone."""
    theirs = outbox.c.owner.is_not(None) if owners is None else outbox.c.owner.in_(list(owners))
    return tx.execute(update(outbox).where(_PENDING, theirs).values(owner=null(), not_before=now)).rowcount


def next_due(tx: Tx, *, busy: Collection[Place] = ()) -> datetime | None:
    """When the next item becomes due, claimed ones by the end of their claim; None: nothing is on its way. May lie in the past."""
    at: datetime | None = tx.execute(
        select(func.min(outbox.c.not_before)).where(_PENDING, *_not_for(busy))
    ).scalar_one()
    return at


def pending(tx: Tx) -> int:
    """How many items are on their way."""
    return int(tx.execute(select(func.count()).select_from(outbox).where(_PENDING)).scalar_one())


def failures(tx: Tx, limit: int = 100) -> Sequence[OutboxItem]:
    """The newest items that were given up, for people."""
    rows = tx.execute(
        select(outbox)
        .where(outbox.c.state == OutboxState.Failed.value)
        .order_by(outbox.c.created_at.desc(), outbox.c.id.desc())
        .limit(limit)
    )
    return [outbox_of(row) for row in rows]


def prune(tx: Tx, before: datetime, limit: int = 1000) -> int:
    """Delete items that ended and were created before that; give how many. Call again while it gives `limit`."""
    old = (
        select(outbox.c.id)
        .where(outbox.c.state != OutboxState.Pending.value, outbox.c.created_at < before)
        .order_by(outbox.c.created_at)
        .limit(limit)
    )
    return tx.execute(delete(outbox).where(outbox.c.id.in_(old))).rowcount


def _due(tx: Tx, now: datetime, limit: int, busy: Collection[Place], each: int) -> Select[Any]:
    """Ids of what may be sent, fair among targets. Windows and row locks exclude each other, so the lock goes around the window."""
    rank = func.row_number().over(
        partition_by=(outbox.c.target_kind, _NAMESPACE, outbox.c.target),
        order_by=(outbox.c.not_before, outbox.c.created_at),
    )
    ranked = (
        select(outbox.c.id, rank.label("rank")).where(_PENDING, outbox.c.not_before <= now, *_not_for(busy)).subquery()
    )
    due = (
        select(outbox.c.id)
        .where(outbox.c.id.in_(select(ranked.c.id).where(ranked.c.rank <= each)), _PENDING, outbox.c.not_before <= now)
        .order_by(outbox.c.not_before, outbox.c.created_at)
        .limit(limit)
    )
    return due.with_for_update(skip_locked=True) if tx.dialect.name == "postgresql" else due


def _not_for(busy: Collection[Place]) -> list[Any]:
    if not busy:
        return []
    places = [(place.kind, place.namespace, place.name) for place in busy]
    return [tuple_(outbox.c.target_kind, _NAMESPACE, outbox.c.target).not_in(places)]


def _insert(tx: Tx) -> Any:
    return dialect_insert(tx.dialect, outbox).on_conflict_do_nothing(index_elements=["dedupe"])


def _values(item: OutboxItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "event": str(item.event),
        "namespace": item.namespace,
        "job": item.job,
        "run": item.run,
        "target": item.target,
        "target_kind": item.target_kind,
        "to": item.to,
        "dedupe": item.dedupe,
        "payload": item.payload,
        "state": item.state.value,
        "attempts": item.attempts,
        "created_at": item.created_at,
        "not_before": item.not_before,
        "last_error": item.last_error,
    }
