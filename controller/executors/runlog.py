"""The run log: one file per run with all that it printed, both streams as they arrived, byte for byte.

`local` gives every run a `RunLog` from one `LogWriter`. Everything that touches the disk happens on the writer's one thread, because a disk may block for
seconds (a journal commit, a network mount, write-back of a flood) and the loop must not; the thread exists from the first output on.

Invariant: nothing here can harm a run. A disk that is full or gone ends the log with a reason; one that is slow slows the run that floods it, for at
most `STALL` seconds without any progress, and never lets more than about `BUDGET` bytes wait in memory.
"""

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

BUDGET = 2 * 1024 * 1024  # bytes that may wait for the disk, over all runs of an executor
STALL = 5.0  # seconds without a finished write after which a log is given up

_LINGER = 0.001  # seconds between two hand-overs to the thread: waking it for each line of each run costs more than the writing

_Work = Callable[[], Callable[[], None] | None]
_Item = tuple[int, _Work]


class RunLog:
    """The log of one run; its file is made with the first byte. Methods are for the loop's thread."""

    __slots__ = ("_deadline", "_fd", "_left", "_when_closed", "_writer", "error", "limit", "path", "size", "truncated")

    def __init__(self, writer: "LogWriter", path: str | Path, limit: int) -> None:
        self.path = path
        self.limit = limit
        self.size = 0  # bytes of output in the file
        self.truncated = False  # there was more than the limit
        self.error: str | None = None  # the log is incomplete, and why
        self._writer = writer
        self._left = limit
        self._fd = -1
        self._deadline: asyncio.TimerHandle | None = None
        self._when_closed: Callable[[], None] | None = None

    @property
    def wanting(self) -> bool:
        """Whether more output would still go into the file."""
        return self.error is None and not self.truncated

    def write(self, data: bytes) -> None:
        """Put the next output into the log, up to its limit. Effect: queued for the writer's thread; never blocks, never fails."""
        if not self.wanting:
            return
        if len(data) > self._left:
            self.truncated = True
            data = data[: self._left]
        self._left -= len(data)
        last = self.truncated
        self._writer.put(len(data), lambda: self._append(data, last=last))

    def close(self, closed: Callable[[], None]) -> None:
        """Call `closed` once everything is in the file, or the log has been given up. On the loop's thread, never before this returns."""
        self._when_closed = closed
        self._deadline = self._writer.loop.call_later(STALL, self.give_up)
        self._writer.put(0, self._close)

    def give_up(self) -> None:
        """Stop waiting for the disk."""
        if self.error is None:
            self.error = f"the run log {self.path} is incomplete: no write to it finished within {STALL:g} seconds"
        self._closed()

    def _closed(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        done, self._when_closed = self._when_closed, None
        if done is not None:
            done()

    # On the writer's thread:

    def _append(self, data: bytes, *, last: bool) -> None:
        if self.error is not None:
            return
        try:
            if self._fd < 0:
                self._fd = _open(self.path)
            _write_all(self._fd, data)
            self.size += len(data)
            if last:
                _write_all(self._fd, f"\n[the run log ends here, at its limit of {self.limit} bytes]\n".encode())
        except OSError as error:
            self.error = f"the run log {self.path} is incomplete: {error.strerror}"

    def _close(self) -> Callable[[], None]:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
        return self._closed


class LogWriter:
    """One thread that writes the logs of all runs of an executor, in the order in which they were given."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._queue: SimpleQueue[list[_Item] | None] = SimpleQueue()
        self._batch: list[_Item] = []  # not handed over yet
        self._flush_at: asyncio.Handle | None = None
        self._flushed = float("-inf")
        self._thread: threading.Thread | None = None
        self._given = 0  # bytes; counted by the loop
        self._taken = 0  # bytes; counted by the thread
        self._waiting: dict[RunLog, Callable[[], None]] = {}
        self._stalled: asyncio.TimerHandle | None = None
        self._taken_before = 0
        self._wanted = False  # somebody waits for room; read by the thread

    @property
    def full(self) -> bool:
        """Whether whoever reads output should pause, and ask `when_room`."""
        return self._given - self._taken > BUDGET

    def when_room(self, log: RunLog, resume: Callable[[], None]) -> None:
        """Call `resume` once there is room again; without any progress for `STALL` seconds, give the log up and call it all the same."""
        self._waiting[log] = resume
        self._wanted = True
        if self._has_room():  # the thread may have finished everything before it could see that somebody waits
            self.loop.call_soon(self._resume)
        if self._stalled is None:
            self._watch_progress()

    def put(self, size: int, work: _Work) -> None:
        """Queue work of the given weight for the thread."""
        self._given += size
        self._batch.append((size, work))
        if self.full:
            self._flush()
        elif self._flush_at is None:
            wait = self._flushed + _LINGER - self.loop.time()
            self._flush_at = self.loop.call_later(wait, self._flush) if wait > 0 else self.loop.call_soon(self._flush)

    def unlink(self, path: str | Path) -> None:
        """Remove a file, on the thread; one that is not there is fine."""
        self.put(0, lambda: _unlink(path))

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it, on other threads; what cannot be removed is left for a later start of the controller."""
        self.put(0, lambda: _remove(folder))

    def close(self) -> None:
        """End the thread, after what is queued, or after `STALL` seconds."""
        if self._stalled is not None:
            self._stalled.cancel()
        self._flush()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(STALL)
            self._thread = None

    def _flush(self) -> None:
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        if not self._batch:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="jobwarden-runlog", daemon=True)
            self._thread.start()
        self._flushed = self.loop.time()
        batch, self._batch = self._batch, []
        self._queue.put(batch)

    def _has_room(self) -> bool:
        return self._given - self._taken < BUDGET // 2

    def _watch_progress(self) -> None:
        self._taken_before = self._taken
        self._stalled = self.loop.call_later(STALL, self._check_progress)

    def _check_progress(self) -> None:
        self._stalled = None
        if not self._waiting:
            return
        if self._taken == self._taken_before:
            for log in tuple(self._waiting):
                log.give_up()
            self._resume()
        else:
            self._watch_progress()

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._wanted = False
        for resume in waiting.values():
            resume()

    # On the thread:

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            done: list[Callable[[], None]] = []
            for size, work in batch:
                self._work(size, work, done)
            if done and not self._tell(done):
                return

    def _work(self, size: int, work: _Work, done: list[Callable[[], None]]) -> None:
        after = work()
        self._taken += size
        if after is not None:
            done.append(after)
        if self._wanted and self._has_room():
            self._wanted = False
            done.append(self._resume)

    def _tell(self, done: list[Callable[[], None]]) -> bool:
        """One wake-up of the loop for many ends. False: the loop is closed, and nobody waits any more."""
        try:
            self.loop.call_soon_threadsafe(_call_all, done)
        except RuntimeError:
            return False
        return True


def _call_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()


def _open(path: str | Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)  # output may hold what is nobody else's business
    except FileNotFoundError:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _remove(folder: str) -> None:
    """At once where nothing is in it, as a rule; else by a thread of its own: it may take long, and what waits here are the logs of other runs."""
    try:
        os.rmdir(folder)  # noqa: PTH106 - a str
    except OSError:
        threading.Thread(target=shutil.rmtree, args=(folder, True), name="jobwarden-remove", daemon=True).start()


def _unlink(path: str | Path) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()
