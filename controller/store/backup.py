"""Backup, restore and check of the runtime database, the same for SQLite and PostgreSQL.

A backup is one SQLite file, whichever database it came from, taken in one snapshot while the controller runs. A restore replaces every row but those of
evidence that goes on from where it ends in the backup, and ends what the backup believed to be going on: nothing of the time before it fires again (design 03, embedded details).
"""

import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine, Table, create_engine, delete, false, func, insert, select, text, update

from controller.base.errors import Conflict, InvalidInput, StoreUnavailable
from controller.domain.reasons import Reason
from controller.domain.states import WAITING, ApprovalState, DispatchState, OutboxState, RunState
from controller.schedule import plan
from controller.store import evidence, migrate, pools
from controller.store import jobs as job_statements
from controller.store.rows import job_of, run_of
from controller.store.schema import (
    approvals,
    audit,
    dispatches,
    instances,
    jobs,
    metadata,
    outbox,
    pool_holds,
    resources,
    runs,
    sources,
    waits,
)
from controller.store.schema import pools as pool_table
from controller.store.store import Store, Tx
from controller.store.version import HEAD

_CHUNK = 1000


class Restored(msgspec.Struct, frozen=True):
    """What a restore brought back, and what it ended."""

    jobs: int
    runs: int
    ended_runs: int
    cancelled_dispatches: int


def backup(store: Store, target: Path) -> int:
    """Write a consistent copy of the whole database to a new SQLite file; how many bytes it has.

    Effect: `target` appears whole or not at all. Errors: InvalidInput when it exists or its folder does not; StoreUnavailable.
    """
    if target.exists():
        raise InvalidInput(f"{target} exists already; name another file, or remove it first")
    if not target.parent.is_dir():
        raise InvalidInput(f"the folder {target.parent} does not exist")
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        copy = create_engine(f"sqlite+pysqlite:///{part}")
        try:
            migrate.bring_up(copy, upgrade=True)
            with copy.begin() as to:
                store.read_now(lambda tx: _copy_all(tx, to))
        finally:
            copy.dispose()
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise StoreUnavailable(f"{target} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def restore(store: Store, source: Path, now: datetime, *, hold: bool, actor: str) -> Restored:
    """Replace everything in the database by the backup. The caller holds the file lock, or has seen that no controller lives.

    Effect: open runs of the backup end as Crashed, waiting dispatches as Cancelled, schedules start at now, one-shots of the past are
    completed; with `hold` every job is on hold. One transaction. Errors: InvalidInput for something that is no backup; Conflict while a controller
    lives; StoreUnavailable.
    """
    engine = _open_backup(source)

    def write(tx: Tx) -> Restored:
        # Opened here, on the writer's thread: SQLite's connections stay where they were made.
        with engine.connect() as of:
            return _restore(tx, of, now, hold=hold, actor=actor)

    try:
        return store.submit(write).result()
    finally:
        engine.dispose()


def check(store: Store) -> list[str]:
    """What is wrong with the database, for people; nothing if it is sound. Errors: StoreUnavailable."""
    return store.read_now(lambda tx: list(_problems(tx)))


def _copy_all(tx: Tx, to: Connection) -> None:
    if tx.dialect.name == "postgresql":
        # One snapshot for all tables; SQLite's deferred transaction is one anyway.
        tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    for table in metadata.sorted_tables:
        _copy(table, tx, to)


def _copy(table: Table, of: Connection, to: Connection) -> None:
    rows = of.execution_options(stream_results=False).execute(select(table))
    while chunk := rows.fetchmany(_CHUNK):
        to.execute(insert(table), [dict(row._mapping) for row in chunk])  # noqa: SLF001 - SQLAlchemy's public name for it


def _open_backup(source: Path) -> Engine:
    """The backup, read as it is; it must be of this program's schema or an older one that a copy can be brought up from."""
    if not source.is_file():
        raise InvalidInput(f"there is no file {source}")
    try:
        with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as probe:
            version = probe.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        raise InvalidInput(f"{source} is not a backup of jobwarden: {error}") from error
    if version != HEAD:
        raise InvalidInput(
            f"{source} has schema {version}, this program has {HEAD}; restore it with the jobwarden that made it"
        )
    # Opened here, read by the writer's thread: one after the other.
    return create_engine(
        "sqlite+pysqlite://",
        creator=lambda: sqlite3.connect(f"file:{source}?mode=ro", uri=True, check_same_thread=False),
    )


def _restore(tx: Tx, of: Connection, now: datetime, *, hold: bool, actor: str) -> Restored:
    _refuse_while_somebody_lives(tx)
    # Evidence outlives what it is about: what the backup does not know yet is not taken back.
    replaced = [table for table in metadata.sorted_tables if table not in evidence.TABLES]
    for table in reversed(replaced):
        tx.execute(delete(table))
    for table in replaced:
        _copy(table, of, tx)
    evidence.replace(tx, of, now)
    _reset_sequences(tx)
    tx.execute(update(instances).values(state="Gone"))
    tx.execute(update(sources).values(owner=None))
    ended = _end_runs(tx, now)
    cancelled = _end_dispatches(tx, now)
    # What was still to be sent at the time of the backup has been sent since, or is no news any more.
    tx.execute(
        update(outbox)
        .where(outbox.c.state == OutboxState.Pending.value)
        .values(state=OutboxState.Failed.value, last_error=_WHY)
    )
    tx.execute(delete(pool_holds))
    pools.repair(tx)
    _restart_schedules(tx, now)
    if hold:
        tx.execute(
            update(jobs).values(
                hold_reason="restored from a backup", hold_by=actor, hold_since=now, hold_until=None, next_fire_at=None
            )
        )
    return Restored(
        jobs=tx.execute(select(func.count()).select_from(jobs)).scalar_one(),
        runs=tx.execute(select(func.count()).select_from(runs)).scalar_one(),
        ended_runs=ended,
        cancelled_dispatches=cancelled,
    )


_WHY = "the database was restored from a backup"


def _refuse_while_somebody_lives(tx: Tx) -> None:
    if tx.dialect.name == "postgresql":
        lives = select(instances.c.host, instances.c.pid).where(
            instances.c.state == "Live",
            text("lease_until > (extract(epoch from clock_timestamp()) * 1000000)::bigint"),
        )
        alive = tx.execute(lives).first()
        if alive is not None:
            raise Conflict(f"a controller (process {alive.pid} on {alive.host}) uses this database; stop it first")


def _reset_sequences(tx: Tx) -> None:
    """Rows were inserted with their ids; PostgreSQL's sequences have to know."""
    if tx.dialect.name == "postgresql":
        for table in (resources, audit):
            top = select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()
            tx.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), top, false())))


def _end_runs(tx: Tx, now: datetime) -> int:
    statement = update(runs).where(runs.c.state == RunState.Running.value)
    crashed = {
        "state": RunState.Crashed.value,
        "reason": Reason.Restored.value,
        "message": _WHY,
        "finished_at": now,
        "spec": None,
    }
    ended = tx.execute(statement.values(**crashed).returning(runs)).all()
    evidence.append(tx, [run_of(row) for row in ended], now)
    return len(ended)


def _end_dispatches(tx: Tx, now: datetime) -> int:
    tx.execute(delete(waits))
    tx.execute(
        update(approvals)
        .where(approvals.c.state == ApprovalState.Pending.value)
        .values(state=ApprovalState.Cancelled.value, decided_at=now)
    )
    waiting = update(dispatches).where(dispatches.c.state.in_([state.value for state in WAITING]))
    cancelled = {
        "state": DispatchState.Cancelled.value,
        "reason": Reason.Restored.value,
        "message": _WHY,
        "ended_at": now,
    }
    return tx.execute(waiting.values(**cancelled)).rowcount


def _restart_schedules(tx: Tx, now: datetime) -> None:
    """Every schedule starts at now; one that has nothing left to fire is completed, and stays so."""
    for row in tx.execute(select(jobs)).all():
        job = job_of(row)
        schedule = job.spec.schedule
        if schedule is None or job.completed_at is not None or job.spec.suspend or job.hold is not None:
            continue
        following = plan.next_fire(schedule, job.key, now, job.anchor_at)
        job_statements.reschedule(tx, job.id, max(job.fired_through, now), following)
        if following is None:
            job_statements.complete(tx, job.id, now)
            job_statements.bury(tx, [job], now)


def _problems(tx: Tx) -> Iterator[str]:
    if tx.dialect.name == "sqlite":
        for (line,) in tx.execute(text("PRAGMA integrity_check")):
            if line != "ok":
                yield f"the file is damaged: {line}"
        for row in tx.execute(text("PRAGMA foreign_key_check")):
            yield f"a row of {row[0]} refers to a missing row of {row[2]}"
    yield from _pool_problems(tx)
    exclusive = (
        select(runs.c.namespace, runs.c.job, func.count().label("number"))
        .where(runs.c.state == RunState.Running.value, runs.c.exclusive)
        .group_by(runs.c.namespace, runs.c.job)
        .having(func.count() > 1)
    )
    for row in tx.execute(exclusive):
        yield f"{row.namespace}/{row.job} has {row.number} open runs, though it forbids overlap"
    lost = select(dispatches.c.id).where(dispatches.c.state == DispatchState.Done.value, dispatches.c.run.is_(None))
    for row in tx.execute(lost.limit(10)):
        yield f"dispatch {row.id} is Done and names no run"
    homeless = select(jobs.c.namespace, jobs.c.name).where(jobs.c.id.not_in(select(resources.c.id)))
    for row in tx.execute(homeless):
        yield f"job {row.namespace}/{row.name} has no resource"
    yield from evidence.faults(tx)


def _pool_problems(tx: Tx) -> Iterator[str]:
    held: dict[int, int] = {}
    for hold in tx.execute(select(pool_holds.c.pool, pool_holds.c.slots)):
        held[hold.pool] = held.get(hold.pool, 0) + hold.slots
    for row in tx.execute(select(pool_table.c.id, pool_table.c.name, pool_table.c.held)):
        if row.held != held.get(row.id, 0):
            yield f"pool {row.name} says that {row.held} slots are held, its runs hold {held.get(row.id, 0)}; the next start repairs it"
