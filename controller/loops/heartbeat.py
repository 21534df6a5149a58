"""Tells a dead man's switch on the outside that the controller works, by asking a URL at intervals; it says nothing while it does not work.

The composition root gives the URL of `--heartbeat-url` and what "works" means. Invariant: silence is the alarm, so no ping is ever sent for
a controller that does not dispatch or cannot write, and the URL, which is a secret, is in no log.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

import aiohttp

from controller.base.errors import InvalidInput
from controller.base.logs import event

_log = logging.getLogger(__name__)
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class Heartbeat:
    """`run` for the supervisor. `healthy` answers at once: whether dispatcher and store work."""

    def __init__(self, url: str, healthy: Callable[[], bool], every: timedelta = timedelta(minutes=1)) -> None:
        """Errors: InvalidInput for a URL that is not http or https, or an interval that is not positive."""
        if not url.startswith(("http://", "https://")):
            raise InvalidInput("--heartbeat-url has to be an http or https URL")
        if every <= timedelta(0):
            raise InvalidInput("the heartbeat's interval has to be positive")
        self._url = url
        self._healthy = healthy
        self._every = every.total_seconds()
        self._trouble: str | None = None

    async def run(self) -> None:
        """Until cancelled; a ping that fails is told once, and the next one is sent in time all the same."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT) as session:
            loop = asyncio.get_running_loop()
            next_at = loop.time()
            while True:
                self._tell(await self._beat(session))
                next_at = max(next_at + self._every, loop.time())
                await asyncio.sleep(next_at - loop.time())

    async def _beat(self, session: aiohttp.ClientSession) -> str | None:
        """Ping once if all is well; give what is wrong, else None."""
        if not self._healthy():
            return "the controller is not healthy; no heartbeat is sent"
        try:
            async with session.get(self._url) as answer:
                return None if answer.status < 400 else f"the heartbeat was answered with {answer.status}"
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            # Its words contain the URL.
            return f"the heartbeat was not accepted: {type(error).__name__}"

    def _tell(self, trouble: str | None) -> None:
        if trouble == self._trouble:
            return
        if trouble is not None:
            event(_log, trouble, logging.WARNING)
        else:
            event(_log, "the heartbeat works again")
        self._trouble = trouble
