"""Looking at the product's database from outside while the clock runs, at a cost that is bounded.

Benchmarks ask it when jobs are loaded and when runs are over. Invariant: it looks at most one fiftieth of the time, so that watching
takes no more than about 2 % of one core from what is watched, and is the same for every size.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

_SHARE = 50


class Database:
    """A read-only view of a controller's database, which may not exist yet."""

    def __init__(self, url: str) -> None:
        """`url` as given to `--db`."""
        self.url = url
        self._connection: Any = None

    def all(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query; none while the database or the table does not exist yet."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            return list(self._connection.execute(query).fetchall())
        except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
            self.close()
            return []

    def number(self, query: str) -> int:
        """The only figure of a query, 0 while there is no such table."""
        rows = self.all(query)
        return int(rows[0][0]) if rows else 0

    def jobs(self) -> int:
        """How many jobs are loaded."""
        return self.number("SELECT count(*) FROM jobs")

    def ended(self) -> int:
        """How many runs are over and committed. Uses indexes only: the rows themselves may be wide."""
        return self.number("SELECT (SELECT count(*) FROM runs) - (SELECT count(*) FROM runs WHERE state = 'Running')")

    def wait(self, holds: Callable[[], bool], seconds: float, alive: Callable[[], bool] = lambda: True) -> float:
        """Wait until `holds`; gives the wall-clock time at which it was seen to.

        Errors: TimeoutError after `seconds`, or when what should bring it about is not `alive` any more.
        """
        deadline = time.monotonic() + seconds
        while True:
            begun = time.perf_counter()
            if holds():
                return time.time()
            if time.monotonic() > deadline or not alive():
                if holds():
                    return time.time()
                raise TimeoutError("what the benchmark waits for did not happen" if alive() else "the controller ended")
            time.sleep(max(0.002, (time.perf_counter() - begun) * _SHARE))

    def close(self) -> None:
        """Close the connection; the next query opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Any:
        if self.url.startswith("sqlite:///"):
            path = Path(self.url.removeprefix("sqlite:///"))
            return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        return psycopg.connect(self.url, autocommit=True)
