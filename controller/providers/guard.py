"""Calls of code and backends that are not ours: bounded in time, through a circuit breaker, on a thread of their own where they may block.

`calling` asks credential providers through it, `deciding` and `verifying` the plug-ins of policies. Invariant: nothing that is called raises here, or hangs for longer than its
timeout; and no words of it come out but through `words`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

from controller.base import durations
from controller.base.clock import Clock
from controller.base.logs import event
from controller.base.masking import SECRETS
from controller.providers import breaker, words
from controller.providers.aside import Aside
from controller.providers.breaker import Breaker
from controller.providers.protocol import Unavailable
from controller.providers.surroundings import Surroundings

_log = logging.getLogger(__name__)

Call = Callable[[], Coroutine[Any, Any, object]]
Late = Callable[[object], None]
"""Told of an answer that came when nobody waited for it any more."""


class Guard:
    """Of one of them. Methods are for the thread of the event loop."""

    def __init__(
        self,
        surroundings: Surroundings,
        timeout: timedelta,
        *,
        aside: Aside | None = None,
        longest: timedelta = breaker.LONGEST,
    ) -> None:
        """`aside`: where its code runs, if it is not ours; `longest`: how long it may be left alone."""
        self.name = surroundings.name
        self._surroundings, self._timeout, self._aside, self._longest = surroundings, timeout, aside, longest
        self._clock: Clock = surroundings.clock
        self._breaker = Breaker()
        self._strays: set[asyncio.Future[Any]] = set()

    async def ask(self, call: Call, late: Late | None = None) -> object:
        """What one call gives, `Unavailable` where it fails or is not made because the one before failed."""
        # A call that is out for longer than that has been given up by everybody.
        patience = 2 * self._timeout
        self._breaker, wait = breaker.ask(self._breaker, self._clock.monotonic(), patience)
        if wait is not None:
            failures = self._breaker.failures
            return Unavailable(
                f"it failed {failures} times in a row and is not asked again for {durations.format(_whole(wait))}", wait
            )
        answer = await self.within(call, late)
        before = self._breaker.state
        answered = not isinstance(answer, Unavailable)
        self._breaker = breaker.tell(self._breaker, self._clock.monotonic(), answered=answered, longest=self._longest)
        if self._breaker.state is not before:
            event(_log, "provider circuit breaker", provider=self.name, state=self._breaker.state)
        return answer

    async def within(self, call: Call, late: Late | None = None) -> object:
        """The same, whatever was before."""
        there = call if self._aside is None else lambda: self._away(call)
        task = asyncio.ensure_future(_quietly(there))
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout.total_seconds())
        except asyncio.CancelledError:
            self._leave(task, late)
            raise
        if not done:
            self._leave(task, late)
            return Unavailable(f"no answer within {durations.format(self._timeout)}")
        return Unavailable("it gave up by itself") if task.cancelled() else task.result()

    def words(self, message: object) -> str:
        """What it said, fit to be shown."""
        text = message if isinstance(message, str) else ""
        return words.fit(text, self._surroundings.masker, SECRETS) or "it does not say why"

    def see_to(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done that nobody waits for."""
        self._keep(asyncio.ensure_future(work))

    async def close(self, last: Call | None = None) -> None:
        """End its thread, after one last call."""
        if last is not None:
            await self.within(last)
        if self._aside is not None:
            self._aside.close()

    async def _away(self, call: Call) -> object:
        assert self._aside is not None
        return await self._aside.call(call)

    def _leave(self, task: asyncio.Task[object], late: Late | None) -> None:
        """Stop waiting; whoever wants to know is told what arrives late all the same."""
        task.cancel()
        self._keep(task)
        if late is not None:
            task.add_done_callback(partial(_tell, late))

    def _keep(self, task: asyncio.Future[Any]) -> None:
        self._strays.add(task)
        task.add_done_callback(self._strays.discard)


def at_once(call: Callable[[], object]) -> object:
    """What code that does not wait gives; exceptions are outages."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - also a defect of ours is an outage of the provider, not of whoever asks
        return _outage(error)


async def _quietly(call: Call) -> object:
    """The answer, or the outage that an exception means. Its own frames, which hold what it was called with, stay behind."""
    try:
        return await call()
    except Exception as error:  # noqa: BLE001 - whatever a plug-in raises
        return _outage(error)


def _tell(late: Late, task: asyncio.Future[object]) -> None:
    if not task.cancelled():
        late(task.result())


def _outage(error: Exception) -> Unavailable:
    return Unavailable(f"{type(error).__name__}: {_text(error)}")


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the words of an error may be broken as well
        return ""


def _whole(wait: timedelta) -> timedelta:
    """Seconds, rounded up."""
    return timedelta(seconds=-(-wait // timedelta(seconds=1)))
