"""When anything changes by itself, in one question: the dispatcher asks it at the end of every turn that leaves it nothing to do."""

from datetime import datetime

from sqlalchemy import func, select

from controller.domain.states import ApprovalState, DispatchState
from controller.store.schema import approvals, dispatches, jobs
from controller.store.statement import Statement
from controller.store.store import Tx

_FIRES = (
    select(jobs.c.next_fire_at)
    .where(jobs.c.next_fire_at.is_not(None), jobs.c.blocked_reason.is_(None))
    .order_by(jobs.c.next_fire_at)
    .limit(1)
)
_DISPATCH = (
    select(dispatches.c.not_before)
    .join(jobs, jobs.c.id == dispatches.c.job_id)
    .where(dispatches.c.state == DispatchState.Pending.value, jobs.c.blocked_reason.is_(None))
    .order_by(dispatches.c.not_before)
    .limit(1)
)
_APPROVAL = select(func.min(approvals.c.expires_at)).where(approvals.c.state == ApprovalState.Pending.value)
_HOLD = select(func.min(jobs.c.hold_until)).where(jobs.c.hold_until.is_not(None))
_ALERT = select(func.min(jobs.c.alert_at)).where(jobs.c.alert_at.is_not(None))
_EARLIEST = Statement(select(*(query.scalar_subquery() for query in (_FIRES, _DISPATCH, _APPROVAL, _HOLD, _ALERT))))


def earliest(tx: Tx) -> tuple[datetime | None, datetime | None, datetime | None]:
    """The next schedule instant, the next waiting dispatch, and the next end of an approval, a hold or an alert's bound; None for never."""
    fires, dispatch, *others = _EARLIEST.rows(tx)[0]
    return fires, dispatch, min((instant for instant in others if instant is not None), default=None)
