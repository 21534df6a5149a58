"""The questions that dispatches put to people: bound to a digest, and open no longer than the dispatch itself may wait."""

from datetime import datetime, timedelta
from typing import Any

from controller.base import ids
from controller.domain.job import OnTimeout
from controller.domain.records import Approval, Dispatch, Job
from controller.domain.states import ApprovalState, Cause
from controller.gates.facts import Escalated

APPROVAL, ESCALATION = "Approval", "Escalation"
"""The gates that ask: the guard of a job that wants approval, and a policy that escalates."""


def approval_for(dispatch: Dispatch, job: Job, message: str, now: datetime, digest: str) -> Approval:
    """What people are asked when the job wants approval. Pure."""
    policy = job.spec.approval
    return _question(
        dispatch,
        job,
        now,
        policy.timeout,
        gate=APPROVAL,
        digest=digest,
        required=policy.approvals,
        allow_self=policy.allow_self,
        approvers=policy.approvers,
        message=message,
        on_timeout=policy.on_timeout,
    )


def escalation_for(dispatch: Dispatch, job: Job, asked: Escalated, now: datetime) -> Approval:
    """What people are asked when a policy escalates: its rule says how many, who and how long, and nobody's silence is a yes. Pure."""
    return _question(
        dispatch,
        job,
        now,
        asked.rule.timeout,
        gate=ESCALATION,
        digest=asked.digest,
        required=asked.rule.approvals,
        allow_self=asked.rule.allow_self,
        message=asked.message,
        on_timeout=OnTimeout.Reject,
        policy=asked.policy,
        rule=asked.rule.name,
    )


def _question(dispatch: Dispatch, job: Job, now: datetime, patience: timedelta, *, gate: str, **asked: Any) -> Approval:
    expires_at = now + patience
    schedule = job.spec.schedule
    if dispatch.cause is Cause.Schedule and schedule is not None and schedule.starting_deadline is not None:
        expires_at = min(expires_at, dispatch.scheduled_for + schedule.starting_deadline)
    occasion = f"{gate.lower()} of {dispatch.id} asked {now.isoformat()}"
    return Approval(
        name=ids.run_name(job.name, job.uid, occasion, dispatch.attempt),
        namespace=job.namespace,
        job=job.name,
        job_id=job.id,
        dispatch=dispatch.id,
        gate=gate,
        state=ApprovalState.Pending,
        created_at=now,
        expires_at=expires_at,
        scheduled_for=dispatch.scheduled_for,
        requested_by=dispatch.actor,
        parameters=dispatch.parameters,
        **asked,
    )
