"""Sending a message through apprise: one library for some hundred services.

Apprise is synchronous and answers yes or no; why not, it only logs. So each message has a thread of its own that the sender waits for with
a timeout, and what apprise logs in that thread becomes the reason, for the caller to mask.

Invariant: nothing that apprise does reaches a terminal or a log of ours, since its records contain URLs; and a service that hangs holds at
most one thread for each target, which dies with the process.
"""

import asyncio
import logging
import threading
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from controller.base.errors import DeliveryFailed
from controller.notifications.errors import DeliveryRefused
from controller.notifications.render import Text
from controller.notifications.targets import AppriseTarget

_TOLD = 200  # characters of apprise's own words that are told


class AppriseSender:
    """Sends; remembers which targets still hang in an earlier attempt. One a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hanging: set[str] = set()

    async def send(self, target: AppriseTarget, text: Text, to: str | None, *, within: timedelta) -> None:
        """Send once. `to` is a recipient within the service: put in place of `{to}` in the URL, else given as its `to` argument.

        Errors: DeliveryFailed (backoff) with apprise's reason, which the caller masks; DeliveryRefused when the URL is none of apprise's.
        """
        url = _addressed(target.url, to)
        with self._lock:
            if url in self._hanging:
                raise DeliveryFailed("an earlier message to this target still hangs")
            self._hanging.add(url)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[DeliveryFailed | None] = loop.create_future()

        def work() -> None:
            try:
                outcome = _notify(url, text)
            except BaseException as error:  # noqa: BLE001 - a service's plugin may raise anything, and its words may hold secrets
                outcome = DeliveryFailed(f"the notification service broke with {type(error).__name__}")
            finally:
                with self._lock:
                    self._hanging.discard(url)
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, done, outcome)

        # Not an executor: its threads are joined when the interpreter ends, and one that hangs would hold up the stop.
        threading.Thread(target=work, name="apprise", daemon=True).start()
        try:
            async with asyncio.timeout(within.total_seconds()):
                outcome = await done
        except TimeoutError:
            raise DeliveryFailed(
                f"the notification service did not answer within {within.total_seconds():g} s"
            ) from None
        if outcome is not None:
            raise outcome


def _settle(done: "asyncio.Future[DeliveryFailed | None]", outcome: DeliveryFailed | None) -> None:
    if not done.done():
        done.set_result(outcome)


def _addressed(url: str, to: str | None) -> str:
    """The URL for one recipient. Pure. Errors: DeliveryRefused when the URL needs a recipient and there is none."""
    if to is None:
        if "{to}" in url:
            raise DeliveryRefused("the target's URL contains {to}, but the job's notification does not say `to`")
        return url
    recipient = quote(to, safe="")
    if "{to}" in url:
        return url.replace("{to}", recipient)
    return f"{url}{'&' if '?' in url else '?'}to={recipient}"


def _notify(url: str, text: Text) -> DeliveryFailed | None:
    apprise = _apprise()
    _REASONS.begin()
    # With a time limit of its own apprise sends from a pool that all services share, where six that hang stop all others.
    asset = apprise.AppriseAsset(
        app_id="jobwarden", app_desc="jobwarden", app_url="https://jobwarden.dev", service_timeout=0
    )
    plugin = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if plugin is None:
        return DeliveryRefused("the target's URL is not one that apprise knows; see its list of services")
    sender = apprise.Apprise(asset=asset)
    sender.add(plugin)
    sent = sender.notify(title=text.title, body=text.body, notify_type=text.level.value, body_format="text")
    if sent:
        return None
    said = " ".join(_REASONS.last().split())[:_TOLD]
    return DeliveryFailed("the notification service did not accept the message" + (f": {said}" if said else ""))


class _Reasons(logging.Handler):
    """Keeps the last warning of each thread, and shows it to nobody."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._of_thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        self._of_thread.last = record.getMessage()

    def begin(self) -> None:
        self._of_thread.last = ""

    def last(self) -> str:
        return str(getattr(self._of_thread, "last", ""))


_REASONS = _Reasons()


def _apprise() -> Any:
    # Here, because importing it takes a third of a second, and most controllers never send through it.
    import apprise  # noqa: PLC0415

    logger = logging.getLogger("apprise")
    if logger.handlers != [_REASONS]:
        logger.handlers[:] = [_REASONS]
        logger.propagate = False
        logger.setLevel(logging.WARNING)
    return apprise
