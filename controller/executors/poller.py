"""Readiness of many short-lived descriptors, hung into the event loop as one.

`local` and `runlog` hand it descriptors with a callback; asyncio only ever sees the one epoll inside. A run needs three descriptors for a few
milliseconds, and registering each with asyncio itself would cost a tenth of the whole spawn. Elsewhere than on Linux it passes everything to asyncio.

Invariant: callbacks run on the loop's thread, and none is called for an event of a descriptor that was forgotten, even when its number has been given
out again within the same batch of events.
"""

import asyncio
import select
import sys
from collections.abc import Callable
from typing import Any, Protocol

_BATCH = 64  # events in one turn of the loop; more would make timers and sockets wait


class Poller(Protocol):
    """Calls back whenever a descriptor can be read (or has been hung up)."""

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        """Call `ready` as long as `fd` has something to read."""
        ...

    def forget(self, fd: int) -> None:
        """Stop watching; must come before the descriptor is closed."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class LoopPoller:
    """The portable one: every descriptor in asyncio's own selector."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: set[int] = set()

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        self._watched.add(fd)
        self._loop.add_reader(fd, ready)

    def forget(self, fd: int) -> None:
        self._watched.discard(fd)
        self._loop.remove_reader(fd)

    def close(self) -> None:
        for fd in tuple(self._watched):
            self.forget(fd)


if sys.platform == "linux":

    class EpollPoller:
        """One epoll of our own, level-triggered, watched by the loop as a single descriptor."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._epoll = select.epoll()
            self._ready: dict[int, Callable[[], None]] = {}
            self._forgotten: set[int] = set()  # within the batch that is being handled
            loop.add_reader(self._epoll.fileno(), self._turn)

        def watch(self, fd: int, ready: Callable[[], None]) -> None:
            self._epoll.register(fd, select.EPOLLIN)
            self._ready[fd] = ready

        def forget(self, fd: int) -> None:
            if self._ready.pop(fd, None) is not None:
                self._epoll.unregister(fd)
                self._forgotten.add(fd)

        def close(self) -> None:
            if not self._epoll.closed:
                self._loop.remove_reader(self._epoll.fileno())
                self._epoll.close()
            self._forgotten.update(self._ready)
            self._ready.clear()

        def _turn(self) -> None:
            self._forgotten.clear()
            for fd, _ in self._epoll.poll(0, _BATCH):
                if fd in self._forgotten:
                    continue  # should the number be watched again by now, the next turn tells
                try:
                    self._ready[fd]()
                except Exception as error:  # noqa: BLE001 - one run's fault must not cost the others their events
                    self._loop.call_exception_handler(_context(error))

    def make(loop: asyncio.AbstractEventLoop) -> Poller:
        """The best poller that this system has."""
        return EpollPoller(loop)

else:

    def make(loop: asyncio.AbstractEventLoop) -> Poller:
        """The best poller that this system has."""
        return LoopPoller(loop)


def _context(error: Exception) -> dict[str, Any]:
    return {"message": "a callback of an executor failed", "exception": error}
