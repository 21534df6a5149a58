"""One alarm at a wall-clock instant, for an asyncio loop: what the dispatcher sleeps on.

On Linux a timerfd on CLOCK_REALTIME: on time to well under a millisecond, no wake-ups in between, and the kernel tells when somebody
sets the clock. Elsewhere `call_later` in steps of a second, in which a step of the clock shows. Invariant: once set, an alarm is
heard no later than about a second after the wall clock reads that instant, whatever was done to the clock meanwhile.
Source: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET.
"""

import asyncio
import ctypes
import errno
import logging
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

_CLOCK_REALTIME = 0
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2
_CHUNK = 1.0
"""Seconds between two looks at the wall clock where the kernel does not report steps."""
_STEP = 0.25
"""Seconds by which wall clock and monotonic clock must differ over a chunk to count as a step; slewing stays far below."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = logging.getLogger(__name__)


class _Waker(Protocol):
    def set(self, nanoseconds: int | None) -> None: ...

    def close(self) -> None: ...


class Alarm:
    """Calls `callback` on the loop when the wall clock reaches the instant that was set, or is stepped while one is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[bool], None]) -> None:
        """`callback(stepped)`: False when the instant has come, True when the clock was set and the caller should look again.

        After False nothing is set; after True the same instant still is.
        """
        self._waker: _Waker
        try:
            self._waker = _TimerFd(loop, callback)
        except (OSError, AttributeError, NotImplementedError) as error:
            # AttributeError: no timerfd in this C library; NotImplementedError: a loop that cannot watch file descriptors.
            _log.info("no timerfd here (%s): alarms look at the clock every second", error)
            self._waker = _Polling(loop, callback)

    def set(self, at: datetime | None) -> None:
        """Wake at that aware instant instead of any earlier setting; one that has passed wakes at once; None not at all."""
        self._waker.set(None if at is None else max(1, (at - _EPOCH) // timedelta(microseconds=1) * 1000))

    def close(self) -> None:
        """Never call back again. May be called twice."""
        self._waker.close()


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class _TimerFd:
    """The kernel's timer as a readable file descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[bool], None]) -> None:
        if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_long) != 8:
            raise NotImplementedError("not a 64-bit Linux")
        self._loop = loop
        self._callback = callback
        self._at: int | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        try:
            loop.add_reader(self._fd, self._readable)
        except NotImplementedError:
            os.close(self._fd)
            raise

    def set(self, nanoseconds: int | None) -> None:
        self._at = nanoseconds
        self._arm()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _arm(self) -> None:
        seconds, nanoseconds = divmod(self._at or 0, 1_000_000_000)
        spec = _TimerSpec(_TimeSpec(0, 0), _TimeSpec(seconds, nanoseconds))
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        if self._libc.timerfd_settime(self._fd, flags, ctypes.byref(spec), None) == 0:
            return
        code = ctypes.get_errno()
        if code != errno.ECANCELED:
            raise OSError(code, "timerfd_settime")
        # Armed, and the clock was set since the last time that this was asked.
        self._loop.call_soon(self._stepped)

    def _readable(self) -> None:
        try:
            expired = self._read()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
            self._arm()
            self._stepped()
            return
        if expired:
            self._at = None
            self._callback(False)  # noqa: FBT003 - the one fact that is told

    def _read(self) -> bytes:
        return os.read(self._fd, 8)

    def _stepped(self) -> None:
        if self._fd >= 0 and self._at is not None:
            self._callback(True)  # noqa: FBT003 - the one fact that is told


class _Polling:
    """A chain of short timers that compares the wall clock with the monotonic one."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        callback: Callable[[bool], None],
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._wall = wall
        self._at: int | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._seen = (0, 0.0)

    def set(self, nanoseconds: int | None) -> None:
        self.close()
        self._at = nanoseconds
        if nanoseconds is not None:
            self._wait()

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._at = None

    def _wait(self) -> None:
        self._seen = (self._wall(), self._loop.time())
        remaining = ((self._at or 0) - self._seen[0]) / 1e9
        self._handle = self._loop.call_later(min(max(remaining, 0.0), _CHUNK), self._look)

    def _look(self) -> None:
        wall, monotonic = self._seen
        now = self._wall()
        stepped = abs((now - wall) / 1e9 - (self._loop.time() - monotonic)) > _STEP
        if self._at is not None and now >= self._at:
            self.close()
            self._callback(False)  # noqa: FBT003 - the one fact that is told
            return
        self._wait()
        if stepped:
            self._callback(True)  # noqa: FBT003 - the one fact that is told
