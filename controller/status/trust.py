"""What the gates of trust said of a run, or would say of a job, as data and in words.

Pure. Invariant: what is shown are names, levels, reasons and rules; a credential has no way in here.
"""

from datetime import datetime
from typing import Any

from controller.domain.governors import Governed
from controller.domain.reasons import Reason
from controller.domain.records import Dispatch, Job, Run
from controller.domain.states import Cause, DispatchState, RunState
from controller.gates.facts import Answer, Escalated, Granted, Refused, Unanswered, Withheld
from controller.status.shapes import API_VERSION, Shape, granted
from controller.status.text import rfc3339

_UNGOVERNED = "Nothing governs it: it names no identity, contract or policy, and none binds it."


def hypothetical(job: Job, parents: tuple[str, ...], now: datetime) -> Dispatch:
    """The dispatch that would be judged if the job were due now. Pure."""
    cause = (
        Cause.Chain
        if job.spec.trigger is not None
        else Cause.Schedule
        if job.spec.schedule is not None
        else Cause.Manual
    )
    return Dispatch(
        id="-",
        job_id=job.id,
        namespace=job.namespace,
        job=job.name,
        cause=cause,
        state=DispatchState.Pending,
        scheduled_for=now,
        not_before=now,
        created_at=now,
        parents=parents,
    )


def checked(job: Job, governed: Governed | None, answer: Answer | None) -> Shape:
    """What would become of the job. Pure."""
    status: dict[str, Any]
    match answer:
        case Granted(grant):
            status = {"decision": "Permit", **granted(grant)}
        case Refused(grant, reason, message):
            status = {"decision": "Deny", "reason": reason, "message": message, **granted(grant)}
        case Escalated(digest, policy, rule, message):
            status = {
                "decision": "Escalate",
                "reason": "Escalated",
                "message": message,
                "digest": digest,
                "policy": policy,
                "rule": rule.name,
                "approvals": rule.approvals,
            }
        case Withheld(reason, message):
            status = {"decision": "Defer", "reason": reason, "message": message}
        case Unanswered() as unanswered:
            status = {"decision": "Defer", "reason": Reason.AwaitingAnswer.value, "message": unanswered.message}
        case None:
            status = {"decision": "Permit", "message": _UNGOVERNED, "digest": job.effective_digest}
    if governed is not None:
        status["governors"] = dict(governed.by)
    return {
        "apiVersion": API_VERSION,
        "kind": "TrustCheck",
        "metadata": {"name": job.name, "namespace": job.namespace},
        "status": status,
    }


def explained(run: Run) -> Shape:
    """What was decided about a run. Pure."""
    denied = run.state is RunState.Denied
    status: dict[str, Any] = {"state": run.state.value, "decision": "Deny" if denied else "Permit"}
    if denied:
        status |= {"reason": run.reason, "message": run.message}
    status |= granted(run.grant) if run.grant is not None else {"message": _UNGOVERNED}
    if run.grant is not None:
        status["governors"] = dict(run.grant.governors)
    return {
        "apiVersion": API_VERSION,
        "kind": "TrustDecision",
        "metadata": {"name": run.name, "namespace": run.namespace, "creationTimestamp": rfc3339(run.created_at)},
        "status": status,
    }
