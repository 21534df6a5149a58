"""What people ask for: trigger, cancel, approve, reject, hold, release. Each is rows in one transaction, with an actor in the audit log.

Called by the control socket, or by the command itself where no controller runs; the rows mean the same either way. A request that cannot be
met is an exception with words for people: NotFound, Conflict or InvalidInput.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from controller.base import ids
from controller.base.errors import Conflict, InvalidInput, NotFound
from controller.base.references import SecretSource
from controller.domain import requesters
from controller.domain.reasons import Reason
from controller.domain.records import Approval, Decision, Dispatch, Hold, Job, Run
from controller.domain.states import ENDED_RUN, ApprovalState, Cause, DispatchState
from controller.domain.trust import Presentation
from controller.finalise import parameters as inputs
from controller.store import approvals, audit, dispatches, jobs, pausing, runs
from controller.store.store import Tx

_KEY = re.compile(r"[\x21-\x7e]{1,253}")
_MOST_VALUE = 32_768

NewId = Callable[[datetime], str]


def trigger(
    tx: Tx,
    now: datetime,
    namespace: str,
    name: str,
    parameters: Mapping[str, str],
    key: str | None,
    actor: str,
    scheduled_for: datetime | None = None,
    new_id: NewId = ids.new_id,
    proof: SecretSource | None = None,
) -> Dispatch:
    """Ask for a run now; the schedule is not touched. Also works on suspended jobs (case S058, invariant 9 of the reference).

    With a key that was used before, the dispatch is recorded as Skipped, DuplicateKey (case S073). `scheduled_for` is for backfills: what the run
    sees as its nominal instant. `proof` is where a proof of authority is. Errors: NotFound; InvalidInput for parameters or key; Conflict when the backlog is full.
    """
    job = _job(tx, namespace, name)
    resolved = inputs.resolve(job.spec.parameters, parameters)
    _check_parameters(job, parameters, resolved)
    if key is not None and _KEY.fullmatch(key) is None:
        raise InvalidInput("an idempotency key has 1 to 253 printable ASCII characters and no spaces")
    waiting = dispatches.backlog(tx, job.id)
    if waiting >= job.spec.concurrency.max_queued:
        raise Conflict(
            f"{job.key} has a backlog of {waiting} dispatches and concurrency.maxQueued allows no more; "
            f"see `jobwarden get queue -n {namespace}`"
        )
    if proof is not None and not _is_one(proof):
        raise InvalidInput("proofFrom names exactly one of envRef, fileRef and secretKeyRef, a file by its whole path")
    identity = new_id(now)
    dispatch = Dispatch(
        id=identity,
        job_id=job.id,
        namespace=namespace,
        job=name,
        cause=Cause.Manual,
        state=DispatchState.Pending,
        scheduled_for=scheduled_for or now,
        not_before=now,
        created_at=now,
        priority=job.spec.priority,
        parameters=resolved.values,
        key=key,
        actor=actor,
        presented=Presentation(identity, proof) if proof is not None else None,
    )
    if key is not None:
        dispatch = _with_key(tx, dispatch, key, now)
    dispatches.insert_all(tx, [dispatch])
    audit.record(tx, now, actor, "trigger", namespace, name, f"dispatch {dispatch.id}")
    return dispatch


def _is_one(source: SecretSource) -> bool:
    """Whether a reference names one thing, and a file wherever the controller may be."""
    named = [one for one in (source.env_ref, source.file_ref, source.secret_key_ref) if one is not None]
    return len(named) == 1 and (source.file_ref is None or source.file_ref.path.startswith("/"))


def _with_key(tx: Tx, dispatch: Dispatch, key: str, now: datetime) -> Dispatch:
    """Skip at once what repeats an earlier request, also one that still waits."""
    identity = (dispatch.namespace, dispatch.job, key)
    holder = dispatches.key_holders(tx, {identity}, now).get(identity)
    waiting = [other for other in dispatches.waiting_of(tx, dispatch.job_id) if other.key == key]
    if holder is None and not waiting:
        return dispatch
    other = dispatches.get(tx, holder) if holder is not None else waiting[0]
    what = f"run {other.run}" if other is not None and other.run else f"dispatch {holder or waiting[0].id}"
    return msgspec.structs.replace(
        dispatch,
        state=DispatchState.Skipped,
        reason=Reason.DuplicateKey,
        message=f"the key {key!r} was used by {what}",
        run=other.run if other is not None else None,
        ended_at=now,
    )


def _check_parameters(job: Job, given: Mapping[str, str], resolved: inputs.Resolved) -> None:
    if resolved.unknown:
        known = [parameter.name for parameter in job.spec.parameters]
        hint = f"it knows {', '.join(known)}" if known else "it has no parameters"
        raise InvalidInput(f"{job.key} has no parameter {', '.join(resolved.unknown)}; {hint}")
    if resolved.missing:
        raise InvalidInput(
            f"{job.key} needs a value for {', '.join(resolved.missing)}; give it with -p {resolved.missing[0]}=VALUE"
        )
    if resolved.invalid:
        patterns = {p.name: p.pattern for p in job.spec.parameters}
        name = resolved.invalid[0]
        raise InvalidInput(f"the value of {name} does not match its pattern {patterns[name]!r}")
    for name, value in given.items():
        if "\0" in value or len(value.encode()) > _MOST_VALUE:
            raise InvalidInput(f"the value of {name} must be text without NUL of at most {_MOST_VALUE} bytes")


def cancel_run(tx: Tx, now: datetime, namespace: str, run: str, actor: str) -> list[Run]:
    """Ask for an open run to be ended; it triggers no children. Errors: NotFound; Conflict when it has ended."""
    found = runs.get(tx, namespace, run)
    if found is None:
        raise NotFound(f"there is no run {run!r} in namespace {namespace!r}; see `jobwarden get runs -n {namespace}`")
    if found.state in ENDED_RUN:
        raise Conflict(f"{run} has ended already: {found.state}")
    runs.request_cancel(tx, {run}, actor)
    audit.record(tx, now, actor, "cancel", namespace, run)
    return [found]


def cancel_root(tx: Tx, now: datetime, namespace: str, root: str, actor: str) -> list[Run]:
    """Cancel a chain as one thing: its open runs are asked to end, its waiting dispatches end at once. Errors: NotFound, Conflict."""
    if runs.get(tx, namespace, root) is None:
        raise NotFound(f"there is no run {root!r} in namespace {namespace!r}; see `jobwarden get runs -n {namespace}`")
    live = runs.live_in_root(tx, root)
    waiting = dispatches.waiting_in_root(tx, root)
    if not live and not waiting:
        raise Conflict(f"nothing of the chain {root} runs or waits")
    runs.request_cancel(tx, {run.name for run in live}, actor)
    cancel_dispatches(tx, now, waiting, Reason.CancelRequested, f"cancelled by {actor}")
    audit.record(tx, now, actor, "cancel", namespace, root, "the whole chain")
    return live


def cancel_dispatch(tx: Tx, now: datetime, namespace: str, dispatch: str, actor: str) -> Dispatch:
    """End a waiting dispatch. Errors: NotFound, Conflict."""
    found = dispatches.get(tx, dispatch)
    if found is None or found.namespace != namespace:
        raise NotFound(
            f"there is no dispatch {dispatch!r} in namespace {namespace!r}; see `jobwarden get queue -n {namespace}`"
        )
    if found.state not in {DispatchState.Pending, DispatchState.AwaitingApproval}:
        raise Conflict(f"{dispatch} does not wait any more: {found.state}")
    cancel_dispatches(tx, now, [found], Reason.CancelRequested, f"cancelled by {actor}")
    audit.record(tx, now, actor, "cancel", namespace, found.job, f"dispatch {dispatch}")
    return found


def cancel_job(tx: Tx, now: datetime, namespace: str, name: str, actor: str) -> list[Run]:
    """Cancel everything of a job that runs or waits; its schedule goes on. Errors: NotFound."""
    job = _job(tx, namespace, name)
    live = runs.live_of_jobs(tx, {job.id})
    runs.request_cancel(tx, {run.name for run in live}, actor)
    cancel_dispatches(tx, now, dispatches.waiting_of(tx, job.id), Reason.CancelRequested, f"cancelled by {actor}")
    audit.record(tx, now, actor, "cancel", namespace, name, "everything that runs or waits")
    return live


def cancel_dispatches(tx: Tx, now: datetime, waiting: Sequence[Dispatch], reason: Reason, message: str) -> None:
    """End waiting dispatches and the questions about them."""
    dispatches.end(tx, [dispatches.End(d.id, DispatchState.Cancelled, reason, message) for d in waiting], now)
    approvals.close(tx, [d.id for d in waiting], ApprovalState.Cancelled, now)


def approve(
    tx: Tx,
    now: datetime,
    namespace: str,
    name: str,
    actor: str,
    reason: str = "",
    groups: Sequence[str] = (),
    *,
    authorized: bool = False,
) -> Approval:
    """Say yes, as `actor`. When enough people have, the dispatch goes back into the queue and all its gates run again.

    `name` is the approval's, or a job's with exactly one open question. `authorized`: somebody else has seen to it that they may decide about this job, so that
    `approval.approvers` does not say who may. Errors: NotFound; Conflict when it is decided, or not yours to decide.
    """
    approval = _open_question(tx, namespace, name)
    _check_decider(approval, actor, groups, authorized=authorized)
    decided = (*approval.decisions, Decision(actor, approved=True, at=now, reason=reason))
    enough = sum(decision.approved for decision in decided) >= approval.required
    after = msgspec.structs.replace(
        approval,
        decisions=decided,
        state=ApprovalState.Approved if enough else ApprovalState.Pending,
        decided_at=now if enough else None,
    )
    _save(tx, after)
    audit.record(tx, now, actor, "approve", namespace, approval.name, reason)
    if enough:
        dispatches.approved(tx, approval.dispatch, now)
    return after


def reject(
    tx: Tx,
    now: datetime,
    namespace: str,
    name: str,
    actor: str,
    reason: str = "",
    groups: Sequence[str] = (),
    *,
    authorized: bool = False,
) -> Approval:
    """Say no, as `actor`; one no is enough. Arguments and errors: as `approve`."""
    approval = _open_question(tx, namespace, name)
    _check_decider(approval, actor, groups, rejecting=True, authorized=authorized)
    decided = (*approval.decisions, Decision(actor, approved=False, at=now, reason=reason))
    after = msgspec.structs.replace(approval, decisions=decided, state=ApprovalState.Rejected, decided_at=now)
    _save(tx, after)
    audit.record(tx, now, actor, "reject", namespace, approval.name, reason)
    message = f"rejected by {actor}: {reason}" if reason else f"rejected by {actor}"
    dispatches.end(
        tx, [dispatches.End(approval.dispatch, DispatchState.Cancelled, Reason.ApprovalRejected, message)], now
    )
    return after


def _open_question(tx: Tx, namespace: str, name: str) -> Approval:
    approval = approvals.lock(tx, name)
    if approval is None or approval.namespace != namespace:
        of_job = approvals.pending_of(tx, namespace, name)
        if len(of_job) > 1:
            names = ", ".join(found.name for found in of_job)
            raise Conflict(f"{namespace}/{name} has several open approvals; say which: {names}")
        if not of_job:
            raise NotFound(
                f"there is no open approval {name!r} in namespace {namespace!r}; see `jobwarden get approvals -n {namespace}`"
            )
        approval = approvals.lock(tx, of_job[0].name) or of_job[0]
    if approval.state is not ApprovalState.Pending:
        raise Conflict(f"{approval.name} is decided already: {approval.state}")
    return approval


def _check_decider(
    approval: Approval, actor: str, groups: Sequence[str], *, rejecting: bool = False, authorized: bool = False
) -> None:
    if any(decision.by == actor for decision in approval.decisions):
        raise Conflict(f"{actor} has decided about {approval.name} already; decisions are permanent")
    allowed = {entry for entry in approval.approvers if not entry.startswith("%")}
    allowed_groups = {entry.removeprefix("%") for entry in approval.approvers if entry.startswith("%")}
    listed = authorized or not approval.approvers or actor in allowed or allowed_groups.intersection(groups)
    if not listed:
        raise Conflict(
            f"{actor} is not among the approvers of {approval.namespace}/{approval.job}: {', '.join(approval.approvers)}"
        )
    # What the schedule asks for nobody has asked for.
    if rejecting or approval.allow_self or approval.requested_by is None:
        return
    if approval.requested_by == actor:
        raise Conflict(f"{actor} asked for this run and approval.allowSelf is false; somebody else has to approve")
    if requesters.is_unknown(approval.requested_by):
        raise Conflict(
            f"who asked for this run is not known ({approval.requested_by}) and approval.allowSelf is false, so it may have been {actor}; "
            "reject it, and ask with `jobwarden trigger` or a RunRequest"
        )


def _save(tx: Tx, approval: Approval) -> None:
    if not approvals.save(tx, approval, ApprovalState.Pending):
        raise Conflict(f"{approval.name} was decided by somebody else a moment ago")


def hold(tx: Tx, now: datetime, namespace: str, name: str, reason: str, until: datetime | None, actor: str) -> Job:
    """Pause a job: nothing of it starts until released. Errors: NotFound; InvalidInput for an instant in the past or no reason."""
    job = _job(tx, namespace, name)
    if not reason.strip():
        raise InvalidInput("a hold needs a reason; give it with --reason")
    if until is not None and until <= now:
        raise InvalidInput(f"{until.isoformat()} is in the past; a hold ends in the future")
    pausing.hold(tx, job, Hold(reason.strip(), actor, now, until))
    audit.record(tx, now, actor, "hold", namespace, name, reason)
    return _job(tx, namespace, name)


def release(tx: Tx, now: datetime, namespace: str, name: str, actor: str, new_id: NewId = ids.new_id) -> Job:
    """Take a hold away; the schedule starts at now. Errors: NotFound; Conflict when there is no hold."""
    job = _job(tx, namespace, name)
    if job.hold is None:
        raise Conflict(f"{job.key} is not on hold")
    pausing.release(tx, job, now, new_id)
    audit.record(tx, now, actor, "release", namespace, name)
    return _job(tx, namespace, name)


def _job(tx: Tx, namespace: str, name: str) -> Job:
    job = jobs.get(tx, namespace, name)
    if job is None:
        near = difflib.get_close_matches(name, jobs.names(tx, namespace), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"see `jobwarden get jobs -n {namespace}`"
        raise NotFound(f"there is no job {name!r} in namespace {namespace!r}; {hint}")
    return job
