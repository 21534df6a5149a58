"""Undoes what was done at providers for runs that have ended, until it is undone.

    a run ended | next due instant → claim (store) → undo (the provider), one task each → undone | failed, later again (store)

Invariants: what was recorded is undone at least once, over any number of restarts and replicas; a provider that does not answer costs `TIMEOUT` a try,
and its tries become rarer. What cannot be undone for long is told to people, again and again though not often.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from datetime import timedelta
from typing import Protocol

from controller.base.clock import Clock
from controller.base.errors import JobwardenError, StoreUnavailable
from controller.base.logs import event
from controller.base.masking import SECRETS
from controller.base.tasks import Wake
from controller.domain.records import Cleanup
from controller.domain.story import StoryEvent, StoryKind, Tell
from controller.domain.trust import Ref
from controller.store import cleanups
from controller.store.store import Store

_log = logging.getLogger(__name__)

TIMEOUT = timedelta(seconds=20)
"""Of one try; well within `cleanups.LEASE`."""
_AT_ONCE = 16
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(hours=1)
_TOLD_AFTER = 5  # tries: after about a minute and a half
_TOLD_AGAIN = 24  # tries: a day, when the pauses are the longest
_LONGEST_SLEEP_S = 60.0  # a run may have been ended by another replica, and the wall clock may step
_SHORTEST_SLEEP_S = 0.02  # what is due and could not be claimed is being claimed by another replica just now
_LONGEST_WORDS = 500


class Undoer(Protocol):
    """Undoes what a provider did."""

    def undo(self, provider: Ref, namespace: str, handle: bytes, /) -> Awaitable[None]:
        """Make it so that nothing is left of what `handle` names; what is gone already is fine, as it may be asked twice.

        Errors: JobwardenError, whose words are shown to people; of any other only the type is.
        """
        ...


def pause(attempts: int) -> timedelta:
    """How long to wait after that many tries, from 1: 5 s, doubled each time, at most an hour. Pure."""
    return min(_FIRST_PAUSE * (1 << min(attempts - 1, 20)), _LONGEST_PAUSE)


def told(attempts: int) -> bool:
    """Whether people are told of that failed try. Pure."""
    return attempts >= _TOLD_AFTER and (attempts - _TOLD_AFTER) % _TOLD_AGAIN == 0


class CleanupLoop:
    """`run` for the supervisor, restartable; `drain` for its hook, after the runs'. `wake` is set by whoever ends runs."""

    def __init__(
        self, store: Store, undoer: Undoer, clock: Clock, wake: Wake, tell: Tell = lambda _event: None
    ) -> None:
        self._store = store
        self._undoer = undoer
        self._clock = clock
        self._wake = wake
        self._tell = tell
        self._trying = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled. Errors: StoreUnavailable; then what was claimed is due again when its claim ends."""
        while True:
            while await self._once():
                pass
            due = await self._store.read(cleanups.next_due)
            seconds = _LONGEST_SLEEP_S
            if due is not None:
                seconds = min(max((due - self._clock.now()).total_seconds(), _SHORTEST_SLEEP_S), seconds)
            await self._wake.wait(seconds)

    async def drain(self, within: timedelta = timedelta(seconds=10)) -> None:
        """Undo what is due now, for at most that long. Errors: none; the rest is for the next start, or another replica."""
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(within.total_seconds()):
                while await self._once():
                    pass

    async def _once(self) -> bool:
        """Try what is due, several at once. False: nothing was."""
        async with self._trying:
            now = self._clock.now()
            claimed = await self._store.write(lambda tx: cleanups.claim(tx, now, _AT_ONCE))
            tried = await asyncio.gather(*(self._undo(one) for one in claimed), return_exceptions=True)
        for problem in tried:
            if isinstance(problem, BaseException):
                raise problem
        return bool(claimed)

    async def _undo(self, one: Cleanup) -> None:
        try:
            async with asyncio.timeout(TIMEOUT.total_seconds()):
                await self._undoer.undo(one.provider, one.namespace, one.handle)
        except JobwardenError as error:
            await self._failed(one, str(error))
        except TimeoutError:
            await self._failed(one, f"no answer within {TIMEOUT.total_seconds():g} s")
        except Exception as error:  # noqa: BLE001 - a defect of a provider, whose words may hold a secret
            await self._failed(one, f"it broke with {type(error).__name__}")
        else:
            await self._store.write(lambda tx: cleanups.undone(tx, one.id))
            event(_log, "undone", logging.DEBUG, run=one.run, provider=one.provider.name)

    async def _failed(self, one: Cleanup, words: str) -> None:
        words = SECRETS.mask(words)[:_LONGEST_WORDS]
        again = self._clock.now() + pause(one.attempts)
        await self._store.write(lambda tx: cleanups.failed(tx, one.id, words, again))
        if not told(one.attempts):
            event(_log, "not undone", logging.DEBUG, run=one.run, provider=one.provider.name, problem=words)
            return
        name = f"{one.provider.kind} {one.provider.name}"
        message = f"what {name} gave to the run could not be taken back in {one.attempts} tries: {words}"
        event(
            _log,
            "what a provider gave could not be taken back",
            logging.WARNING,
            run=one.run,
            namespace=one.namespace,
            provider=name,
            attempts=one.attempts,
            since=one.created_at,
            again_at=again,
            problem=words,
        )
        self._tell(
            StoryEvent(
                at=self._clock.now(),
                kind=StoryKind.Trouble,
                namespace=one.namespace or None,
                run=one.run,
                subject=name,
                message=message,
                hint="see that the provider can be reached and still knows this controller; it is tried again",
            )
        )
