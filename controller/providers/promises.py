"""The frame of the conformance suites: how they make a plug-in, call it, and see that nothing it knows is in what went wrong.

`conformance` and `policy_conformance` are made with it. Needs nothing but the standard library, so that whoever writes a plug-in may use any runner of tests.
"""

import asyncio
import traceback
import unittest
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Generic, TypeVar

import msgspec

from controller.base.errors import InvalidInput
from controller.providers.surroundings import Surroundings


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """A plug-in that works, and what is known of it."""

    surroundings: Surroundings
    secrets: tuple[str, ...] = ()  # what it was given and what its backend gives: must be seen nowhere
    timeout: timedelta = timedelta(seconds=10)

    def unseen(self, *texts: str) -> None:
        """Errors: AssertionError where one of them holds a secret."""
        for secret in self.secrets:
            if any(secret in text for text in texts):
                raise AssertionError("a secret can be seen")


Subject = TypeVar("Subject", bound=Tested)


class Conformance(Generic[Subject]):
    """What is the same for all of them. `subject` has to be there; `broken` and `hanging` where a backend can be made so."""

    async def subject(self) -> Subject:
        """A plug-in whose backend works."""
        raise NotImplementedError

    async def broken(self) -> Subject:
        """One whose backend cannot be reached or talks nonsense; best of all, quotes the secrets that it was sent."""
        raise unittest.SkipTest("nothing is said of a broken backend")

    async def hanging(self) -> Subject:
        """One whose backend never answers."""
        raise unittest.SkipTest("nothing is said of a hanging backend")

    def misconfigured(self) -> list[Callable[[], object]]:
        """Ways of making a plug-in of a wrong configuration."""
        raise unittest.SkipTest("nothing is said of wrong configurations")

    def test_a_wrong_configuration_is_told_when_it_is_made(self) -> None:
        """With InvalidInput or ValueError, in words, and before anything is asked."""
        for make in self.misconfigured():
            try:
                asyncio.run(_made(make))
            except (InvalidInput, ValueError) as error:
                assert str(error)  # noqa: PT017 - pytest is not needed here
            else:
                raise AssertionError("a wrong configuration makes a plug-in")

    async def _close(self, subject: Subject) -> None:
        """Let go of it."""

    def _with(self, make: Callable[[], Awaitable[Subject]], check: Callable[[Subject], Awaitable[None]]) -> None:
        async def run() -> None:
            subject = await make()
            try:
                await check(subject)
            except (AssertionError, unittest.SkipTest):
                raise
            except Exception as error:
                subject.unseen("".join(traceback.format_exception(error)))
                raise
            finally:
                await self._close(subject)

        asyncio.run(run())


async def cut_off(call: Awaitable[object]) -> None:
    """See that a call of a backend that hangs does so, and ends when whoever waits gives up. Errors: AssertionError."""
    alone = asyncio.ensure_future(call)
    done, _ = await asyncio.wait({alone}, timeout=0.3)
    assert not done, "its backend does not hang"
    alone.cancel()
    done, _ = await asyncio.wait({alone}, timeout=30)
    assert done, "it does not heed cancellation"


async def _made(make: Callable[[], object]) -> object:
    return make()
