"""What is forgotten, and when: ended runs by their job's `history`, and everything else by age.

Only ended rows go, never open or waiting ones (weakness W58), and nothing that keeps an instant from firing again: that is `fired_through` and the
tombstones, not history. Works in portions, so that no transaction holds the writer for long.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import and_, delete, exists, func, not_, or_, select, true

from controller.domain import job as jobspec
from controller.domain.job import History
from controller.domain.states import WAITING, ApprovalState, RunState
from controller.store.schema import (
    approvals,
    dispatches,
    idempotency_keys,
    instances,
    jobs,
    runs,
    spent_proofs,
)
from controller.store.store import Tx

KEPT = timedelta(days=30)
"""How long decided approvals and ended dispatches without a run are kept."""
_KEPT_DISPATCHES = 200
"""Ended dispatches without a run that are kept of each job: enough for `explain`, few enough for a job that skips every second."""
_PORTION = 500
_LATE = timedelta(hours=1)
"""How far the clocks of replicas may be apart before a proof could serve twice."""

_ENDED = runs.c.state != RunState.Running.value
_GOOD = runs.c.state == RunState.Succeeded.value


class Forgotten(msgspec.Struct, frozen=True):
    """One run whose row is gone; its run log can go too."""

    namespace: str
    job: str
    run: str


def prune_runs(tx: Tx, now: datetime) -> list[Forgotten]:
    """Forget at most one portion of ended runs beyond their job's history; call again while it gives any.

    Runs of deleted jobs are kept by the defaults.
    """
    limits = _limits(tx)
    counts = select(
        runs.c.job_id, _GOOD.label("good"), func.count().label("number"), func.min(runs.c.finished_at).label("oldest")
    )
    doomed: list[Forgotten] = []
    for row in tx.execute(counts.where(_ENDED).group_by(runs.c.job_id, _GOOD)).all():
        history = limits.get(row.job_id, _DEFAULT)
        most = history.succeeded if row.good else history.failed
        cut = now - history.max_age
        if row.number > most or (row.oldest is not None and row.oldest < cut):
            doomed += _oldest(tx, row.job_id, good=bool(row.good), most=most, cut=cut, portion=_PORTION - len(doomed))
        if len(doomed) >= _PORTION:
            break
    _delete_runs(tx, [entry.run for entry in doomed])
    return doomed


def prune_rest(tx: Tx, now: datetime) -> int:
    """Forget one portion of everything else that has aged; how many rows went."""
    cut = now - KEPT
    count = 0
    count += tx.execute(delete(idempotency_keys).where(idempotency_keys.c.expires_at < now)).rowcount
    count += tx.execute(delete(spent_proofs).where(spent_proofs.c.expires_at < now - _LATE)).rowcount
    decided = and_(approvals.c.state != ApprovalState.Pending.value, approvals.c.decided_at < cut)
    count += tx.execute(delete(approvals).where(decided)).rowcount
    lost = and_(instances.c.state != "Live", instances.c.started_at < cut)
    idle = not_(exists().where(runs.c.owner == instances.c.id, runs.c.state == RunState.Running.value))
    count += tx.execute(delete(instances).where(lost, idle)).rowcount
    doomed = _old_dispatches(tx, cut)
    if doomed:
        count += tx.execute(delete(dispatches).where(dispatches.c.id.in_(doomed))).rowcount
    return count


def _limits(tx: Tx) -> dict[int, History]:
    return {row.id: jobspec.decode(row.spec).history for row in tx.execute(select(jobs.c.id, jobs.c.spec))}


def _oldest(tx: Tx, job_id: int, *, good: bool, most: int, cut: datetime, portion: int) -> Iterable[Forgotten]:
    kind = _GOOD if good else not_(_GOOD)
    mine = and_(runs.c.job_id == job_id, _ENDED, kind)
    kept = select(runs.c.name).where(mine).order_by(runs.c.finished_at.desc(), runs.c.name).limit(most)
    query = (
        select(runs.c.namespace, runs.c.job, runs.c.name)
        .where(mine, or_(runs.c.name.not_in(kept.scalar_subquery()) if most else true(), runs.c.finished_at < cut))
        .order_by(runs.c.finished_at)
        .limit(portion)
    )
    return [Forgotten(row.namespace, row.job, row.name) for row in tx.execute(query)]


def _delete_runs(tx: Tx, names: list[str]) -> None:
    if names:
        tx.execute(
            delete(dispatches).where(dispatches.c.run.in_(names), dispatches.c.state.not_in([s.value for s in WAITING]))
        )
        tx.execute(delete(runs).where(runs.c.name.in_(names)))


def _old_dispatches(tx: Tx, cut: datetime) -> list[str]:
    """Ended dispatches without a run: the aged ones, and those of each job beyond the newest."""
    without_run = and_(dispatches.c.ended_at.is_not(None), dispatches.c.run.is_(None))
    aged = select(dispatches.c.id).where(without_run, dispatches.c.ended_at < cut).limit(_PORTION)
    doomed = list(tx.execute(aged).scalars())
    rank = func.row_number().over(partition_by=dispatches.c.job_id, order_by=dispatches.c.ended_at.desc()).label("rank")
    ranked = select(dispatches.c.id, rank).where(without_run).subquery()
    crowd = select(ranked.c.id).where(ranked.c.rank > _KEPT_DISPATCHES).limit(_PORTION)
    return doomed + list(tx.execute(crowd).scalars())


_DEFAULT = History()
