"""Statements on what is declared: sources, files, resources, and the defining columns of jobs, triggers, pools and targets.

`reconcile.apply` composes them in one transaction; what happens to a job afterwards belongs to `jobs`. Identities are (kind, namespace, name), cluster
kinds with the namespace "". Invariant: a resource's uid never changes, and its generation grows exactly when its spec does.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Table, bindparam, case, delete, func, insert, select, tuple_, update

from controller.domain.records import Record
from controller.domain.states import WAITING, ApprovalState
from controller.store.rows import pack
from controller.store.schema import (
    Instant,
    approvals,
    dispatches,
    files,
    jobs,
    pools,
    resources,
    sources,
    targets,
    to_micros,
    tombstones,
    triggers,
)
from controller.store.statement import dialect_insert
from controller.store.store import Tx

MOST_ERRORS = 1000
"""How many errors of one source are stored; its message says how many there are."""

T = TypeVar("T")
Identity = tuple[str, str, str]

_CHUNK = 500
_WAITING = [state.value for state in WAITING]


class DeclaredRow(NamedTuple):
    """What is kept in memory of a resource."""

    id: int
    kind: str
    namespace: str
    name: str
    source: str
    digest: str
    path: str | None
    line: int | None
    references: bytes | None
    rejected: bool


class FileRow(NamedTuple):
    """One file that was read and is in force as a whole."""

    path: str
    digest: str
    documents: int


class SourceRow(Record, frozen=True):
    """What is known of a source."""

    name: str
    kind: str
    location: str
    served: bool
    revision: str | None = None
    attempted_revision: str | None = None
    applied_at: datetime | None = None
    reason: str | None = None
    message: str | None = None
    failing_since: datetime | None = None


def chunks(items: Collection[T], size: int = _CHUNK) -> Iterator[list[T]]:
    """The items in lists of at most `size`: what a statement may name."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _insert_many(tx: Tx, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the same keys, values as the driver takes them but for instants.

    Compiled once and handed to the driver: of ten thousand documents SQLAlchemy would spend more on naming the parameters of each row than the
    database spends on the rows.
    """
    if not rows:
        return
    columns = list(rows[0])
    moments = [isinstance(table.c[name].type, Instant) for name in columns]
    known: dict[datetime | None, int | None] = {None: None}

    def micros(instant: datetime | None) -> int | None:
        if instant not in known:
            known[instant] = to_micros(instant) if instant is not None else None
        return known[instant]

    values = [
        tuple(micros(row[name]) if is_moment else row[name] for name, is_moment in zip(columns, moments, strict=True))
        for row in rows
    ]
    preparer = tx.dialect.identifier_preparer
    names = ", ".join(preparer.quote(name) for name in columns)
    mark = "?" if tx.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(columns))
    tx.exec_driver_sql(f"INSERT INTO {preparer.format_table(table)} ({names}) VALUES ({marks})", values)  # noqa: S608 - our own names


# sources and files


def source(tx: Tx, name: str) -> SourceRow | None:
    """One source."""
    row = tx.execute(select(sources).where(sources.c.name == name)).one_or_none()
    if row is None:
        return None
    return SourceRow(**{field: getattr(row, field) for field in SourceRow.__struct_fields__})


def abandoned_sources(tx: Tx) -> list[str]:
    """Names of sources that nobody serves."""
    return list(tx.execute(select(sources.c.name).where(sources.c.served.is_(False))).scalars())


def jobs_of(tx: Tx, source: str, names: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these jobs, by namespace and name, the source declares."""
    found: set[tuple[str, str]] = set()
    for chunk in chunks(names):
        named = tuple_(jobs.c.namespace, jobs.c.name).in_(chunk)
        found.update(
            (row.namespace, row.name)
            for row in tx.execute(select(jobs.c.namespace, jobs.c.name).where(jobs.c.source == source, named))
        )
    return found


def applied(tx: Tx) -> dict[str, datetime]:
    """When each source was last applied."""
    query = select(sources.c.name, sources.c.applied_at).where(sources.c.applied_at.is_not(None))
    return {row.name: row.applied_at for row in tx.execute(query)}


def record_source(tx: Tx, name: str, kind: str, location: str, **values: Any) -> None:
    """Make the source known, or change these columns of it."""
    changes = {"kind": kind, "location": location, **values}
    statement = dialect_insert(tx.dialect, sources).values(name=name, **changes)
    tx.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changes))


def files_of(tx: Tx, source: str) -> list[FileRow]:
    """The files of a source that need not be read again while their digest is the same."""
    query = select(files.c.path, files.c.digest, files.c.documents).where(files.c.source == source)
    return [FileRow._make(row) for row in tx.execute(query)]


def record_files(tx: Tx, source: str, now: Sequence[FileRow], gone: Collection[str]) -> None:
    """Replace what is known of these files; `gone` have to be read again, or are no more."""
    for chunk in chunks([*gone, *(row.path for row in now)]):
        tx.execute(delete(files).where(files.c.source == source, files.c.path.in_(chunk)))
    if now:
        _insert_many(tx, files, [{"source": source, **row._asdict()} for row in now])


# resources


def declared(tx: Tx) -> list[DeclaredRow]:
    """Every resource of every source, in short."""
    columns = [resources.c[name] for name in DeclaredRow._fields[:-1]]
    query = select(*columns, resources.c.rejection.is_not(None))
    return [DeclaredRow._make(row) for row in tx.execute(query)]


def blocked_jobs(tx: Tx) -> dict[Identity, tuple[str, str]]:
    """Jobs that must not run: identity to reason and message."""
    query = select(jobs.c.namespace, jobs.c.name, jobs.c.blocked_reason, jobs.c.blocked_message)
    return {
        ("ScheduledJob", row[0], row[1]): (row[2], row[3] or "")
        for row in tx.execute(query.where(jobs.c.blocked_reason.is_not(None)))
    }


def insert_resources(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Add resources; give their ids in the same order."""
    if not rows:
        return []
    newest = tx.execute(select(func.coalesce(func.max(resources.c.id), 0))).scalar_one()
    _insert_many(tx, resources, rows)
    # Asking for ids row by row (RETURNING) would cost SQLite more than all the rest; ids only grow, so the new ones are above.
    query = select(resources.c.uid, resources.c.id).where(resources.c.id > newest)
    numbers: dict[str, int] = {row[0]: row[1] for row in tx.execute(query)}
    return [numbers[row["uid"]] for row in rows]


_UPDATE_RESOURCE = (
    update(resources)
    .where(resources.c.id == bindparam("resource"))
    .values(
        generation=case(
            (resources.c.digest != bindparam("new_digest"), resources.c.generation + 1), else_=resources.c.generation
        ),
        source=bindparam("new_source"),
        path=bindparam("new_path"),
        line=bindparam("new_line"),
        document=bindparam("new_document"),
        digest=bindparam("new_digest"),
        references=bindparam("new_references"),
        updated_at=bindparam("now"),
    )
)


def update_resources(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """New versions: `resource` (id), and `new_` source, path, line, document, digest, references, and `now`."""
    if rows:
        tx.execute(_UPDATE_RESOURCE, list(rows))


_MOVE_RESOURCE = (
    update(resources)
    .where(resources.c.id == bindparam("resource"))
    .values(path=bindparam("new_path"), line=bindparam("new_line"))
)


def move_resources(tx: Tx, places: Sequence[tuple[int, str | None, int | None]]) -> None:
    """Other places of the same versions: (id, path, line); path None: the source has it no more, and it is kept."""
    if places:
        rows = [{"resource": one, "new_path": path, "new_line": line} for one, path, line in places]
        tx.execute(_MOVE_RESOURCE, rows)


_REJECT = (
    update(resources)
    .where(
        resources.c.kind == bindparam("its_kind"),
        resources.c.namespace == bindparam("its_namespace"),
        resources.c.name == bindparam("its_name"),
        resources.c.source == bindparam("its_source"),
    )
    .values(rejection=bindparam("errors"))
)


def reject(tx: Tx, source: str, errors: Mapping[Identity, bytes | None]) -> None:
    """What is wrong with newer versions of resources of this source (None: nothing any more); others are left alone."""
    if errors:
        tx.execute(
            _REJECT,
            [
                {"its_kind": kind, "its_namespace": home, "its_name": name, "its_source": source, "errors": data}
                for (kind, home, name), data in errors.items()
            ],
        )


def delete_resources(tx: Tx, ids: Collection[int]) -> None:
    """Remove resources with everything that defines them."""
    for chunk in chunks(ids):
        tx.execute(delete(resources).where(resources.c.id.in_(chunk)))


# jobs: their defining columns


def insert_jobs(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add jobs: all columns that define them or start them off."""
    _insert_many(tx, jobs, rows)


_DEFINING = (
    "source", "spec", "labels", "schedule_text", "target", "suspend", "fire_digest", "effective_digest", "alert_at"
)  # fmt: skip
_UPDATE_JOB = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(
        generation=select(resources.c.generation).where(resources.c.id == bindparam("job")).scalar_subquery(),
        **{name: bindparam(f"new_{name}") for name in _DEFINING},
    )
)


def update_jobs(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """New definitions of jobs whose resource was updated already: `job` (id), and `new_` each of the defining columns."""
    if rows:
        tx.execute(_UPDATE_JOB, list(rows))


_RESTART = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(
        anchor_at=bindparam("anchor"),
        fired_through=bindparam("through"),
        next_fire_at=bindparam("next"),
        completed_at=bindparam("completed"),
        backoff_until=None,
    )
)


def restart_schedules(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Jobs with another fireDigest begin anew: `job, anchor, through, next, completed`."""
    if rows:
        tx.execute(_RESTART, list(rows))


def rest_schedules(tx: Tx, ids: Collection[int]) -> None:
    """Suspended jobs: nothing is due until they are resumed."""
    for chunk in chunks(ids):
        tx.execute(update(jobs).where(jobs.c.id.in_(chunk)).values(next_fire_at=None))


_BLOCK = (
    update(jobs)
    .where(jobs.c.namespace == bindparam("home"), jobs.c.name == bindparam("job"))
    .values(blocked_reason=bindparam("why"), blocked_message=bindparam("words"))
)


def block_jobs(tx: Tx, blocked: Mapping[tuple[str, str], tuple[str, str] | None]) -> None:
    """Jobs by (namespace, name) that must not run, with reason and message; None: may run."""
    if blocked:
        tx.execute(
            _BLOCK,
            [
                {"home": home, "job": name, "why": why[0] if why else None, "words": why[1] if why else None}
                for (home, name), why in blocked.items()
            ],
        )


def note_hold_annotations(tx: Tx, values: Mapping[int, str | None]) -> None:
    """Remember the value of the hold annotation that was obeyed, by job."""
    if values:
        statement = update(jobs).where(jobs.c.id == bindparam("job")).values(hold_annotation=bindparam("value"))
        tx.execute(statement, [{"job": job, "value": value} for job, value in values.items()])


def replace_triggers(tx: Tx, ids: Collection[int], rows: Sequence[tuple[int, str, str, str]]) -> None:
    """The triggers of these jobs are now (child id, namespace, parent, when)."""
    for chunk in chunks(ids):
        tx.execute(delete(triggers).where(triggers.c.child_id.in_(chunk)))
    if rows:
        tx.execute(
            insert(triggers),
            [
                {"child_id": child, "namespace": home, "parent": parent, "when": when}
                for child, home, parent, when in rows
            ],
        )


def buried(tx: Tx, jobs_and_digests: Collection[tuple[str, str, str]]) -> dict[tuple[str, str, str], datetime]:
    """Which of these (namespace, name, fireDigest) have completed for ever, and when."""
    found: dict[tuple[str, str, str], datetime] = {}
    if not jobs_and_digests or not tx.execute(select(func.count()).select_from(tombstones)).scalar_one():
        return found
    identity = tuple_(tombstones.c.namespace, tombstones.c.name, tombstones.c.fire_digest)
    for chunk in chunks(jobs_and_digests):
        query = select(tombstones).where(tombstones.c.kind == "ScheduledJob", identity.in_(chunk))
        for row in tx.execute(query):
            found[row.namespace, row.name, row.fire_digest] = row.completed_at
    return found


def bury(tx: Tx, schedules: Collection[tuple[str, str, str]], now: datetime) -> None:
    """Remember that these (namespace, name, fireDigest) have no instant any more, also after the job is deleted."""
    if schedules:
        tx.execute(
            dialect_insert(tx.dialect, tombstones).on_conflict_do_nothing(),
            [
                {"kind": "ScheduledJob", "namespace": home, "name": name, "fire_digest": digest, "completed_at": now}
                for home, name, digest in schedules
            ],
        )


def asked_ids(tx: Tx, job_ids: Collection[int]) -> list[str]:
    """Ids of the dispatches of these jobs about which a question is open."""
    found: list[str] = []
    for chunk in chunks(job_ids):
        query = select(approvals.c.dispatch).where(
            approvals.c.job_id.in_(chunk), approvals.c.state == ApprovalState.Pending.value
        )
        found += tx.execute(query).scalars()
    return found


def waiting_ids(tx: Tx, job_ids: Collection[int]) -> list[str]:
    """Ids of the waiting dispatches of these jobs."""
    found: list[str] = []
    for chunk in chunks(job_ids):
        query = select(dispatches.c.id).where(dispatches.c.job_id.in_(chunk), dispatches.c.state.in_(_WAITING))
        found += tx.execute(query).scalars()
    return found


# pools and targets


def insert_pools(tx: Tx, rows: Sequence[tuple[int, str, str, int, Sequence[str]]]) -> None:
    """Add pools: (id, namespace, name, slots, allowed namespaces)."""
    if rows:
        names = ("id", "namespace", "name", "slots")
        tx.execute(
            insert(pools),
            [{**dict(zip(names, row[:4], strict=True)), "allowed_namespaces": pack(row[4])} for row in rows],
        )


def resize_pools(tx: Tx, rows: Sequence[tuple[int, int, Sequence[str]]]) -> None:
    """Other sizes of pools: (id, slots, allowed namespaces). What is held stays held."""
    if rows:
        statement = (
            update(pools)
            .where(pools.c.id == bindparam("pool"))
            .values(slots=bindparam("size"), allowed_namespaces=bindparam("admits"))
        )
        tx.execute(statement, [{"pool": one, "size": slots, "admits": pack(admits)} for one, slots, admits in rows])


def insert_targets(tx: Tx, rows: Sequence[tuple[int, str, str, Any]]) -> None:
    """Add notification targets: (id, namespace, name, spec)."""
    if rows:
        tx.execute(
            insert(targets),
            [
                {"id": one, "namespace": home, "name": name, "spec": msgspec.json.encode(spec)}
                for one, home, name, spec in rows
            ],
        )


def update_targets(tx: Tx, rows: Sequence[tuple[int, Any]]) -> None:
    """Other specs of notification targets: (id, spec)."""
    if rows:
        statement = update(targets).where(targets.c.id == bindparam("target")).values(spec=bindparam("said"))
        tx.execute(statement, [{"target": one, "said": msgspec.json.encode(spec)} for one, spec in rows])
