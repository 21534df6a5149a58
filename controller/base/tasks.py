"""Supervision of everything that runs for ever, and how another thread wakes it.

The composition root adds loops and drain hooks to one `Supervisor` and awaits `run`. A loop says what it does and nothing else; what happens
when it breaks is decided here, the same for all:

    ends, or raises what nobody foresaw   the controller drains and stops with LoopFailed: a loop that is gone is a defect
    StoreUnavailable, SourceUnavailable   bad weather: told once, tried again with backoff, told once when it is over
    anything, in a restartable loop       as bad weather

Because a loop may be entered again at any time, it starts by doing what is due and waits afterwards.

Invariant: stop is designed. `stop()`, then the drain hooks in the order they were added, then cancellation; a second `stop()` skips the hooks.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

import msgspec

from controller.base.errors import LoopFailed, SourceUnavailable, StoreUnavailable
from controller.base.logs import event

_log = logging.getLogger(__name__)

WEATHER: tuple[type[Exception], ...] = (StoreUnavailable, SourceUnavailable)
"""What every loop survives: the outside is away, and comes back without us."""


class Wake:
    """A level-triggered signal that any thread may set; setting it again before it is seen changes nothing.

    One task waits. A signal that is set while nobody waits is kept for the next `wait`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake whoever waits, now or next. Safe from any thread and from signal handlers of the loop; never blocks."""
        with self._lock:
            if self._set:
                return
            self._set = True
            loop = self._loop
            if loop is None or self._waiter is None:
                return
        if threading.get_ident() == self._thread:
            self._release()
            return
        # A closed loop has nobody who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._release)

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - a bound on sleeping, not on work
        """Sleep until set, at most `timeout` seconds (None: for ever); consume the signal.

        Shape: True when it was set, False when the time ran out. Always yields to the loop once, so that a busy signal starves nobody.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            assert self._waiter is None, "one task waits on a Wake"
            was_set, self._set = self._set, False
            if not was_set:
                self._loop, self._thread = loop, threading.get_ident()
                self._waiter = waiter = loop.create_future()
        if was_set:
            await asyncio.sleep(0)
            return True
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            with self._lock:
                self._waiter = None
        with self._lock:  # not when cancelled: whoever waits next shall see the signal
            was_set, self._set = self._set, False
        return was_set

    def _release(self) -> None:
        # The signal that asked for this may have been consumed meanwhile, by a wait whose time ran out.
        waiter = self._waiter
        if self._set and waiter is not None and not waiter.done():
            waiter.set_result(None)


class Backoff(msgspec.Struct, frozen=True):
    """How long a broken loop rests before it is entered again: initial·factorⁿ, at most `most`; reset once it has lasted for `settled`."""

    initial: timedelta = timedelta(milliseconds=200)
    factor: float = 2.0
    most: timedelta = timedelta(seconds=15)
    settled: timedelta = timedelta(seconds=5)

    def delay(self, failures: int) -> float:
        """Seconds to rest after that many failures in a row, from 1. Pure."""
        return min(self.initial.total_seconds() * self.factor ** min(failures - 1, 64), self.most.total_seconds())


class _Weather:
    """Which loops suffer from which kind of trouble, so that ten loops on one dead database are one line in the log."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._suffering: dict[str, set[str]] = {}

    def broke(self, loop: str, error: Exception) -> None:
        kind = type(error).__name__
        suffering = self._suffering.setdefault(kind, set())
        if not suffering:
            self._since[kind] = time.monotonic()
            event(_log, str(error) or kind, logging.WARNING, reason=kind, loop=loop, retrying=True)
        elif loop not in suffering:
            event(_log, str(error) or kind, logging.DEBUG, reason=kind, loop=loop, retrying=True)
        suffering.add(loop)

    def recovered(self, loop: str) -> None:
        for kind, suffering in self._suffering.items():
            if loop in suffering:
                suffering.remove(loop)
                if not suffering:
                    lasted = round(time.monotonic() - self._since.pop(kind), 1)
                    event(_log, "recovered", logging.WARNING, reason=kind, loop=loop, after_seconds=lasted)


class Supervisor:
    """Runs named loops until `stop` or until one of them is lost."""

    def __init__(self, on_restart: Callable[[str], None] = lambda _: None) -> None:
        """`on_restart` is told the name of each loop that is to be entered again: for counting."""
        self._on_restart = on_restart
        self._waiting: list[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = []
        self._hooks: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: LoopFailed | None = None
        self._weather = _Weather()

    @property
    def stopping(self) -> bool:
        """Whether stop was asked for or a loop was lost."""
        return self._stopping.is_set()

    def add(
        self,
        name: str,
        loop: Callable[[], Awaitable[None]],
        *,
        restartable: bool = False,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
    ) -> None:
        """Keep `loop` running under `name`, from now on or from `run` on.

        `restartable`: any exception, and ending, is weathered instead of stopping the controller. For loops that nothing else depends on.
        """
        self._start(name, lambda: self._guard_loop(name, loop, restartable=restartable, backoff=backoff))

    def start(self, name: str, work: Awaitable[None]) -> None:
        """Supervise something that ends by itself; its end is fine, an exception that nobody foresaw stops the controller."""
        self._start(name, lambda: self._guard_work(name, work))

    def on_stop(self, name: str, hook: Callable[[], Awaitable[None]]) -> None:
        """Await `hook` when stopping, before loops are cancelled; it bounds its own time. An exception in it is logged and stops no other hook."""
        self._hooks.append((name, hook))

    def stop(self) -> None:
        """Ask to stop; the second call stops without draining. From the loop's thread, signal handlers of the loop included."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    async def run(self) -> None:
        """Run until stopped, drain, cancel. Errors: LoopFailed names the loop that was lost, its exception chained."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for name, guarded in self._waiting:
                    self._launch(name, guarded)
                self._waiting.clear()
                await self._stopping.wait()
                await self._drain()
                for task in self._tasks:
                    task.cancel()
        finally:
            self._group = None
        if self._failure is not None:
            raise self._failure

    def _start(self, name: str, guarded: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._group is None:
            self._waiting.append((name, guarded))
        else:
            self._launch(name, guarded)

    def _launch(self, name: str, guarded: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._group is not None
        task = self._group.create_task(guarded(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard_loop(
        self, name: str, loop: Callable[[], Awaitable[None]], *, restartable: bool, backoff: Backoff
    ) -> None:
        weathered = (Exception,) if restartable else WEATHER
        failures = 0
        # Also while draining: what the drain waits for may need the outside to come back. Cancellation ends it.
        while True:
            entered = time.monotonic()
            settled = asyncio.get_running_loop().call_later(
                backoff.settled.total_seconds(), self._weather.recovered, name
            )
            try:
                await loop()
                if self._stopping.is_set():
                    return
                raise LoopFailed(f"the loop {name!r} ended; it should run until the controller stops")  # noqa: TRY301 - one place judges
            except weathered as error:
                if time.monotonic() - entered >= backoff.settled.total_seconds():
                    failures = 0
                failures += 1
                self._weather.broke(name, error)
                self._on_restart(name)
            except Exception as error:  # noqa: BLE001 - whatever nobody foresaw ends here, told
                self._lost(name, error)
                return
            finally:
                settled.cancel()
            await asyncio.sleep(backoff.delay(failures))

    async def _guard_work(self, name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever nobody foresaw ends here, told
            self._lost(name, error)

    def _lost(self, name: str, error: Exception) -> None:
        if self._failure is None:
            failure = (
                error
                if isinstance(error, LoopFailed)
                else LoopFailed(f"{name!r} broke: {type(error).__name__}: {error}")
            )
            failure.__cause__ = error if failure is not error else None
            self._failure = failure
        event(_log, "a part of the controller broke; stopping", logging.ERROR, error=error, part=name)
        self._stopping.set()

    async def _drain(self) -> None:
        hurry = asyncio.ensure_future(self._hurrying.wait())
        try:
            for name, hook in self._hooks:
                if hurry.done():
                    return
                draining = asyncio.ensure_future(hook())
                await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
                if not draining.done():
                    draining.cancel()
                    await asyncio.wait((draining,))
                if not draining.cancelled() and (error := draining.exception()) is not None:
                    event(_log, "draining failed", logging.ERROR, error=error, part=name)
        finally:
            hurry.cancel()
