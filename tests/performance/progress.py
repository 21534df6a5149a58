"""What a person sees while the suite runs: one line for each thing that takes longer than a second.

Lines go to standard error, so that the table on standard output can be piped. Invariant: a silent terminal for more than ten
seconds means that something hangs, never that something merely takes long.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Says what is going on, with the seconds since the start of the suite."""

    def __init__(self) -> None:
        """Take the start of the suite as zero."""
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print one line to standard error."""
        with self._lock:
            sys.stderr.write(f"[{time.monotonic() - self._start:7.1f} s] {text}\n")
            sys.stderr.flush()

    @contextmanager
    def during(self, label: str) -> Iterator[None]:
        """Say `label` once the block has taken a second, and again every ten seconds while it goes on."""
        done = threading.Event()

        def watch() -> None:
            pause = 1.0
            while not done.wait(pause):
                self.say(f"{label} …")
                pause = 10.0

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
