"""Opening a database by URL: engines, SQLite's pragmas and file lock, PostgreSQL's driver, the schema's version.

    sqlite:///relative.db  sqlite:////absolute.db  postgresql://user@host/name

SQLite runs in WAL mode with `synchronous=FULL`; one controller a file, held by a lock that names its holder. PostgreSQL may be shared by
replicas. Invariant: nobody gets a `Store` on a schema of another version than this program's.
"""

import contextlib
import fcntl
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError

from controller.base.errors import InvalidInput, StoreHeld, StoreUnavailable
from controller.base.people import of_uid
from controller.store import migrate
from controller.store.store import Store

_BUSY_TIMEOUT_MS = 5000
_CACHE_KIB = 4096
_AFTERLIFE_S = 5.0
_PG_CONNECT_TIMEOUT_S = 5
_PG_KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""A server whose machine is gone is noticed within about ten seconds, well within a lease. Source: libpq, connection parameters."""
_PG_STANDSTILL_S = 15
"""A controller that is frozen in the middle of a transaction keeps its locks from the others no longer than its lease. Source: PostgreSQL, client connection defaults."""


def parse_url(text: str) -> URL:
    """The URL with its driver. Errors: InvalidInput naming what is accepted."""
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InvalidInput(
            f"{text!r} is not a database URL; write sqlite:///FILE or postgresql://USER@HOST/NAME"
        ) from error
    if url.drivername == "sqlite":
        if not url.database or url.database == ":memory:":
            raise InvalidInput("an in-memory database cannot survive a restart; write sqlite:///FILE")
        return url.set(drivername="sqlite+pysqlite")
    if url.drivername in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    raise InvalidInput(f"{url.drivername!r} is not supported; write sqlite:///FILE or postgresql://USER@HOST/NAME")


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite URL, else None."""
    return Path(url.database).absolute() if url.get_backend_name() == "sqlite" and url.database else None


@dataclass
class FileLock:
    """The lock that makes one controller the holder of a SQLite file; it goes with the process, however that ends."""

    file: IO[str]

    @classmethod
    def take(cls, database: Path, since: datetime) -> "FileLock":
        """Hold `<database>.lock`. Errors: StoreHeld naming host, pid and since when; StoreUnavailable where nothing can be written."""
        path = database.with_name(database.name + ".lock")
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be opened for writing: {error.strerror}") from error
        if not _locked(file):
            holder = _holder(file)
            file.close()
            raise StoreHeld(f"{database} is held by {holder}; stop that controller first, or give another --db")
        # Who holds it is a courtesy; on a full disk the lock holds all the same.
        with contextlib.suppress(OSError):
            file.seek(0)
            file.truncate()
            holding = _Holder(socket.gethostname(), os.getpid(), since.isoformat(timespec="seconds"))
            file.write(msgspec.json.encode(holding).decode())
            file.flush()
        return cls(file)

    def release(self) -> None:
        """Give it up."""
        with contextlib.suppress(OSError):  # what could not be written before cannot be now
            self.file.close()


class _Holder(msgspec.Struct):
    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    def is_dead(self) -> bool:
        """It ran here and does not any more."""
        if self.host != socket.gethostname():
            return False
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] in ("Z", "X")


_decode_holder = msgspec.json.Decoder(_Holder).decode


def _locked(file: IO[str]) -> bool:
    """Whether the lock is ours now. One whose holder has died goes with the last process that the holder was about to start: that one is waited for."""
    ends = time.monotonic() + _AFTERLIFE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file)
            if not isinstance(holder, _Holder) or not holder.is_dead() or time.monotonic() > ends:
                return False
            time.sleep(0.02)
        else:
            return True


def _holder(file: IO[str]) -> _Holder | str:
    file.seek(0)
    try:
        return _decode_holder(file.read())
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "another process"


def open_store(text: str, *, create: bool = True, upgrade: bool = True) -> Store:
    """Open the database and bring its schema up to date.

    Effect: makes the SQLite file and its folder when `create`; runs migrations when `upgrade`. Errors: InvalidInput for the URL,
    StoreUnavailable when it cannot be opened, written or is of another version.
    """
    url = parse_url(text)
    path = sqlite_path(url)
    if path is not None:
        _prepare_file(path, create=create)
    writer, reader = _engines(url)
    breaker = _breaker(writer) if path is None else None
    try:
        # Who only looks at the version does not queue for the one place of a writer.
        migrate.bring_up(writer if upgrade else reader, upgrade=upgrade)
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise StoreUnavailable(f"{shown(url)} cannot be used: {str(cause).strip()}") from error
    return Store(writer, reader, guard=_still_there(path) if path else None, break_off=breaker)


def shown(url: URL) -> str:
    """The URL for people: without a password."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def _prepare_file(path: Path, *, create: bool) -> None:
    try:
        there = path.exists()
    except PermissionError as error:
        raise _closed(f"no way leads {_me()} to the database {path}") from error
    if there:
        owner = path.stat().st_uid
        # Its own user may meet a file system that cannot be written, which SQLite tells.
        if owner != os.geteuid() and not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            raise _closed(f"the database {path} belongs to {of_uid(owner).name}, and {_me()} may not use it")
        return
    if not create:
        raise StoreUnavailable(f"there is no database at {path}; start `jobwarden run` once, or give --db")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be made: {error.strerror}") from error


def _closed(why: str) -> StoreUnavailable:
    error = StoreUnavailable(why)
    error.add_note("ask as its user, or as root; what several users are to share belongs in PostgreSQL")
    return error


def _me() -> str:
    return of_uid(os.geteuid()).name


def _still_there(path: Path) -> Callable[[], None]:
    """A check before each commit that the file behind the open connections is still the one at the path."""
    known = path.stat()

    def check() -> None:
        try:
            now = path.stat()
        except FileNotFoundError:
            raise StoreUnavailable(f"the database {path} was removed while in use") from None
        if (now.st_ino, now.st_dev) != (known.st_ino, known.st_dev):
            raise StoreUnavailable(
                f"the database {path} was replaced while in use; stop the controller before restoring"
            )

    return check


def _engines(url: URL) -> tuple[Engine, Engine]:
    if url.get_backend_name() == "sqlite":
        # Opened as what exists: a file that was removed while in use must not come back empty.
        existing = url.set(database=f"file:{quote(str(sqlite_path(url)))}", query={"uri": "true", "mode": "rw"})
        writer, reader = (create_engine(existing, pool_size=4, max_overflow=4) for _ in range(2))
        _tune_sqlite(writer, writes=True)
        _tune_sqlite(reader, writes=False)
        return writer, reader
    engine = create_engine(
        url,
        pool_size=4,
        max_overflow=4,
        connect_args={"connect_timeout": _PG_CONNECT_TIMEOUT_S, "application_name": "jobwarden", **_PG_KEEPALIVE},
    )
    _tune_postgresql(engine)
    return engine, engine


def _tune_postgresql(engine: Engine) -> None:
    # Said, not asked for at the connection's start: poolers refuse what they do not know there.
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.execute(f"SET idle_in_transaction_session_timeout = '{_PG_STANDSTILL_S}s'")
        connection.commit()


def _breaker(engine: Engine) -> Callable[[], None]:
    """Ends the sockets of the connections that are in use, for when the network has swallowed what they wait for.

    Whoever waits gets an error at once; the driver has no other way of giving up.
    """
    used: dict[int, Any] = {}

    @event.listens_for(engine, "checkout")
    def _checked_out(connection: Any, record: Any, _proxy: Any) -> None:
        used[id(record)] = connection

    @event.listens_for(engine, "checkin")
    def _checked_in(_connection: Any, record: Any) -> None:
        used.pop(id(record), None)

    def break_off() -> None:
        for connection in list(used.values()):
            with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as end:
                end.shutdown(socket.SHUT_RDWR)

    return break_off


def _tune_sqlite(engine: Engine, *, writes: bool) -> None:
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        # The driver's own implicit BEGIN breaks savepoints; we begin by hand.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        if writes:
            # Readers find the mode in the file; to ask for it anew could meet the writer's recovery after a crash.
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA cache_size={-_CACHE_KIB if writes else -_CACHE_KIB // 4}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def pack(value: Any) -> bytes | None:
    """JSON bytes for a column, NULL for what is empty."""
    return msgspec.json.encode(value) if value else None
