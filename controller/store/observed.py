"""What the status of resources is computed from: rows of many tables, gathered into one record a resource.

`status` gathers through this and projects purely. Invariant: gathering the facts of many jobs takes a fixed number of statements for every two
hundred of them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, func, or_, select

from controller.domain.records import Job, LastRun, Pool, Record
from controller.domain.states import WAITING, ApprovalState, RunState
from controller.domain.trust import Grant, decode_grant
from controller.store import rows
from controller.store.schema import (
    approvals,
    dispatches,
    instances,
    jobs,
    outbox,
    pool_holds,
    pools,
    resources,
    runs,
    sources,
    targets,
    waits,
)
from controller.store.store import Tx

RECENT = 10
ACTIVE = 20
_CHUNK = 200

_WAITING = [state.value for state in WAITING]
_OPEN = RunState.Running.value


class ResourceFacts(Record, frozen=True):
    """The stored document of one resource and where it comes from. `served` is None when its source is not known."""

    id: int
    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    source: str
    document: bytes
    created_at: datetime
    updated_at: datetime
    served: bool | None = None
    path: str | None = None
    line: int | None = None
    rejection: bytes | None = None
    conditions: bytes | None = None
    requests: tuple[tuple[str, str], ...] = ()


class _Noted(Record, frozen=True):
    """What a status takes from a resource's `references`: annotations that were requests, and their values."""

    requests: tuple[tuple[str, str], ...] = ()


_noted = msgspec.json.Decoder(_Noted).decode


class ActiveRun(Record, frozen=True):
    """One open run."""

    name: str
    started_at: datetime


class JobFacts(Record, frozen=True):
    """Everything that the status of one job is computed from. Lists are newest first and bounded; the counts are not."""

    job: Job
    resource: ResourceFacts
    schedule_text: str = ""
    active: tuple[ActiveRun, ...] = ()
    active_count: int = 0
    recent: tuple[LastRun, ...] = ()
    grant: Grant | None = None
    queued: int = 0
    approvals: tuple[tuple[str, datetime], ...] = ()


class Holder(Record, frozen=True):
    """A run that holds slots of a pool."""

    run: str
    namespace: str | None
    slots: int


class PoolFacts(Record, frozen=True):
    """Everything that the status of one pool is computed from. Holders are oldest first and bounded."""

    pool: Pool
    resource: ResourceFacts
    waiting: int = 0
    holders: tuple[Holder, ...] = ()


class TargetFacts(Record, frozen=True):
    """Everything that the status of one notification target is computed from."""

    resource: ResourceFacts
    waiting: int = 0
    failing: int = 0
    last_error: str | None = None


class SourceFacts(Record, frozen=True):
    """One source as last seen, with what it owns."""

    name: str
    kind: str
    location: str
    served: bool
    owner: str | None = None
    revision: str | None = None
    signer: str | None = None
    attempted_revision: str | None = None
    applied_at: datetime | None = None
    reason: str | None = None
    message: str | None = None
    failing_since: datetime | None = None
    errors: bytes | None = None
    resources: int = 0
    host: str | None = None
    pid: int | None = None


def job_ids(tx: Tx, namespace: str = "", name: str | None = None) -> list[int]:
    """The ids of jobs, by namespace and name."""
    statement = select(jobs.c.id).where(*scoped(jobs, namespace, name)).order_by(jobs.c.namespace, jobs.c.name)
    return list(tx.execute(statement).scalars())


def job_facts(tx: Tx, ids: Sequence[int]) -> list[JobFacts]:
    """What the status of these jobs is computed from, in the order of `ids`; those that are gone are left out."""
    found: dict[int, JobFacts] = {}
    for start in range(0, len(ids), _CHUNK):
        found.update(_job_facts(tx, ids[start : start + _CHUNK]))
    return [found[one] for one in ids if one in found]


def _job_facts(tx: Tx, ids: Sequence[int]) -> dict[int, JobFacts]:
    found = tx.execute(select(jobs).where(jobs.c.id.in_(ids))).all()
    known = {row.id: rows.job_of(row) for row in found}
    texts = {row.id: row.schedule_text for row in found}
    documents = _resource_facts(tx, resources.c.id.in_(list(known)))
    active, counts = _active_runs(tx, list(known))
    recent = _recent_runs(tx, known.values())
    queued = _counts(
        tx,
        select(dispatches.c.job_id, func.count())
        .where(dispatches.c.job_id.in_(list(known)), dispatches.c.state.in_(_WAITING))
        .group_by(dispatches.c.job_id),
    )
    asked = _pending_approvals(tx, list(known))
    granted = _grants(tx, {job.last_run.name for job in known.values() if job.last_run is not None})
    return {
        one: JobFacts(
            job=job,
            resource=documents[one],
            schedule_text=texts[one],
            active=tuple(active[one]),
            active_count=counts[one],
            recent=tuple(recent[one]),
            queued=queued.get(one, 0),
            approvals=tuple(asked[one]),
            grant=granted.get(job.last_run.name) if job.last_run is not None else None,
        )
        for one, job in known.items()
        if one in documents
    }


def _active_runs(tx: Tx, ids: Sequence[int]) -> tuple[Mapping[int, list[ActiveRun]], Mapping[int, int]]:
    statement = (
        select(runs.c.job_id, runs.c.name, runs.c.started_at, runs.c.created_at)
        .where(runs.c.state == _OPEN, runs.c.job_id.in_(ids))
        .order_by(runs.c.created_at.desc(), runs.c.name)
    )
    found: dict[int, list[ActiveRun]] = defaultdict(list)
    counts: dict[int, int] = defaultdict(int)
    for row in tx.execute(statement):
        counts[row.job_id] += 1
        if counts[row.job_id] <= ACTIVE:
            found[row.job_id].append(ActiveRun(row.name, row.started_at or row.created_at))
    return found, counts


def _grants(tx: Tx, names: Collection[str]) -> Mapping[str, Grant]:
    """What these runs were opened or refused under; those that nothing governed are left out."""
    query = select(runs.c.name, runs.c.grant).where(runs.c.name.in_(names), runs.c.grant.is_not(None))
    found = ((row.name, decode_grant(row.grant)) for row in tx.execute(query)) if names else ()
    return {name: grant for name, grant in found if grant is not None}


def _recent_runs(tx: Tx, of: Iterable[Job]) -> Mapping[int, list[LastRun]]:
    """The newest ended runs of each job; by name, because that is what the index has, and by id, because names come back."""
    names: dict[str, list[Job]] = defaultdict(list)
    for job in of:
        names[job.namespace].append(job)
    found: dict[int, list[LastRun]] = defaultdict(list)
    for namespace, members in names.items():
        rank = (
            func.row_number()
            .over(partition_by=runs.c.job, order_by=(runs.c.created_at.desc(), runs.c.name))
            .label("rank")
        )
        ranked = (
            select(
                runs.c.job_id,
                runs.c.name,
                runs.c.state,
                runs.c.reason,
                runs.c.exit_code,
                runs.c.started_at,
                runs.c.finished_at,
                runs.c.created_at,
                rank,
            )
            .where(
                runs.c.namespace == namespace,
                runs.c.job.in_([job.name for job in members]),
                runs.c.job_id.in_([job.id for job in members]),
                runs.c.state != _OPEN,
            )
            .subquery()
        )
        statement = select(ranked).where(ranked.c.rank <= RECENT).order_by(ranked.c.job_id, ranked.c.rank)
        for row in tx.execute(statement):
            ended = row.finished_at or row.created_at
            found[row.job_id].append(
                LastRun(row.name, RunState(row.state), row.reason, row.exit_code, row.started_at, ended)
            )
    return found


def _pending_approvals(tx: Tx, ids: Sequence[int]) -> Mapping[int, list[tuple[str, datetime]]]:
    statement = (
        select(approvals.c.job_id, approvals.c.name, approvals.c.created_at)
        .where(approvals.c.state == ApprovalState.Pending.value, approvals.c.job_id.in_(ids))
        .order_by(approvals.c.created_at)
    )
    found: dict[int, list[tuple[str, datetime]]] = defaultdict(list)
    for row in tx.execute(statement):
        found[row.job_id].append((row.name, row.created_at))
    return found


def resource(tx: Tx, kind: str, namespace: str, name: str) -> ResourceFacts | None:
    """One resource as stored; None when there is none."""
    where = (resources.c.kind == kind, resources.c.namespace == namespace, resources.c.name == name)
    return next(iter(_resource_facts(tx, *where).values()), None)


def _resource_facts(tx: Tx, *where: ColumnElement[bool]) -> dict[int, ResourceFacts]:
    statement = (
        select(resources, sources.c.served)
        .outerjoin(sources, sources.c.name == resources.c.source)
        .where(*where)
        .order_by(resources.c.namespace, resources.c.name)
    )
    return {row.id: _resource_of(row) for row in tx.execute(statement)}


def _resource_of(row: Row[Any]) -> ResourceFacts:
    return ResourceFacts(
        id=row.id,
        kind=row.kind,
        namespace=row.namespace,
        name=row.name,
        uid=row.uid,
        generation=row.generation,
        source=row.source,
        document=row.document,
        created_at=row.created_at,
        updated_at=row.updated_at,
        served=row.served,
        path=row.path,
        line=row.line,
        rejection=row.rejection,
        conditions=row.conditions,
        requests=_noted(row.references).requests if row.references else (),
    )


def pool_facts(tx: Tx, namespace: str, name: str | None = None, ids: Sequence[int] | None = None) -> list[PoolFacts]:
    """Pools with what holds them and how many wait; cluster pools belong to every namespace."""
    where = _in_scope_or_cluster(pools, namespace, name) if ids is None else [pools.c.id.in_(ids)]
    found = [
        rows.pool_of(row) for row in tx.execute(select(pools).where(*where).order_by(pools.c.namespace, pools.c.name))
    ]
    numbers = [pool.id for pool in found]
    documents = _resource_facts(tx, resources.c.id.in_(numbers))
    holders: dict[int, list[Holder]] = defaultdict(list)
    held = (
        select(pool_holds, runs.c.namespace)
        .outerjoin(runs, runs.c.name == pool_holds.c.run)
        .where(pool_holds.c.pool.in_(numbers))
        .order_by(runs.c.created_at, pool_holds.c.run)
    )
    for row in tx.execute(held):
        holders[row.pool].append(Holder(row.run, row.namespace, row.slots))
    waiting = _counts(
        tx, select(waits.c.key, func.count()).where(waits.c.key.in_([pool.key for pool in found])).group_by(waits.c.key)
    )
    return [
        PoolFacts(pool, documents[pool.id], waiting.get(pool.key, 0), tuple(holders[pool.id][:ACTIVE]))
        for pool in found
        if pool.id in documents
    ]


def target_facts(
    tx: Tx, namespace: str, name: str | None = None, ids: Sequence[int] | None = None
) -> list[TargetFacts]:
    """Notification targets with what is on its way to them; cluster targets belong to every namespace."""
    where = _in_scope_or_cluster(targets, namespace, name) if ids is None else [targets.c.id.in_(ids)]
    numbers = list(tx.execute(select(targets.c.id).where(*where)).scalars())
    found = []
    for resource in _resource_facts(tx, resources.c.id.in_(numbers)).values():
        pending = and_(
            outbox.c.state == "Pending", outbox.c.target == resource.name, outbox.c.target_kind == resource.kind
        )
        if resource.namespace:
            pending = and_(pending, outbox.c.namespace == resource.namespace)
        total, failing, error = tx.execute(
            select(func.count(), func.count(outbox.c.last_error), func.max(outbox.c.last_error)).where(pending)
        ).one()
        found.append(TargetFacts(resource, total, failing, error))
    return found


def document_facts(tx: Tx, kinds: Collection[str], namespace: str = "", name: str | None = None) -> list[ResourceFacts]:
    """Documents of these kinds, which are shown as they were accepted; those of Cluster kinds belong to every namespace."""
    where: list[ColumnElement[bool]] = [resources.c.kind.in_(kinds)]
    if namespace:
        where.append(resources.c.namespace.in_((namespace, "")))
    if name is not None:
        where.append(resources.c.name == name)
    found = _resource_facts(tx, and_(*where)).values()
    return sorted(found, key=lambda one: (one.namespace, one.name, one.kind))


def source_facts(tx: Tx, name: str | None = None) -> list[SourceFacts]:
    """Sources with how much they own and who serves them, by name."""
    owned = _counts(tx, select(resources.c.source, func.count()).group_by(resources.c.source))
    statement = select(sources, instances.c.host, instances.c.pid).outerjoin(
        instances, instances.c.id == sources.c.owner
    )
    if name is not None:
        statement = statement.where(sources.c.name == name)
    return [
        SourceFacts(
            name=row.name,
            kind=row.kind,
            location=row.location,
            served=row.served,
            owner=row.owner,
            revision=row.revision,
            signer=row.signer,
            attempted_revision=row.attempted_revision,
            applied_at=row.applied_at,
            reason=row.reason,
            message=row.message,
            failing_since=row.failing_since,
            errors=row.errors,
            resources=owned.get(row.name, 0),
            host=row.host,
            pid=row.pid,
        )
        for row in tx.execute(statement.order_by(sources.c.name))
    ]


def resource_ids(tx: Tx, kinds: Collection[str]) -> list[int]:
    """The ids of all resources of some kinds."""
    return list(
        tx.execute(select(resources.c.id).where(resources.c.kind.in_(list(kinds))).order_by(resources.c.id)).scalars()
    )


def keep_conditions(tx: Tx, changed: Mapping[int, bytes]) -> None:
    """Remember conditions as last projected, for their transition times. Effect: the caller's transaction."""
    if changed:
        statement = (
            resources.update().where(resources.c.id == bindparam("resource")).values(conditions=bindparam("projected"))
        )
        tx.execute(statement, [{"resource": one, "projected": data} for one, data in changed.items()])


def _in_scope_or_cluster(table: Any, namespace: str, name: str | None) -> list[ColumnElement[bool]]:
    where = scoped(table, "", name)
    if namespace:
        where.append(or_(table.c.namespace == namespace, table.c.namespace == ""))
    return where


def _counts(tx: Tx, statement: Select[Any]) -> dict[Any, int]:
    return {row[0]: row[1] for row in tx.execute(statement)}


def scoped(table: Any, namespace: str, name: str | None = None) -> list[ColumnElement[bool]]:
    """The conditions of a namespace (none: all of them) and a name (None: all) on a table that has both. Pure."""
    where: list[ColumnElement[bool]] = []
    if namespace:
        where.append(table.c.namespace == namespace)
    if name is not None:
        where.append(table.c.name == name)
    return where
