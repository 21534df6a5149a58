"""Whether this controller works: what the probes answer and what the heartbeat asks first.

Alive means that the dispatcher turns or sleeps, and that no part is known to be stuck; ready, that the store answers and every source has been looked at
once. A heartbeat is sent only while both hold.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from controller.base.clock import Clock
from controller.base.errors import StoreUnavailable
from controller.loops.dispatcher import Dispatcher
from controller.store.store import Store

_STUCK_AFTER_S = 60.0
"""A turn takes milliseconds; one that takes a minute hangs."""
_ANSWER_WITHIN_S = 5.0
_WATCH_EVERY_S = 15.0

Checks = Mapping[str, str | None]


class Health:
    """Answers probes; `watch` keeps `working` up to date for the heartbeat."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        clock: Clock,
        synced: Sequence[asyncio.Event],
        parts: Mapping[str, Callable[[], str | None]] = MappingProxyType({}),
    ) -> None:
        """`parts` are asked what is wrong with them, at once."""
        self._parts = parts
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._synced = synced
        self._store_answers = False

    def live(self) -> Checks:
        """Whether everything moves. At once, without I/O."""
        age = self._clock.monotonic() - self._dispatcher.turned_at
        stuck = not self._dispatcher.asleep and age > _STUCK_AFTER_S
        parts = {name: ask() for name, ask in self._parts.items()}
        return {"dispatcher": f"no turn for {age:.0f} s" if stuck else None, **parts}

    async def ready(self) -> Checks:
        """Whether work can be done."""
        missing = sum(not event.is_set() for event in self._synced)
        return {
            **self.live(),
            "store": await self._ask_store(),
            "sources": f"{missing} of {len(self._synced)} not read yet" if missing else None,
        }

    def working(self) -> bool:
        """Whether a heartbeat may be sent: the dispatcher moves, and the store answered when it was last asked."""
        return self._store_answers and all(trouble is None for trouble in self.live().values())

    async def watch(self) -> None:
        """Ask the store again and again."""
        while True:
            self._store_answers = await self._ask_store() is None
            await asyncio.sleep(_WATCH_EVERY_S)

    async def _ask_store(self) -> str | None:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await self._store.write(lambda tx: None)  # noqa: ARG005 - an empty transaction is the question
        except (StoreUnavailable, TimeoutError) as error:
            return str(error) or "the database does not answer in time"
        return None
