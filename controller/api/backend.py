"""What the control server is given by the composition root, and the news that it passes on."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from controller.base.clock import Clock
from controller.base.people import Actor
from controller.domain.abilities import Abilities
from controller.domain.records import Dispatch, Job
from controller.domain.story import StoryEvent
from controller.domain.trust import Grant
from controller.gates.enquiries import Enquiry, Finding
from controller.store.store import Store, Tx

Perform = Callable[[Tx, str, Mapping[str, Any], Actor, Any], dict[str, Any]]
"""Does a verb in a transaction: `app.commands.perform`."""
Reconcile = Callable[[Sequence[str] | None], Awaitable[Sequence[str]]]
"""Reads these sources again now (None: all); gives the names of those that it serves."""
Enquire = Callable[[Sequence[Enquiry], timedelta], Awaitable[Mapping[str, Finding]]]
"""Asks others outside; gives what they said by the keys of the enquiries, for what is still open after this time that there is no answer."""
Trial = Callable[[Dispatch, Job, Grant | None], str | None]
"""Why the run that would be opened could not be started on this host, as far as can be seen; None: nothing is known against it. Blocks."""

_MOST_NEWS = 1000


@dataclass(frozen=True)
class Backend:
    """The store, and the few functions that requests come down to."""

    store: Store
    clock: Clock
    perform: Perform
    wake: Callable[[], None]
    reconcile: Reconcile
    enquire: Enquire
    abilities: Callable[[], Abilities]
    trial: Trial
    log_dir: Path
    host: str


class News:
    """Hands news to whoever watches; all on the loop's thread."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[bytes]] = set()

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def publish(self, event: StoryEvent) -> None:
        """Give news to every watcher, one JSON line each; one who does not read loses the oldest."""
        if not self._watchers:
            return
        line = msgspec.json.encode(event) + b"\n"
        for watcher in self._watchers:
            if watcher.full():
                watcher.get_nowait()
            watcher.put_nowait(line)

    @contextlib.contextmanager
    def watched(self) -> Iterator[asyncio.Queue[bytes]]:
        """Where news arrive from now on."""
        watcher: asyncio.Queue[bytes] = asyncio.Queue(_MOST_NEWS)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
