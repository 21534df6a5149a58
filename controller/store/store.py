"""Opening the database and running functions in transactions.

One writer thread runs everything that writes; whatever was queued while the last commit ran goes into one transaction, each function behind
a savepoint of its own, so that one that fails takes nobody with it (design 09, section 6.3). Reads use connections of their own.

    await store.write(function)   function(tx) runs in a transaction that is committed before the await returns
    await store.read(function)    function(tx) sees a committed snapshot; writes are refused by review, not by the database
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from controller.base.errors import StoreUnavailable
from controller.base.metrics import Metrics, StoreCounters

T = TypeVar("T")
Tx = Connection
"""A transaction in progress; other layers pass it through and never look inside."""

_Queued = tuple[Callable[[Tx], Any], "Future[Any]", float]
"""A function, the future of its result, and when it was queued (monotonic)."""
_MOST_PER_COMMIT = 256
_READERS = 2
_CLOSE_WITHIN_S = 10.0


class Store:
    """The one door to the database. `close` waits for what is queued."""

    def __init__(
        self,
        writer: Engine,
        reader: Engine,
        guard: Callable[[], None] | None = None,
        break_off: Callable[[], None] | None = None,
    ) -> None:
        """`guard` is called before each commit and raises StoreUnavailable when the database is not to be trusted any more; `break_off`
        ends the connections that are in use.
        """
        self.break_off = break_off or _nothing
        self._engine = writer
        self._reader = reader
        self._guard = guard
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._metrics = Metrics()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._writer = threading.Thread(target=self._write_forever, name="store-writer", daemon=True)
        self._writer.start()
        self.commits = 0
        self.operations = 0

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    async def write(self, function: Callable[[Tx], T]) -> T:
        """Run `function` in the next transaction; its result is durable when this returns.

        Errors: StoreUnavailable when the database does not answer (backoff); whatever `function` raises, its own work undone.
        """
        return await asyncio.wrap_future(self.submit(function))

    def submit(self, function: Callable[[Tx], T]) -> "Future[T]":
        """As `write`, for callers without a loop: a future of the committed result."""
        future: Future[T] = Future()
        self._queue.put((function, future, time.monotonic()))
        return future

    def measure(self, metrics: Metrics) -> None:
        """Tell `metrics` of every write from now on."""
        self._metrics = metrics
        metrics.store_counters(lambda: StoreCounters(self.commits, self.operations))

    async def read(self, function: Callable[[Tx], T]) -> T:
        """Run `function` on a reader's connection. Errors: StoreUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    def read_now(self, function: Callable[[Tx], T]) -> T:
        """As `read`, on the caller's own thread: for commands without a loop."""
        return self._read(function)

    def close(self) -> None:
        """Write what is queued, end the threads, close the connections. A database that does not answer is not waited for."""
        self._queue.put(None)
        self._writer.join(_CLOSE_WITHIN_S)
        if self._writer.is_alive():
            self.break_off()
            self._writer.join(_CLOSE_WITHIN_S)
        self._readers.shutdown(wait=not self._writer.is_alive(), cancel_futures=True)
        self._engine.dispose()
        self._reader.dispose()

    def _read(self, function: Callable[[Tx], T]) -> T:
        try:
            with self._reader.connect() as connection:
                return function(connection)
        except (OperationalError, DBAPIError) as error:
            self._metrics.store_failed()
            raise _unavailable(error) from error

    def _write_forever(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            last = False
            while len(batch) < _MOST_PER_COMMIT:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    last = True
                    break
                batch.append(more)
            self._commit_together(batch)
            if last:
                return

    def _commit_together(self, batch: list[_Queued]) -> None:
        """Run the functions in one transaction; resolve their futures only after the commit."""
        results: list[tuple[Future[Any], Any]] = []
        refused: list[tuple[Future[Any], BaseException]] = []
        try:
            with self._engine.connect() as connection:
                for function, future, _ in batch:
                    if not future.set_running_or_notify_cancel():
                        continue
                    try:
                        # A batch of one needs no savepoint: its failure is the transaction's.
                        if len(batch) == 1:
                            results.append((future, function(connection)))
                        else:
                            results.append((future, _guarded(connection, function)))
                    except (OperationalError, DBAPIError) as error:
                        if error.connection_invalidated or isinstance(error, OperationalError):
                            raise
                        refused.append((future, error))
                        if len(batch) == 1:
                            connection.rollback()
                    except Exception as error:  # noqa: BLE001 - handed to whoever asked
                        refused.append((future, error))
                        if len(batch) == 1:
                            connection.rollback()
                if self._guard is not None:
                    self._guard()
                connection.commit()
        except Exception as error:  # noqa: BLE001 - the whole transaction is gone; everybody in it is told
            failure = error if isinstance(error, StoreUnavailable) else _unavailable(error)
            self._metrics.store_failed()
            for _, future, _ in batch:
                _tell(future, failure)
            return
        self.commits += 1
        self.operations += len(results)
        now = time.monotonic()
        for _, _, queued_at in batch:
            self._metrics.store_write(now - queued_at)
        for future, result in results:
            future.set_result(result)
        for future, reason in refused:
            future.set_exception(reason)


def _guarded(connection: Tx, function: Callable[[Tx], T]) -> T:
    """Run behind a savepoint. Said by hand: SQLAlchemy's own compiles its statement anew each time, which costs more than the function."""
    connection.exec_driver_sql("SAVEPOINT one")
    try:
        result = function(connection)
    except BaseException:
        # A connection that is gone has no savepoint to go back to.
        with contextlib.suppress(DBAPIError):
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one")
        raise
    connection.exec_driver_sql("RELEASE SAVEPOINT one")
    return result


def _nothing() -> None:
    """Where there is nothing to break off: a file answers or fails."""


def _tell(future: "Future[Any]", failure: BaseException) -> None:
    """Fail a future, unless whoever asked has given up meanwhile; the writer must not die of that."""
    with contextlib.suppress(InvalidStateError):
        future.set_exception(failure)


def _unavailable(error: BaseException) -> StoreUnavailable:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return StoreUnavailable(f"the database does not answer: {cause}")
