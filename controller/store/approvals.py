"""Statements on approvals: one question, one dispatch, decisions that stay."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import func, insert, select, update

from controller.domain.records import Approval
from controller.domain.states import APPROVAL, ApprovalState, sources_of
from controller.store.rows import approval_of, pack
from controller.store.schema import approvals, jobs
from controller.store.store import Tx

_PENDING = approvals.c.state == ApprovalState.Pending.value


def ask(tx: Tx, new: Sequence[Approval]) -> None:
    """Record open questions."""
    if new:
        tx.execute(
            insert(approvals),
            [
                {
                    "name": approval.name,
                    "namespace": approval.namespace,
                    "job": approval.job,
                    "job_id": approval.job_id,
                    "dispatch": approval.dispatch,
                    "gate": approval.gate,
                    "state": approval.state.value,
                    "digest": approval.digest,
                    "policy": approval.policy,
                    "rule": approval.rule,
                    "scheduled_for": approval.scheduled_for,
                    "required": approval.required,
                    "allow_self": approval.allow_self,
                    "approvers": pack(approval.approvers),
                    "requested_by": approval.requested_by,
                    "message": approval.message,
                    "parameters": pack(approval.parameters),
                    "on_timeout": approval.on_timeout,
                    "created_at": approval.created_at,
                    "expires_at": approval.expires_at,
                }
                for approval in new
            ],
        )


def get(tx: Tx, names: Collection[str]) -> dict[str, Approval]:
    """Approvals by name."""
    if not names:
        return {}
    return {row.name: approval_of(row) for row in tx.execute(select(approvals).where(approvals.c.name.in_(names)))}


def lock(tx: Tx, name: str) -> Approval | None:
    """One approval, locked until the transaction ends: two people may decide at once."""
    row = tx.execute(select(approvals).where(approvals.c.name == name).with_for_update()).one_or_none()
    return approval_of(row) if row is not None else None


def pending_counts(tx: Tx, job_ids: Collection[int]) -> dict[int, int]:
    """How many questions about these jobs are open."""
    if not job_ids:
        return {}
    query = select(approvals.c.job_id, func.count()).where(_PENDING, approvals.c.job_id.in_(job_ids))
    return {row[0]: row[1] for row in tx.execute(query.group_by(approvals.c.job_id))}


def pending_of(tx: Tx, namespace: str, job: str) -> list[Approval]:
    """Open questions about a job, oldest first."""
    query = select(approvals).where(_PENDING, approvals.c.namespace == namespace, approvals.c.job == job)
    return [approval_of(row) for row in tx.execute(query.order_by(approvals.c.created_at))]


def pending_of_source(tx: Tx, source: str) -> list[Approval]:
    """Open questions about the jobs of a source, oldest first."""
    mine = select(jobs.c.id).where(jobs.c.source == source)
    query = select(approvals).where(_PENDING, approvals.c.job_id.in_(mine)).order_by(approvals.c.created_at)
    return [approval_of(row) for row in tx.execute(query)]


def save(tx: Tx, approval: Approval, before: ApprovalState) -> bool:
    """Write state and decisions; False if the state was not `before` any more, or may not go where it should."""
    if before is not approval.state and before not in sources_of(APPROVAL, approval.state):
        return False
    statement = (
        update(approvals)
        .where(approvals.c.name == approval.name, approvals.c.state == before.value)
        .values(
            state=approval.state.value,
            decisions=msgspec.json.encode(approval.decisions) if approval.decisions else None,
            decided_at=approval.decided_at,
        )
    )
    return tx.execute(statement).rowcount == 1


def close(tx: Tx, dispatches: Collection[str], state: ApprovalState, now: datetime) -> None:
    """End the open questions about dispatches that ended by themselves."""
    if dispatches:
        tx.execute(
            update(approvals)
            .where(_PENDING, approvals.c.dispatch.in_(dispatches))
            .values(state=state.value, decided_at=now)
        )


def expired(tx: Tx, now: datetime, most: int) -> list[Approval]:
    """Questions that nobody answered in time; locked against other replicas."""
    query = (
        select(approvals).where(_PENDING, approvals.c.expires_at <= now).order_by(approvals.c.expires_at).limit(most)
    )
    return [approval_of(row) for row in tx.execute(query.with_for_update(skip_locked=True))]
