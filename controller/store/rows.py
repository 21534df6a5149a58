"""Rows to records and back. Every other module of the store reads and writes through these, so that a column's shape is known in one place."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Row

from controller.domain import job as jobspec
from controller.domain.records import (
    Approval,
    Decision,
    Dispatch,
    Handle,
    Hold,
    Job,
    LastRun,
    OutboxItem,
    Output,
    Pool,
    Run,
)
from controller.domain.states import ApprovalState, Cause, DispatchState, OutboxState, RunState
from controller.domain.trust import Presentation, decode_grant

T = TypeVar("T")

_strings = msgspec.json.Decoder(tuple[str, ...])
_mapping = msgspec.json.Decoder(dict[str, str])
_decisions = msgspec.json.Decoder(tuple[Decision, ...])
_presentation = msgspec.json.Decoder(Presentation)
_encode = msgspec.json.Encoder().encode


def pack(value: Any) -> bytes | None:
    """JSON bytes for a column, NULL for what is empty. Pure."""
    return _encode(value) if value else None


def strings(data: bytes | None) -> tuple[str, ...]:
    """A packed list of strings. Pure."""
    return _strings.decode(data) if data else ()


def mapping(data: bytes | None) -> Mapping[str, str]:
    """A packed mapping of strings. Pure."""
    return _mapping.decode(data) if data else {}


def job_of(row: Row[Any]) -> Job:
    """A row of all columns of `jobs`."""
    hold = Hold(row.hold_reason, row.hold_by, row.hold_since, row.hold_until) if row.hold_reason is not None else None
    last = None
    if row.last_run is not None:
        last = LastRun(
            row.last_run,
            RunState(row.last_state),
            row.last_reason,
            row.last_exit_code,
            row.last_started_at,
            row.last_finished_at,
        )
    return Job(
        id=row.id,
        uid=row.uid,
        namespace=row.namespace,
        name=row.name,
        source=row.source,
        spec=jobspec.decode(row.spec),
        generation=row.generation,
        fire_digest=row.fire_digest,
        effective_digest=row.effective_digest,
        created_at=row.created_at,
        anchor_at=row.anchor_at,
        fired_through=row.fired_through,
        next_fire_at=row.next_fire_at,
        last_instant=row.last_instant,
        backoff_until=row.backoff_until,
        completed_at=row.completed_at,
        blocked_reason=row.blocked_reason,
        blocked_message=row.blocked_message,
        hold=hold,
        consecutive_errors=row.consecutive_errors,
        last_run=last,
        last_success_at=row.last_success_at,
        healthy=row.healthy,
        overdue_reason=row.overdue_reason,
        overdue_message=row.overdue_message,
        overdue_since=row.overdue_since,
        alert_at=row.alert_at,
        alert_episode=row.alert_episode,
        labels=mapping(row.labels),
    )


def dispatch_of(row: Row[Any]) -> Dispatch:
    """A row of all columns of `dispatches`."""
    return Dispatch(
        id=row.id,
        job_id=row.job_id,
        namespace=row.namespace,
        job=row.job,
        cause=Cause(row.cause),
        state=DispatchState(row.state),
        scheduled_for=row.scheduled_for,
        not_before=row.not_before,
        created_at=row.created_at,
        priority=row.priority,
        attempt=row.attempt,
        reason=row.reason,
        message=row.message,
        root=row.root,
        retry_of=row.retry_of,
        parents=strings(row.parents),
        parameters=mapping(row.parameters),
        key=row.key,
        approval=row.approval,
        escalation=row.escalation,
        actor=row.actor,
        presented=_presentation.decode(row.presented) if row.presented else None,
        run=row.run,
        deferrals=row.deferrals,
        replays=row.replays,
        catch_up=row.catch_up,
        previous=row.previous,
        through=row.through,
        count=row.instants,
        ended_at=row.ended_at,
    )


def dispatch_values(dispatch: Dispatch) -> dict[str, Any]:
    """The row of a new dispatch."""
    return {
        "id": dispatch.id,
        "job_id": dispatch.job_id,
        "namespace": dispatch.namespace,
        "job": dispatch.job,
        "cause": dispatch.cause.value,
        "state": dispatch.state.value,
        "reason": dispatch.reason,
        "message": dispatch.message,
        "priority": dispatch.priority,
        "scheduled_for": dispatch.scheduled_for,
        "previous": dispatch.previous,
        "through": dispatch.through,
        "instants": dispatch.count,
        "not_before": dispatch.not_before,
        "attempt": dispatch.attempt,
        "replays": dispatch.replays,
        "root": dispatch.root,
        "retry_of": dispatch.retry_of,
        "parents": pack(dispatch.parents),
        "parameters": pack(dispatch.parameters),
        "key": dispatch.key,
        "approval": dispatch.approval,
        "escalation": dispatch.escalation,
        "actor": dispatch.actor,
        "presented": pack(dispatch.presented),
        "run": dispatch.run,
        "catch_up": dispatch.catch_up,
        "deferrals": dispatch.deferrals,
        "created_at": dispatch.created_at,
        "ended_at": dispatch.ended_at,
    }


def run_of(row: Row[Any]) -> Run:
    """A row of all columns of `runs`."""
    handle = None
    if row.pid is not None and row.boot_id is not None and row.host is not None:
        handle = Handle(row.host, row.boot_id, row.pid, row.pid_start or 0)
    return Run(
        name=row.name,
        job_id=row.job_id,
        job_uid=row.job_uid,
        namespace=row.namespace,
        job=row.job,
        dispatch=row.dispatch,
        cause=Cause(row.cause),
        state=RunState(row.state),
        scheduled_for=row.scheduled_for,
        previous=row.previous,
        created_at=row.created_at,
        root=row.root,
        attempt=row.attempt,
        replays=row.replays,
        retry_of=row.retry_of,
        parents=strings(row.parents),
        parameters=mapping(row.parameters),
        approval=row.approval,
        escalation=row.escalation,
        actor=row.actor,
        owner=row.owner,
        host=row.host,
        handle=handle,
        reason=row.reason,
        message=row.message,
        started_at=row.started_at,
        finished_at=row.finished_at,
        exit_code=row.exit_code,
        signal=row.signal,
        outputs=mapping(row.outputs),
        output=Output(row.stdout or b"", row.stderr or b"", row.output_bytes or 0, bool(row.output_truncated)),
        cancel_requested_by=row.cancel_requested_by,
        grant=decode_grant(row.grant),
    )


def approval_of(row: Row[Any]) -> Approval:
    """A row of all columns of `approvals`."""
    return Approval(
        name=row.name,
        namespace=row.namespace,
        job=row.job,
        job_id=row.job_id,
        dispatch=row.dispatch,
        gate=row.gate,
        state=ApprovalState(row.state),
        digest=row.digest,
        created_at=row.created_at,
        expires_at=row.expires_at,
        scheduled_for=row.scheduled_for,
        required=row.required,
        allow_self=row.allow_self,
        approvers=strings(row.approvers),
        requested_by=row.requested_by,
        message=row.message,
        parameters=mapping(row.parameters),
        decisions=_decisions.decode(row.decisions) if row.decisions else (),
        on_timeout=row.on_timeout,
        decided_at=row.decided_at,
        policy=row.policy,
        rule=row.rule,
    )


def pool_of(row: Row[Any]) -> Pool:
    """A row of all columns of `pools`."""
    return Pool(row.id, row.namespace, row.name, row.slots, row.held, strings(row.allowed_namespaces))


def outbox_of(row: Row[Any]) -> OutboxItem:
    """A row of all columns of `outbox`."""
    return OutboxItem(
        id=row.id,
        event=row.event,
        namespace=row.namespace,
        job=row.job,
        target=row.target,
        target_kind=row.target_kind,
        dedupe=row.dedupe,
        payload=row.payload,
        state=OutboxState(row.state),
        created_at=row.created_at,
        not_before=row.not_before,
        attempts=row.attempts,
        to=row.to,
        run=row.run,
        last_error=row.last_error,
    )
