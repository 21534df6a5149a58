"""Rows of one resource to its conditions and status. Pure: facts in, values out.

`views` and the status loop hand over what `store.observed` gathered. There is no phase: every condition is computed from facts, each on its own.
Invariant: a status is under 4 KiB however long a job has lived, and the same facts give the same status at any time.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from controller.domain.job import word
from controller.domain.reasons import Reason
from controller.domain.records import LastRun
from controller.domain.states import RunState
from controller.domain.trust import Decision, Grant, TrustLevel
from controller.status import conditions
from controller.status.conditions import Condition, Verdict, no, sentence, yes
from controller.status.rejection import summary
from controller.status.text import maybe, rfc3339
from controller.store.observed import JobFacts, PoolFacts, ResourceFacts, TargetFacts

MOST_BYTES = 4096
_HANDLED = {f"jobwarden.dev/{what}-requested-at": f"{what}RequestedAt" for what in ("run", "cancel", "reconcile")}
_LONGEST_VALUE = 256
_GOOD = frozenset({RunState.Succeeded})


class Status(NamedTuple):
    """Conditions by themselves, because they are remembered, and the whole status as plain JSON values."""

    conditions: tuple[Condition, ...]
    value: dict[str, Any]


def job_status(facts: JobFacts, now: datetime) -> Status:
    """The status of a ScheduledJob. `now` only dates changes that no row dates."""
    job = facts.job
    verdicts = [
        *acceptance(facts.resource, job.blocked_reason, job.blocked_message, applied=job.generation),
        _suspended(facts),
        _running(facts),
        _awaiting(facts),
        _healthy(facts),
        _overdue(facts),
        _completed(facts),
    ]
    settled = conditions.settle(verdicts, conditions.decode(facts.resource.conditions), facts.resource.generation, now)
    value = {
        "observedGeneration": facts.resource.generation,
        "conditions": conditions.plain(settled),
        "schedule": facts.schedule_text,
        "target": word(job.spec.target),
        "ready": settled[0].status,
        "nextRunAt": None if _is_suspended(facts) else maybe(job.next_fire_at),
        "lastRun": last_run(job.last_run) if job.last_run else None,
        "lastSuccessAt": maybe(job.last_success_at),
        "recentRuns": [
            {"name": one.name, "state": one.state.value, "finishedAt": rfc3339(one.finished_at)} for one in facts.recent
        ],
        "activeRuns": [
            {"name": one.name, "state": RunState.Running.value, "startedAt": rfc3339(one.started_at)}
            for one in facts.active
        ],
        "queued": facts.queued,
        "consecutiveErrors": job.consecutive_errors,
        "pendingApproval": facts.approvals[0][0] if facts.approvals else None,
        "trust": _trust(facts.grant) if facts.grant is not None else None,
        "lastHandled": last_handled(facts.resource.requests),
    }
    return Status(settled, _within_bound(_known(value)))


def _trust(grant: Grant) -> dict[str, Any]:
    decisive = next((one for one in grant.outcomes if one.decision is Decision.Deny), None) or next(
        (one for one in grant.outcomes if one.decision is Decision.Warn), None
    )
    identity = grant.identity
    summary = {
        "decision": decisive.decision.value if decisive is not None else Decision.Permit.value,
        "reason": decisive.reason if decisive is not None else None,
        "principal": identity.subject.principal if identity is not None else None,
        "trustLevel": (identity.level if identity is not None else TrustLevel.Untrusted).value,
    }
    return _known(summary)


def pool_status(facts: PoolFacts, now: datetime) -> Status:
    """The status of a ResourcePool or ClusterResourcePool."""
    holders = [_known(msgspec.to_builtins(one)) for one in facts.holders]
    extra = {"held": facts.pool.held, "waiting": facts.waiting, "holders": holders}
    return _plain_status(facts.resource, now, extra)


def target_status(facts: TargetFacts, now: datetime) -> Status:
    """The status of a NotificationTarget or ClusterNotificationTarget: accepted, and whether messages arrive."""
    if facts.failing:
        count = f"{facts.failing} of {facts.waiting} messages could not be delivered yet"
        healthy = no("Healthy", "DeliveryFailed", f"{count}: {facts.last_error}")
    else:
        healthy = yes("Healthy", Reason.Completed)
    return _plain_status(facts.resource, now, {}, healthy)


def document_status(facts: ResourceFacts, now: datetime) -> Status:
    """The status of a resource of which only its acceptance is known. Pure."""
    return _plain_status(facts, now, {})


def refused_status(rejection: bytes, generation: int, previous: Iterable[Condition], now: datetime) -> dict[str, Any]:
    """The status of an object that was never accepted, so that no row knows of it: what is wrong with it."""
    reason, message = summary(rejection)
    settled = conditions.settle(_not_ready(reason, message, None, stalled=True), previous, generation, now)
    return {"observedGeneration": generation, "conditions": conditions.plain(settled), "ready": settled[0].status}


def acceptance(
    resource: ResourceFacts, blocked: str | None = None, why: str | None = None, applied: int | None = None
) -> list[Verdict]:
    """Ready, Reconciling and Stalled, as kstatus understands them.

    A newer version that is not valid is Stalled: only a person can go on. A missing reference is Reconciling: it becomes ready by itself.
    """
    generation = resource.generation if applied is None else applied
    if resource.rejection is not None:
        reason, message = summary(resource.rejection)
        return _not_ready(reason, message, None, stalled=True)
    if blocked is not None:
        stalled = blocked not in (Reason.ReferenceNotFound, Reason.PoolNotFound)
        return _not_ready(blocked, why or sentence(blocked), None, stalled=stalled)
    if generation < resource.generation:
        return _not_ready(Reason.Superseded, "The newest version is being applied.", resource.updated_at, stalled=False)
    return [
        yes("Ready", Reason.Accepted, Reason.Accepted.sentence, resource.updated_at),
        no("Reconciling", Reason.Accepted),
        no("Stalled", Reason.Accepted),
    ]


def last_run(last: LastRun) -> dict[str, Any]:
    """An ended run in short."""
    return _known(
        {
            "name": last.name,
            "state": last.state.value,
            "reason": last.reason,
            "exitCode": last.exit_code,
            "startedAt": maybe(last.started_at),
            "finishedAt": rfc3339(last.finished_at),
        }
    )


def last_handled(requests: Iterable[tuple[str, str]]) -> dict[str, str] | None:
    """The request annotations that were taken note of, cut to what a status may hold. Pure."""
    return {_HANDLED[name]: value[:_LONGEST_VALUE] for name, value in requests if name in _HANDLED} or None


def _not_ready(reason: str, message: str, since: datetime | None, *, stalled: bool) -> list[Verdict]:
    moving = Verdict(
        "Reconciling", not stalled, Reason.Accepted if stalled else reason, "" if stalled else message, since
    )
    stuck = Verdict("Stalled", stalled, reason if stalled else Reason.Accepted, message if stalled else "", since)
    return [no("Ready", reason, message, since), moving, stuck]


def _is_suspended(facts: JobFacts) -> bool:
    return facts.job.spec.suspend or facts.resource.served is False


def _suspended(facts: JobFacts) -> Verdict:
    hold = facts.job.hold
    if facts.job.spec.suspend:
        return yes("Suspended", Reason.Suspended, Reason.Suspended.sentence, facts.resource.updated_at)
    if hold is not None:
        until = f" until {rfc3339(hold.until)}" if hold.until else ""
        return yes("Suspended", Reason.Held, f"{hold.by}{until}: {hold.reason}", hold.since)
    if facts.resource.served is False:
        message = f"No live controller serves the source {facts.resource.source!r}."
        return yes("Suspended", Reason.SourceNotServed, message)
    return no("Suspended", Reason.NotSuspended)


def _running(facts: JobFacts) -> Verdict:
    if not facts.active_count:
        last = facts.job.last_run
        return no("Running", Reason.Idle, since=last.finished_at if last else facts.job.created_at)
    count = f"{facts.active_count} runs are open." if facts.active_count > 1 else f"{facts.active[0].name} is open."
    return yes("Running", Reason.Active, count, min(one.started_at for one in facts.active))


def _awaiting(facts: JobFacts) -> Verdict:
    if not facts.approvals:
        return no("AwaitingApproval", Reason.NotNeeded)
    name, asked_at = facts.approvals[0]
    more = f" and {len(facts.approvals) - 1} more" if len(facts.approvals) > 1 else ""
    message = f"`jobwarden approve {name}` or `reject {name}` decides{more}."
    return yes("AwaitingApproval", Reason.AwaitingApproval, message, asked_at)


def _healthy(facts: JobFacts) -> Verdict:
    job, last = facts.job, facts.job.last_run
    if job.healthy is None:
        return Verdict("Healthy", None, Reason.NothingRan, "", job.created_at)
    since = last.finished_at if last else None
    if job.healthy:
        return yes("Healthy", (last.reason if last else None) or Reason.Completed, "", job.last_success_at)
    if last is None or last.state in _GOOD:
        return no("Healthy", Reason.DeadlineExceeded, "An instant was missed, and nothing has succeeded since.")
    reason = last.reason or last.state.value
    code = f" with exit code {last.exit_code}" if last.exit_code else ""
    return no("Healthy", reason, f"{last.name} ended as {last.state}{code}.", since)


def _overdue(facts: JobFacts) -> Verdict:
    job = facts.job
    if job.overdue_reason is None:
        return no("Overdue", Reason.OnTime)
    message = job.overdue_message or sentence(job.overdue_reason)
    return yes("Overdue", job.overdue_reason, message, job.overdue_since)


def _completed(facts: JobFacts) -> Verdict:
    if facts.job.completed_at is None:
        return no("Completed", Reason.WillFire, since=facts.job.created_at)
    return yes("Completed", Reason.ScheduleEnded, Reason.ScheduleEnded.sentence, facts.job.completed_at)


def _plain_status(resource: ResourceFacts, now: datetime, extra: dict[str, Any], *more: Verdict) -> Status:
    verdicts = [*acceptance(resource), *more]
    settled = conditions.settle(verdicts, conditions.decode(resource.conditions), resource.generation, now)
    value = {
        "observedGeneration": resource.generation,
        "conditions": conditions.plain(settled),
        "ready": settled[0].status,
        **extra,
    }
    return Status(settled, value)


def _known(value: dict[str, Any]) -> dict[str, Any]:
    """Without what has no value: a status has no nulls."""
    return {key: one for key, one in value.items() if one is not None}


def _within_bound(value: dict[str, Any]) -> dict[str, Any]:
    """Shorten the lists, the oldest entries first, until the status is under its bound."""
    lists = [value["activeRuns"], value["recentRuns"]]
    excess = len(msgspec.json.encode(value)) - MOST_BYTES + 1
    while excess > 0 and any(lists):
        longest = max(lists, key=len)
        excess -= len(msgspec.json.encode(longest.pop())) + 1
    for condition in value["conditions"] if excess > 0 else ():
        condition["message"] = condition["message"][:80]
    return value
