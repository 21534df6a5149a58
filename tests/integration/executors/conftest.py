"""A Local executor on the test's own loop, and short ways to run something with it."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from controller.base.clock import SystemClock
from controller.executors import processes
from controller.executors.execution import LocalExecution
from controller.executors.local import LocalExecutor
from controller.executors.protocol import Execution, ExecutionRequest, ExecutionResult

DEADLINE = 60.0  # seconds; only a defect comes near


class Runner:
    """Starts requests, and gives their results; every name is used once."""

    def __init__(self, executor: LocalExecutor, folder: Path) -> None:
        self.executor = executor
        self.folder = folder
        self.count = 0

    def request(self, *argv: str, **fields: object) -> ExecutionRequest:
        """A request for `argv`, or for `script` in /bin/sh, with a log and an output file."""
        self.count += 1
        run = f"run-{os.getpid()}-{self.folder.name}-{self.count}"
        script = fields.pop("script", None)
        output = self.folder / f"{run}.outputs"
        environment = {"PATH": os.environ["PATH"], "JOBWARDEN_RUN_ID": run, "JOBWARDEN_NAMESPACE": "tests"}
        environment |= {"JOBWARDEN_OUTPUT": str(output)} | dict(fields.pop("env", {}))  # type: ignore[call-overload]
        given = {
            "run": run,
            "namespace": "tests",
            "job": "job",
            "argv": argv if script is None else ("/bin/sh", "-c", script),
            "env": environment,
            "timeout": timedelta(seconds=DEADLINE),
            "grace": timedelta(seconds=DEADLINE),
            "log_path": self.folder / "logs" / f"{run}.log",
            "output_path": output,
        }
        return ExecutionRequest(**(given | fields))  # type: ignore[arg-type]

    def start(self, request: ExecutionRequest) -> tuple[Execution, "asyncio.Future[ExecutionResult]"]:
        """Start it; the future fails should `on_end` come twice."""
        ended: asyncio.Future[ExecutionResult] = asyncio.get_running_loop().create_future()
        execution = self.executor.start(request, ended.set_result)
        assert not ended.done(), "on_end must not be called before start has returned"
        return execution, ended

    async def __call__(self, *argv: str, **fields: object) -> ExecutionResult:
        """Run it to its end."""
        _, ended = self.start(self.request(*argv, **fields))
        return await asyncio.wait_for(ended, DEADLINE)

    async def script(self, script: str, **fields: object) -> ExecutionResult:
        """Run a shell script to its end."""
        return await self(script=script, **fields)

    async def out_of_time(self, script: str, **fields: object) -> ExecutionResult:
        """Run a script to its timeout, which comes when it has printed its first line: waiting for the clock would race with a slow shell."""
        execution, ended = self.start(self.request(script=script, **fields))
        await until(lambda: execution.output_bytes, "it has printed something")
        assert isinstance(execution, LocalExecution)
        execution._time_out()
        return await asyncio.wait_for(ended, DEADLINE)


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Runner]:
    """A runner; afterwards no descriptor and no process of the test is left."""
    before = descriptors()
    executor = LocalExecutor(SystemClock())
    runner = Runner(executor, tmp_path)
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    yield runner
    executor.close()
    assert faults == []
    # The outputs of a run are taken away by a thread, which may not be done yet.
    await until(lambda: len(descriptors()) <= len(before), "no descriptor is left")


@pytest.fixture
def log_of(run: Runner) -> Callable[[ExecutionResult], bytes]:
    """The run log of a result."""
    return lambda result: (run.folder / "logs" / f"{result.run}.log").read_bytes()


def descriptors() -> set[int]:
    """What the test process has open (with one more, for the listing)."""
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


def resident() -> int:
    """Bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def living(run: str) -> list[processes.Process]:
    """The processes that carry a run's name."""
    return list(processes.scan({run}, {}))


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Callable[[str], int | None]]:
    """Reads a process id that a script wrote into the test's folder; kills it in the end, should it still live."""
    seen: set[str] = set()

    def read(name: str) -> int | None:
        seen.add(name)
        path = tmp_path / name
        return int(path.read_text()) if path.exists() and path.read_text().endswith("\n") else None

    yield read
    for name in seen:
        pid = read(name)
        if pid is not None and processes.read(pid) is not None:
            os.kill(pid, 9)
