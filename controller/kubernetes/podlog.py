"""The output of a container, streamed into the run log and a tail.

`executor` starts one for each Pod. Kubernetes gives standard output and error as one stream, each line after the time it was printed at; a stream that breaks is
taken up after the last line that came whole. Invariant: nothing here can fail a run; what is missing is told.

A log that was followed is asked for once more when the Pod has ended, from its last line on: that a stream ended well proves nothing. An API server whose connection to the
node breaks, or whose kubelet is restarted, ends its own answer as if that were all (StreamObject of k8s.io/apiserver drops the error).
"""

import asyncio
import contextlib
from datetime import datetime
from pathlib import Path

from controller.base.clock import Clock
from controller.base.masked_stream import Needles, StreamMasker
from controller.executors.output import Tail
from controller.executors.runlog import LogWriter, RunLog
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.workloads import Workloads

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
"""Before a stream that ended under a Pod that goes on is opened again; the end of the Pod is not waited for."""
_LONG = 1 << 16
"""Bytes of a line that are kept for its end to come; a program may print for ever without one."""
_TRIES_AFTER_END = 3
_CUT_S = 2.0
"""How long a stream that is open may go on after the end. One that stood still for long may be dead, and nobody has told."""
_AFTER_END_S = 10.0
"""How long the log of a Pod that has ended is waited for."""


class Lines:
    """Takes the stream apart: times off, lines that came before a break left out. Pure but for what it remembers, which is no more than a piece of a line."""

    def __init__(self) -> None:
        self.last: bytes = b""  # time of the newest line that was given
        self._rest = b""
        self._after: bytes = b""
        self._inside = False  # the beginning of this line was given
        self._told = True  # and it was not left out

    def again(self) -> None:
        """The stream begins again, at the second of `last`."""
        self._rest, self._after, self._inside = b"", self.last, False

    def take(self, data: bytes) -> bytes:
        """The output in what came: whole lines, and of a line that is very long what there is of it."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        given = [self._line(line, b"\n") for line in whole]
        if len(self._rest) > _LONG:
            rest, self._rest = self._rest, b""
            given.append(self._line(rest, b""))
            self._inside = True
        return b"".join(given)

    def end(self) -> bytes:
        """What is left when the stream has ended: a last line without an end."""
        rest, self._rest = self._rest, b""
        return self._line(rest, b"") if rest else b""

    def _line(self, line: bytes, end: bytes) -> bytes:
        """The text of a line, or of another piece of one whose beginning was given."""
        if self._inside:
            self._inside = not end
            return line + end if self._told else b""
        given = self._text(line, end)
        self._told = given is not None
        return given or b""

    def _text(self, line: bytes, end: bytes) -> bytes | None:
        time, _, text = line.partition(b" ")
        if self._after and _moment(time) <= _moment(self._after):
            return None
        self.last = time
        return text + end


def _moment(time: bytes) -> tuple[bytes, bytes]:
    """Nanoseconds are written without trailing zeros, so the texts themselves do not sort."""
    seconds, _, fraction = time.removesuffix(b"Z").partition(b".")
    return seconds, fraction.ljust(9, b"0")


class PodLog:
    """One container's output. `follow` runs until the stream ends after `ended` was called."""

    def __init__(
        self,
        logs: LogWriter,
        clock: Clock,
        *,
        path: str | Path | None,
        limit: int,
        keep: int,
        needles: Needles | None = None,
    ) -> None:
        """`needles`: what to mask; only what this controller itself has looked up for the run."""
        self.tail = Tail(keep)
        self.log = RunLog(logs, path, limit) if path is not None else None
        self.last_output_at: datetime | None = None
        self.error: str | None = None
        self._logs, self._clock = logs, clock
        self._lines = Lines()
        self._masker = StreamMasker(needles) if needles is not None else None
        self._ended = asyncio.Event()
        self._done = asyncio.Event()
        self._open: asyncio.Timeout | None = None

    def begin_again(self) -> None:
        """All of it is read from its beginning, whoever has written the file before."""
        if self.log is not None:
            self._logs.unlink(self.log.path)

    async def follow(self, workloads: Workloads, namespace: str, pod: str, container: str) -> None:
        """Read until it has ended."""
        tries_left, pause = _TRIES_AFTER_END, _FIRST_PAUSE_S
        try:
            while True:
                ended, before = self._ended.is_set(), self.tail.total
                try:
                    await self._read_open(workloads, namespace, pod, container)
                    self.error = None
                except ApiFailed as error:
                    self.error = f"the output is incomplete: {error}"
                    if error.code in (401, 403, 404):
                        return
                tries_left -= ended
                if ended and (self.error is None or not tries_left):
                    return
                pause = min(pause * 2, _LONGEST_PAUSE_S) if self.tail.total == before else _FIRST_PAUSE_S
                await self._pause(pause)
                self._lines.again()
        finally:
            self._keep(self._masker.flush() if self._masker is not None else b"")
            self._done.set()

    async def _pause(self, seconds: float) -> None:
        if self._ended.is_set():
            # What the node does not give yet it may give in a moment.
            await asyncio.sleep(_FIRST_PAUSE_S)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    async def finish(self) -> None:
        """The Pod has ended: wait for the rest, though not for ever."""
        self._ended.set()
        if self._open is not None:
            self._open.reschedule(asyncio.get_running_loop().time() + _CUT_S)
        try:
            async with asyncio.timeout(_AFTER_END_S):
                await self._done.wait()
        except TimeoutError:
            self.error = self.error or f"the output is incomplete: it did not end within {_AFTER_END_S:g} s"

    async def _read_open(self, workloads: Workloads, namespace: str, pod: str, container: str) -> None:
        """Errors: ApiFailed, also for a stream that was open at the end of the Pod and did not end itself."""
        try:
            async with asyncio.timeout(None) as self._open:
                await self._read(workloads, namespace, pod, container)
        except TimeoutError:
            raise ApiFailed("its stream did not end with the Pod") from None
        finally:
            self._open = None

    async def _read(self, workloads: Workloads, namespace: str, pod: str, container: str) -> None:
        since = self._lines.last.decode() if self._lines.last else None
        stream = workloads.log(namespace, pod, container, since, follow=not self._ended.is_set())
        async with contextlib.aclosing(stream):
            async for piece in stream:
                await self._put(self._lines.take(piece))
        await self._put(self._lines.end())

    async def _put(self, data: bytes) -> None:
        if not data:
            return
        self.last_output_at = self._clock.now()
        self._keep(data if self._masker is None else self._masker.feed(data))
        if self.log is not None and self._logs.full and self.log.wanting:
            room = asyncio.Event()
            self._logs.when_room(self.log, room.set)
            await room.wait()

    def _keep(self, data: bytes) -> None:
        """Output as it may be seen."""
        if data:
            self.tail.add(data)
            if self.log is not None:
                self.log.write(data)
