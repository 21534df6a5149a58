"""RunRequests: each is obeyed once, and its status tells what became of it.

The desk calls `round`; `obey` makes the dispatch. That a request was obeyed is a claim of its uid in the table of idempotency keys, made in the transaction that makes
the dispatch: neither a crash nor a second instance makes a second run of it. Invariant: who asked is believed only where admission has checked it.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from controller.base import durations
from controller.base.clock import Clock
from controller.base.errors import Conflict, InvalidInput
from controller.base.references import SecretSource
from controller.dispatch import requests
from controller.domain import requesters
from controller.domain.reasons import Reason
from controller.domain.records import Dispatch, Job, Run
from controller.domain.states import WAITING, DispatchState, RunState
from controller.finalise import parameters
from controller.kinds.values import instant
from controller.kubernetes import admission
from controller.kubernetes.admission import Admission
from controller.kubernetes.mirror import path_of
from controller.kubernetes.shelf import Body, Shelf, named, printed
from controller.kubernetes.source import KubernetesSource
from controller.status import conditions
from controller.status.conditions import Condition, Verdict, no, sentence, yes
from controller.store import audit, dispatches, jobs, runs, serving
from controller.store.store import Store, Tx

KIND = "RunRequest"
_REMEMBERED = timedelta(days=30)
"""How long it is remembered that a request was obeyed, after its object was last seen."""
_GRACE_S = 10.0
"""How long a job that was applied together with its request may take to be known."""
_ENFORCED_AFTER = timedelta(seconds=5)
"""An API server notices a new policy within this time."""
_DEFAULT_TTL = "24h"
_AT_ONCE = 500

Claim = tuple[str, str, str]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a RunRequest says. `claim` is what whoever obeys it claims."""

    uid: str
    claim: Claim
    namespace: str
    name: str
    job: str
    created: datetime
    parameters: Mapping[str, str] = {}
    scheduled_for: datetime | None = None
    reason: str = ""
    requested_by: str | None = None
    key: str | None = None
    proof: SecretSource | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Why a request cannot be met, and what to do."""

    reason: str
    message: str


class Facts(msgspec.Struct, frozen=True):
    """What became of a request that was obeyed. `run` is the last attempt, `retries`: another one waits. No dispatch: history has forgotten it."""

    dispatch: Dispatch | None = None
    run: Run | None = None
    retries: bool = False


def claim_of(body: Body) -> Claim:
    """Namespace, job and key; a key that people give has no space. Pure."""
    metadata = body["metadata"]
    return metadata["namespace"], body["spec"]["jobRef"]["name"], f"runrequest {metadata['uid']}"


def asked_of(body: Body) -> Asked:
    """Read an object whose shape the API server has checked. Pure. Errors: ValueError for an instant that no calendar has."""
    spec, metadata = body["spec"], body["metadata"]
    when = spec.get("scheduledFor")
    return Asked(
        uid=metadata["uid"],
        claim=claim_of(body),
        namespace=metadata["namespace"],
        name=metadata["name"],
        job=spec["jobRef"]["name"],
        created=instant(metadata["creationTimestamp"]),
        parameters=spec.get("parameters") or {},
        scheduled_for=instant(when) if when else None,
        reason=printed(spec.get("reason", "")),
        requested_by=spec.get("requestedBy"),
        key=spec.get("idempotencyKey"),
        proof=msgspec.convert(spec["proofFrom"], SecretSource) if "proofFrom" in spec else None,
    )


def requester(asked: Asked, policy: Admission, seen: datetime | None) -> str:
    """The actor: the name that the request gives, if the policy was in force when it was made; else one that nobody believes. Pure.

    `seen`: since when the policy, as it is, is known to be in force.
    """
    since = policy.since or seen
    believed = bool(policy.mark) and since is not None and asked.created > since + _ENFORCED_AFTER
    if believed and asked.requested_by:
        return asked.requested_by
    return requesters.unverified(asked.requested_by)


def refusal(asked: Asked, job: Job | None) -> Refusal | None:
    """Why the request can never be met, None if it can. Pure."""
    if asked.proof is not None and asked.proof.secret_key_ref is None:
        return Refusal(
            "NotAllowed",
            "spec.proofFrom points at the controller's own host, which whoever may create requests must not make it read; put the proof into a Secret, "
            "and create the request again with secretKeyRef",
        )
    if job is None:
        return Refusal(
            "JobNotFound",
            f"there is no accepted ScheduledJob {asked.job!r} in namespace {asked.namespace!r}; see `kubectl get sjob`, then create the request again",
        )
    resolved = parameters.resolve(job.spec.parameters, asked.parameters)
    again = "create the request again with it corrected"
    if resolved.unknown:
        known = ", ".join(parameter.name for parameter in job.spec.parameters) or "no parameters"
        return Refusal(
            "ParameterUnknown", f"{job.name} does not know {', '.join(resolved.unknown)}, but {known}; {again}"
        )
    if resolved.missing:
        return Refusal(
            Reason.ParameterMissing,
            f"{job.name} needs spec.parameters.{resolved.missing[0]}; create the request again with it",
        )
    if resolved.invalid:
        name = resolved.invalid[0]
        pattern = next(one.pattern for one in job.spec.parameters if one.name == name)
        return Refusal(Reason.ParameterInvalid, f"spec.parameters.{name} does not match {pattern!r}; {again}")
    return None


def obey(tx: Tx, now: datetime, asked: Asked, actor: str, source: str, owner: str) -> Refusal | bool:
    """Make the dispatch that a request asks for, unless that has been done; whether it is there now. False: it is not ours to make.

    Errors: StoreUnavailable.
    """
    if not serving.owns(tx, source, owner):
        return False
    if dispatches.key_holders(tx, {asked.claim}, now):
        return True
    job = jobs.get(tx, asked.namespace, asked.job)
    # Whoever may write objects in a namespace has no say about jobs that come from elsewhere.
    refused = refusal(asked, job if job is not None and job.source == source else None)
    if refused is not None:
        return refused
    try:
        dispatch = requests.trigger(
            tx,
            now,
            asked.namespace,
            asked.job,
            asked.parameters,
            asked.key,
            actor,
            asked.scheduled_for,
            proof=asked.proof,
        )
    except Conflict as error:
        return Refusal(Reason.QueueFull, f"{error}; create the request again later")
    except InvalidInput as error:
        return Refusal("InvalidValue", f"{error}; create the request again with it corrected")
    claim = msgspec.structs.replace(dispatch, key=asked.claim[2])
    dispatches.claim_key(tx, claim, now + _REMEMBERED, now)
    words = f"RunRequest {asked.name}" + (f": {asked.reason}" if asked.reason else "")
    audit.record(tx, now, actor, "request", asked.namespace, asked.job, words)
    return True


def look(tx: Tx, wanted: Sequence[Asked], now: datetime) -> dict[str, Facts]:
    """What became of those of the requests that were obeyed, by uid."""
    claims: dict[Claim, str] = {}
    for some in _batches([asked.claim for asked in wanted]):
        claims |= dispatches.key_holders(tx, some, now)
    return {asked.uid: _facts(tx, claims[asked.claim]) for asked in wanted if asked.claim in claims}


def status_of(facts: Facts | Refusal, generation: int, previous: Sequence[Condition], now: datetime) -> dict[str, Any]:
    """The status of a request that was looked at. Pure."""
    if isinstance(facts, Refusal):
        verdicts = [
            no("Accepted", facts.reason, facts.message),
            yes("Finished", "Refused", "No run comes of this request; why is told by the condition Accepted."),
        ]
        run = None
    else:
        verdicts = [_accepted(facts), _finished(facts)]
        run = facts.run.name if facts.run is not None else facts.dispatch.run if facts.dispatch is not None else None
    settled = conditions.settle(verdicts, previous, generation, now)
    value = {"observedGeneration": generation, "conditions": conditions.plain(settled)}
    return value | ({"runName": run} if run is not None else {})


def goes_at(body: Body) -> datetime | None:
    """When a request that has ended is to be removed, as its author wished; None while something may come of it yet. Pure."""
    since = _holds(body, "Finished").get("lastTransitionTime")
    if not since:
        return None
    return instant(since) + durations.parse(body["spec"].get("ttlAfterFinished", _DEFAULT_TTL))


class RunRequests:
    """Those of one source. `round` by one task."""

    def __init__(
        self,
        source: KubernetesSource,
        shelf: Shelf,
        store: Store,
        clock: Clock,
        owner: str,
        changed: Callable[[], None],
    ) -> None:
        self._source, self._shelf, self._store, self._clock = source, shelf, store, clock
        self._owner, self._changed = owner, changed
        self._met: dict[str, float] = {}  # by uid: when it was first seen, in the loop's time
        self._goes: dict[str, datetime] = {}  # by uid of what has ended: when it is to be removed
        self._policies: dict[str, datetime] = {}  # by mark: when it was first seen in force

    async def round(self) -> float:
        """Obey what is new, tell what became of it, remove what has aged; seconds until something ages. Errors: ApiFailed, StoreUnavailable."""
        now, wait, open_ = self._clock.now(), math.inf, []
        for body in self._shelf.of(KIND):
            goes = self._goes.get(body["metadata"]["uid"])
            if goes is None and (goes := goes_at(body)) is None:
                open_.append(body)
                continue
            self._goes[body["metadata"]["uid"]] = goes
            if goes <= now:
                await self._remove(body)
            else:
                wait = min(wait, (goes - now).total_seconds())
        if open_:
            wait = min(wait, await self._attend(open_))
        return wait

    async def remember(self) -> None:
        """Everything that is there has just been listed: what was obeyed stays known for a while. Errors: ApiFailed, StoreUnavailable."""
        await self._look()
        claims = {body["metadata"]["uid"]: claim_of(body) for body in self._shelf.of(KIND)}
        self._met = {uid: at for uid, at in self._met.items() if uid in claims}
        self._goes = {uid: at for uid, at in self._goes.items() if uid in claims}
        now = self._clock.now()
        for some in _batches(list(claims.values())):
            known = await self._store.read(partial(dispatches.key_holders, keys=some, now=now + _REMEMBERED / 2))
            if late := set(some) - known.keys():
                await self._store.write(partial(dispatches.keep_keys, keys=late, expires_at=now + _REMEMBERED))

    async def _look(self) -> tuple[Admission, datetime]:
        """How the policy stands, and since when we have seen it so."""
        policy = await admission.look(self._source.objects, admission.RUN_REQUESTS)
        return policy, self._policies.setdefault(policy.mark, self._clock.now())

    async def _attend(self, bodies: Sequence[Body]) -> float:
        asked = {body["metadata"]["uid"]: _read(body) for body in bodies}
        wanted = [one for one in asked.values() if isinstance(one, Asked)]
        found: dict[str, Facts | Refusal] = {uid: one for uid, one in asked.items() if isinstance(one, Refusal)}
        found |= await self._store.read(partial(look, wanted=wanted, now=self._clock.now()))
        # It was obeyed, and the database that knew of it is no more, or is an older one: it is not done a second time.
        found |= {body["metadata"]["uid"]: Facts() for body in bodies if _is_accepted(body)} | found
        new = [one for one in wanted if one.uid not in found]
        if new:
            found |= await self._obey(new)
        for body in bodies:
            if (uid := body["metadata"]["uid"]) in found:
                await self._tell(body, found[uid])
        return 1.0 if len(found) < len(bodies) else math.inf

    async def _obey(self, new: Sequence[Asked]) -> Mapping[str, Facts | Refusal]:
        policy, seen = await self._look()
        now, moment = self._clock.now(), asyncio.get_running_loop().time()
        work = partial(obey, now=now, source=self._source.name, owner=self._owner)
        # Together, so that they share commits.
        done = await asyncio.gather(
            *(self._store.write(partial(work, asked=one, actor=requester(one, policy, seen))) for one in new)
        )
        found: dict[str, Facts | Refusal] = {}
        for asked, answer in zip(new, done, strict=True):
            waited = moment - self._met.setdefault(asked.uid, moment)
            if isinstance(answer, Refusal) and (answer.reason != "JobNotFound" or waited > _GRACE_S):
                found[asked.uid] = answer
        obeyed = await self._store.read(partial(look, wanted=new, now=now))
        if obeyed:
            self._changed()
        return found | obeyed

    async def _tell(self, body: Body, facts: Facts | Refusal) -> None:
        now, generation = self._clock.now(), body["metadata"].get("generation", 1)
        before = conditions.decode(msgspec.json.encode((body.get("status") or {}).get("conditions", [])))
        await self._shelf.write(body, status_of(facts, generation, before, now))

    async def _remove(self, body: Body) -> None:
        path = path_of(body)
        if self._shelf.may_try(path):
            await self._shelf.done(path, self._source.objects.delete(*named(body), body["metadata"]["uid"]))


def _holds(body: Body, kind: str) -> Mapping[str, Any]:
    """The condition, if the status says that it holds; else nothing."""
    told = (body.get("status") or {}).get("conditions", ())
    return next((one for one in told if one["type"] == kind and one["status"] == "True"), {})


def _batches(claims: Sequence[Claim]) -> Iterator[Sequence[Claim]]:
    """So many as one statement can name."""
    for start in range(0, len(claims), _AT_ONCE):
        yield claims[start : start + _AT_ONCE]


def _is_accepted(body: Body) -> bool:
    return bool(_holds(body, "Accepted"))


def _read(body: Body) -> Asked | Refusal:
    try:
        return asked_of(body)
    except (ValueError, OverflowError) as error:
        return Refusal(
            "InvalidValue", f"spec.scheduledFor cannot be used: {error}; create the request again with it corrected"
        )


def _facts(tx: Tx, dispatch: str) -> Facts:
    found = dispatches.get(tx, dispatch)
    if found is None or found.run is None or found.state is not DispatchState.Done:
        return Facts(found)
    attempts = runs.attempts(tx, found.job_id, found.run)
    waiting = [other for other in dispatches.waiting_in_root(tx, found.run) if other.job_id == found.job_id]
    return Facts(found, attempts[-1] if attempts else None, bool(waiting))


def _accepted(facts: Facts) -> Verdict:
    by = facts.dispatch.actor if facts.dispatch is not None else None
    message = f"A run was asked for by {by}." if by else ""
    if by is not None and requesters.is_unknown(by):
        message = (
            f"A run was asked for by somebody whose name nobody has checked ({by}): admission.yaml was not in force."
        )
    return yes("Accepted", "Accepted", message, facts.dispatch.created_at if facts.dispatch is not None else None)


def _finished(facts: Facts) -> Verdict:
    dispatch, run = facts.dispatch, facts.run
    if dispatch is None or (run is None and dispatch.state is DispatchState.Done):
        return yes("Finished", "Forgotten", "It has ended, and the job's history no longer knows how.")
    if dispatch.state is DispatchState.AwaitingApproval:
        return no(
            "Finished", dispatch.state, f"The Approval {dispatch.approval} waits for a decision: {dispatch.message}"
        )
    if dispatch.state in WAITING:
        return no("Finished", dispatch.reason or dispatch.state, dispatch.message or "")
    if run is None:
        return yes("Finished", dispatch.state, dispatch.message or sentence(dispatch.reason), dispatch.ended_at)
    if run.state is RunState.Running:
        return no("Finished", run.state, f"{run.name} is open.")
    if facts.retries:
        return no("Finished", "Retrying", f"{run.name} ended as {run.state}; another attempt waits.")
    code = f" with exit code {run.exit_code}" if run.exit_code else ""
    why = f": {run.message}" if run.message else ""
    return yes("Finished", run.state, f"{run.name} ended as {run.state}{code}{why}", run.finished_at)
