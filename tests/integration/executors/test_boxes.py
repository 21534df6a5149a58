"""A run in a box is a run like any other: its end, output, time and tree are told as they are without one."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from controller.base.clock import SystemClock
from controller.domain.trust import Box, Enforcement, NetworkMode, Profile
from controller.executors import box, orphans, processes
from controller.executors.local import LocalExecutor
from controller.executors.private_files import PrivateFiles
from controller.executors.protocol import BoxRequest, ExecutionResult, Handle
from tests.integration.executors.boxes import HERE, ISOLATED, NO_NETWORK, RESTRICTED, inside, needs_boxes, run_inside
from tests.integration.executors.conftest import DEADLINE, Runner, living, until
from tests.integration.executors.test_private_files import place, private
from tests.integration.executors.test_whole_tree import DAEMON, SHORT

pytestmark = needs_boxes

__all__ = ["place", "private"]  # fixtures

EVERY = pytest.mark.parametrize("wanted", [RESTRICTED, ISOLATED, NO_NETWORK], ids=["restricted", "isolated", "offline"])
Pids = Callable[[str], int | None]


@EVERY
async def test_the_exit_code_is_that_of_the_command(run: Runner, wanted: Box) -> None:
    """And nothing is noted about it."""
    for code in (0, 1, 3, 127, 255):
        result = await run_inside(run, wanted, f"exit {code}")
        assert (result.exit_code, result.signal, result.start_error, result.note) == (code, None, None, None)
        assert (result.leftovers, result.survivors) == (0, 0)


@EVERY
async def test_both_streams_are_captured_and_logged(run: Runner, wanted: Box, log_of: Callable[..., bytes]) -> None:
    """What is printed last included, and the log lies outside."""
    result = await run_inside(run, wanted, "echo out; echo err >&2; seq 1 20000 | tail -n 1")
    assert (result.stdout, result.stderr) == (b"out\n20000\n", b"err\n")
    assert sorted(log_of(result).splitlines()) == [b"20000", b"err", b"out"]


@EVERY
async def test_standard_input_is_empty_and_no_other_descriptor_is_there(run: Runner, wanted: Box) -> None:
    """Neither the filter nor the status nor anything of the controller."""
    result = await run_inside(
        run, wanted, "cat; n=0; while [ $n -lt 40 ]; do test -e /proc/$$/fd/$n && echo $n; n=$((n+1)); done"
    )
    assert result.stdout == b"0\n1\n2\n"


@EVERY
async def test_outputs_reach_the_controller(run: Runner, wanted: Box) -> None:
    """The one file outside that every box may write."""
    result = await run_inside(run, wanted, "echo key=value >> $JOBWARDEN_OUTPUT")
    assert result.outputs == {"key": "value"}
    result = await run_inside(run, wanted, "true")
    assert (result.outputs, result.outputs_error) == ({}, None)
    await until(lambda: not list(run.folder.glob("*.outputs")), "the file goes with the run")


async def test_a_signal_in_a_box_is_an_exit_code_with_a_remark(run: Runner) -> None:
    """Bubblewrap tells no more; whoever reads 137 should know what it may mean."""
    result = await run_inside(run, RESTRICTED, "kill -KILL $$")
    assert (result.exit_code, result.signal) == (137, None)
    assert result.note == "exit code 137: out of a box, an end by SIGKILL looks the same"


async def test_a_program_that_is_not_there_is_a_start_error(run: Runner) -> None:
    """As without a box, and not exit code 1 of somebody else."""
    _, ended = run.start(inside(run, RESTRICTED, "no-such-program"))
    result = await ended
    assert (result.exit_code, result.signal) == (None, None)
    assert result.start_error is not None
    assert result.start_error.startswith("cannot start 'no-such-program' in the box: No such file or directory")
    assert "box.paths" in result.start_error


async def test_what_a_command_prints_is_never_taken_for_an_error_of_the_box(run: Runner) -> None:
    """A command may pose as bubblewrap; only bubblewrap's own status counts."""
    result = await run_inside(run, RESTRICTED, "echo 'bwrap: execvp x: No such file or directory' >&2; exit 1")
    assert (result.exit_code, result.start_error) == (1, None)


async def test_a_working_directory_that_is_listed_is_the_one_it_starts_in(run: Runner, tmp_path: Path) -> None:
    """Without one it starts in its private home."""
    result = await run_inside(
        run, msgspec.structs.replace(RESTRICTED, write=(str(tmp_path),)), "pwd", cwd=str(tmp_path)
    )
    assert result.stdout == f"{tmp_path}\n".encode()
    result = await run_inside(run, RESTRICTED, "pwd; ls -A", env={"HOME": "/home/somebody"})
    assert result.stdout == b"/home/somebody\n"


@EVERY
async def test_folders_of_the_run_itself_are_shown_whatever_is_listed(run: Runner, wanted: Box, tmp_path: Path) -> None:
    """Its credentials: to be read, not to be changed."""
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    (keys / "token").write_text("narrow")
    request = run.request(
        script=f"cat {keys}/token; echo x 2>/dev/null > {keys}/token || echo; touch {keys}/new 2>/dev/null || echo no"
    )
    made = box.request(wanted, box.Place(request.env, folders=(str(keys),), output=str(request.output_path)), HERE)
    assert isinstance(made, BoxRequest)
    result = await run.start(msgspec.structs.replace(request, box=made))[1]
    assert result.stdout == b"narrow\nno\n"
    assert (keys / "token").read_text() == "narrow"


@EVERY
async def test_credentials_in_memory_reach_the_run(
    run: Runner, wanted: Box, private: PrivateFiles, place: Path
) -> None:
    """From memory, read-only, and gone with the run."""
    executor = LocalExecutor(SystemClock(), private=private)
    request = run.request(script='cat "$CREDENTIALS_DIRECTORY/token"; ls "$CREDENTIALS_DIRECTORY/.."')
    folder = private.path(request.run)
    assert isinstance(folder, Path)
    env = {**request.env, "CREDENTIALS_DIRECTORY": str(folder)}
    made = box.request(wanted, box.Place(env, output=str(request.output_path), folders=(str(folder),)), HERE)
    assert isinstance(made, BoxRequest)
    ended: asyncio.Future[ExecutionResult] = asyncio.get_running_loop().create_future()
    executor.start(msgspec.structs.replace(request, env=env, files={"token": b"narrow\n"}, box=made), ended.set_result)
    result = await asyncio.wait_for(ended, DEADLINE)
    assert result.stdout == f"narrow\n{folder.name}\n".encode()
    await until(lambda: not folder.exists(), "it goes with the run")
    executor.close()


def test_a_working_directory_that_is_not_visible_is_refused(tmp_path: Path) -> None:
    """A job must not widen its box by naming a folder."""
    refused = box.request(RESTRICTED, box.Place({}, cwd="/var/lib"), HERE)
    assert isinstance(refused, str)
    assert "'/var/lib' is not visible in the box" in refused


@EVERY
async def test_a_timeout_is_term_and_the_handler_may_tidy_up(run: Runner, wanted: Box) -> None:
    """TERM reaches the command, not only what keeps the box."""
    execution, ended = run.start(
        inside(run, wanted, script="trap 'echo cleaning up; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    )
    await until(lambda: execution.output_bytes, "it listens")
    execution._time_out()  # type: ignore[attr-defined]
    result = await ended
    assert (result.exit_code, result.signal, result.timed_out) == (9, None, True)
    assert result.stdout == b"ready\ncleaning up\n"


async def test_a_stop_is_told_as_the_signal_that_it_was(run: Runner) -> None:
    """Not as 143."""
    execution, ended = run.start(inside(run, ISOLATED, script="echo ready; sleep 600"))
    await until(lambda: execution.output_bytes, "it runs")
    execution.stop("cancelled by alice")
    result = await ended
    assert (result.exit_code, result.signal) == (None, "SIGTERM")
    assert (result.cancelled, result.stop_reason) == (True, "cancelled by alice")
    assert living(result.run) == []


async def test_who_ignores_term_is_killed_after_the_grace_period_with_all_it_started(run: Runner) -> None:
    """Also what dropped its environment and left the session: nothing leaves a process namespace."""
    script = "trap '' TERM; setsid env -i sleep 654 & setsid sleep 654 & echo ready; while :; do sleep 1; done"
    execution, ended = run.start(inside(run, RESTRICTED, script=script, grace=SHORT))
    await until(lambda: execution.output_bytes, "it listens")
    execution.stop("test")
    result = await ended
    assert (result.exit_code, result.signal, result.survivors) == (None, "SIGKILL", 0)
    assert result.duration >= SHORT
    assert _sleeping("654") == []


@pytest.mark.parametrize("how", ["silent", "talking"])
async def test_a_box_ends_with_its_command_and_all_that_is_left_inside(run: Runner, how: str) -> None:
    """Daemons too: nobody watches over a box whose run has ended."""
    python = msgspec.structs.replace(RESTRICTED, read=(str(Path(sys.executable).resolve().parents[1]),))
    script = (
        f'{Path(sys.executable).resolve()} -c "$DAEMON" /tmp {how}; '
        "while ! test -s /tmp/daemon; do sleep 0.01; done; sleep 655 & echo done; exit 4"
    )
    result = await run_inside(run, python, script, env={"DAEMON": DAEMON})
    assert (result.exit_code, result.stdout) == (4, b"done\n")
    assert living(result.run) == []
    assert _sleeping("655") == []


async def test_many_boxes_at_once(run: Runner) -> None:
    """Each ends by itself, or by its timeout."""
    quick = [inside(run, RESTRICTED, script=f"exit {n}") for n in range(10)]
    slow = [inside(run, RESTRICTED, script="sleep 600", timeout=timedelta(seconds=1)) for _ in range(10)]
    results = await asyncio.gather(*(run.start(request)[1] for request in quick + slow))
    assert [result.exit_code for result in results[:10]] == list(range(10))
    assert all(result.timed_out and result.survivors == 0 for result in results[10:])


async def test_a_box_whose_keeper_is_killed_from_outside_is_told_as_that(run: Runner) -> None:
    """By an administrator, or for want of memory."""
    execution, ended = run.start(inside(run, RESTRICTED, script="echo ready; sleep 656"))
    await until(lambda: execution.output_bytes, "it runs")
    assert execution.handle is not None
    os.kill(execution.handle.pid, signal.SIGKILL)
    result = await ended
    assert (result.exit_code, result.signal, result.start_error) == (None, "SIGKILL", None)
    assert _sleeping("656") == []


async def test_an_executor_that_closes_takes_its_boxes_with_it(run: Runner) -> None:
    """At once, and nobody is told."""
    execution, ended = run.start(inside(run, RESTRICTED, script="echo ready; trap '' TERM; sleep 657; sleep 657"))
    await until(lambda: execution.output_bytes, "it runs")
    run.executor.close()
    await until(lambda: not living(execution.request.run), "everything has ended")
    assert not ended.done()


def test_what_cannot_be_enforced_is_refused_under_block_and_noted_under_warn() -> None:
    """A path that is not there: the contract is wrong, or the host is."""
    wanted = Box(profile=Profile.Restricted, read=("/no/such/folder",))
    refused = box.request(wanted, box.Place({}), HERE)
    assert refused == (
        "paths.read of the contract: '/no/such/folder' does not exist on this host: create it, or correct the path"
    )
    milder = msgspec.structs.replace(wanted, enforcement=Enforcement.Warn)
    allowed = box.request(milder, box.Place({}), HERE)
    assert isinstance(allowed, BoxRequest)
    assert allowed.note == f"not enforced: {refused}"
    assert "/no/such/folder" not in allowed.args


async def test_a_box_that_cannot_be_had_at_all_is_noted_with_the_run(run: Runner) -> None:
    """Under Warn, on a host that has no bubblewrap."""
    request = msgspec.structs.replace(run.request(script="exit 3"), box=BoxRequest(note="not enforced: all of it"))
    result = await run.start(request)[1]
    assert (result.exit_code, result.note) == (3, "not enforced: all of it")


async def test_a_run_without_a_box_is_started_as_ever(run: Runner) -> None:
    """No profile, no lists, every network: no box, whatever the enforcement."""
    assert box.request(Box(network=NetworkMode.Unrestricted), box.Place({}), HERE) is None
    result = await run.script(f"kill -KILL $$; cat {run.folder}")
    assert result.signal == "SIGKILL"


# A controller in little: one run in a box, whose arguments may lack what ends it with its controller.
CONTROLLER = """
import asyncio, os, sys
from datetime import timedelta
import msgspec
from controller.base.clock import SystemClock
from controller.domain.trust import Box, Profile
from controller.executors import abilities, box
from controller.executors.local import LocalExecutor
from controller.executors.protocol import ExecutionRequest

async def main():
    run, without, asleep = sys.argv[1:]
    executor = LocalExecutor(SystemClock())
    env = {"PATH": os.environ["PATH"], "JOBWARDEN_RUN_ID": run, "JOBWARDEN_NAMESPACE": "tests"}
    made = box.request(Box(profile=Profile.Isolated), box.Place(env), abilities.of_this_host())
    made = msgspec.structs.replace(made, args=tuple(one for one in made.args if one != without))
    argv = ("/bin/sh", "-c", f"setsid sleep {asleep} & echo started; sleep {asleep}")
    request = ExecutionRequest(run=run, namespace="tests", job="job", argv=argv, env=env, timeout=timedelta(hours=1), box=made)
    execution = executor.start(request, lambda result: None)
    while not execution.output_bytes:
        await asyncio.sleep(0.01)
    print(msgspec.json.encode(execution.handle).decode(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize(("without", "asleep"), [("", "658"), ("--die-with-parent", "659")])
async def test_after_kill_9_of_the_controller_nothing_of_a_box_is_left(without: str, asleep: str) -> None:
    """It ends by itself; and should the controller have died before bubblewrap could ask for that, it is found by its name and ended."""
    name = f"boxed-{os.getpid()}-{len(without)}"
    controller = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", CONTROLLER, name, without, asleep),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert controller.stdout is not None
    handle = msgspec.json.decode(await controller.stdout.readline(), type=Handle)
    await until(lambda: len(living(name)) == 5, "bubblewrap, its process 1, the shell, and both of what that starts")
    controller.kill()
    await controller.wait()
    if without:
        found = await asyncio.to_thread(orphans.find, {name}, {name: handle})
        assert len(found) == 5
        ended = await asyncio.to_thread(orphans.end, found, timedelta(seconds=1))
        assert ended.survivors == ()
    await until(lambda: not living(name), "everything has ended")
    assert _sleeping(asleep) == []


def _sleeping(seconds: str) -> list[int]:
    """Processes `sleep SECONDS`, by their command line: those of a box that dropped their environment as well."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and processes.read(int(entry.name)) is not None:
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:2] == [b"sleep", seconds.encode()]:
                found.append(int(entry.name))
    return found
