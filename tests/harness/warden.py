"""One installation of jobwarden in a folder of its own, driven from outside: files in, command line out.

Tests hold a `Warden`; it starts the real command as a process, asks it with the real command, and cleans up whatever is left. The environment is
made here from nothing, so that a test sees the same on every machine. HOME is unique to the installation, and so marks every process it started.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import yaml

from tests.harness.manifests import Document, instant
from tests.harness.prefork import Forked, Prefork
from tests.harness.socketview import view
from tests.harness.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "controller.cli.main")
DEADLINE = 120.0  # Kubernetes may be built beside the tests

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Result:
    """What one command did. `json` is its standard output, parsed."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str

    @cached_property
    def json(self) -> Any:
        """Standard output as JSON. Errors: AssertionError that shows both streams when it is none."""
        try:
            return json.loads(self.out)
        except ValueError:
            raise AssertionError(f"no JSON on standard output\n{self}") from None

    def ok(self) -> Self:
        """Itself, when the command ended with 0. Errors: AssertionError that shows both streams."""
        assert self.code == 0, str(self)
        return self

    @property
    def text(self) -> str:
        """Both streams, for words that may be on either."""
        return f"{self.out}\n{self.err}"

    def __str__(self) -> str:
        return (
            f"$ jobwarden {' '.join(self.command)}\nexit code {self.code}\n{self.out}\n--- standard error:\n{self.err}"
        )


@cache
def _prefork() -> Prefork:
    return Prefork()


class Warden:
    """A folder with manifests, a database and at most one running controller.

    Several may share a database or a manifests folder: give `database` and `manifests` of the other one.
    """

    def __init__(
        self, *, database: str | None = None, manifests: Path | None = None, environment: dict[str, str] | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jw-"))
        self.manifests = manifests or self.folder / "manifests"
        self.state = self.folder / "state"
        self.log = self.folder / "controller.log"
        self.process: subprocess.Popen[bytes] | Forked | None = None
        for folder in (self.manifests, self.state, self.folder / "home", self.folder / "run", self.folder / "work"):
            folder.mkdir(exist_ok=True, mode=0o700)
        self.environment = self._clean_environment(database) | (environment or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    # Manifests

    def write(self, name: str, *documents: Document | str) -> Path:
        """Put documents into `<name>.yaml` in one move; a string is written as it is. Gives the path."""
        path = self.manifests / f"{name}.yaml"
        texts = [
            one if isinstance(one, str) else yaml.safe_dump(one, sort_keys=False, allow_unicode=True)
            for one in documents
        ]
        temporary = path.with_name(f".{name}.new")
        temporary.write_text("---\n".join(texts), encoding="utf-8")
        temporary.replace(path)
        return path

    def remove(self, name: str) -> None:
        """Take `<name>.yaml` away."""
        (self.manifests / f"{name}.yaml").unlink()

    @property
    def work(self) -> Path:
        """A folder for the side effects of jobs."""
        return self.folder / "work"

    # The controller

    def start(self, *arguments: str, applied: tuple[str, ...] = ()) -> Self:
        """Start the controller on the manifests folder and wait until it can be asked and knows the jobs `applied`."""
        said = self.log.stat().st_size if self.log.exists() else 0
        self._spawn(arguments)
        # Its own word that it has started: a database that is left from before would answer in its place.
        self.wait_for(lambda: b"instance" in self.log.read_bytes()[said:], "the controller to have started")
        self.wait_for(
            lambda: self._seen("sources") or self.cli("get", "sources").code == 0, "the controller to be reachable"
        )
        if applied:
            self.wait_for(
                lambda: set(applied) <= {one["metadata"]["name"] for one in self.jobs()}, f"{applied} to be applied"
            )
        return self

    def _spawn(self, arguments: tuple[str, ...]) -> None:
        assert self.process is None, "a controller runs already"
        with self.log.open("ab") as log:
            command = ("run", str(self.manifests), "--log-format", "text", *arguments)
            self.process = self._command(command, self.environment, log.fileno(), log.fileno())

    def kill9(self) -> None:
        """Kill the controller, and only it, as a machine would."""
        process = self._running()
        process.kill()
        process.wait()
        self.process = None

    def stop(self, *, deadline: float = DEADLINE) -> int:
        """Ask the controller to drain, as Ctrl-C does, and wait; gives its exit code."""
        process = self._running()
        process.send_signal(signal.SIGINT)
        return self.wait_ended(deadline=deadline)

    def wait_ended(self, *, deadline: float = DEADLINE) -> int:
        """Wait until the controller ends by itself; gives its exit code."""
        process = self._running()
        try:
            code = process.wait(timeout=deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the controller still runs after {deadline:g} s\n{self.story()}") from None
        self.process = None
        return code

    def run_until_idle(self, *arguments: str, deadline: float = 180.0) -> None:
        """Run the controller until nothing runs, waits or will ever be due. Errors: AssertionError unless it ends with 0."""
        self._spawn(("--until-idle", *arguments))
        code = self.wait_ended(deadline=deadline)
        assert code == 0, f"`run --until-idle` ended with {code}\n{self.story()}"

    def run_for(self, duration: str, *arguments: str, deadline: float = 180.0) -> None:
        """Run the controller for this long and let it drain. Errors: AssertionError unless it ends with 0."""
        self._spawn(("--for", duration, *arguments))
        code = self.wait_ended(deadline=deadline)
        assert code == 0, f"`run --for {duration}` ended with {code}\n{self.story()}"

    # Asking

    def cli(self, *arguments: str, deadline: float = DEADLINE, environment: dict[str, str] | None = None) -> Result:
        """Run one command to its end. Errors: subprocess.TimeoutExpired."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            # A command sees the real time, also where the controller's clock is moved: a library in its way would have it import everything anew.
            plain = {name: value for name, value in self.environment.items() if name != "LD_PRELOAD"}
            process = self._command(arguments, plain | (environment or {}), out.fileno(), err.fileno())
            try:
                code = process.wait(deadline)
            except BaseException:
                process.kill()
                process.wait()
                raise
            for file in (out, err):
                file.seek(0)
            return Result(arguments, code, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace"))

    def _command(
        self, arguments: tuple[str, ...], environment: dict[str, str], out: int, err: int
    ) -> "subprocess.Popen[bytes] | Forked":
        """Start the command in a session of its own."""
        # The linker and the interpreter look at their variables before anybody else does.
        early = any(name.startswith(("LD_", "PYTHON")) and name != "PYTHONPATH" for name in environment)
        if early or os.environ.get("JOBWARDEN_TEST_EXEC"):
            return subprocess.Popen(
                [*COMMAND, *arguments],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        with Path(os.devnull).open("rb") as nothing:
            return _prefork().spawn(
                arguments, environment=environment, cwd=self.folder, streams=(nothing.fileno(), out, err)
            )

    def _seen(self, kind: str, *arguments: str, **question: str) -> Any:
        """What the running controller shows of a kind, asked as `get` with these arguments does; None where the command has to be asked."""
        if self.process is None:
            return None
        question["namespace"] = self.environment.get("JOBWARDEN_NAMESPACE", "default")
        left = list(arguments)
        while left:
            match left.pop(0):
                case "-A":
                    del question["namespace"]
                case "--all":
                    question["all"] = "true"
                case "-n" if left:
                    question["namespace"] = left.pop(0)
                case _:
                    return None
        return view(self.folder / "run/jobwarden", kind, **question)

    def items(self, kind: str, *arguments: str) -> list[Document]:
        """Every resource of a kind, as `get KIND -o json` lists them."""
        seen = self._seen(kind, *arguments)
        if seen is not None:
            return list(seen["items"])
        return list(self.cli("get", kind, *arguments, "-o", "json").ok().json["items"])

    def jobs(self) -> list[Document]:
        """Every job; empty as well while there is no database yet."""
        seen = self._seen("jobs")
        if seen is not None:
            return list(seen["items"])
        result = self.cli("get", "jobs", "-o", "json")
        return list(result.json["items"]) if result.code == 0 else []

    def job(self, name: str) -> Document:
        """One job."""
        seen = self._seen("jobs", name=name)
        if seen is not None:
            return dict(seen)
        return dict(self.cli("get", "jobs", name, "-o", "json").ok().json)

    def condition(self, name: str, kind: str) -> Document:
        """One condition of a job; empty when it is not there."""
        conditions = self.job(name).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    def runs(self, job: str | None = None, *, state: str | None = None) -> list[Document]:
        """Runs in order of creation, of one job and in one state if asked."""
        found = [
            one
            for one in self.items("runs")
            if job in (None, one["spec"]["job"]) and state in (None, one["status"]["state"])
        ]
        return sorted(found, key=lambda one: (instant(one["metadata"]["creationTimestamp"]), one["spec"]["attempt"]))

    def queue(self, job: str | None = None, *, ended: bool = False) -> list[Document]:
        """Dispatches that wait, or with `ended` all of them, of one job if asked, in order of their instants."""
        found = [one for one in self.items("queue", *(["--all"] if ended else [])) if job in (None, one["spec"]["job"])]
        return sorted(found, key=lambda one: instant(one["spec"]["scheduledFor"]))

    def approvals(self, job: str | None = None) -> list[Document]:
        """Approvals, of one job if asked."""
        return [one for one in self.items("approvals") if job in (None, one["spec"]["jobRef"]["name"])]

    def explain(self, name: str) -> Document:
        """The account of a job's instants."""
        return dict(self.cli("explain", name, "-o", "json").ok().json)

    def trigger(self, name: str, *arguments: str) -> Result:
        """Ask for a run now; gives the answer, whatever it is."""
        return self.cli("trigger", name, *arguments)

    # Waiting

    def wait_for(
        self,
        condition: Callable[[], Seen | Literal[False] | None],
        what: str = "the condition",
        *,
        deadline: float = DEADLINE,
    ) -> Seen:
        """Wait for a condition; a failure shows runs, queue and the end of the controller's log. Gives up when the controller has died."""

        def alive() -> Seen | Literal[False] | None:
            ended = self.process is not None and self.process.poll() is not None
            value = condition()
            assert value or not ended, f"the controller has ended while waiting for {what}\n{self.story()}"
            return value

        return wait_for(alive, what, deadline=deadline, context=self.story)

    def wait_run(self, job: str, *states: str, count: int = 1, deadline: float = DEADLINE) -> list[Document]:
        """Wait until a job has at least `count` runs in one of `states` (any ended state when none is named); gives these."""
        wanted = states or ("Succeeded", "Failed", "TimedOut", "Cancelled", "Crashed", "Denied")

        def found() -> list[Document]:
            matching = [one for one in self.runs(job) if one["status"]["state"] in wanted]
            return matching if len(matching) >= count else []

        return self.wait_for(found, f"{count} runs of {job} in {wanted}", deadline=deadline)

    def story(self, lines: int = 60) -> str:
        """What a person would look at first when something went wrong."""
        log = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:] if self.log.exists() else []
        views = []
        for kind in ("runs", "queue"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                views.append(f"--- get {kind}:\n{self.cli('get', kind, deadline=20).text.strip()}")
        return "\n".join(["--- end of the controller's log:", *log, *views])

    # Cleaning up

    def processes(self) -> list[int]:
        """Process ids of everything alive that this installation started, the controller included."""
        mark = f"HOME={self.folder / 'home'}".encode()
        # One that was forked shows the environment of the interpreter that it was forked from.
        found = [self.process.pid] if self.process is not None and self.process.poll() is None else []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in found:
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def close(self) -> None:
        """End every process of this installation and remove its folder. Prints the end of the log for the test's report."""
        if self.process is not None:
            self.kill9()
        for _ in range(20):
            left = self.processes()
            if not left:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.log.exists():
            sys.stdout.write("\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-80:]))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _running(self) -> "subprocess.Popen[bytes] | Forked":
        assert self.process is not None, "no controller was started"
        return self.process

    def _clean_environment(self, database: str | None) -> dict[str, str]:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder / "home"),
            "USER": "tester",
            "LOGNAME": "tester",
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "XDG_STATE_HOME": str(self.state),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "XDG_CONFIG_HOME": str(self.folder / "home/.config"),
            "XDG_CACHE_HOME": str(self.folder / "home/.cache"),
        }
        return environment | ({"JOBWARDEN_DB": database} if database else {})
