"""Approvals as objects: made for the open questions of the source's jobs, and read for what people decided.

The desk calls `round`. The database is the truth: an object that is gone is made again, one that has lost its question is told how that ended and removed in time.
Who may decide is RBAC's and admission's matter. Invariant: a decision is taken from an object only if the policies that are in force now were in force, unchanged and
enforced, when the object was made; so whatever somebody wrote without them counts for nothing, also later.
"""

import asyncio
import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from controller.base.clock import Clock
from controller.base.errors import Conflict, NotFound, SourceUnavailable
from controller.dispatch import requests
from controller.domain import requesters
from controller.domain.records import Approval
from controller.domain.states import ApprovalState
from controller.kinds.catalog import API_VERSION
from controller.kubernetes import admission
from controller.kubernetes.admission import MARK, Admission
from controller.kubernetes.mirror import object_path, path_of
from controller.kubernetes.shelf import Body, Shelf, named, printed
from controller.kubernetes.source import KubernetesSource
from controller.status import conditions
from controller.status.conditions import Condition, Verdict, no, yes
from controller.status.shapes import policy_ref
from controller.status.text import rfc3339, to_second
from controller.store import approvals, serving
from controller.store.store import Store, Tx

KIND = "Approval"
OURS = {"app.kubernetes.io/managed-by": "jobwarden"}
"""Labels of what we made: nothing else is ever removed."""

_LOOK_S, _LOOK_AGAIN_S = 30.0, 2.0
_MOST_VALUE = 4096
_MOST_MESSAGE = 1024


class Said(msgspec.Struct, frozen=True):
    """What one person decided, in an object."""

    by: str
    approved: bool
    reason: str = ""


def spec_of(approval: Approval) -> dict[str, Any]:
    """What an Approval asks; all of its spec but the decisions. Pure."""
    spec = {
        "jobRef": {"name": approval.job},
        "dispatch": approval.dispatch,
        "gate": approval.gate,
        "policyRef": policy_ref(approval),
        "digest": approval.digest,
        "parameters": {name: _shown(value) for name, value in approval.parameters.items()} or None,
        "scheduledFor": rfc3339(approval.scheduled_for),
        "requestedBy": approval.requested_by,
        "message": approval.message[:_MOST_MESSAGE],
    }
    return {key: value for key, value in spec.items() if value is not None}


def object_of(approval: Approval, owner_uid: str, mark: str) -> dict[str, Any]:
    """The object that asks, with what was decided already. `owner_uid` is that of the ScheduledJob. Pure."""
    decided = {
        one.by: {"decision": "Approved" if one.approved else "Rejected", "reason": one.reason}
        for one in approval.decisions
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": approval.name,
            "namespace": approval.namespace,
            "labels": OURS,
            "annotations": {MARK: mark},
            "ownerReferences": [
                {"apiVersion": API_VERSION, "kind": "ScheduledJob", "name": approval.job, "uid": owner_uid}
            ],
        },
        "spec": {**spec_of(approval), **({"decisions": decided} if decided else {})},
    }


def untaken(body: Body, approval: Approval) -> list[Said]:
    """Decisions in an object that the database does not know, rejections first: one of them is enough. Pure."""
    known = {one.by for one in approval.decisions}
    said = [
        Said(by, one["decision"] == "Approved", printed(one.get("reason", "")))
        for by, one in (body["spec"].get("decisions") or {}).items()
        if by not in known
    ]
    return sorted(said, key=lambda one: (one.approved, one.by))


def distrust(body: Body, approval: Approval, policy: Admission) -> str:
    """Why nothing is taken from an object, with what to do about it; "" when decisions in it are as true as admission can make them. Pure."""
    if not policy.mark:
        return f"No decision is taken from this object: {policy.problem}."
    if _mark_of(body) != policy.mark:
        return (
            "No decision is taken from this object, which was made under other rules: delete it, and it is made anew."
        )
    asked = {key: value for key, value in body["spec"].items() if key != "decisions"}
    if asked != spec_of(approval):
        return "No decision is taken from this object, which asks something else than it should: delete it, and it is made anew."
    return ""


def status_of(
    approval: Approval,
    trouble: str,
    refused: Mapping[str, str],
    generation: int,
    previous: Sequence[Condition],
    now: datetime,
) -> dict[str, Any]:
    """The status of an Approval. `trouble` is what `distrust` says, `refused` why decisions of people do not count, by person. Pure."""
    verdicts = [_decided(approval, refused)]
    if approval.state is ApprovalState.Pending:
        guarded = yes(
            "Guarded", "PolicyInForce", "Decisions in this object are those of the people that they are named after."
        )
        verdicts.append(no("Guarded", "NotTrusted", trouble) if trouble else guarded)
    settled = conditions.settle(verdicts, previous, generation, now)
    return {
        "observedGeneration": generation,
        "conditions": conditions.plain(settled),
        "state": approval.state.value,
        "expiresAt": to_second(approval.expires_at),
    }


def take(tx: Tx, now: datetime, approval: Approval, said: Said, source: str, owner: str) -> str | None:
    """Make a decision count; why it does not, None when it does. Errors: SourceUnavailable when the source is another replica's by now, StoreUnavailable."""
    if not serving.owns(tx, source, owner):
        raise SourceUnavailable(f"decisions about the jobs of {source} are taken by another replica by now")
    if len(said.by) > requesters.MOST or not said.by.isprintable():
        return f"a user name has at most {requesters.MOST} printable characters here"
    decide = requests.approve if said.approved else requests.reject
    try:
        decide(tx, now, approval.namespace, approval.name, said.by, said.reason, authorized=True)
    except (Conflict, NotFound) as error:
        return str(error)
    return None


class Approvals:
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
        self._policy = Admission(problem="it has not been looked at yet")
        self._look_at = -math.inf  # the loop's time
        self._tidy = True
        self._enforced: set[str] = set()  # marks
        self._refused: dict[str, dict[str, str]] = {}  # by uid of the object, then by person

    def tidy(self) -> None:
        """Everything has just been listed: the next round looks also at what was decided long ago."""
        self._tidy = True

    async def round(self) -> float:
        """Ask, read, tell, remove; seconds until it has to look again by itself. Errors: ApiFailed, StoreUnavailable."""
        held = {path_of(body): body for body in self._shelf.of(KIND) if self._tidy or not self._is_over(body)}
        names = [body["metadata"]["name"] for body in held.values()]
        rows = await self._store.read(partial(_rows, source=self._source.name, names=names))
        questions = {object_path(KIND, one.namespace, one.name): one for one in rows}
        open_ = {path: one for path, one in questions.items() if one.state is ApprovalState.Pending}
        missing = [one for path, one in open_.items() if path not in held and self._job_of(one.namespace, one.job)]
        news = [path for path, one in open_.items() if path in held and self._untried(held[path], one)]
        if open_:
            await self._look(at_once=bool(missing or news), namespace=next(iter(open_.values())).namespace)
        for approval in missing:
            await self._ask(approval)
        taken = [await self._take(held[path], open_[path]) for path in news]
        if any(taken):
            self._changed()
            return 0.0
        for path, body in held.items():
            await self._keep(body, questions.get(path))
        if self._tidy:
            uids = {body["metadata"]["uid"] for body in held.values()}
            self._refused = {uid: why for uid, why in self._refused.items() if uid in uids}
            self._tidy = False
        return self._look_at - asyncio.get_running_loop().time() if open_ else math.inf

    async def _look(self, *, at_once: bool, namespace: str) -> None:
        """How the policy stands: asked before anything depends on it, and now and then so that people are told."""
        now = asyncio.get_running_loop().time()
        if not at_once and now < self._look_at:
            return
        policy = await admission.look(self._source.objects, admission.APPROVALS)
        if policy.mark and policy.mark not in self._enforced:
            policy = await admission.tried(self._source.objects, namespace, policy)
        if policy.mark:
            self._enforced.add(policy.mark)
        self._look_at = now + (_LOOK_S if policy.mark else _LOOK_AGAIN_S)
        self._policy = policy

    async def _ask(self, approval: Approval) -> None:
        path = object_path(KIND, approval.namespace, approval.name)
        job = self._job_of(approval.namespace, approval.job)
        if job is None or not self._shelf.may_try(path):
            return
        body = object_of(approval, job, self._policy.mark)

        async def make() -> None:
            self._shelf.put(await self._source.objects.create(body))

        await self._shelf.done(path, make())

    async def _take(self, body: Body, approval: Approval) -> bool:
        """Whether any decision in the object counted."""
        if distrust(body, approval, self._policy):
            return False
        refused, counted = self._refused.setdefault(body["metadata"]["uid"], {}), False
        for said in self._untried(body, approval):
            now, source, owner = self._clock.now(), self._source.name, self._owner
            why = await self._store.write(
                partial(take, now=now, approval=approval, said=said, source=source, owner=owner)
            )
            if why is None:
                counted = True
            else:
                refused[said.by] = why
        return counted

    async def _keep(self, body: Body, approval: Approval | None) -> None:
        """Tell how it stands, or remove it when nobody has to know any more."""
        pending = approval is not None and approval.state is ApprovalState.Pending
        stale = pending and self._policy.mark != "" and _mark_of(body) != self._policy.mark
        if approval is None or stale or (not pending and self._job_of(approval.namespace, approval.job) is None):
            await self._remove(body)
            return
        trouble = distrust(body, approval, self._policy)
        refused = self._refused.get(body["metadata"]["uid"], {})
        generation = body["metadata"].get("generation", 1)
        before = conditions.decode(msgspec.json.encode((body.get("status") or {}).get("conditions", [])))
        await self._shelf.write(body, status_of(approval, trouble, refused, generation, before, self._clock.now()))

    async def _remove(self, body: Body) -> None:
        path = path_of(body)
        ours = OURS.items() <= (body["metadata"].get("labels") or {}).items()
        if ours and self._shelf.may_try(path):
            await self._shelf.done(path, self._source.objects.delete(*named(body), body["metadata"]["uid"]))

    def _untried(self, body: Body, approval: Approval) -> list[Said]:
        refused = self._refused.get(body["metadata"]["uid"], {})
        return [said for said in untaken(body, approval) if said.by not in refused]

    def _is_over(self, body: Body) -> bool:
        """It is told how it ended, and its job is still there."""
        told = (body.get("status") or {}).get("state", ApprovalState.Pending)
        job = self._job_of(body["metadata"]["namespace"], body["spec"]["jobRef"]["name"])
        return told != ApprovalState.Pending and job is not None

    def _job_of(self, namespace: str, name: str) -> str | None:
        """The uid of the object of a job."""
        held = self._source.mirror.held.get(object_path("ScheduledJob", namespace, name))
        return held.uid if held is not None else None


def _rows(tx: Tx, source: str, names: Collection[str]) -> list[Approval]:
    """Open questions of the source, and whatever else was asked by these names."""
    pending = approvals.pending_of_source(tx, source)
    known = {one.name for one in pending}
    return [*pending, *approvals.get(tx, [name for name in names if name not in known]).values()]


def _decided(approval: Approval, refused: Mapping[str, str]) -> Verdict:
    yeses = [one.by for one in approval.decisions if one.approved]
    noes = [f"{one.by}: {one.reason}" if one.reason else one.by for one in approval.decisions if not one.approved]
    if approval.state is ApprovalState.Rejected:
        return yes("Decided", approval.state, f"Rejected by {', '.join(noes)}.", approval.decided_at)
    if approval.state is not ApprovalState.Pending:
        by = f" by {', '.join(yeses)}" if approval.state is ApprovalState.Approved and yeses else ""
        return yes("Decided", approval.state, f"{approval.state}{by}.", approval.decided_at)
    parts = [f"{len(yeses)} of {approval.required} have approved" + (f": {', '.join(yeses)}" if yeses else "")]
    parts += [f"the decision of {by} does not count: {why}" for by, why in sorted(refused.items())]
    return no("Decided", approval.state, "; ".join(parts) + ".")


def _mark_of(body: Body) -> str:
    mark: str = (body["metadata"].get("annotations") or {}).get(MARK, "")
    return mark


def _shown(value: str) -> str:
    """A value as an object can hold it; a longer one is told apart by its digest."""
    if len(value) <= _MOST_VALUE:
        return value
    tail = f"… ({len(value)} characters, sha256:{hashlib.sha256(value.encode()).hexdigest()})"
    return value[: _MOST_VALUE - len(tail)] + tail
