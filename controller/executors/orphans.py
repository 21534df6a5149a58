"""Processes that outlived the controller which started them.

Recovery names the runs that were open when the controller died; `find` gives their processes, wherever they moved, and `end` ends them. Both block:
call them on a worker thread. Invariant: only processes that carry the name of a given run, or live in the session that its handle names, are touched; the
children of another controller on the same host carry other names.
"""

import signal
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

import msgspec

from controller.executors import processes
from controller.executors.processes import Process, Session, supported
from controller.executors.protocol import Handle

__all__ = ["Ended", "Orphan", "end", "find", "supported"]

_KILL_WAIT = 5.0  # seconds in which a killed process has to be gone
_ROUNDS = 5  # looks for what was forked while the rest was being ended


class Orphan(msgspec.Struct, frozen=True):
    """One process of a run that nobody owns any more."""

    run: str
    process: Process


class Ended(msgspec.Struct, frozen=True):
    """How many processes are gone, and which could not be ended."""

    count: int
    survivors: tuple[Orphan, ...] = ()


def find(runs: Collection[str] | None, handles: Mapping[str, Handle] | None = None) -> list[Orphan]:
    """The live processes of the named runs (None: of any run), by the mark in their environment.

    Shape:  one per process, no order. `handles` (run to handle, as recorded before the crash) also finds processes that dropped their environment,
            as long as the main process still lives. Empty where `supported()` is False: a warning to the user is then due.
    Errors: OSError when /proc cannot be listed.
    """
    sessions = _sessions(handles or {})
    if runs is not None and not runs and not sessions:
        return []
    found = processes.scan(runs, {session: Session(session) for session in sessions})
    return [Orphan(_run_of(process, runs, sessions), process) for process in found]


def end(orphans: Iterable[Orphan], grace: timedelta) -> Ended:
    """TERM, then after `grace` KILL, to each process and to what the same runs start meanwhile.

    Effect: blocks until they are gone, at most `grace` and five seconds. A process id that was given to somebody else since `find` is left alone.
    """
    pending = {(one.process.pid, one.process.start): one for one in orphans}
    runs = {one.run for one in pending.values()}
    if not pending:
        return Ended(0)
    gone = _signal_and_wait(pending, signal.SIGTERM, grace.total_seconds())
    killed: set[tuple[int, int]] = set()
    for _ in range(_ROUNDS):
        pending |= {(one.process.pid, one.process.start): one for one in find(runs)}
        if pending.keys() <= killed:
            break
        killed |= pending.keys()
        gone += _signal_and_wait(pending, signal.SIGKILL, _KILL_WAIT)
    return Ended(gone, tuple(pending.values()))


def _sessions(handles: Mapping[str, Handle]) -> dict[int, str]:
    """Session to run, for those handles whose main process is still the very one that was recorded."""
    boot = processes.boot_id()
    return {
        handle.pid: run
        for run, handle in handles.items()
        if handle.boot_id == boot and handle.pid_start and processes.start_ticks(handle.pid) == handle.pid_start
    }


def _run_of(process: Process, runs: Collection[str] | None, sessions: Mapping[int, str]) -> str:
    if process.run is not None and (runs is None or process.run in runs):
        return process.run
    return sessions.get(process.session) or sessions[process.pgid]


def _signal_and_wait(pending: dict[tuple[int, int], Orphan], number: signal.Signals, seconds: float) -> int:
    """Signal all and wait for their ends. Effect: takes those that are gone out of `pending`; gives their number.

    It asks again and again instead of holding a pidfd of each: after a crash under load there may be more of them than descriptors.
    """
    before = len(pending)
    for one in pending.values():
        processes.send(one.process, number)
    deadline = time.monotonic() + seconds
    pause = 0.005
    while pending:
        for key in [key for key, one in pending.items() if not processes.alive(one.process)]:
            del pending[key]
        if time.monotonic() >= deadline:
            break
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, 0.1)
    return before - len(pending)
