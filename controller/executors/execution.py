"""One run of the Local executor: from the process that was just started to its result.

`local` makes a `LocalExecution` for each start. A run ends with its main process. What that leaves behind in its session gets TERM, the grace period,
and KILL before the run counts as ended; what had moved to a session of its own (a deliberate daemon) is let go. A timeout and a stop end
everything that carries the run's name, wherever it moved.

Invariant: the main process is signalled only while it has not been reaped, so its number cannot be somebody else's.
"""

import asyncio
import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from controller.base.clock import Clock
from controller.executors import outputs, processes
from controller.executors.boxed import Boxed
from controller.executors.poller import Poller
from controller.executors.private_files import PrivateFiles
from controller.executors.processes import Session
from controller.executors.protocol import ExecutionRequest, ExecutionResult, Handle, OnEnd, masked
from controller.executors.runlog import LogWriter, RunLog
from controller.executors.spawn import Spawned
from controller.executors.stream import Stream
from controller.executors.tree import LAST_RESORT, Ending, Scanner, Wanted

_DRAIN = 32  # reads after the end: a pipe holds at most 1 MiB, unless somebody goes on printing


class Facilities(msgspec.Struct, frozen=True):
    """What the runs of an executor share."""

    clock: Clock
    loop: asyncio.AbstractEventLoop
    poller: Poller
    logs: LogWriter
    scanner: Scanner
    host: str
    private: PrivateFiles | None = None


class LocalExecution:
    """See `protocol.Execution`. Everything is for the event loop's thread.

    It has ended without a circle of references: tails of thousands of runs must not wait for the garbage collector.
    """

    __slots__ = (
        "__weakref__",
        "_began",
        "_box",
        "_code",
        "_ended",
        "_ending",
        "_forget",
        "_grace",
        "_handle",
        "_keeper",
        "_log",
        "_on_end",
        "_pid",
        "_pidfd",
        "_since",
        "_stderr",
        "_stdout",
        "_stop_reason",
        "_timed_out",
        "_timer",
        "_with",
        "last_output_at",
        "request",
        "started_at",
    )

    def __init__(
        self,
        facilities: Facilities,
        request: ExecutionRequest,
        on_end: OnEnd,
        forget: "Callable[[LocalExecution], None]",
    ) -> None:
        self.request = request
        self.started_at = facilities.clock.now()
        self.last_output_at: datetime | None = None
        self._with = facilities
        self._on_end = on_end
        self._forget = forget
        self._began = facilities.loop.time()
        self._since = processes.now_ticks()
        self._stdout = Stream(facilities.poller, request.keep_bytes, request.needles)
        self._stderr = Stream(facilities.poller, request.keep_bytes, request.needles)
        self._log: RunLog | None = None
        self._pid: int | None = None  # None: not started
        self._code: int | None = None  # as in waitpid: negative for signals; None: not reaped
        self._pidfd = -1
        self._handle: Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Ending | None = None
        self._timed_out = False
        self._stop_reason: str | None = None
        self._grace = request.grace
        self._box: Boxed | None = None
        self._keeper = -1  # pidfd of process 1 of a box that is just going
        self._ended = False

    @property
    def handle(self) -> Handle | None:
        """The process; its start time is looked up when first asked for, so ask while it runs."""
        if self._handle is None and self._pid is not None:
            start = 0 if self._code is not None else processes.start_ticks(self._pid)
            self._handle = Handle(
                pid=self._pid, pid_start=start, pgid=self._pid, boot_id=processes.boot_id(), host=self._with.host
            )
        return self._handle

    @property
    def output_bytes(self) -> int:
        """What was printed so far, both streams together, as it is kept."""
        return self._stdout.total + self._stderr.total

    def stop(self, reason: str, grace: timedelta | None = None) -> None:
        """End the whole tree: TERM, grace, KILL. See `protocol.Execution`."""
        if self._pid is None or self._code is not None or self._ending is not None or self._ended:
            return
        self._stop_reason = reason
        if grace is not None:
            self._grace = min(self._grace, grace)
        self._end_tree(self._pid)

    # The beginning

    def begin(self, spawned: Spawned, box: Boxed | None = None) -> None:
        """Take charge of a process that has just been started; with a box, the process is what keeps it."""
        self._pid, self._box = spawned.pid, box
        self._stdout.fd, self._stderr.fd = spawned.stdout, spawned.stderr
        try:
            self._pidfd = os.pidfd_open(spawned.pid)
            self._with.poller.watch(self._pidfd, self._exited)
        except (AttributeError, OSError):
            # No pidfds on this system, or no descriptor left: a thread is dearer, and needs none.
            self._close_pidfd()
            threading.Thread(target=self._wait, args=(spawned.pid,), name="jobwarden-wait", daemon=True).start()

    def not_started(self, message: str) -> None:
        """End without a process."""
        self._ended = True
        self._deliver(
            ExecutionResult(
                run=self.request.run,
                started_at=self.started_at,
                finished_at=self._with.clock.now(),
                duration=self._duration(),
                start_error=masked(self.request, message),
            )
        )

    @property
    def outlives(self) -> bool:
        """See `protocol.Execution`: a process ends with its controller, as nobody would hear of its end."""
        return False

    def release(self) -> None:
        """See `outlives`. Errors: NotImplementedError."""
        raise NotImplementedError(self.request.run)

    # While it runs

    def refresh(self, path: str, value: bytes) -> str | None:
        """See `credentials.Refreshing`."""
        private, needles = self._with.private, self.request.needles
        if self._ended or private is None or path not in self.request.files or needles is None:
            return f"there is no file {path!r} of a run that goes on"
        needles.add(value)
        return private.replace(self.request.run, path, value)

    def grown(self) -> None:
        """It is not one of those that end at once: watch its output and its time."""
        if self._ended or self._ending is not None or self._code is not None:
            return
        self.watch_output()
        self._timer = self._with.loop.call_at(self._began + self.request.timeout.total_seconds(), self._time_out)

    def watch_output(self) -> None:
        """Read the pipes from now on as they fill."""
        if not self._ended:
            self._stdout.watch(self.read)
            self._stderr.watch(self.read)

    def read(self, stream: Stream) -> int:
        """Take what one pipe holds, and give its length. 0: nothing now, or nothing ever again."""
        taken, data = stream.take()
        if taken:
            self.last_output_at = self._with.clock.now()
        if data and self.request.log_path is not None:
            self._write_log(data, stream)
        return taken

    def _write_log(self, data: bytes, stream: Stream) -> None:
        logs = self._with.logs
        if self._log is None:
            assert self.request.log_path is not None
            self._log = RunLog(logs, self.request.log_path, self.request.log_limit)
        self._log.write(data)
        if logs.full and stream.watched and self._log.wanting:
            stream.unwatch()
            logs.when_room(self._log, self.watch_output)

    def _time_out(self) -> None:
        assert self._pid is not None
        self._timed_out = True
        self._end_tree(self._pid)

    def _end_tree(self, pid: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._ending = self._begin_ending(Session(pid), everywhere=True)

    def _begin_ending(self, session: Session, *, everywhere: bool) -> Ending:
        self.watch_output()
        return Ending(
            loop=self._with.loop,
            poller=self._with.poller,
            scanner=self._with.scanner,
            wanted=Wanted(self.request.run, session, self._since, everywhere, boxed=self._box is not None),
            # A command that was not let go yet has nothing to tidy up.
            grace=0.0 if self._box is not None and self._box.held_back else self._grace.total_seconds(),
            done=self._finish,
        )

    # The end

    def _wait(self, pid: int) -> None:
        """On a thread of its own, where there is no pidfd."""
        code = processes.reap(pid, 0)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._with.loop.call_soon_threadsafe(self._reaped, pid, code)

    def _exited(self) -> None:
        """The pidfd says that the main process has ended."""
        if self._pid is not None and self._code is None:
            self._reaped(self._pid, processes.reap(self._pid, os.WNOHANG))

    def _reaped(self, pid: int, code: int | None) -> None:
        """Read what the main process printed last, and see whether it left anything behind."""
        if code is None:
            return
        self._code = code
        self._close_pidfd()
        if self._box is not None:
            self._box.main_ended()
        if self._ended:
            return  # it was given up as one that cannot be killed, and has gone after all
        if self._timer is not None:
            self._timer.cancel()
        if self._ending is not None:
            self._ending.main_ended(Session(pid, processes.now_ticks()))
            return
        open_pipes = self._drain()
        if self._box is not None:
            self._empty_box(self._box, pid)
        elif open_pipes or processes.signal_group(pid, 0):
            self._ending = self._begin_ending(Session(pid, processes.now_ticks()), everywhere=False)
        else:
            self._finish()

    def _empty_box(self, box: Boxed, pid: int) -> None:
        """The kernel kills what the command left in the box; wait until it has, so that nothing of a run outlives its end."""
        keeper = box.keeper(pid)
        fd = processes.hold(keeper) if keeper is not None else None
        if fd is None:
            self._finish()
            return
        self._keeper = fd
        self._timer = self._with.loop.call_later(LAST_RESORT, self._emptied)
        self._with.poller.watch(fd, self._emptied)

    def _emptied(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._close_keeper()
        self._finish()

    def _drain(self) -> bool:
        """Read what the pipes hold. True: somebody still has the other end of one."""
        for stream in (self._stdout, self._stderr):
            for _ in range(_DRAIN):
                if stream.fd < 0 or not self.read(stream):
                    break
        return self._stdout.fd >= 0 or self._stderr.fd >= 0

    def _finish(self) -> None:
        """Nothing is left of the run, or nothing can be done about what is: collect the result."""
        if self._drain():
            self._let_go_of(self._stdout)
            self._let_go_of(self._stderr)
        self._ended = True
        result = self._collect()
        self._ending = None
        log, self._log = self._log, None
        if log is None:
            self._deliver(result)
        else:
            log.close(lambda: self._deliver(_with_log(result, log)))

    def _let_go_of(self, stream: Stream) -> None:
        """Somebody else may print into it for ever."""
        stream.close()
        rest = stream.rest()
        if rest and self.request.log_path is not None:
            self._write_log(rest, stream)

    def _remove_files(self) -> str | None:
        """Nobody needs the run's private folder any more, nor its credentials; why those are still there, if so."""
        rules = self.request.box.rules if self.request.box is not None else None
        if rules is not None and rules.home is not None:
            self._with.logs.remove(rules.home)
        private = self._with.private
        return private.remove(self.request.run) if self.request.files and private is not None else None

    def _deliver(self, result: ExecutionResult) -> None:
        trouble = self._remove_files()
        if trouble is not None:
            note = f"{result.note}; {trouble}" if result.note else trouble
            result = msgspec.structs.replace(result, note=note)
        self._forget(self)
        self._on_end(result)

    def _collect(self) -> ExecutionResult:
        result = self._as_told()
        if self._box is not None:
            result = _out_of_box(result, self._box)
            self._box.close()
        elif self.request.box is not None:
            result = msgspec.structs.replace(result, note=self.request.box.note)
        return result

    def _as_told(self) -> ExecutionResult:
        code = self._code
        stdout, stderr = self._stdout, self._stderr
        taken = self._take_outputs(succeeded=code == 0 and not self._timed_out and self._stop_reason is None)
        found, survivors = (0, 0) if self._ending is None else (len(self._ending.found), self._ending.survivors)
        return ExecutionResult(
            run=self.request.run,
            started_at=self.started_at,
            finished_at=self._with.clock.now(),
            duration=self._duration(),
            exit_code=code if code is not None and code >= 0 else None,
            signal=processes.signal_name(-code) if code is not None and code < 0 else None,
            timed_out=self._timed_out,
            cancelled=self._stop_reason is not None,
            stop_reason=self._stop_reason,
            stdout=stdout.data,
            stderr=stderr.data,
            stdout_bytes=stdout.total,
            stderr_bytes=stderr.total,
            truncated=stdout.truncated or stderr.truncated,
            outputs=taken.values,
            outputs_error=taken.error,
            leftovers=found - survivors,
            survivors=survivors + (code is None),
        )

    def _duration(self) -> timedelta:
        return timedelta(seconds=self._with.loop.time() - self._began)

    def _take_outputs(self, *, succeeded: bool) -> outputs.Outputs:
        """The values that the run gave; the file is removed either way."""
        path = self.request.output_path
        if path is None or not os.path.lexists(path):
            return outputs.NONE
        taken = outputs.take(path, self.request.needles) if succeeded else None
        self._with.logs.unlink(path)
        return taken or outputs.NONE

    def abandon(self) -> None:
        """Kill the tree as far as it is known, and never call `on_end`."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._ending is not None:
            self._ending.abandon()
        if self._pid is not None and self._code is None:
            processes.signal_group(self._pid, signal.SIGKILL)
            if self._pidfd >= 0:
                waiting = select.poll()
                waiting.register(self._pidfd, select.POLLIN)
                waiting.poll(1000)
                processes.reap(self._pid, os.WNOHANG)
        if self._log is not None:
            self._log.close(_nothing)
        self._close_pidfd()
        self._close_keeper()
        if self._box is not None:
            self._box.close()
        self._stdout.close()
        self._stderr.close()
        self._remove_files()
        if self.request.output_path is not None:
            self._with.logs.unlink(self.request.output_path)

    def _close_keeper(self) -> None:
        if self._keeper >= 0:
            self._with.poller.forget(self._keeper)
            os.close(self._keeper)
            self._keeper = -1

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._with.poller.forget(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def _nothing() -> None:
    """For what nobody waits for."""


def _out_of_box(result: ExecutionResult, box: Boxed) -> ExecutionResult:
    """The result in the terms of the command, of which bubblewrap only gives the exit code that a shell would give."""
    code = result.exit_code
    # The kernel ends what is left in a box, and who heard our TERM was the command with all that it started: nothing was left behind.
    result = msgspec.structs.replace(result, leftovers=0)
    if result.timed_out or result.cancelled:
        ended_by = signal.Signals(code - 128).name if code in _BY_US else result.signal
        return msgspec.structs.replace(
            result, exit_code=code if ended_by is None else None, signal=ended_by, note=box.note
        )
    error = box.start_error(result.stderr, code)
    if error is not None:
        return msgspec.structs.replace(result, exit_code=None, signal=None, start_error=error, note=box.note)
    return msgspec.structs.replace(result, note=box.remark(code))


_BY_US = (128 + signal.SIGTERM, 128 + signal.SIGKILL)


def _with_log(result: ExecutionResult, log: RunLog) -> ExecutionResult:
    return msgspec.structs.replace(result, log_bytes=log.size, log_truncated=log.truncated, log_error=log.error)
