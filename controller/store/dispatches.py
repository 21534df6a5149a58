"""Statements on dispatches: intents to run, from the queue to their end. States change only by compare-and-set along the state table."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import bindparam, delete, func, insert, or_, select, tuple_, update

from controller.domain.reasons import Reason
from controller.domain.records import Approval, Dispatch
from controller.domain.states import DISPATCH, WAITING, Cause, DispatchState, sources_of
from controller.guards.chain import job_key
from controller.store.rows import dispatch_of, dispatch_values
from controller.store.schema import dispatches, idempotency_keys, instances, jobs, waits
from controller.store.statement import Statement, among, dialect_insert, insertion
from controller.store.store import Tx

_WAITING = tuple(state.value for state in WAITING)
_CHUNK = 500
"""Ids in one question: databases bound the parameters of a statement."""

# Claiming and ending happen in one transaction while no gate talks to the outside, so Pending counts as claimed by us (DECISIONS 7).
# (An OR, because executemany takes no list of its own for IN.)
_OPENABLE = or_(dispatches.c.state == DispatchState.Pending.value, dispatches.c.state == DispatchState.Claimed.value)

_DUE = Statement(
    select(dispatches)
    .join(jobs, jobs.c.id == dispatches.c.job_id)
    .where(
        dispatches.c.state == DispatchState.Pending.value,
        dispatches.c.not_before <= bindparam("now"),
        jobs.c.blocked_reason.is_(None),
    )
    .order_by(dispatches.c.priority.desc(), dispatches.c.scheduled_for, dispatches.c.id)
    .limit(bindparam("most"))
    .with_for_update(of=dispatches, skip_locked=True)
)


_INSERT = insertion(dispatches, unless_there=True)


def insert_all(tx: Tx, new: Sequence[Dispatch]) -> None:
    """Add dispatches. A Schedule instant that has one already is passed over: it fires at most once (invariant 2)."""
    _INSERT.run_all(tx, [dispatch_values(dispatch) for dispatch in new])


def due(tx: Tx, now: datetime, most: int) -> list[Dispatch]:
    """Waiting dispatches that may be looked at now, in order of priority, then scheduled instant; locked against other replicas."""
    return [dispatch_of(row) for row in _DUE.rows(tx, {"now": now, "most": most})]


_WAITING_OF = Statement(
    select(dispatches.c.job_id, dispatches.c.id, dispatches.c.scheduled_for, dispatches.c.cause).where(
        dispatches.c.state.in_(_WAITING), among(dispatches.c.job_id, "ids")
    )
)


class Waiting(msgspec.Struct, frozen=True):
    """One waiting dispatch of a job, as far as order needs it."""

    id: str
    scheduled_for: datetime
    cause: Cause


def waiting(tx: Tx, job_ids: Collection[int]) -> dict[int, list[Waiting]]:
    """All waiting dispatches of these jobs, by job."""
    found: dict[int, list[Waiting]] = {job_id: [] for job_id in job_ids}
    if job_ids:
        for row in _WAITING_OF.rows(tx, {"ids": job_ids}):
            found[row.job_id].append(Waiting(row.id, row.scheduled_for, Cause(row.cause)))
    return found


def backlog(tx: Tx, job_id: int) -> int:
    """How many dispatches of a job wait."""
    return int(_BACKLOG.scalars(tx, {"job": job_id})[0])


_BACKLOG = Statement(
    select(func.count())
    .select_from(dispatches)
    .where(dispatches.c.job_id == bindparam("job"), dispatches.c.state.in_(_WAITING))
)


class Waiter(msgspec.Struct, frozen=True):
    """A dispatch that waits for a key, in queue order."""

    key: str
    order: tuple[int, datetime, str]
    dispatch: str


_AWAITED = Statement(select(waits.c.key).where(among(waits.c.key, "keys")).distinct())
_WAITERS = Statement(
    select(dispatches.c.priority, dispatches.c.scheduled_for, dispatches.c.id)
    .join(waits, dispatches.c.id == waits.c.dispatch)
    .join(jobs, jobs.c.id == dispatches.c.job_id)
    .where(
        waits.c.key == bindparam("key"),
        dispatches.c.state == DispatchState.Pending.value,
        # Who may not run at all stands in nobody's way.
        jobs.c.blocked_reason.is_(None),
        jobs.c.hold_reason.is_(None),
    )
    .order_by(dispatches.c.priority.desc(), dispatches.c.scheduled_for, dispatches.c.id)
    .limit(bindparam("most"))
)


def waiters(tx: Tx, wanted: Mapping[str, int]) -> list[Waiter]:
    """Who waits for these keys, of each key as many as are asked for, first in line first; without those that may not run at all."""
    if not wanted:
        return []
    found: list[Waiter] = []
    for key in _AWAITED.scalars(tx, {"keys": wanted}):
        found += [
            Waiter(key, (-row.priority, row.scheduled_for, row.id), row.id)
            for row in _WAITERS.rows(tx, {"key": key, "most": wanted[key]})
        ]
    return found


def wake(tx: Tx, freed: Mapping[str, int], now: datetime) -> None:
    """Let the first in line for each key look again now: as many as the places that were freed."""
    chosen = {waiter.dispatch for waiter in waiters(tx, freed)}
    if chosen:
        tx.execute(
            update(dispatches)
            .where(dispatches.c.id.in_(chosen), dispatches.c.state == DispatchState.Pending.value)
            .values(not_before=now)
        )


_DONE = Statement(
    update(dispatches)
    .where(dispatches.c.id == bindparam("dispatch"), _OPENABLE)
    .values(
        state=DispatchState.Done.value, run=bindparam("opened"), reason=None, message=None, ended_at=bindparam("at")
    )
)


def done(tx: Tx, opened: Sequence[tuple[str, str]], now: datetime) -> None:
    """Dispatches whose run was opened in this transaction: (dispatch, run)."""
    _DONE.run_all(tx, [{"dispatch": dispatch, "opened": run, "at": now} for dispatch, run in opened])


_DEFER = Statement(
    update(dispatches)
    .where(dispatches.c.id == bindparam("dispatch"), _OPENABLE)
    .values(
        state=DispatchState.Pending.value,
        reason=bindparam("why"),
        message=bindparam("words"),
        not_before=bindparam("until"),
        deferrals=dispatches.c.deferrals + 1,
        owner=None,
    )
)


class Deferral(msgspec.Struct, frozen=True):
    """A dispatch that has to wait, for what, and until when at most."""

    dispatch: str
    reason: str
    message: str
    not_before: datetime
    waits: tuple[str, ...] = ()


def defer(tx: Tx, deferrals: Sequence[Deferral], now: datetime) -> None:
    """Put dispatches back into the queue; where one leaves a line for another, the next in line looks again."""
    if not deferrals:
        return
    kept = {(d.dispatch, key) for d in deferrals for key in d.waits}
    query = select(waits.c.dispatch, waits.c.key).where(waits.c.dispatch.in_([d.dispatch for d in deferrals]))
    left = {row.key for row in tx.execute(query) if (row.dispatch, row.key) not in kept}
    _DEFER.run_all(
        tx, [{"dispatch": d.dispatch, "why": d.reason, "words": d.message, "until": d.not_before} for d in deferrals]
    )
    forget_waits(tx, [d.dispatch for d in deferrals])
    rows = [{"dispatch": d.dispatch, "key": key} for d in deferrals for key in dict.fromkeys(d.waits)]
    if rows:
        tx.execute(insert(waits), rows)
    wake(tx, dict.fromkeys(left, 1), now)


def forget_waits(tx: Tx, ids: Collection[str]) -> None:
    """These dispatches no longer wait for anything in particular."""
    if ids:
        tx.execute(delete(waits).where(waits.c.dispatch.in_(ids)))


class End(msgspec.Struct, frozen=True):
    """A dispatch that ends without a run."""

    dispatch: str
    state: DispatchState
    reason: str
    message: str


def end(tx: Tx, ends: Sequence[End], now: datetime) -> None:
    """End dispatches without a run, if their state still allows it; whoever waited behind them may look again."""
    for state in {e.state for e in ends}:
        before = sorted({*sources_of(DISPATCH, state), DispatchState.Pending})
        statement = (
            update(dispatches)
            .where(dispatches.c.id == bindparam("dispatch"), or_(*(dispatches.c.state == old.value for old in before)))
            .values(state=state.value, reason=bindparam("why"), message=bindparam("words"), ended_at=now)
        )
        chosen = [e for e in ends if e.state is state]
        tx.execute(statement, [{"dispatch": e.dispatch, "why": e.reason, "words": e.message} for e in chosen])
    ids = [e.dispatch for e in ends]
    leave(tx, ids, now)
    busy = {
        job
        for start in range(0, len(ids), _CHUNK)
        for job in tx.execute(
            select(dispatches.c.job_id).where(dispatches.c.id.in_(ids[start : start + _CHUNK]))
        ).scalars()
    }
    wake(tx, {job_key(job): 1 for job in busy}, now)


def leave(tx: Tx, ids: Sequence[str], now: datetime) -> None:
    """Take dispatches that ended or moved on out of every line, and let the next in line look again."""
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        keys = set(tx.execute(select(waits.c.key).where(waits.c.dispatch.in_(chunk))).scalars())
        if keys:
            forget_waits(tx, chunk)
            wake(tx, dict.fromkeys(keys, 1), now)


def await_approval(tx: Tx, asked: Sequence[Approval], now: datetime) -> None:
    """Dispatches that wait for these decisions; they stand in no line meanwhile."""
    for approval in asked:
        escalated = approval.policy is not None
        tx.execute(
            update(dispatches)
            .where(dispatches.c.id == approval.dispatch, _OPENABLE)
            .values(
                state=DispatchState.AwaitingApproval.value,
                reason=Reason.Escalated if escalated else Reason.AwaitingApproval,
                message=approval.message,
                owner=None,
                **{"escalation" if escalated else "approval": approval.name},
            )
        )
    leave(tx, [approval.dispatch for approval in asked], now)


def approved(tx: Tx, dispatch: str, now: datetime) -> bool:
    """A dispatch whose approval was given goes back into the queue; False if it had ended meanwhile."""
    statement = (
        update(dispatches)
        .where(dispatches.c.id == dispatch, dispatches.c.state == DispatchState.AwaitingApproval.value)
        .values(state=DispatchState.Pending.value, not_before=now, reason=None, message=None)
    )
    return tx.execute(statement).rowcount == 1


def get(tx: Tx, dispatch: str) -> Dispatch | None:
    """One dispatch."""
    row = tx.execute(select(dispatches).where(dispatches.c.id == dispatch)).one_or_none()
    return dispatch_of(row) if row is not None else None


def waiting_of(tx: Tx, job_id: int) -> list[Dispatch]:
    """All waiting dispatches of a job, in order."""
    query = select(dispatches).where(dispatches.c.job_id == job_id, dispatches.c.state.in_(_WAITING))
    return [dispatch_of(row) for row in tx.execute(query.order_by(dispatches.c.scheduled_for, dispatches.c.id))]


def waiting_in_root(tx: Tx, root: str) -> list[Dispatch]:
    """All waiting dispatches of a chain."""
    query = select(dispatches).where(dispatches.c.root == root, dispatches.c.state.in_(_WAITING))
    return [dispatch_of(row) for row in tx.execute(query)]


def look_now(tx: Tx, job_id: int, now: datetime) -> None:
    """A job was released: its waiting dispatches may be looked at."""
    tx.execute(
        update(dispatches)
        .where(
            dispatches.c.job_id == job_id,
            dispatches.c.state == DispatchState.Pending.value,
            dispatches.c.not_before > now,
            # Not those that wait for their own time: a retry's backoff, a chain's delay.
            dispatches.c.deferrals > 0,
        )
        .values(not_before=now)
    )


def release_claims(tx: Tx) -> None:
    """Dispatches that were claimed by an instance that is gone wait again: nothing of them was started."""
    live = select(instances.c.id).where(instances.c.state == "Live")
    tx.execute(
        update(dispatches)
        .where(dispatches.c.state == DispatchState.Claimed.value, dispatches.c.owner.not_in(live))
        .values(state=DispatchState.Pending.value, owner=None)
    )


def anything_waits(tx: Tx) -> bool:
    """Whether any dispatch waits, for time, a slot or a person."""
    return tx.execute(select(dispatches.c.id).where(dispatches.c.state.in_(_WAITING)).limit(1)).first() is not None


def key_holders(tx: Tx, keys: Collection[tuple[str, str, str]], now: datetime) -> dict[tuple[str, str, str], str]:
    """Who used these (namespace, job, key): the dispatch, while the key has not expired."""
    if not keys:
        return {}
    table = idempotency_keys
    query = select(table).where(
        tuple_(table.c.namespace, table.c.job, table.c.key).in_(list(keys)), table.c.expires_at > now
    )
    return {(row.namespace, row.job, row.key): row.dispatch for row in tx.execute(query)}


def claim_key(tx: Tx, dispatch: Dispatch, expires_at: datetime, now: datetime) -> bool:
    """Record that this dispatch uses its key, until the given instant; False when another does, whom we did not see. An expired claim makes room."""
    table = idempotency_keys
    tx.execute(
        delete(table).where(
            table.c.namespace == dispatch.namespace,
            table.c.job == dispatch.job,
            table.c.key == dispatch.key,
            table.c.expires_at <= now,
        )
    )
    claim = dialect_insert(tx.dialect, table).values(
        namespace=dispatch.namespace,
        job=dispatch.job,
        key=dispatch.key,
        dispatch=dispatch.id,
        expires_at=expires_at,
    )
    return tx.execute(claim.on_conflict_do_nothing().returning(table.c.dispatch)).first() is not None


def keep_keys(tx: Tx, keys: Collection[tuple[str, str, str]], expires_at: datetime) -> None:
    """Remember these claims at least until then."""
    table = idempotency_keys
    if keys:
        which = tuple_(table.c.namespace, table.c.job, table.c.key).in_(list(keys))
        tx.execute(update(table).where(which, table.c.expires_at < expires_at).values(expires_at=expires_at))


def unclaim_key(tx: Tx, dispatch: Dispatch) -> None:
    """Give a key back: no run was opened for this dispatch."""
    table = idempotency_keys
    tx.execute(delete(table).where(table.c.dispatch == dispatch.id, table.c.key == dispatch.key))
