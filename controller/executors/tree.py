"""The end of everything that belongs to a run: its session, and whatever moved out of it.

`local` makes an `Ending` when a run times out, is stopped, or leaves something behind; the `Scanner` looks through /proc for all of them at once, on a
thread of its own. TERM goes to everybody once, KILL after the grace period, and `done` is called when nothing is left, or nothing can be done.

Invariant: `done` is called exactly once, at the latest `grace + LAST_RESORT` seconds after the beginning.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from controller.executors import processes
from controller.executors.poller import Poller
from controller.executors.processes import Process, Session

LAST_RESORT = 5.0  # seconds after KILL in which a process may still vanish; longer means that it cannot be ended

_Found = Callable[[list[Process]], None]


class Wanted(msgspec.Struct, frozen=True):
    """Whose processes to look for."""

    run: str
    session: Session
    since: int  # ticks; nothing of the run is older
    everywhere: bool = True  # also what has moved to a session of its own
    boxed: bool = (
        False  # the main process is a box around the rest: it hears no TERM, which would be the end of all at once
    )


class Scanner:
    """Looks for the processes of runs. Any number of questions that arrive while one scan runs are answered by the next one together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread: ThreadPoolExecutor | None = None
        self._asked: list[tuple[Wanted, _Found]] = []
        self._busy = False

    def ask(self, wanted: Wanted, found: _Found) -> None:
        """Call `found` with all live processes of the run, as a scan that begins after this call sees them."""
        self._asked.append((wanted, found))
        if not self._busy:
            # Not at once: runs that end in the same turn of the loop share a scan.
            self._busy = True
            self._loop.call_soon(self._scan)

    def close(self) -> None:
        """End the thread; questions without an answer stay so."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _scan(self) -> None:
        asked, self._asked = self._asked, []
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "jobwarden-processes")
        future = self._thread.submit(_scan_for, [wanted for wanted, _ in asked])
        future.add_done_callback(lambda _: self._report(future.result(), asked))

    def _report(self, found: list[Process], asked: list[tuple[Wanted, _Found]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._answer, found, asked)

    def _answer(self, found: list[Process], asked: list[tuple[Wanted, _Found]]) -> None:
        self._busy = bool(self._asked)
        if self._busy:
            self._loop.call_soon(self._scan)
        for wanted, answer in asked:
            answer([process for process in found if belongs(process, wanted)])


def belongs(process: Process, wanted: Wanted) -> bool:
    """Whether a process that a scan found is one of the run's. Pure."""
    if wanted.everywhere and process.run == wanted.run:
        return True
    return wanted.session.number in (process.session, process.pgid)


def _scan_for(wanted: list[Wanted]) -> list[Process]:
    sessions = {one.session.number: one.session for one in wanted}
    names = {one.run for one in wanted if one.everywhere}
    try:
        return list(processes.scan(names, sessions, min(one.since for one in wanted)))
    except OSError:
        return []  # without /proc the group is all that can be reached


class Ending:
    """TERM, grace, KILL for one run. Methods are for the loop's thread."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        poller: Poller,
        scanner: Scanner,
        wanted: Wanted,
        grace: float,
        done: Callable[[], None],
    ) -> None:
        self.found: set[tuple[int, int]] = set()  # (pid, start) of all that was signalled beside the main process
        self._loop, self._poller, self._scanner = loop, poller, scanner
        self._wanted = wanted
        self._main_alive = wanted.session.until is None
        self._done: Callable[[], None] | None = done
        self._held: dict[tuple[int, int], int] = {}  # pidfds of those that still live
        self._stuck: set[tuple[int, int]] = set()  # those that cannot even be held
        self._killing = False
        self._asked = False
        self._again = False
        # What outlived the main process is looked at first, to be counted; where nobody can look, the group is all there is.
        self._group_told = not wanted.boxed and (self._main_alive or not processes.supported())
        if self._group_told:
            processes.signal_group(wanted.session.number, signal.SIGTERM)
        self._timer = loop.call_later(grace, self._kill)
        self._look()

    @property
    def survivors(self) -> int:
        """How many live that should not, the main process not counted."""
        return len(self._held) + len(self._stuck)

    def main_ended(self, session: Session) -> None:
        """The main process has been reaped."""
        self._main_alive = False
        self._wanted = msgspec.structs.replace(self._wanted, session=session)
        self._look()

    def abandon(self) -> None:
        """KILL at once what is known, and never call `done`: the controller is going."""
        self._done = None
        self._kill()
        self._finish()

    def _look(self) -> None:
        """Ask for a scan; one that is under way may have begun too early, so another follows it."""
        if self._asked:
            self._again = True
            return
        self._asked = True
        self._scanner.ask(self._wanted, self._seen)

    def _seen(self, found: list[Process]) -> None:
        self._asked = False
        if self._done is None:
            return
        others = [one for one in found if one.pid != self._wanted.session.number]
        self._stuck.clear()
        for process in others:
            self._end(process)
        settled = not self._held and not self._main_alive
        if settled and not others and not self._again:
            self._finish()
        elif self._again or (settled and not self._stuck):  # what was found has vanished since: is there more?
            self._again = False
            self._look()

    def _end(self, process: Process) -> None:
        """Signal one process, and learn of its end."""
        key = (process.pid, process.start)
        first = key not in self.found
        self.found.add(key)
        if key not in self._held:
            fd = processes.hold(process)
            if fd is None:
                if processes.alive(process):
                    self._stuck.add(key)
                return
            self._held[key] = fd
            self._poller.watch(fd, lambda: self._gone(key))
        if self._killing:
            self._send(key, signal.SIGKILL)
        elif first and not (self._group_told and process.pgid == self._wanted.session.number):
            # A group that got its TERM as a whole gets no second one, which would cut short the handlers of the first.
            self._send(key, signal.SIGTERM)

    def _send(self, key: tuple[int, int], number: signal.Signals) -> None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._held[key], number)

    def _gone(self, key: tuple[int, int]) -> None:
        fd = self._held.pop(key, None)
        if fd is None:
            return
        self._poller.forget(fd)
        os.close(fd)
        if not self._held and not self._main_alive:
            self._look()  # to be sure that it left nobody

    def _kill(self) -> None:
        self._killing = True
        if self._main_alive:
            processes.signal_group(self._wanted.session.number, signal.SIGKILL)
        for key in self._held:
            self._send(key, signal.SIGKILL)
        if self._done is not None:
            self._timer = self._loop.call_later(LAST_RESORT, self._finish)
            self._look()

    def _finish(self) -> None:
        self._timer.cancel()
        for fd in self._held.values():
            self._poller.forget(fd)
            os.close(fd)
        done, self._done = self._done, None
        if done is not None:
            done()
