"""Limit of B4: spawn, wait, commit one row, and so on, in one bare process.

`chain.py HOPS FOLDER_OR_URL` runs `sh -c true` HOPS times one after the other and commits one row after each: to SQLite (WAL,
synchronous=FULL) in the folder, or to PostgreSQL. A chain cannot be faster: the next job must not start before the end of the last is durable.
"""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg


def main(hops: int, where: str) -> None:
    """Print milliseconds per hop as JSON."""
    commit = on_postgres(where) if where.startswith("postgresql:") else on_sqlite(Path(where))
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
    commit("warm-up", 0)
    begun = time.perf_counter()
    for hop in range(hops):
        os.posix_spawn("/bin/sh", ["sh", "-c", "true"], environment)
        commit(f"hop-{hop}", os.wait()[1])
    print(json.dumps({"value": (time.perf_counter() - begun) * 1000 / hops}))


def on_sqlite(folder: Path) -> Callable[[str, int], None]:
    connection = sqlite3.connect(folder / "chain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE runs (name TEXT PRIMARY KEY, status INTEGER)")
    return lambda name, status: (connection.execute("INSERT INTO runs VALUES (?, ?)", (name, status)), None)[1]


def on_postgres(url: str) -> Callable[[str, int], None]:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("CREATE TABLE runs (name TEXT PRIMARY KEY, status INTEGER)")
    return lambda name, status: (connection.execute("INSERT INTO runs VALUES (%s, %s)", (name, status)), None)[1]


main(int(sys.argv[1]), sys.argv[2])
