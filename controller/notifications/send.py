"""Delivering one outbox item: resolve the target, make the words, send them, and let no secret out of it.

    item, spec of the target → targets.resolve → render → webhook.post | AppriseSender.send

The loop over the outbox calls `send` and writes down what became of it. Invariant: every exception that leaves `send` is a DeliveryFailed
whose message is masked, with nothing chained to it.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from controller.base import references
from controller.base.clock import Clock
from controller.base.errors import DeliveryFailed
from controller.base.masking import SECRETS, Masker
from controller.base.references import Allowed
from controller.domain import notices
from controller.domain.records import OutboxItem
from controller.notifications import render, targets
from controller.notifications.apprise_sender import AppriseSender
from controller.notifications.errors import DeliveryPostponed, DeliveryRefused

if TYPE_CHECKING:
    import aiohttp

SecretOf = Callable[[str, str, str], Awaitable[str | references.Unreadable]]
"""The value of a key of a Secret, by namespace ("": the controller's own), name and key."""

TIMEOUT = timedelta(seconds=20)
"""How long one attempt may take, reading secrets included."""


class Sender:
    """Sends items; holds the HTTP session. `close` when the controller ends."""

    def __init__(
        self,
        allowed: Allowed,
        clock: Clock,
        *,
        environment: Mapping[str, str] = os.environ,
        masker: Masker = SECRETS,
        timeout: timedelta = TIMEOUT,
        secret_of: SecretOf | None = None,
    ) -> None:
        """`secret_of` reads keys of Secrets, where there is a cluster."""
        self._allowed = allowed
        self._clock = clock
        self._environment = environment
        self._masker = masker
        self._timeout = timeout
        self._secret_of = secret_of
        self._apprise = AppriseSender()
        self._session: aiohttp.ClientSession | None = None

    async def send(self, item: OutboxItem, spec: bytes | None) -> None:
        """Deliver the item once to the target whose stored spec is given; None: there is no such target.

        Errors: DeliveryFailed and its kinds (notifications/errors.py), masked, unchained; nothing else.
        """
        failure = await self._outcome(item, spec)
        if failure is not None:
            # Raised anew, outside of any handler: what the original knows by its traceback and its context stays behind.
            raise failure

    async def close(self) -> None:
        """End the HTTP session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _outcome(self, item: OutboxItem, spec: bytes | None) -> DeliveryFailed | None:
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await self._attempt(item, spec)
        except TimeoutError:
            return DeliveryFailed(f"not delivered within {self._timeout.total_seconds():g} s")
        except DeliveryFailed as error:
            return _told(error, str(error))
        except Exception as error:  # noqa: BLE001 - what a library raises may hold a secret, so only its kind is told
            return DeliveryFailed(f"delivering broke with {type(error).__name__}")

    async def _attempt(self, item: OutboxItem, spec: bytes | None) -> DeliveryFailed | None:
        if spec is None:
            raise DeliveryFailed(f"there is no {item.target_kind} {item.target!r}")
        if item.target_kind.startswith("Cluster") and not targets.permits(spec, item.namespace):
            raise DeliveryRefused(f"{item.target_kind} {item.target!r} does not allow the namespace {item.namespace!r}")
        try:
            notice = notices.decode(item.payload)
        except msgspec.MsgspecError:
            raise DeliveryRefused("the stored payload cannot be read") from None
        kept = await self._read_keys(item, spec)
        resolved = await asyncio.to_thread(targets.resolve, spec, self._allowed, self._environment, kept)
        with self._masker.masking(*resolved.secrets):
            try:
                await self._deliver(item, notice, resolved.target)
            except DeliveryFailed as error:
                return _told(error, self._masker.mask(str(error)))
        return None

    async def _read_keys(
        self, item: OutboxItem, spec: bytes
    ) -> Mapping[references.SecretKeyRef, str | references.Unreadable]:
        if self._secret_of is None:
            return {}
        home = "" if item.target_kind.startswith("Cluster") else item.namespace
        return {key: await self._secret_of(home, key.name, key.key) for key in targets.keys_of(spec)}

    async def _deliver(self, item: OutboxItem, notice: notices.Notice, target: targets.Target) -> None:
        if isinstance(target, targets.AppriseTarget):
            await self._apprise.send(target, render.text(notice), item.to, within=self._timeout)
            return
        # HTTP takes a quarter of a second to import, which who sends nothing does not owe.
        from controller.notifications import webhook  # noqa: PLC0415

        body = render.cloud_event(notice, item.id, item.to)
        now = self._clock.now()
        await webhook.post(self._http(), target, body, message_id=item.id, now=now, timeout=self._timeout)

    def _http(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp  # noqa: PLC0415 - as above

            # No cookies: one receiver's answer must not change what another one is sent.
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def _told(error: DeliveryFailed, message: str) -> DeliveryFailed:
    """The same kind of error with these words and no history. Pure."""
    if isinstance(error, DeliveryPostponed):
        return DeliveryPostponed(message, error.retry_after)
    return type(error)(message)
