"""The door to the database: group commits, isolation of failures, versions, locks."""

import asyncio
import os
import pwd
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, insert, inspect, select, text

from controller.base.errors import InvalidInput, StoreHeld, StoreUnavailable
from controller.store import database, migrate
from controller.store.database import FileLock, open_store, parse_url, shown
from controller.store.schema import audit, metadata
from controller.store.store import Store, Tx
from controller.store.version import HEAD
from tests.harness import Postgres

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def note(subject: str) -> dict[str, object]:
    """A row of the simplest table."""
    return {"at": NOW, "actor": "a", "verb": "v", "namespace": "n", "subject": subject}


def subjects(store: Store) -> list[str]:
    """What is in it."""
    return list(store.read_now(lambda tx: tx.execute(select(audit.c.subject).order_by(audit.c.id)).scalars().all()))


async def test_what_waits_together_is_committed_together(store: Store) -> None:
    """Many small writes cost few commits."""
    gate = threading.Event()
    blocker = store.write(lambda _tx: gate.wait(10))
    first = asyncio.ensure_future(blocker)
    await asyncio.sleep(0)
    before = store.commits
    many = [
        asyncio.ensure_future(store.write(lambda tx, n=n: tx.execute(insert(audit).values(note(str(n))))))
        for n in range(100)
    ]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *many)
    assert subjects(store) == [str(n) for n in range(100)]
    assert store.commits - before <= 5


async def test_one_that_fails_takes_nobody_with_it(store: Store) -> None:
    """Each function has a savepoint of its own; its error is its caller's."""
    gate = threading.Event()
    blocker = asyncio.ensure_future(store.write(lambda _tx: gate.wait(10)))

    def broken(tx: Tx) -> None:
        tx.execute(insert(audit).values(note("half")))
        raise ValueError("no")

    def refused(tx: Tx) -> None:
        tx.execute(insert(audit).values(note("refused")))
        tx.execute(text("INSERT INTO waits (dispatch, key) VALUES ('nobody', 'x')"))

    await asyncio.sleep(0)
    writes = [
        store.write(lambda tx: tx.execute(insert(audit).values(note("one")))),
        store.write(broken),
        store.write(refused),
        store.write(lambda tx: tx.execute(insert(audit).values(note("two")))),
    ]
    tasks = [asyncio.ensure_future(write) for write in writes]
    await asyncio.sleep(0)
    gate.set()
    results = await asyncio.gather(blocker, *tasks, return_exceptions=True)
    assert isinstance(results[2], ValueError)
    assert isinstance(results[3], Exception)
    assert subjects(store) == ["one", "two"]


async def test_a_failure_alone_leaves_nothing(store: Store) -> None:
    """Also a transaction of one is undone."""

    def broken(tx: Tx) -> None:
        tx.execute(insert(audit).values(note("half")))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.write(broken)
    assert subjects(store) == []
    await store.write(lambda tx: tx.execute(insert(audit).values(note("after"))))
    assert subjects(store) == ["after"]


def test_closing_writes_what_is_queued(url: str) -> None:
    """Nothing that was accepted is lost."""
    store = open_store(url)
    futures = [store.submit(lambda tx, n=n: tx.execute(insert(audit).values(note(str(n))))) for n in range(20)]
    store.close()
    assert all(future.done() for future in futures)
    again = open_store(url)
    assert len(subjects(again)) == 20
    again.close()


def test_the_history_leads_to_the_tables_of_the_code(url: str) -> None:
    """Migrations and schema.py say the same, on both databases: an upgraded database is the same as a new one, down to conditions of indexes."""
    engine = create_engine(parse_url(url))
    with engine.connect() as connection:
        migrate.create(connection)
        new = _definitions(connection)
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        migrate.run_history(connection)
        assert _definitions(connection) == new
        assert migrate.current(connection) == HEAD
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def _definitions(connection: Connection) -> dict[str, object]:
    """Name of each table, column, constraint and index to what the database says that it is."""
    inspector, found = inspect(connection), {}
    for table in inspector.get_table_names():
        for column in inspector.get_columns(table):
            kind = column["type"].compile(connection.dialect)
            found[f"{table}.{column['name']}"] = (kind, column["nullable"], column["default"])
        found[f"{table} key"] = inspector.get_pk_constraint(table)
        found[f"{table} unique"] = sorted(str(one) for one in inspector.get_unique_constraints(table))
        found[f"{table} foreign"] = sorted(str(one) for one in inspector.get_foreign_keys(table))
        found[f"{table} checks"] = sorted(str(one) for one in inspector.get_check_constraints(table))
    known = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
    if connection.dialect.name == "sqlite":
        known = "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
    found |= {str(name): definition for name, definition in connection.execute(text(known))}
    return found


def test_an_upgrade_is_asked_for_and_a_newer_schema_refused(url: str) -> None:
    """An empty database is upgraded only where that is wanted; one of a newer program is left alone."""
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        open_store(url, upgrade=False)
    open_store(url).close()
    open_store(url, upgrade=False).close()
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        assert migrate.current(connection) == "9999"
    engine.dispose()
    with pytest.raises(StoreUnavailable, match="newer"):
        open_store(url)


def test_who_only_reads_does_not_wait_for_the_writer(url: str) -> None:
    """A command that shows something opens and reads a database while somebody else holds the place of the writer."""
    store = open_store(url)
    held, over = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        tx.execute(insert(audit).values(note("held")))
        held.set()
        over.wait(60)

    writing = store.submit(hold)
    try:
        assert held.wait(60)
        asking = open_store(url, create=False, upgrade=False)
        assert subjects(asking) == []
        asking.close()
        assert not writing.done()
    finally:
        over.set()
        store.close()


def test_the_newest_migration_is_the_version_that_the_code_needs() -> None:
    """`version.HEAD` is not forgotten when a migration is added."""
    versions = Path(migrate.__file__).parent / "migrations" / "versions"
    assert max(path.name.split("_")[0] for path in versions.glob("[0-9]*.py")) == HEAD


@pytest.mark.parametrize("wrong", ["mysql://host/db", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_other_databases_are_refused_with_what_to_write(wrong: str) -> None:
    """The error says what is accepted."""
    with pytest.raises(InvalidInput, match="sqlite:///FILE"):
        parse_url(wrong)


def test_a_shown_url_has_no_password() -> None:
    """What is logged tells no secret."""
    assert "secret" not in shown(parse_url("postgresql://ann:secret@host/db"))


def test_one_controller_a_file(tmp_path: Path) -> None:
    """The lock names its holder, and goes with it."""
    lock = FileLock.take(tmp_path / "a.db", NOW)
    with pytest.raises(StoreHeld, match="process"):
        FileLock.take(tmp_path / "a.db", NOW)
    lock.release()
    FileLock.take(tmp_path / "a.db", NOW).release()


_KILLED_WHILE_IT_STARTS_A_PROCESS = """
import os, signal, sys, time
from datetime import UTC, datetime
from pathlib import Path
from controller.store.database import FileLock
lock = FileLock.take(Path(sys.argv[1]), datetime.now(UTC))
if os.fork() == 0:
    time.sleep(1)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_dead_holder_was_about_to_start_is_waited_for(tmp_path: Path) -> None:
    """kill -9 in the middle of starting a process leaves a copy of the lock in the half-made child, for a moment: the next start takes over."""
    command = [sys.executable, "-c", _KILLED_WHILE_IT_STARTS_A_PROCESS, str(tmp_path / "a.db")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    FileLock.take(tmp_path / "a.db", NOW).release()


def test_a_file_that_vanished_or_was_replaced_is_not_written(tmp_path: Path) -> None:
    """Writes into a file that nobody can find any more would be lost without a word."""
    path = tmp_path / "a.db"
    store = open_store(f"sqlite:///{path}")
    path.rename(tmp_path / "b.db")
    with pytest.raises(StoreUnavailable, match="removed"):
        store.submit(lambda tx: tx.execute(insert(audit).values(note("x")))).result(10)
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(StoreUnavailable, match="replaced"):
        store.submit(lambda tx: tx.execute(insert(audit).values(note("x")))).result(10)
    path.unlink()
    (tmp_path / "b.db").rename(path)
    store.submit(lambda tx: tx.execute(insert(audit).values(note("back")))).result(10)
    assert subjects(store) == ["back"]
    store.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The error names the path and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        open_store(f"sqlite:///{tmp_path}/file/a.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_of_somebody_else_is_told_with_whom_to_ask_as() -> None:
    """Whether the file is closed, or the way to it."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/x.db"
        open_store(url).close()
        for mode, why in ((0o711, "belongs to root, and nobody may not use it"), (0o700, "no way leads nobody to")):
            Path(folder).chmod(mode)
            os.seteuid(pwd.getpwnam("nobody").pw_uid)
            try:
                with pytest.raises(StoreUnavailable, match=why) as refused:
                    open_store(url, create=False, upgrade=False)
            finally:
                os.seteuid(0)
            assert "as root" in refused.value.__notes__[0]


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """And not overwritten."""
    path = tmp_path / "a.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"this is no database")


async def test_a_transaction_that_stands_still_gives_its_locks_back(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller may be frozen at any instruction; the others wait for its locks no longer than for its lease."""
    monkeypatch.setattr(database, "_PG_STANDSTILL_S", 1)
    locked, thawed = threading.Event(), threading.Event()

    def freeze(tx: Tx) -> None:
        tx.execute(text("LOCK TABLE audit"))
        locked.set()
        thawed.wait(60)
        tx.execute(insert(audit).values(note("frozen")))

    with postgres.database() as url, closing(open_store(url)) as frozen, closing(open_store(url)) as other:
        standing = asyncio.ensure_future(frozen.write(freeze))
        await asyncio.to_thread(locked.wait, 60)
        await other.write(lambda tx: tx.execute(insert(audit).values(note("other"))))
        thawed.set()
        with pytest.raises(StoreUnavailable):
            await standing
        await frozen.write(lambda tx: tx.execute(insert(audit).values(note("again"))))
        assert subjects(other) == ["other", "again"]
