"""Gate 7 while a run lasts: what is in its files is replaced before it ends.

    a run's held credentials → due → asked again (obtaining) → masked, then in the file (executor) → the one before the last is given back

The dispatcher has one `keep` for each run that was given something, from its start to its end. Invariant: what a run gets anew is what its grant says, from
a provider that is as it was granted, for as much as before and never for more; when none can be had the run goes on with what it has.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from controller.base.clock import Clock
from controller.base.errors import JobwardenError
from controller.base.logs import event
from controller.base.masking import SECRETS
from controller.domain.records import Run
from controller.domain.story import StoryEvent, StoryKind, Tell
from controller.executors.credentials import Refreshing
from controller.loops.obtaining import Held, Obtaining, choose
from controller.providers.protocol import Refused, Unavailable

_log = logging.getLogger(__name__)

_SOONEST = timedelta(seconds=1)
"""Between two times of asking."""
_LONGEST_PAUSE = timedelta(minutes=1)
"""Between two times of asking a provider that is away."""
_LONGEST_SLEEP_S = 60.0  # the wall clock may step


def due_at(now: datetime, expires_at: datetime) -> datetime:
    """When a credential that was given now is to be renewed: a third of its life is left then, to try again in. Pure."""
    return now + max((expires_at - now) * 2 / 3, _SOONEST)


def again_at(now: datetime, expires_at: datetime) -> datetime:
    """When to ask a provider again that was away: the sooner the less is left, and without haste when nothing is. Pure."""
    left = expires_at - now
    return now + (min(max(left / 4, _SOONEST), _LONGEST_PAUSE) if left > timedelta(0) else _LONGEST_PAUSE)


class Renewing:
    """Looks after what runs of this controller were given."""

    def __init__(self, obtaining: Obtaining, clock: Clock, tell: Tell = lambda _event: None) -> None:
        self._obtaining, self._clock, self._tell = obtaining, clock, tell

    async def keep(self, run: Run, held: Sequence[Held], execution: Refreshing) -> None:
        """Renew until cancelled, or until nothing is left that can be. Errors: none."""
        if run.grant is None or not run.grant.credentials.renew:
            return
        kept = [_Kept(one, self._clock.now()) for one in held if one.session.expires_at is not None]
        while kept:
            wait = (min(one.at for one in kept) - self._clock.now()).total_seconds()
            await asyncio.sleep(min(max(wait, 0.0), _LONGEST_SLEEP_S))
            for one in [one for one in kept if one.at <= self._clock.now()]:
                if not await self._renewed(run, one, execution):
                    kept.remove(one)

    async def _renewed(self, run: Run, one: "_Kept", execution: Refreshing) -> bool:
        """Ask once. False: it is of no use to ask again."""
        try:
            answer = await self._obtaining.again(run, one.held)
        except JobwardenError as error:
            answer = Unavailable(str(error))
        if isinstance(answer, Held):
            refusal = self._placed(one.held, answer, execution)
            if refusal is None:
                await self._follow(run, one, answer)
                return answer.session.expires_at is not None
            answer = Refused(refusal)
        final = isinstance(answer, Refused)
        if final or not one.told:
            self._failed(run, one, answer.message, final=final)
        one.put_off(self._clock.now(), answer.retry_after if isinstance(answer, Unavailable) else None)
        return not final

    def _placed(self, before: Held, after: Held, execution: Refreshing) -> str | None:
        """Put it where the run finds it; why it cannot be."""
        old, new = choose(before), choose(after)
        if isinstance(new, str):
            return new
        if not isinstance(old, str) and old.value == new.value:
            return None
        if new.file is None:
            return (
                "its provider gave another value, and a variable keeps what it had at the start: deliver it as a file"
            )
        return execution.refresh(new.file, new.value)

    async def _follow(self, run: Run, one: "_Kept", answer: Held) -> None:
        """Who has just read the old one may still need it: it is given back after the next renewal, or with the run."""
        if one.before is not None and one.before.record != one.held.record:
            await self._obtaining.let_go(run, one.before)
            one.before = None
        if answer.record != one.held.record:
            one.before = one.held
        one.take(answer, self._clock.now())
        event(_log, "a credential was renewed", logging.DEBUG, run=run.name, credential=answer.delivery.name)

    def _failed(self, run: Run, one: "_Kept", words: str, *, final: bool) -> None:
        one.told = True
        name, expires_at = one.held.delivery.name, one.held.session.expires_at
        words = SECRETS.mask(words)
        event(
            _log,
            "a credential could not be renewed",
            logging.WARNING,
            run=run.name,
            job=run.job,
            credential=name,
            expires_at=expires_at,
            tried_again=not final,
            problem=words,
        )
        ends = f" and ends at {expires_at.isoformat(timespec='seconds')}" if expires_at is not None else ""
        self._tell(
            StoryEvent(
                at=self._clock.now(),
                kind=StoryKind.Trouble,
                namespace=run.namespace,
                job=run.job,
                run=run.name,
                subject=name,
                message=f"the credential {name} of the run could not be renewed{ends}: {words}",
                hint="the run goes on with what it has" + ("" if final else "; its provider is asked again"),
            )
        )


class _Kept:
    """One credential of a run, with when to ask next. `before`: what it took the place of, and is not given back yet."""

    def __init__(self, held: Held, now: datetime) -> None:
        self.before: Held | None = None
        self.take(held, now)

    def take(self, held: Held, now: datetime) -> None:
        """This is what there is now."""
        expires_at = held.session.expires_at
        self.held, self.told = held, False
        self.at = due_at(now, expires_at) if expires_at is not None else now

    def put_off(self, now: datetime, wait: timedelta | None) -> None:
        """Ask again later."""
        at = again_at(now, self.held.session.expires_at or now)
        self.at = max(at, now + wait) if wait is not None else at
