"""Our end of one pipe of a run, and the tail of what came through it.

`execution` has two. Invariants: a descriptor is never closed while the poller still watches it, and never twice; where there is something to mask,
nothing leaves here before it is masked.
"""

import os
from collections.abc import Callable

from controller.base.masked_stream import Needles, StreamMasker
from controller.executors.output import Tail
from controller.executors.poller import Poller

_READ = 65536  # bytes a read; what a pipe holds
_IN_A_ROW = 4  # reads in one turn of the loop


class Stream(Tail):
    """A non-blocking pipe whose other end the run has."""

    __slots__ = ("_masker", "_poller", "fd", "watched")

    def __init__(self, poller: Poller, keep: int, needles: Needles | None = None) -> None:
        super().__init__(keep)
        self.fd = -1  # -1: everybody has closed the other end, and so have we
        self.watched = False
        self._poller = poller
        self._masker = StreamMasker(needles) if needles is not None else None

    def take(self) -> tuple[int, bytes]:
        """How much the pipe held now, at most 64 KiB, and what may be kept by now. 0: nothing now, or nothing ever again."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return 0, b""
        if not data:
            self.close()
            return 0, self.rest()
        taken = len(data)
        if self._masker is not None:
            data = self._masker.feed(data)
        self.add(data)
        return taken, data

    def rest(self) -> bytes:
        """What was held back because it might have become a secret: nothing more will come."""
        rest = self._masker.flush() if self._masker is not None else b""
        if rest:
            self.add(rest)
        return rest

    def watch(self, read: "Callable[[Stream], int]") -> None:
        """Call `read` whenever there is something; it gives the number of bytes that it took."""
        if self.fd >= 0 and not self.watched:
            self._poller.watch(self.fd, lambda: self._ready(read))
            self.watched = True

    def unwatch(self) -> None:
        """Call nobody any more."""
        if self.watched:
            self._poller.forget(self.fd)
            self.watched = False

    def close(self) -> None:
        """Let go of the pipe; whoever still prints into it gets SIGPIPE."""
        if self.fd >= 0:
            self.unwatch()
            os.close(self.fd)
            self.fd = -1

    def _ready(self, read: "Callable[[Stream], int]") -> None:
        # A pipe that was full is likely to be full again; more than a few in a row would hold up everybody else.
        for _ in range(_IN_A_ROW):
            if not self.watched or read(self) < _READ:
                return
