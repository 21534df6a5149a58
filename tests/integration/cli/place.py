"""One installation for tests of the command: a database filled by plain inserts, and a control server in a thread of its own."""

import asyncio
import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from unittest import mock

import msgspec
from sqlalchemy import func, insert, select

from controller.api.backend import Backend
from controller.api.control import ControlServer
from controller.app import commands
from controller.base import paths
from controller.base.clock import SystemClock
from controller.cli.main import main
from controller.domain import job as jobspec
from controller.domain.abilities import Abilities
from controller.domain.job import JobSpec, Schedule, ShellTarget
from controller.domain.story import StoryEvent, StoryKind
from controller.store import schema
from controller.store.database import open_store
from controller.store.store import Store

ROOT = Path(__file__).resolve().parents[3]
HOURLY = JobSpec(target=ShellTarget(script="true"), schedule=Schedule(crons=("0 * * * *",)))


class Place:
    """A folder with a database, SQLite unless a URL is given; `environment` leads the command there."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder}/jobwarden.db"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_STATE_HOME": str(folder),
            "JOBWARDEN_DB": self.url,
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }
        self.now = datetime.now(UTC)
        self.store: Store = open_store(self.url)

    @property
    def socket(self) -> Path:
        return paths.control_socket(self.url, self.environment, os.getuid())

    @property
    def log_dir(self) -> Path:
        return self.folder / "logs"

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command inside this process, because most tests need no more and there are many."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main(arguments)
        said = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(arguments, code, *said)

    def process(self, *arguments: str, environment: Mapping[str, str] = {}) -> "subprocess.CompletedProcess[str]":
        """The command as a process."""
        return subprocess.run(
            [sys.executable, "-m", "controller.cli.main", *arguments],
            env={**self.environment, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=120,
        )

    def insert(self, table: Any, *rows: Mapping[str, Any]) -> None:
        self.store.submit(lambda tx: tx.execute(insert(table), [dict(row) for row in rows])).result()

    def count(self, table: Any, **where: Any) -> int:
        statement = (
            select(func.count()).select_from(table).where(*(table.c[key] == value for key, value in where.items()))
        )
        return int(self.store.read_now(lambda tx: tx.execute(statement).scalar_one()))

    def source(self, name: str = "manifests", **changes: Any) -> None:
        self.insert(schema.sources, {"name": name, "kind": "Directory", "location": "/m", "served": True, **changes})

    def resource(self, kind: str, name: str, spec: Mapping[str, Any], labels: Mapping[str, str], **changes: Any) -> int:
        number = self.count(schema.resources) + 1
        metadata = {"name": name, **({"labels": dict(labels)} if labels else {})}
        document = {"apiVersion": "jobwarden.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": dict(spec)}
        row = {
            "id": number,
            "kind": kind,
            "namespace": "default",
            "name": name,
            "uid": f"uid-{number}",
            "generation": 1,
            "source": "manifests",
            "document": msgspec.json.encode(document),
            "digest": "d",
            "created_at": self.now,
            "updated_at": self.now,
        }
        self.insert(
            schema.resources,
            {**row, **{key: value for key, value in changes.items() if key in row or key == "rejection"}},
        )
        return number

    def job(self, name: str, spec: JobSpec = HOURLY, labels: Mapping[str, str] = {}, **changes: Any) -> int:
        """A job that fires hourly; `changes` of its rows."""
        document = {"schedule": {"cron": "0 * * * *"}, "shell": {"script": "true"}}
        number = self.resource("ScheduledJob", name, document, labels, **changes)
        row = {
            "id": number,
            "uid": f"uid-{number}",
            "namespace": "default",
            "name": name,
            "source": "manifests",
            "generation": 1,
            "spec": jobspec.encode(spec),
            "labels": msgspec.json.encode(dict(labels)) if labels else None,
            "schedule_text": "0 * * * *",
            "target": "shell",
            "suspend": spec.suspend,
            "fire_digest": "f",
            "effective_digest": "e",
            "created_at": self.now,
            "anchor_at": self.now,
            "fired_through": self.now,
            "next_fire_at": self.now + timedelta(hours=1),
        }
        known = {column.name for column in schema.jobs.c}
        self.insert(schema.jobs, {**row, **{key: value for key, value in changes.items() if key in known}})
        return number

    def ran(self, name: str, job: str, job_id: int, **changes: Any) -> None:
        """A run that succeeded, and its dispatch."""
        row = {
            "name": name,
            "job_id": job_id,
            "job_uid": f"uid-{job_id}",
            "namespace": "default",
            "job": job,
            "dispatch": f"d-{name}",
            "cause": "Schedule",
            "state": "Succeeded",
            "exclusive": False,
            "rerun": False,
            "root": name,
            "attempt": 1,
            "scheduled_for": self.now,
            "created_at": self.now,
            "started_at": self.now,
            "finished_at": self.now,
            "exit_code": 0,
            **changes,
        }
        self.insert(schema.runs, row)
        instants = {"scheduled_for": row["scheduled_for"], "created_at": row["created_at"]}
        self.dispatch(
            f"d-{name}", job, job_id, state="Done", run=name, cause=row["cause"], ended_at=self.now, **instants
        )

    def dispatch(self, identity: str, job: str, job_id: int, **changes: Any) -> None:
        """A dispatch that waits."""
        base = {
            "id": identity,
            "job_id": job_id,
            "namespace": "default",
            "job": job,
            "cause": "Manual",
            "state": "Pending",
            "scheduled_for": self.now,
            "not_before": self.now,
            "created_at": self.now,
        }
        self.insert(schema.dispatches, {**base, **changes})

    def approval(self, name: str, job: str, job_id: int, dispatch: str, **changes: Any) -> None:
        """An open question."""
        base = {
            "name": name,
            "namespace": "default",
            "job": job,
            "job_id": job_id,
            "dispatch": dispatch,
            "gate": "Approval",
            "state": "Pending",
            "digest": "e",
            "scheduled_for": self.now,
            "required": 1,
            "allow_self": True,
            "message": "",
            "on_timeout": "Reject",
            "created_at": self.now,
            "expires_at": self.now + timedelta(hours=24),
        }
        self.insert(schema.approvals, {**base, **changes})


class Serving:
    """A control server on a place, for the length of a block. `woken` counts, `asked` is what was to be reconciled."""

    def __init__(self, place: Place, *, fail: bool = False) -> None:
        self._place, self._fail = place, fail
        self.woken = 0
        self.asked: list[Any] = []
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30)

    def publish(self, message: str) -> None:
        event = StoryEvent(at=datetime.now(UTC), kind=StoryKind.Source, message=message)
        self.loop.call_soon_threadsafe(self.server.news.publish, event)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        backend = Backend(
            store=self._place.store,
            clock=SystemClock(),
            perform=_broken if self._fail else commands.perform,
            wake=self._wake,
            reconcile=self._reconcile,
            enquire=_nobody,
            abilities=Abilities,
            trial=lambda *_: None,
            log_dir=self._place.log_dir,
            host="here",
        )
        self.server = ControlServer(self._place.socket, backend)
        self._task = asyncio.create_task(self.server.serve(self._up.set))
        await asyncio.wait([self._task])

    def _wake(self) -> None:
        self.woken += 1

    async def _reconcile(self, names: Any) -> list[str]:
        self.asked.append(names)
        return list(names) if names is not None else ["manifests"]


async def _nobody(*_: Any) -> dict[str, Any]:
    return {}


def _broken(*_: Any) -> dict[str, Any]:
    raise RuntimeError("a defect with a secret in it")
