"""Step 4: a plan becomes rows, all of it in the caller's one transaction.

Invariant: a schedule whose fireDigest did not change is not touched, and one that ended stays ended, whatever else changes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from controller.base import ids
from controller.domain.job import DeletionPolicy, JobSpec
from controller.domain.reasons import Reason
from controller.domain.records import Job
from controller.domain.states import ApprovalState, DispatchState
from controller.reconcile import annotations, jobrows
from controller.reconcile.records import (
    CLUSTER_POOL,
    JOB,
    POOLS,
    CancelRequested,
    Counts,
    Document,
    Entry,
    Intent,
    Key,
    Plan,
    ReconcileRequested,
    RunRequested,
    as_json,
    encode_facts,
)
from controller.store import approvals, dispatches, governors, jobs, pausing, resources, runs
from controller.store.store import Tx

DELETION_POLICY = "deletionPolicy"
"""Who asks for the end of runs whose job was deleted."""

NewId = Callable[[datetime], str]

_MOST_WOKEN = 10_000

_INTENTS: Mapping[str, Callable[[str, str, str], Intent]] = {
    annotations.RUN: RunRequested,
    annotations.CANCEL: CancelRequested,
    annotations.RECONCILE: ReconcileRequested,
}


class Applied(msgspec.Struct, frozen=True):
    """What was done. `stored` are the resources as they are now (None: gone); `intents` is what annotations ask for, to be obeyed once."""

    counts: Counts
    stored: Mapping[Key, Entry | None]
    intents: tuple[Intent, ...]


def apply(
    tx: Tx,
    plan: Plan,
    now: datetime,
    before: Mapping[Key, Entry],
    *,
    new_uid: Callable[[], str] = ids.new_uid,
    new_id: NewId = ids.new_id,
) -> Applied:
    """Carry the plan out. `before` are the stored entries of everything that is updated.

    Effect: resources, jobs, triggers, pools, targets; ends of what waits for deleted or changed jobs; holds. Nothing is committed here.
    Errors: StoreUnavailable; a plan that was made on another state breaks a constraint, and nothing of it happens.
    """
    work = _Apply(tx, plan, now, before, new_uid, new_id)
    work.remove()
    work.create()
    work.update()
    work.rest()
    return work.applied()


class _Apply:
    def __init__(
        self,
        tx: Tx,
        plan: Plan,
        now: datetime,
        before: Mapping[Key, Entry],
        new_uid: Callable[[], str],
        new_id: NewId,
    ) -> None:
        self._tx = tx
        self._plan = plan
        self._now = now
        self._before = before
        self._new_uid = new_uid
        self._new_id = new_id
        self._stored: dict[Key, Entry | None] = {}
        self._intents: list[Intent] = []

    def applied(self) -> Applied:
        plan = self._plan
        rejected = sum(1 for errors in plan.reject.values() if errors)
        counts = Counts(len(plan.create), len(plan.update), len(plan.remove), plan.keep, rejected)
        return Applied(counts, self._stored, tuple(self._intents))

    # going

    def remove(self) -> None:
        """Delete resources. What waits for a deleted job ends; what runs of it is asked to end, unless its deletionPolicy says otherwise."""
        gone = [entry.id for entry in self._plan.remove if entry.key.kind == JOB]
        for chunk in resources.chunks(gone):
            self._end_work(jobs.by_id(self._tx, chunk))
        resources.delete_resources(self._tx, [entry.id for entry in self._plan.remove])
        self._stored.update((entry.key, None) for entry in self._plan.remove)

    def _end_work(self, deleted: Mapping[int, Job]) -> None:
        waiting = resources.waiting_ids(self._tx, deleted)
        self._cancel(waiting, Reason.JobDeleted, ApprovalState.Cancelled)
        live = runs.live_of_jobs(self._tx, deleted.keys())
        ending = {run.name for run in live if deleted[run.job_id].spec.deletion_policy is DeletionPolicy.Cancel}
        runs.request_cancel(self._tx, ending, DELETION_POLICY)

    def _cancel(self, waiting: Sequence[str], reason: Reason, approval: ApprovalState) -> None:
        ends = [dispatches.End(one, DispatchState.Cancelled, reason, reason.sentence) for one in waiting]
        dispatches.end(self._tx, ends, self._now)
        for chunk in resources.chunks(waiting):
            approvals.close(self._tx, chunk, approval, self._now)

    # coming

    def create(self) -> None:
        """Add resources with what defines them."""
        documents = self._plan.create
        uids = [self._new_uid() for _ in documents]
        numbers = resources.insert_resources(
            self._tx, [self._new_resource(one, uid) for one, uid in zip(documents, uids, strict=True)]
        )
        buried = self._buried(documents)
        rows: list[dict[str, Any]] = []
        triggers: list[tuple[int, str, str, str]] = []
        ended: list[tuple[str, str, str]] = []
        for document, number, uid in zip(documents, numbers, uids, strict=True):
            self._stored[document.entry.key] = msgspec.structs.replace(document.entry, id=number)
            if document.spec is not None:
                rows.append(self._new_job(document, document.spec, number, uid, buried, ended))
                triggers += jobrows.trigger_rows(document, number, document.spec)
        resources.insert_jobs(self._tx, rows)
        resources.bury(self._tx, ended, self._now)
        resources.replace_triggers(self._tx, (), triggers)
        stored = [(document, number) for document, number in zip(documents, numbers, strict=True)]
        resources.insert_pools(self._tx, [_pool(one, number) for one, number in stored if one.entry.key.kind in POOLS])
        self._wake_pools([one.entry for one in documents if one.entry.key.kind in POOLS])
        self._wake_governed(documents)
        resources.insert_targets(self._tx, [_target(one, number) for one, number in stored if _is_target(one)])

    def _new_resource(self, document: Document, uid: str) -> dict[str, Any]:
        key = document.entry.key
        return {
            "kind": key.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
            "generation": 1,
            "created_at": self._now,
            "updated_at": self._now,
            **jobrows.resource_values(document, encode_facts(document.entry.facts)),
        }

    def _new_job(
        self,
        document: Document,
        spec: JobSpec,
        number: int,
        uid: str,
        buried: Mapping[tuple[str, str, str], datetime],
        ended: list[tuple[str, str, str]],
    ) -> dict[str, Any]:
        key, now = document.entry.key, self._now
        said = document.entry.facts.hold
        hold = annotations.hold_of(said, now) if said is not None else None
        identity = (key.namespace, key.name, document.fire_digest)
        start = jobrows.start(
            spec, f"{key.namespace}/{key.name}", now, buried.get(identity), resting=spec.suspend or hold is not None
        )
        if start.ended:
            ended.append(identity)
        blocked = self._plan.blocked.get(key)
        return {
            "id": number,
            "uid": uid,
            "namespace": key.namespace,
            "name": key.name,
            "generation": 1,
            "created_at": now,
            "anchor_at": now,
            "fired_through": start.fired_through,
            "next_fire_at": start.next_fire_at,
            "completed_at": start.completed_at,
            "blocked_reason": blocked.reason if blocked else None,
            "blocked_message": blocked.message if blocked else None,
            "hold_reason": hold.reason if hold else None,
            "hold_by": hold.by if hold else None,
            "hold_since": hold.since if hold else None,
            "hold_until": hold.until if hold else None,
            "hold_annotation": said,
            **jobrows.defining(document, spec, now),
        }

    def _buried(self, documents: Iterable[Document]) -> dict[tuple[str, str, str], datetime]:
        scheduled = [one for one in documents if one.spec is not None and one.spec.schedule is not None]
        return resources.buried(
            self._tx, [(one.entry.key.namespace, one.entry.key.name, one.fire_digest) for one in scheduled]
        )

    # changing

    def update(self) -> None:
        """Put new versions in the place of old ones."""
        documents = [self._with_memory(document) for document in self._plan.update]
        resources.update_resources(self._tx, [self._new_version(document) for document in documents])
        self._stored.update((document.entry.key, document.entry) for document in documents)
        resources.resize_pools(self._tx, [_size(one) for one in documents if one.entry.key.kind in POOLS])
        resources.update_targets(self._tx, [_retarget(one) for one in documents if _is_target(one)])
        self._wake_pools([one.entry for one in documents if one.entry.key.kind in POOLS])
        self._wake_governed(documents)
        for chunk in resources.chunks([document for document in documents if document.spec is not None]):
            self._update_jobs(chunk)

    def _with_memory(self, document: Document) -> Document:
        """The document, knowing the requests of the version before it."""
        entry, before = document.entry, self._before.get(document.entry.key)
        if before is None or not before.facts.requests:
            return document
        requests = annotations.remembered(entry.facts.requests, before.facts.requests)
        facts = msgspec.structs.replace(entry.facts, requests=requests)
        return msgspec.structs.replace(document, entry=msgspec.structs.replace(entry, facts=facts))

    def _new_version(self, document: Document) -> dict[str, Any]:
        values = jobrows.resource_values(document, encode_facts(document.entry.facts))
        return {
            "resource": document.entry.id,
            "now": self._now,
            **{f"new_{name}": value for name, value in values.items()},
        }

    def _wake_pools(self, pools: Sequence[Entry]) -> None:
        """Whoever waits for slots of a pool that is new, or has another size, looks again."""
        freed = {f"pool:{entry.key.namespace}/{entry.key.name}": entry.facts.slots for entry in pools}
        dispatches.wake(self._tx, freed, self._now)

    def _wake_governed(self, documents: Sequence[Document]) -> None:
        """Whoever waits for what governs it to be known looks again."""
        if any(one.entry.key.kind in governors.KINDS for one in documents):
            dispatches.wake(self._tx, {governors.WAIT_KEY: _MOST_WOKEN}, self._now)

    def _update_jobs(self, documents: Sequence[Document]) -> None:
        old = jobs.by_id(self._tx, [document.entry.id for document in documents])
        buried = self._buried(documents)
        pairs = [
            (old[one.entry.id], one, one.spec) for one in documents if one.spec is not None and one.entry.id in old
        ]
        self._supersede([job for job, document, _ in pairs if job.effective_digest != document.effective_digest])
        resources.update_jobs(self._tx, [self._definition(document, spec) for _, document, spec in pairs])
        moved = [(job, document, spec) for job, document, spec in pairs if self._names_others(document)]
        resources.replace_triggers(
            self._tx,
            [job.id for job, _, _ in moved],
            [row for job, document, spec in moved for row in jobrows.trigger_rows(document, job.id, spec)],
        )
        restarts = []
        for job, document, spec in pairs:
            if job.fire_digest != document.fire_digest:
                restarts.append(self._restart(job, document, spec, buried))
        resources.restart_schedules(self._tx, restarts)
        resources.rest_schedules(self._tx, [job.id for job, _, spec in pairs if spec.suspend and not job.spec.suspend])
        for job, document, spec in pairs:
            self._pauses(job, document, spec)
            self._requests(document)

    def _definition(self, document: Document, spec: JobSpec) -> dict[str, Any]:
        values = jobrows.defining(document, spec, self._now)
        return {"job": document.entry.id, **{f"new_{name}": value for name, value in values.items()}}

    def _names_others(self, document: Document) -> bool:
        """Whether the triggers may have changed; `when` is not among the facts, so any new spec of a child counts."""
        before = self._before.get(document.entry.key)
        return before is None or before.digest != document.entry.digest

    def _supersede(self, changed: Sequence[Job]) -> None:
        """Questions about what no longer exists are withdrawn, with the dispatches that they held up."""
        asked = resources.asked_ids(self._tx, [job.id for job in changed])
        self._cancel(asked, Reason.Superseded, ApprovalState.Superseded)

    def _restart(
        self, job: Job, document: Document, spec: JobSpec, buried: Mapping[tuple[str, str, str], datetime]
    ) -> dict[str, Any]:
        identity = (job.namespace, job.name, document.fire_digest)
        resting = spec.suspend or job.hold is not None
        start = jobrows.start(spec, job.key, self._now, buried.get(identity), resting=resting)
        if start.ended:
            resources.bury(self._tx, [identity], self._now)
        return {
            "job": job.id,
            "anchor": self._now,
            "through": start.fired_through,
            "next": start.next_fire_at,
            "completed": start.completed_at,
        }

    def _pauses(self, job: Job, document: Document, spec: JobSpec) -> None:
        """Suspend and the hold annotation. A schedule that is resumed begins at now; what passed meanwhile becomes one Skipped row."""
        self._hold(job, document)
        if not (job.spec.suspend and not spec.suspend):
            return
        current = jobs.by_id(self._tx, [job.id])[job.id]
        if current.hold is None and job.fire_digest == document.fire_digest:
            pausing.resume(self._tx, current, self._now, self._new_id, Reason.Suspended)

    def _hold(self, job: Job, document: Document) -> None:
        """Obey a hold annotation that is new or different, and lift its hold when it is gone; holds by hand are left alone."""
        before = self._before.get(document.entry.key)
        said, was = document.entry.facts.hold, before.facts.hold if before is not None else None
        if said == was:
            return
        resources.note_hold_annotations(self._tx, {job.id: said})
        hold = annotations.hold_of(said, self._now) if said is not None else None
        current = jobs.by_id(self._tx, [job.id])[job.id]
        if hold is not None:
            pausing.hold(self._tx, current, hold)
        elif current.hold is not None and current.hold.by == annotations.HOLDER:
            pausing.release(self._tx, current, self._now, self._new_id)

    def _requests(self, document: Document) -> None:
        """Annotations with a new value are requests; whatever stood there when the job was first seen is not."""
        key = document.entry.key
        before = self._before.get(key)
        known = dict(before.facts.requests) if before is not None else {}
        for name, value in document.entry.facts.requests:
            if known.get(name) != value:
                self._intents.append(_INTENTS[name](key.namespace, key.name, value))

    # the rest

    def rest(self) -> None:
        """Places, orphans, rejections, and who has to wait for what."""
        plan = self._plan
        orphans = [msgspec.structs.replace(entry, path=None, line=0) for entry in plan.orphan]
        moved = (*plan.move, *orphans)
        resources.move_resources(self._tx, [(entry.id, entry.path, entry.line or None) for entry in moved])
        self._stored.update((entry.key, entry) for entry in moved)
        resources.reject(
            self._tx,
            plan.source,
            {
                (key.kind, key.namespace, key.name): as_json(errors) if errors else None
                for key, errors in plan.reject.items()
            },
        )
        created = {document.entry.key for document in plan.create}
        resources.block_jobs(
            self._tx,
            {
                (key.namespace, key.name): (why.reason, why.message) if why is not None else None
                for key, why in plan.blocked.items()
                if key not in created
            },
        )


def _is_target(document: Document) -> bool:
    return document.entry.key.kind.endswith("NotificationTarget")


def _pool(document: Document, number: int) -> tuple[int, str, str, int, Sequence[str]]:
    key, facts = document.entry.key, document.entry.facts
    assert key.kind != CLUSTER_POOL or not key.namespace
    return number, key.namespace, key.name, facts.slots, facts.namespaces


def _size(document: Document) -> tuple[int, int, Sequence[str]]:
    return document.entry.id, document.entry.facts.slots, document.entry.facts.namespaces


def _target(document: Document, number: int) -> tuple[int, str, str, Any]:
    key = document.entry.key
    return number, key.namespace, key.name, msgspec.json.decode(document.body)["spec"]


def _retarget(document: Document) -> tuple[int, Any]:
    return document.entry.id, msgspec.json.decode(document.body)["spec"]
