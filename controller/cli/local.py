"""Answers without a controller: opens the database, asks or changes it in short transactions, and closes it again.

`asking` falls back to this. Invariant: it never takes the lock that makes a process the controller, so it can run beside one that just started.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.app.commands import perform
from controller.base import paths
from controller.base.errors import ControllerUnreachable
from controller.base.people import of_uid
from controller.domain.states import RunState
from controller.status import logs, views
from controller.store.database import open_store
from controller.store.store import Store

_POLL_SECONDS = 0.3


class Local:
    """The database of one installation."""

    def __init__(self, url: str) -> None:
        self._url = url

    def view(self, name: str, parameters: Mapping[str, str]) -> bytes:
        """As GET /v1/views/<name>."""
        query = views.query_of(parameters)
        with _Opened(self._url) as store:
            return store.read_now(lambda tx: views.answer(tx, name, query, datetime.now(UTC)))

    def act(self, verb: str, body: Mapping[str, Any]) -> Any:
        """As POST /v1/verbs/<verb>. Errors: ControllerUnreachable for a verb that only a controller can do."""
        if verb == "reconcile":
            error = ControllerUnreachable("no controller runs on this database, so nobody reads its sources")
            error.add_note("start one with `jobwarden run`; it reads everything when it starts")
            raise error
        actor = of_uid(os.getuid())
        with _Opened(self._url) as store:
            return store.submit(lambda tx: perform(tx, verb, body, actor, datetime.now(UTC))).result()

    def log(self, namespace: str, run: str, *, follow: bool) -> Iterator[bytes]:
        """As GET /v1/logs/<run>."""
        with _Opened(self._url) as store:
            found = store.read_now(lambda tx: logs.find(tx, namespace, run))
            reader = logs.Reader(found, self._log_dir(), socket.gethostname())
            while True:
                yield from reader.pieces()
                if not follow or found.state is not RunState.Running:
                    break
                time.sleep(_POLL_SECONDS)
                found = store.read_now(lambda tx: logs.find(tx, namespace, run))
            yield from reader.rest(found)
            if reader.note:
                sys.stderr.write(reader.note + "\n")

    def _log_dir(self) -> Path:
        named = os.environ.get("JOBWARDEN_LOG_DIR")
        return Path(named) if named else paths.state_dir(self._url, os.environ) / "logs"


class _Opened:
    """The store for the length of a block."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> Store:
        self._store = open_store(self._url, create=False, upgrade=False)
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()
