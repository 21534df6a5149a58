"""Timeouts, stops, and what a run leaves behind: everything that belongs to it ends, and nothing else."""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from controller.executors import processes, tree
from tests.integration.executors.conftest import Runner, living, until

Pids = Callable[[str], int | None]

SHORT = timedelta(seconds=0.3)
# Becomes a daemon as the textbook says: two forks, a session of its own, standard streams elsewhere, the working folder the root.
DAEMON = """
import os, sys, time
folder, stay = sys.argv[1:]
if os.fork(): sys.exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.chdir('/')
null = os.open('/dev/null', os.O_RDWR)
for fd in (0, 1, 2):
    if stay != 'talking' or fd == 0: os.dup2(null, fd)
with open(folder + '/daemon.new', 'w') as file: file.write(f'{os.getpid()}\\n')
os.rename(folder + '/daemon.new', folder + '/daemon')
time.sleep(600)
"""


def _gone(pid: int | None) -> bool:
    return pid is not None and processes.read(pid) is None


async def test_a_timeout_ends_the_run_with_term(run: Runner) -> None:
    """A run that listens ends by its own handler, within the grace period, and may still say something."""
    script = "trap 'echo cleaning up; exit 9' TERM; echo started; while :; do sleep 0.05; done"
    result = await run.out_of_time(script)
    assert (result.exit_code, result.signal, result.timed_out, result.cancelled) == (9, None, True, False)
    assert result.stdout == b"started\ncleaning up\n"
    assert result.outputs == {}


async def test_a_timeout_counts_from_the_start(run: Runner) -> None:
    """Monotonic time, and no earlier than asked for."""
    result = await run.script("exec sleep 600", timeout=SHORT)
    assert (result.signal, result.timed_out) == ("SIGTERM", True)
    assert result.duration >= SHORT


async def test_a_stop_does_the_same_and_keeps_its_reason(run: Runner) -> None:
    """Asking twice changes nothing: the first reason stays."""
    execution, ended = run.start(run.request(script="echo ready; exec sleep 600"))
    await until(lambda: execution.output_bytes, "it is on its way")
    execution.stop("cancelled by alice")
    execution.stop("cancelled by bob")
    result = await ended
    assert (result.exit_code, result.signal) == (None, "SIGTERM")
    assert (result.cancelled, result.stop_reason, result.timed_out) == (True, "cancelled by alice", False)
    execution.stop("too late")


async def test_term_comes_once(run: Runner) -> None:
    """A second TERM would cut short the handler of the first in many programs."""
    script = "trap 'echo term' TERM; echo ready; n=0; while [ $n -lt 10 ]; do sleep 0.1; n=$((n+1)); done; exit 5"
    execution, ended = run.start(run.request(script=f"({script}) & {script.replace('ready', 'also ready')}"))
    await until(lambda: execution.output_bytes == len("ready\nalso ready\n"), "both listen")
    execution.stop("test")
    result = await ended
    assert result.exit_code == 5
    assert result.stdout.count(b"term\n") == 2


async def test_a_stop_may_shorten_the_grace_period(run: Runner) -> None:
    """A lease that runs out waits for no job's own grace, which would be a minute here."""
    execution, ended = run.start(run.request(script="trap '' TERM; echo ready; while :; do sleep 1; done"))
    await until(lambda: execution.output_bytes, "it listens")
    execution.stop("test", timedelta(milliseconds=100))
    result = await ended
    assert result.signal == "SIGKILL"


async def test_who_ignores_term_is_killed_after_the_grace_period(run: Runner) -> None:
    """With everything that it started."""
    result = await run.out_of_time("trap '' TERM; sleep 600 & echo ready; while :; do sleep 1; done", grace=SHORT)
    assert (result.exit_code, result.signal, result.timed_out) == (None, "SIGKILL", True)
    assert result.duration >= SHORT
    assert result.survivors == 0
    assert living(result.run) == []


async def test_a_stopped_process_is_ended_as_well(run: Runner) -> None:
    """One in SIGSTOP does not take TERM; KILL it does."""
    result = await run.script("kill -STOP $$; echo never", timeout=SHORT, grace=SHORT)
    assert (result.signal, result.timed_out, result.stdout) == ("SIGKILL", True, b"")


@pytest.mark.parametrize("clean", [False, True])
async def test_a_timeout_reaches_a_daemon_in_a_session_of_its_own(run: Runner, pids: Pids, clean: bool) -> None:
    """Double fork, setsid, closed streams: the name in its environment gives it away, also when the main process ends at once by TERM."""
    request = run.request(
        script=f'{sys.executable} -c "$DAEMON" {run.folder} silent; {"exec sleep 600" if clean else "trap : TERM; sleep 600; sleep 600"}',
        env={"DAEMON": DAEMON},
        grace=timedelta(seconds=1),
    )
    execution, ended = run.start(request)
    await until(lambda: pids("daemon"), "the daemon runs")
    found = {one.pid for one in living(request.run)}
    assert pids("daemon") in found
    execution.stop("test")
    result = await ended
    assert result.cancelled
    assert result.survivors == 0
    assert result.leftovers >= 1
    assert _gone(pids("daemon"))
    assert living(request.run) == []


async def test_a_process_that_dropped_its_environment_is_found_by_its_session(run: Runner, pids: Pids) -> None:
    """`env -i` takes the name away; the session remains, also in another process group."""
    script = "set -m; env -i /bin/sh -c 'echo $$ > hidden; exec sleep 600' & set +m; echo ready; exec sleep 600"
    execution, ended = run.start(run.request("bash", "-c", script, cwd=str(run.folder)))
    await until(lambda: pids("hidden"), "it runs")
    execution.stop("test")
    result = await ended
    assert result.signal == "SIGTERM"
    assert _gone(pids("hidden"))


async def test_what_a_run_leaves_in_its_session_ends_with_it(run: Runner, pids: Pids) -> None:
    """`&` without `wait` is a mistake more often than a wish: the run ends with its main process, and its exit code stands."""
    result = await run.script(f"sleep 600 & echo $! > {run.folder}/left; echo done; exit 3")
    assert (result.exit_code, result.signal) == (3, None)
    assert not result.timed_out
    assert not result.cancelled
    assert result.stdout == b"done\n"
    assert result.leftovers == 1
    assert _gone(pids("left"))


async def test_a_silent_leftover_is_found_as_well(run: Runner, pids: Pids) -> None:
    """It holds no pipe; its process group tells of it."""
    silent = f"exec > /dev/null 2>&1; sh -c 'echo $PPID' > {run.folder}/left; exec sleep 600"
    result = await run.script(f"({silent}) & while ! test -s {run.folder}/left; do sleep 0.01; done")
    assert result.exit_code == 0
    assert result.leftovers == 1
    assert _gone(pids("left"))


async def test_a_leftover_that_ignores_term_is_killed(run: Runner, pids: Pids) -> None:
    """After the grace period, during which it is still heard; outputs of the run count all the same."""
    script = f"""
        (trap '' TERM; touch {run.folder}/ignoring; while :; do sleep 0.05; done) & echo $! > {run.folder}/left
        while ! test -e {run.folder}/ignoring; do sleep 0.01; done; echo key=value >> $JOBWARDEN_OUTPUT
    """
    result = await run.script(script, grace=SHORT)
    assert result.exit_code == 0
    assert result.outputs == {"key": "value"}
    assert result.leftovers >= 1
    assert _gone(pids("left"))


async def test_a_daemon_of_a_run_that_ended_by_itself_is_let_go(run: Runner, pids: Pids) -> None:
    """Who takes the trouble of a session of its own means to stay, even when it still holds the pipe; the run does not wait for it."""
    result = await run.script(f'{sys.executable} -c "$DAEMON" {run.folder} talking; sleep 0.1', env={"DAEMON": DAEMON})
    assert result.exit_code == 0
    assert result.leftovers == 0
    await until(lambda: pids("daemon"), "it runs")
    assert not _gone(pids("daemon"))


async def test_many_timeouts_at_once_are_ended_together(run: Runner) -> None:
    """One look through the processes serves all."""
    requests = [run.request(script="sleep 600 & sleep 600", timeout=timedelta(seconds=1)) for _ in range(40)]
    results = await asyncio.gather(*(run.start(request)[1] for request in requests))
    assert all(result.timed_out and result.survivors == 0 for result in results)
    assert list(processes.scan({request.run for request in requests}, {})) == []


async def test_another_runs_processes_are_left_alone(run: Runner) -> None:
    """Ending one tree touches no neighbour."""
    execution, neighbour = run.start(run.request(script="echo ready; exec sleep 600"))
    await until(lambda: execution.output_bytes, "it runs")
    result = await run.script("sleep 600 & exec sleep 600", timeout=SHORT)
    assert result.timed_out
    assert len(living(execution.request.run)) == 1
    assert not neighbour.done()
    execution.stop("test")
    await neighbour


async def test_a_fork_bomb_that_ignores_term_is_ended(run: Runner) -> None:
    """New processes appear while the old ones are being ended."""
    script = "trap '' TERM; f() { n=$1; while :; do sleep 0.02; [ $n -lt 4 ] && f $((n+1)) & wait $!; done; }; f 0"
    request = run.request(script=script, timeout=SHORT, grace=SHORT)
    result = await run.start(request)[1]
    assert result.timed_out
    assert result.survivors == 0
    assert living(request.run) == []


async def test_what_cannot_be_ended_is_reported_and_the_run_ends(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in an uninterruptible sleep, or of another user: here, one that no signal reaches."""
    monkeypatch.setattr(tree, "LAST_RESORT", 0.3)
    monkeypatch.setattr(processes, "signal_group", lambda _pgid, _number: True)
    monkeypatch.setattr(tree.signal, "pidfd_send_signal", lambda _fd, _number: None)
    execution, ended = run.start(run.request(script="sleep 600 & exec sleep 600", timeout=SHORT, grace=SHORT))
    handle = execution.handle
    assert handle is not None
    result = await ended
    monkeypatch.undo()
    assert (result.exit_code, result.signal, result.timed_out) == (None, None, True)
    assert result.survivors == 2
    os.killpg(handle.pgid, 9)
    await until(lambda: processes.start_ticks(handle.pid) == 0, "it is reaped when it goes after all")


async def test_without_pidfds_runs_end_all_the_same(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems than Linux have none: a thread waits, and the process group is what a timeout reaches."""
    monkeypatch.delattr(os, "pidfd_open")
    results = await asyncio.gather(*(run.script(f"echo {n}; exit {n}") for n in range(10)))
    assert [result.exit_code for result in results] == list(range(10))
    assert [result.stdout for result in results] == [f"{n}\n".encode() for n in range(10)]
    timed_out = await run.script("sleep 600 & sleep 600", timeout=SHORT)
    assert (timed_out.timed_out, timed_out.signal) == (True, "SIGTERM")
    killed = await run.out_of_time("trap '' TERM; echo ready; while :; do sleep 0.05; done", grace=SHORT)
    assert (killed.timed_out, killed.signal) == (True, "SIGKILL")
