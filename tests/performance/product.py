"""Driving the product through its public command line, and checking afterwards what it says it did.

Benchmarks make an `Installation` for each sample (a state folder and a database of its own) and start controllers in it.
Invariant: figures are taken from outside; what the product says of its runs is read, and held against what was asked, only after the clock stopped.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tests.performance.database import Database
from tests.performance.harness import NotAvailable
from tests.performance.suite import Suite
from tests.performance.workspace import ROOT, end, start

COMMAND = (sys.executable, "-m", "controller.cli.main")


@dataclass
class Installation:
    """One state folder, one folder of manifests, one database."""

    folder: Path
    url: str
    source: Path | None = None
    """Where manifests come from, when it is not a folder of its own (replicas share one)."""
    more: Mapping[str, str] = field(default_factory=dict)
    """What else its processes find in their environment."""

    @property
    def manifests(self) -> Path:
        """Where the controller reads manifests from."""
        return self.source or self.folder / "manifests"

    @property
    def environment(self) -> Mapping[str, str]:
        """State, sockets and logs inside the folder; the package from this checkout."""
        return {
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_RUNTIME_DIR": str(self.folder / "state"),
            "JOBWARDEN_DB": self.url,
            "PYTHONPATH": str(ROOT),
            **self.more,
        }

    def database(self) -> Database:
        """A view of its database from outside."""
        return Database(self.url)

    def ask(self, *arguments: str, seconds: float = 120) -> Any:
        """Run a verb with `-o json` and give what it printed. Errors: RuntimeError with its words."""
        done = subprocess.run(
            [*COMMAND, *arguments, "-o", "json"],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            cwd=self.folder,
        )
        if done.returncode != 0:
            raise RuntimeError(f"jobwarden {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-600:]}")
        return json.loads(done.stdout)

    def runs(self) -> list[dict[str, Any]]:
        """Every run, as `get runs -A -o json` shows it."""
        return list(self.ask("get", "runs", "-A")["items"])


@contextmanager
def installation(suite: Suite, name: str, engine: str = "sqlite") -> Iterator[Installation]:
    """A fresh installation on `sqlite` or `postgresql`; its database is removed at the end."""
    require_product()
    folder = suite.workspace.folder(name)
    (folder / "manifests").mkdir()
    (folder / "state").mkdir()
    url = f"sqlite:///{folder / 'state' / 'jobwarden.db'}" if engine == "sqlite" else suite.postgres.database()
    try:
        yield Installation(folder, url)
    finally:
        if engine != "sqlite":
            suite.postgres.drop(url)


def replica(of: Installation, name: str) -> Installation:
    """Another state folder for the same manifests and the same database."""
    folder = of.folder / name
    (folder / "state").mkdir(parents=True)
    return Installation(folder, of.url, of.manifests, of.more)


def require_product() -> None:
    """Errors: NotAvailable while the command cannot be run at all."""
    if not (ROOT / "controller" / "cli" / "main.py").exists():
        raise NotAvailable("the jobwarden command is not there")


class Controller:
    """One `jobwarden run`, in a process group of its own, its output in a file."""

    def __init__(
        self, where: Installation, *arguments: str, command: Sequence[str] = COMMAND, name: str = "controller"
    ) -> None:
        """Start it on the installation's manifests."""
        self.where = where
        self.log = where.folder / f"{name}.log"
        self.begun = time.time()
        with self.log.open("ab") as log:
            self.process = start(
                [*command, "run", str(where.manifests), "--db", where.url, *arguments],
                env=where.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=where.folder,
            )

    def __enter__(self) -> Self:
        """It is running."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what is left of it."""
        end(self.process)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def wait_loaded(self, jobs: int, seconds: float = 300) -> float:
        """Wait until that many jobs are in the database; the wall-clock time of it."""
        database = self.where.database()
        try:
            return database.wait(lambda: database.jobs() >= jobs, seconds, lambda: self.alive)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {database.jobs()} of {jobs} jobs are loaded; {self.tail()}") from error
        finally:
            database.close()

    def wait_ended(self, runs: int, seconds: float = 300) -> float:
        """Wait until that many runs are over and committed; the wall-clock time of it."""
        database = self.where.database()
        try:
            return database.wait(lambda: database.ended() >= runs, seconds, lambda: self.alive)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {database.ended()} of {runs} runs are over; {self.tail()}") from error
        finally:
            database.close()

    def stop(self, seconds: float = 60) -> None:
        """Ask it to drain and wait for its end. Errors: RuntimeError when it ends badly, TimeoutExpired when not at all."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        if code not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):
            raise RuntimeError(f"the controller ended with {code}: {self.tail()}")

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-1500:]


def check_each_once(runs: Sequence[Mapping[str, Any]], expected: int, state: str = "Succeeded") -> None:
    """Every job ran exactly once and ended as it should. Errors: RuntimeError that says which did not."""
    times = Counter(run["spec"]["job"] for run in runs)
    wrong = [run["metadata"]["name"] for run in runs if run["status"]["state"] != state]
    twice = [job for job, count in times.items() if count != 1]
    if wrong or twice or len(times) != expected:
        raise RuntimeError(
            f"{len(times)} of {expected} jobs ran; not {state}: {wrong[:3]}; more than once: {twice[:3]}"
        )


def moment(text: str) -> float:
    """RFC 3339 to seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
