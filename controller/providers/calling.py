"""Calls of one provider: bounded in time, guarded by a circuit breaker, and believed only as far as `accepting` says.

Everybody who wants something of a provider has a `Caller`. Invariant: nothing that a provider does raises here, hangs for longer than its timeout, or puts
a secret into a message; and what was granted to nobody is given back.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from controller.base.clock import Clock
from controller.base.logs import event
from controller.providers import accepting
from controller.providers.aside import Aside
from controller.providers.guard import Guard, at_once
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
        self._provider, self._surroundings = provider, surroundings
        self._clock: Clock = surroundings.clock
        self._guard = Guard(surroundings, timeout, aside=aside)
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
            answer = await self._guard.ask(lambda: self._provider.resolve(request), partial(self._late, None))
        else:
            answer = at_once(lambda: immediate.resolve_now(request))
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
        late = partial(self._late, session.lease)
        answer = await self._guard.ask(lambda: provider.downscope(request, session), late)
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
        answer = await self._guard.ask(lambda: provider.renew(request, session), partial(self._late, session.lease))

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
        answer = await self._guard.within(lambda: provider.revoke(lease))
        if answer is None or isinstance(answer, Refused | Unavailable):
            return None if answer is None else self._no(answer)
        return self._unavailable("it answered with something that the Protocol does not know")

    async def close(self) -> None:
        """Let go of the provider."""
        provider = self._provider
        await self._guard.close(provider.close if isinstance(provider, Closing) else None)

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
        return Refused(f"{self.name}: {self._guard.words(message)}")

    def _unavailable(self, message: object, retry_after: object = None) -> Unavailable:
        wait = min(max(retry_after, timedelta(0)), _LONGEST_WAIT) if isinstance(retry_after, timedelta) else None
        return Unavailable(f"{self.name}: {self._guard.words(message)}", wait)

    # Giving back

    def _late(self, held: str | None, answer: object) -> None:
        """What was granted when nobody waited for it any more is given back."""
        if isinstance(answer, Session):
            self._guard.see_to(self._give_back(answer, held))

    async def _give_back(self, session: Session, held: str | None) -> None:
        """Revoke what was granted and is used by nobody."""
        provider, lease = self._provider, session.lease
        if isinstance(provider, Revoking) and isinstance(lease, str) and lease != held:
            outcome = await self._guard.within(lambda: provider.revoke(lease))
            if outcome is not None:
                event(_log, "an unused lease was not revoked; it ends by itself", logging.WARNING, provider=self.name)
