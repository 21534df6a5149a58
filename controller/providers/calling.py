"""Calls of one provider: bounded in time, guarded by a circuit breaker, and believed only as far as `accepting` says.

Everybody who wants something of a provider has a `Caller`. Invariant: nothing that a provider does raises here, hangs for longer than its timeout, or puts
a secret into a message; and what was granted to nobody is given back.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from controller.base import durations
from controller.base.clock import Clock
from controller.base.logs import event
from controller.base.masking import SECRETS
from controller.providers import accepting, breaker, words
from controller.providers.aside import Aside
from controller.providers.breaker import Breaker
from controller.providers.protocol import (
    Closing,
    Downscoping,
    IdentityProvider,
    Immediate,
    Refused,
    Renewing,
    Request,
    Revoking,
    Session,
    Unavailable,
)
from controller.providers.surroundings import Surroundings

_log = logging.getLogger(__name__)

Given = TypeVar("Given")
_LONGEST_WAIT = timedelta(hours=1)


class Caller:
    """One provider. Methods are for the thread of the event loop."""

    def __init__(
        self,
        provider: IdentityProvider,
        surroundings: Surroundings,
        timeout: timedelta,
        *,
        aside: Aside | None = None,
    ) -> None:
        """`aside`: where its code runs, if it is not ours."""
        self.name = surroundings.name
        self._provider, self._surroundings, self._aside = provider, surroundings, aside
        self._timeout = timeout
        self._clock: Clock = surroundings.clock
        self._breaker = Breaker()
        self._strays: set[asyncio.Task[Any]] = set()
        # Looked at once: to find out whether something is of a Protocol costs more than many an answer.
        self._immediate = provider if aside is None and isinstance(provider, Immediate) else None
        self.can_downscope = isinstance(provider, Downscoping)
        """Whether it can make less of what it gave."""
        self.can_renew = isinstance(provider, Renewing)
        """Whether it can prolong what it gave, so that nothing has to be put in its place."""
        self.can_revoke = isinstance(provider, Revoking)
        """Whether it can take back what it gave."""

    async def resolve(self, request: Request) -> Session | Refused | Unavailable:
        """An accepted session. See `IdentityProvider.resolve` and `accepting.accept`."""
        immediate = self._immediate
        if immediate is None:
            answer = await self._ask(lambda: self._provider.resolve(request))
        else:
            answer = _at_once(lambda: immediate.resolve_now(request))
        return await self._judged(answer, lambda made: self._accepted(request, made))

    async def downscope(self, request: Request, session: Session) -> Session | Refused | Unavailable:
        """Less of an accepted session; a refusal where the provider cannot. Needs `request.identity`. See `accepting.accept_narrower`."""
        provider = self._provider
        if not isinstance(provider, Downscoping):
            return self._refused(
                "it cannot make less of what it gives: choose one that can, or another policy for children"
            )
        if request.identity is None:
            return self._refused("nobody is declared whose session is to be narrowed")
        refusal = accepting.narrowing_refused(session, request.scopes)
        if refusal is not None:
            return self._refused(refusal)
        identity, now = request.identity, self._clock.now
        answer = await self._ask(lambda: provider.downscope(request, session), held=session.lease)
        return await self._judged(
            answer,
            lambda made: accepting.accept_narrower(identity, session, request.scopes, made, now()),
            held=session.lease,
        )

    async def renew(self, request: Request, session: Session) -> Session | Refused | Unavailable:
        """An accepted session for longer, with the same lease; where the provider cannot prolong, a new one, whose lease is another: compare them."""
        provider = self._provider
        if not isinstance(provider, Renewing):
            return await self.resolve(request)
        answer = await self._ask(lambda: provider.renew(request, session), held=session.lease)

        def accept(made: Session) -> Session | Refused:
            if made.lease != session.lease:
                # The old one is written down, the new one is not.
                return Refused("it answered with another lease than the one that it was to renew")
            return self._accepted(request, made)

        return await self._judged(answer, accept, held=session.lease)

    async def revoke(self, lease: str) -> Refused | Unavailable | None:
        """End a lease; None: it is over. Asked also while the breaker is open: an end must not wait for a beginning."""
        provider = self._provider
        if not isinstance(provider, Revoking):
            return self._refused("it cannot take back what it gives")
        answer = await self._within(lambda: provider.revoke(lease))
        if answer is None or isinstance(answer, Refused | Unavailable):
            return None if answer is None else self._no(answer)
        return self._unavailable("it answered with something that the Protocol does not know")

    async def close(self) -> None:
        """Let go of the provider."""
        provider = self._provider
        if isinstance(provider, Closing):
            await self._within(provider.close)
        if self._aside is not None:
            self._aside.close()

    # Judging

    def _accepted(self, request: Request, made: Session) -> Session | Refused:
        return accepting.accept(request.identity, request.scopes, made, self._clock.now())

    async def _judged(
        self, answer: object, accept: Callable[[Session], Session | Refused], held: str | None = None
    ) -> Session | Refused | Unavailable:
        """What is given on of an answer; a lease that is not accepted is given back, unless a run holds it already (`held`)."""
        if not isinstance(answer, Session):
            return self._no(answer)
        try:
            accepted = accept(answer)
        except Exception as error:  # noqa: BLE001 - what a plug-in has put into its answer may be code
            accepted = Refused(f"its answer cannot be read: {type(error).__name__}")
        if isinstance(accepted, Session):
            self._surroundings.remember(
                *accepted.credentials.values(), *([accepted.kept] if accepted.kept is not None else [])
            )
            return accepted
        await self._give_back(answer, held)
        return self._refused(accepted.message)

    def _no(self, answer: object) -> Refused | Unavailable:
        if isinstance(answer, Refused):
            return self._refused(answer.message)
        if isinstance(answer, Unavailable):
            return self._unavailable(answer.message, answer.retry_after)
        return self._refused(f"it answered with {type(answer).__name__}, which the Protocol does not know")

    def _refused(self, message: object) -> Refused:
        return Refused(f"{self.name}: {self._words(message)}")

    def _unavailable(self, message: object, retry_after: object = None) -> Unavailable:
        wait = min(max(retry_after, timedelta(0)), _LONGEST_WAIT) if isinstance(retry_after, timedelta) else None
        return Unavailable(f"{self.name}: {self._words(message)}", wait)

    def _words(self, message: object) -> str:
        text = message if isinstance(message, str) else ""
        return words.fit(text, self._surroundings.masker, SECRETS) or "it does not say why"

    # Calling

    async def _ask(self, call: Callable[[], Coroutine[Any, Any, object]], held: str | None = None) -> object:
        """One call through the breaker."""
        # A call that is out for longer than that has been given up by everybody.
        patience = 2 * self._timeout
        self._breaker, wait = breaker.ask(self._breaker, self._clock.monotonic(), patience)
        if wait is not None:
            failures = self._breaker.failures
            return Unavailable(
                f"it failed {failures} times in a row and is not asked again for {durations.format(_whole(wait))}", wait
            )
        answer = await self._within(call, held)
        before = self._breaker.state
        self._breaker = breaker.tell(
            self._breaker, self._clock.monotonic(), answered=not isinstance(answer, Unavailable)
        )
        if self._breaker.state is not before:
            event(_log, "provider circuit breaker", provider=self.name, state=self._breaker.state)
        return answer

    async def _within(self, call: Callable[[], Coroutine[Any, Any, object]], held: str | None = None) -> object:
        """What one call gives before its time is over; exceptions are outages. `held` is a lease that a run holds already."""
        there = call if self._aside is None else lambda: self._away(call)
        task = asyncio.ensure_future(_quietly(there))
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout.total_seconds())
        except asyncio.CancelledError:
            self._leave(task, held)
            raise
        if not done:
            self._leave(task, held)
            return Unavailable(f"no answer within {durations.format(self._timeout)}")
        return Unavailable("it gave up by itself") if task.cancelled() else task.result()

    async def _away(self, call: Callable[[], Coroutine[Any, Any, object]]) -> object:
        assert self._aside is not None
        return await self._aside.call(call)

    def _leave(self, task: asyncio.Task[object], held: str | None) -> None:
        """Stop waiting; what arrives late all the same is given back."""
        task.cancel()
        self._strays.add(task)
        task.add_done_callback(partial(self._late, held))

    def _late(self, held: str | None, task: asyncio.Task[object]) -> None:
        self._strays.discard(task)
        answer = None if task.cancelled() else task.result()
        if isinstance(answer, Session):
            giving_back = asyncio.ensure_future(self._give_back(answer, held))
            self._strays.add(giving_back)
            giving_back.add_done_callback(self._strays.discard)

    async def _give_back(self, session: Session, held: str | None) -> None:
        """Revoke what was granted and is used by nobody."""
        provider, lease = self._provider, session.lease
        if isinstance(provider, Revoking) and isinstance(lease, str) and lease != held:
            outcome = await self._within(lambda: provider.revoke(lease))
            if outcome is not None:
                event(_log, "an unused lease was not revoked; it ends by itself", logging.WARNING, provider=self.name)


async def _quietly(call: Callable[[], Coroutine[Any, Any, object]]) -> object:
    """The answer, or the outage that an exception means. Its own frames, which hold what it was called with, stay behind."""
    try:
        return await call()
    except Exception as error:  # noqa: BLE001 - whatever a plug-in raises
        return _outage(error)


def _at_once(call: Callable[[], object]) -> object:
    """The same, of what does not wait."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - also a defect of ours is an outage of the provider, not of whoever asks
        return _outage(error)


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
