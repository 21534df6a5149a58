"""Gathers what the guards look at: for a batch of dispatches at once, frozen, one query a question.

`Board` keeps count while the batch is judged one by one, so that the second dispatch of a job sees what became of the first.
"""

from datetime import datetime

from controller.domain.job import ConcurrencyPolicy, PoolRef
from controller.domain.records import Approval, Dispatch, Job, Pool
from controller.domain.states import Cause
from controller.finalise import parameters
from controller.guards.facts import Facts, PoolFacts
from controller.store import approvals, dispatches, pools, runs
from controller.store.dispatches import Waiter, Waiting
from controller.store.store import Tx

_FOLLOW_UPS = frozenset({Cause.Retry, Cause.Replay})
_CLUSTER = "ClusterResourcePool"

PoolId = tuple[str, str]


class Board:
    """The counts of one transaction: read once, then moved by every verdict."""

    def __init__(self, tx: Tx, now: datetime, batch: list[tuple[Dispatch, Job]]) -> None:
        """Read everything that the batch needs."""
        self._now = now
        bounded = {job.id for _, job in batch if job.spec.concurrency.policy is not ConcurrencyPolicy.Allow}
        gated = {job.id for _, job in batch if job.spec.approval.required}
        wanted = {pool_id(job.namespace, ref) for _, job in batch for ref in job.spec.concurrency.pools}
        keys = {(d.namespace, d.job, d.key) for d, _ in batch if d.key is not None}
        self.live = runs.live_counts(tx, bounded)
        self.waiting: dict[int, list[Waiting]] = dispatches.waiting(tx, bounded)
        self.approvals: dict[str, Approval] = approvals.get(
            tx, {d.approval for d, _ in batch if d.approval is not None}
        )
        self.pending_approvals = approvals.pending_counts(tx, gated)
        self.pools: dict[PoolId, Pool] = pools.get(tx, wanted)
        self.held = {key: pool.held for key, pool in self.pools.items()}
        # Everybody of the batch may leave the line, so one more than that says who is ahead.
        self.waiters: list[Waiter] = dispatches.waiters(tx, {pool_key(key): len(batch) + 1 for key in wanted})
        self.key_holders = dispatches.key_holders(tx, keys, now)

    def facts(self, dispatch: Dispatch, job: Job, digest: str) -> Facts:
        """The world as this dispatch sees it now. `digest` is what an approval has to be about."""
        others = [w for w in self.waiting.get(job.id, ()) if w.id != dispatch.id]
        resolved = parameters.resolve(job.spec.parameters, dispatch.parameters)
        return Facts(
            now=self._now,
            dispatch=dispatch,
            spec=job.spec,
            effective_digest=digest,
            hold=job.hold,
            live=self.live.get(job.id, 0),
            ahead=any(goes_first(other, dispatch) for other in others),
            waiting=len(others),
            approval=self.approvals.get(dispatch.approval) if dispatch.approval is not None else None,
            pending_approvals=self.pending_approvals.get(job.id, 0),
            pools=tuple(self._pool(dispatch, job, ref) for ref in job.spec.concurrency.pools),
            key_holder=self.key_holders.get((dispatch.namespace, dispatch.job, dispatch.key)) if dispatch.key else None,
            missing=resolved.missing,
            invalid=resolved.invalid,
        )

    def wanted(self, job: Job) -> dict[int, int]:
        """The slots that a run of this job takes: pool row to count."""
        return {self.pools[pool_id(job.namespace, ref)].id: ref.slots for ref in job.spec.concurrency.pools}

    def opened(self, dispatch: Dispatch, job: Job) -> None:
        """A run was opened for this dispatch."""
        self.left(dispatch, job)
        self.live[job.id] = self.live.get(job.id, 0) + 1
        for ref in job.spec.concurrency.pools:
            self.held[pool_id(job.namespace, ref)] += ref.slots
        if dispatch.key is not None:
            self.key_holders[dispatch.namespace, dispatch.job, dispatch.key] = dispatch.id

    def left(self, dispatch: Dispatch, job: Job) -> None:
        """This dispatch waits no longer."""
        if job.id in self.waiting:
            self.waiting[job.id] = [w for w in self.waiting[job.id] if w.id != dispatch.id]
        self.waiters = [w for w in self.waiters if w.dispatch != dispatch.id]

    def asked(self, job: Job) -> None:
        """An approval was asked for."""
        self.pending_approvals[job.id] = self.pending_approvals.get(job.id, 0) + 1

    def waits(self, dispatch: Dispatch, keys: tuple[str, ...]) -> None:
        """This dispatch stands in line for these keys, and for no others."""
        order = (-dispatch.priority, dispatch.scheduled_for, dispatch.id)
        self.waiters = [w for w in self.waiters if w.dispatch != dispatch.id]
        self.waiters += [Waiter(key, order, dispatch.id) for key in keys]

    def _pool(self, dispatch: Dispatch, job: Job, ref: PoolRef) -> PoolFacts:
        identity = pool_id(job.namespace, ref)
        key = pool_key(identity)
        pool = self.pools.get(identity)
        order = (-dispatch.priority, dispatch.scheduled_for, dispatch.id)
        ahead = any(w.key == key and w.dispatch != dispatch.id and w.order < order for w in self.waiters)
        return PoolFacts(key, ref.slots, pool.slots if pool is not None else None, self.held.get(identity, 0), ahead)


def pool_id(namespace: str, ref: PoolRef) -> PoolId:
    """Where a reference points. Pure."""
    return ("", ref.name) if ref.kind == _CLUSTER else (namespace, ref.name)


def pool_key(identity: PoolId) -> str:
    """How waits name a pool. Pure."""
    return f"pool:{identity[0]}/{identity[1]}"


def goes_first(other: Waiting | Dispatch, dispatch: Dispatch) -> bool:
    """Whether `other` stands before this dispatch: retries and replays do, then the older instant."""
    if (other.cause in _FOLLOW_UPS) != (dispatch.cause in _FOLLOW_UPS):
        return other.cause in _FOLLOW_UPS
    return (other.scheduled_for, other.id) < (dispatch.scheduled_for, dispatch.id)
