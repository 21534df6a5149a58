"""Asks others outside what the gates want to know, and remembers what they said until the gates have looked.

    the dispatcher's turn → ask → an answerer, again while nobody can be asked → finding → wake the dispatch → the next turn's gates

Invariant: a finding lives in memory and for `FRESH` only: after a crash, or when a dispatch had to wait for something else meanwhile, it is asked again. An outage
is tried again for `PATIENCE`, then it is a `NoAnswer`, which a gate never takes for a yes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple
from weakref import WeakValueDictionary

from controller.base.clock import Clock
from controller.base.errors import StoreUnavailable
from controller.base.logs import event
from controller.dispatch.knowledge import Asked, wait_key
from controller.gates.enquiries import Away, Enquiry, Finding, NoAnswer
from controller.store import dispatches
from controller.store.store import Store

_log = logging.getLogger(__name__)

PATIENCE = timedelta(minutes=1)
"""How long somebody who is away is asked again."""
FRESH = timedelta(minutes=1)
"""How long a finding may be acted upon."""
_AT_ONCE = 8
"""Questions of one document that are out at a time: where one asks somebody who hangs, the others' do not wait for it."""
_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 15.0

Answerer = Callable[[Enquiry], Awaitable[Finding | Away]]
"""Finds out. Errors: StoreUnavailable, and whatever else breaks, count as `Away`, with no more than the type of the error told."""


class _Known(NamedTuple):
    finding: Finding
    until: float  # of the monotonic clock


_NOTHING: Mapping[str, _Known] = {}


class Enquiring:
    """`ask` and `close` on the loop's thread, `found` on any."""

    def __init__(
        self, store: Store, clock: Clock, answerers: Mapping[type[Enquiry], Answerer], wake: Callable[[], None]
    ) -> None:
        """`answerers` by the kind of enquiry; `wake` has somebody look at what waits."""
        self._store, self._clock, self._answerers, self._wake = store, clock, answerers, wake
        self._known: dict[str, Mapping[str, _Known]] = {}
        self._asking: dict[tuple[str, str], asyncio.Task[None]] = {}
        # Each lives for as long as somebody waits for it.
        self._at_once: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()

    def found(self, dispatch: str) -> Mapping[str, Finding]:
        """Fresh findings about a dispatch, by the keys of their enquiries."""
        now = self._clock.monotonic()
        # What is looked up is replaced as a whole and never changed, so other threads see it as it was or as it is.
        return {key: one.finding for key, one in self._known.get(dispatch, _NOTHING).items() if one.until > now}

    def ask(self, asked: Sequence[Asked]) -> None:
        """See to it that these are answered; who is asking already goes on."""
        self._forget()
        for one in asked:
            place = (one.dispatch, one.enquiry.key)
            if place not in self._asking:
                self._asking[place] = asyncio.get_running_loop().create_task(self._answer(place, one))

    async def find_out(self, enquiries: Sequence[Enquiry], patience: timedelta) -> Mapping[str, Finding]:
        """Ask all of these for somebody who waits, by their keys; nothing of it is remembered. After `patience` what is still open has no answer."""
        found = await asyncio.gather(*(self._within(one, patience) for one in enquiries))
        return {one.key: finding for one, finding in zip(enquiries, found, strict=True)}

    async def close(self) -> None:
        """Stop asking; the dispatches are asked about again by whoever judges them next."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, place: tuple[str, str], asked: Asked) -> None:
        try:
            finding = await self._find_out(asked.enquiry)
            known = _Known(finding, self._clock.monotonic() + FRESH.total_seconds())
            self._known[asked.dispatch] = {**self._known.get(asked.dispatch, _NOTHING), asked.enquiry.key: known}
            try:
                now = self._clock.now()
                await self._store.write(partial(dispatches.wake, freed={wait_key(asked.dispatch): 1}, now=now))
            except StoreUnavailable:
                pass  # it looks again by itself when its pause is over
            self._wake()
        finally:
            self._asking.pop(place, None)

    async def _within(self, enquiry: Enquiry, patience: timedelta) -> Finding:
        try:
            async with asyncio.timeout(patience.total_seconds()):
                return await self._find_out(enquiry)
        except TimeoutError:
            return NoAnswer(f"{enquiry.words}: no answer came in time")

    async def _find_out(self, enquiry: Enquiry) -> Finding:
        answerer = self._answerers.get(type(enquiry))
        if answerer is None:
            return NoAnswer("this controller has nobody to ask about that")
        until = self._clock.monotonic() + PATIENCE.total_seconds()
        pause = _PAUSE_S
        at_once = self._at_once.setdefault((enquiry.namespace, enquiry.of), asyncio.Semaphore(_AT_ONCE))
        while True:
            async with at_once:
                answer = await _asked(answerer, enquiry)
            if isinstance(answer, Finding):
                return answer
            wait = pause if answer.retry_after is None else answer.retry_after.total_seconds()
            if self._clock.monotonic() + wait > until:
                return NoAnswer(answer.message)
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _forget(self) -> None:
        now = self._clock.monotonic()
        for dispatch in [
            one for one, known in self._known.items() if all(each.until <= now for each in known.values())
        ]:
            del self._known[dispatch]


async def _asked(answerer: Answerer, enquiry: Enquiry) -> Finding | Away:
    try:
        return await answerer(enquiry)
    except Exception as error:  # noqa: BLE001 - whatever breaks is an outage, and its words may hold what was shown to somebody
        event(
            _log,
            "an enquiry broke",
            logging.WARNING,
            of=enquiry.of,
            namespace=enquiry.namespace,
            problem=type(error).__name__,
        )
        return Away(f"{enquiry.of}: asking broke with {type(error).__name__}")
