"""An event loop on a thread of its own, for code that may block it: plug-ins.

`calling` runs the calls of a plug-in here, so that one that sleeps, or asks the network without awaiting, holds up itself alone.
Invariant: the caller can always go on; a thread that is stuck is left behind and does not keep the process alive.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Given = TypeVar("Given")


class Aside:
    """One thread, started by the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None

    async def call(self, make: Callable[[], Coroutine[Any, Any, Given]]) -> Given:
        """Await what `make` gives, over there. Cancelling this cancels that, as soon as it awaits something."""
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_forever, args=(self._loop,), name=self._name, daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_made(make), self._loop))

    def close(self) -> None:
        """End the thread when it next looks."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)


async def _made(make: Callable[[], Coroutine[Any, Any, Given]]) -> Given:
    # Also what a plug-in does before its first await is done here.
    try:
        return await make()
    except SystemExit:
        # Unnoticed it would end the loop, and nobody would be told.
        raise RuntimeError("it tried to end the process") from None


def _forever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    finally:
        loop.close()
