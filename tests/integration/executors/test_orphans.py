"""After kill -9 of a controller: its processes are found by another one, and ended."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from controller.executors import orphans, processes
from controller.executors.orphans import Orphan
from controller.executors.protocol import Handle
from tests.integration.executors.conftest import living, until
from tests.integration.executors.test_whole_tree import DAEMON

# A controller in little: starts what it is told through the real executor, prints the handles, and waits to be killed.
CONTROLLER = """
import asyncio, json, os, sys
from datetime import timedelta
import msgspec
from controller.base.clock import SystemClock
from controller.executors.local import LocalExecutor
from controller.executors.protocol import ExecutionRequest

async def main():
    executor = LocalExecutor(SystemClock())
    handles = {}
    for run, script in json.loads(sys.argv[1]).items():
        env = {"PATH": os.environ["PATH"], "JOBWARDEN_RUN_ID": run, "JOBWARDEN_NAMESPACE": "tests"}
        argv = (("/bin/bash", "-c", script))
        request = ExecutionRequest(run=run, namespace="tests", job="job", argv=argv, env=env, timeout=timedelta(hours=1))
        handles[run] = executor.start(request, lambda result: None).handle
    print(msgspec.json.encode(handles).decode(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


Crash = Callable[[dict[str, str]], dict[str, Handle]]


@pytest.fixture
def crash(tmp_path: Path) -> Iterator[Crash]:
    """Starts scripts under run names in a controller of their own, waits for a file `<run>` of each, and kills the controller."""
    names: set[str] = set()

    def crash_with(scripts: dict[str, str]) -> dict[str, Handle]:
        names.update(scripts)
        controller = subprocess.Popen(
            [sys.executable, "-c", CONTROLLER, msgspec.json.encode(scripts).decode()],
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert controller.stdout is not None
        handles = msgspec.json.decode(controller.stdout.readline(), type=dict[str, Handle])
        _wait_for_files(tmp_path, scripts)
        controller.kill()
        controller.wait()
        controller.stdout.close()
        return handles

    yield crash_with
    orphans.end(orphans.find(names), timedelta(0))


def _wait_for_files(folder: Path, names: dict[str, str]) -> None:
    asyncio.run(until(lambda: all((folder / name).exists() for name in names), "every script has begun"))


def _name(test: str, number: int) -> str:
    return f"orphan-{test}-{os.getpid()}-{number}"


def test_processes_of_a_dead_controller_are_found_and_ended(crash: Crash, tmp_path: Path) -> None:
    """A whole group, one that ignores TERM, and a daemon in a session of its own; a new controller knows only the names."""
    plain, stubborn, daemon = (_name("ended", n) for n in range(3))
    crash(
        {
            plain: f"sleep 600 & touch {plain}; wait",
            stubborn: f"trap '' TERM; touch {stubborn}; while :; do sleep 0.05; done",
            daemon: f"{sys.executable} -c '{DAEMON.replace(chr(39), chr(34))}' {tmp_path} silent; while ! test -e daemon; do sleep 0.01; done; touch {daemon}",
        }
    )
    found = orphans.find({plain, stubborn, daemon})
    assert {one.run for one in found} == {plain, stubborn, daemon}
    assert int((tmp_path / "daemon").read_text()) in {one.process.pid for one in found}
    assert {one.process.namespace for one in found} == {"tests"}
    ended = orphans.end(found, timedelta(seconds=0.5))
    assert ended.count >= len(found)
    assert ended.survivors == ()
    assert orphans.find({plain, stubborn, daemon}) == []


def test_only_the_named_runs_are_touched(crash: Crash) -> None:
    """Another controller on the same host, or a run that was let go, has other names."""
    mine, others = _name("named", 0), _name("named", 1)
    crash({run: f"touch {run}; exec sleep 600" for run in (mine, others)})
    orphans.end(orphans.find({mine}), timedelta(seconds=10))
    assert living(mine) == []
    assert len(living(others)) == 1
    assert {one.run for one in orphans.find(None)} >= {others}


def test_a_process_without_its_environment_is_found_through_the_handle(crash: Crash) -> None:
    """The row of the run knows the main process, and the start time that proves it is still the same."""
    run = _name("hidden", 0)
    script = f"touch {run}; exec env -i sleep 600"
    handle = crash({run: script})[run]
    asyncio.run(until(lambda: orphans.find({run}) == [], "it has dropped its name"))
    stale = msgspec.structs.replace(handle, pid_start=handle.pid_start - 1)
    other_boot = msgspec.structs.replace(handle, boot_id="another")
    assert orphans.find({run}, {run: stale}) == orphans.find({run}, {run: other_boot}) == []
    found = orphans.find({run}, {run: handle})
    assert [(one.run, one.process.pid) for one in found] == [(run, handle.pid)]
    assert orphans.end(found, timedelta(seconds=10)) == orphans.Ended(1)


def test_a_number_that_belongs_to_somebody_else_by_now_is_left_alone() -> None:
    """Process ids are given out again; the start time tells."""
    with subprocess.Popen(["sleep", "600"]) as innocent:
        found = processes.read(innocent.pid)
        assert found is not None
        earlier = Orphan("some-run", msgspec.structs.replace(found, start=found.start - 100))
        assert orphans.end([earlier], timedelta(seconds=0.1)) == orphans.Ended(1)
        assert innocent.poll() is None
        innocent.kill()


def test_nothing_to_end_takes_no_time() -> None:
    """The ordinary start of a controller."""
    assert orphans.end([], timedelta(hours=1)) == orphans.Ended(0)
    assert orphans.find(set()) == []


def test_a_process_never_finds_itself() -> None:
    """A controller that is itself a run of another controller must not end itself."""
    child = "import sys; from controller.executors import orphans; sys.exit(bool(orphans.find({'outer'})))"
    finished = subprocess.run(
        [sys.executable, "-c", child],
        env=os.environ | {"JOBWARDEN_RUN_ID": "outer", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert finished.returncode == 0


def test_where_there_is_no_proc_nothing_is_found_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller tells its user that orphans cannot be looked for."""
    assert orphans.supported()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not orphans.supported()
    assert orphans.find(None) == []
