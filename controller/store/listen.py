"""Waking other replicas through PostgreSQL: NOTIFY inside a transaction, LISTEN on a thread with a connection of its own.

Whoever writes something that another replica should see at once calls `notify` in the same transaction; each replica runs one `Listener`,
whose callback sets a `Wake`. Topics are hints without payload: a lost one costs time until the next sweep, never correctness. After every
(re)connection the callback gets `EVERYTHING`, because what was told meanwhile is lost.

On SQLite `notify` does nothing: one controller holds the file and wakes its own loops.
"""

import contextlib
import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import psycopg
from sqlalchemy import func
from sqlalchemy import select as sql_select

from controller.base.errors import InvalidInput
from controller.base.logs import event
from controller.store.database import parse_url, shown
from controller.store.store import Tx

CHANNEL = "jobwarden"
EVERYTHING = "*"
"""The topic that stands for all of them."""

_log = logging.getLogger(__name__)
_PROBE_MS = 30_000  # a connection that is silent for so long is asked whether it lives
_STOP_WITHIN_S = 2.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.2, 15.0


def notify(tx: Tx, topic: str) -> None:
    """Tell every listening replica `topic` when the transaction commits; the same topic twice in one transaction is told once."""
    if tx.dialect.name == "postgresql":
        tx.execute(sql_select(func.pg_notify(CHANNEL, topic)))


class Listener:
    """Calls `on_notify(topic)` on its own thread for every topic; survives a database that goes away. Context manager, or start and stop.

    `on_notify` must be quick and must not raise: `Wake.set` is meant.
    """

    def __init__(self, url: str, on_notify: Callable[[str], None]) -> None:
        """`url` as for `open_store`. Errors: InvalidInput for one that is no PostgreSQL URL."""
        parsed = parse_url(url)
        if parsed.get_backend_name() != "postgresql":
            raise InvalidInput(f"only PostgreSQL wakes replicas; there is nothing to listen to at {shown(parsed)}")
        self._conninfo = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        self._on_notify = on_notify
        self._stopping = threading.Event()
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="store-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and its connection; waits for at most a connection attempt, never for a network that swallows everything."""
        self._stopping.set()
        os.write(self._stop_writer, b"x")
        self._thread.join(_STOP_WITHIN_S)
        connection = self._connection
        if self._thread.is_alive() and connection is not None:
            with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as end:
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        os.close(self._stop_reader)
        os.close(self._stop_writer)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with self._connect() as connection:
                    if failures:
                        event(_log, "listening to the database again")
                    failures = 0
                    self._on_notify(EVERYTHING)
                    self._listen(connection)
            except (psycopg.Error, OSError) as error:
                # The store tells people that the database is gone; this is only about wake-ups.
                failures += 1
                level = logging.INFO if failures == 1 else logging.DEBUG
                event(_log, "not listening to the database; retrying", level, reason=type(error).__name__)
                delay = min(_FIRST_DELAY_S * 2 ** min(failures - 1, 16), _LONGEST_DELAY_S)
                self._stopping.wait(delay)

    def _connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        connection = psycopg.connect(
            self._conninfo,
            autocommit=True,
            connect_timeout=5,
            application_name="jobwarden-listener",
            keepalives_idle=30,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=10_000,
        )
        self._connection = connection
        with contextlib.ExitStack() as undo:
            undo.callback(connection.close)
            connection.execute(f"LISTEN {CHANNEL}".encode())
            undo.pop_all()
        return connection

    def _listen(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        """Until stopped. Errors: psycopg.Error when the connection is gone."""
        connection.add_notify_handler(lambda notice: self._on_notify(notice.payload))
        poll = select.poll()  # not select(): a busy controller has more than 1024 files open
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(self._stop_reader, select.POLLIN)
        while not self._stopping.is_set():
            poll.poll(_PROBE_MS)
            # Any statement lets the driver read what has arrived and call the handler; it also finds out whether anybody is there.
            connection.execute(b"")
