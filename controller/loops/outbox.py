"""Sends what the outbox holds, as soon as it is due, several at once; a target that is slow or dead holds up only its own messages.

    wake or next due instant → claim (store) → send (notifications), one task an item → sent | failed (store)

Whoever enqueues sets the wake. Invariant: every claimed item gets its outcome written, or becomes due again when its claim ends.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from controller.base.clock import Clock
from controller.base.errors import DeliveryFailed, Retry, StoreUnavailable
from controller.base.logs import event
from controller.base.metrics import Metrics
from controller.base.tasks import Wake
from controller.domain.records import OutboxItem
from controller.notifications.retry import next_attempt
from controller.store import outbox
from controller.store.store import Store

_log = logging.getLogger(__name__)
_LONGEST_SLEEP_S = 60.0  # a wake-up of another replica may get lost, and the wall clock may step
_SHORTEST_SLEEP_S = 0.02  # what is due and could not be claimed is being claimed by another replica just now
_MARK_AGAIN_S = 1.0


class Send(Protocol):
    """Delivers one item to the target with that stored spec, or raises DeliveryFailed and nothing else (notifications.send.Sender)."""

    def __call__(self, item: OutboxItem, spec: bytes | None, /) -> Awaitable[None]: ...


class Settings(msgspec.Struct, frozen=True):
    """`at_once`: messages in flight in all; `each`: of one target."""

    at_once: int = 32
    each: int = 4


class OutboxLoop:
    """`run` for the supervisor, `drain` for its hook. `owner` is this controller's token; `wake` is set by whoever enqueues."""

    def __init__(
        self,
        store: Store,
        send: Send,
        clock: Clock,
        owner: str,
        wake: Wake,
        *,
        metrics: Metrics | None = None,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        on_given_up: Callable[[OutboxItem, str], None] = lambda _item, _error: None,
    ) -> None:
        """`on_given_up` is told what will not be delivered, with the masked reason: for the live story."""
        self._store = store
        self._send = send
        self._clock = clock
        self._owner = owner
        self._wake = wake
        self._metrics = metrics or Metrics()
        self._settings = settings
        self._on_given_up = on_given_up
        self._flights: dict[asyncio.Task[None], outbox.Place] = {}
        self._closed = False

    async def run(self) -> None:
        """Until cancelled. Errors: StoreUnavailable (the supervisor enters again; what is in flight goes on meanwhile)."""
        try:
            while True:
                due = await self._launch_due()
                await self._sleep_until(due)
        except asyncio.CancelledError:
            await self._abandon()
            raise

    async def drain(self, within: timedelta = timedelta(seconds=5)) -> None:
        """Send what is due now, claim nothing after that, and wait for what is in flight, at most that long. Errors: none; the rest stays pending."""
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(within.total_seconds()):
                await self._launch_due()
                self._closed = True
                while self._flights:
                    await asyncio.wait(tuple(self._flights))
        self._closed = True

    @property
    def in_flight(self) -> int:
        """How many messages are being sent."""
        return len(self._flights)

    async def _launch_due(self) -> datetime | None:
        """Claim and launch what fits; give when to look again, None: when somebody wakes us."""
        if self._closed:
            return None
        now = self._clock.now()
        flying = Counter(self._flights.values())
        room = self._settings.at_once - flying.total()
        # A target in flight is busy until all of its messages have landed: simple, and nearly as quick as counting.
        busy = tuple(flying)
        claimed = await self._store.write(
            lambda tx: outbox.claim(tx, now, self._owner, room, busy=busy, each=self._settings.each)
        )
        for one in claimed:
            self._launch(one)
        if len(self._flights) >= self._settings.at_once:
            return None  # a landing wakes us
        waiting, due = await self._store.read(
            lambda tx: (outbox.pending(tx), outbox.next_due(tx, busy=tuple(set(self._flights.values()))))
        )
        self._metrics.outbox(waiting)
        return due

    async def _sleep_until(self, due: datetime | None) -> None:
        seconds = _LONGEST_SLEEP_S
        if due is not None:
            seconds = min(max((due - self._clock.now()).total_seconds(), _SHORTEST_SLEEP_S), seconds)
        await self._wake.wait(seconds)

    def _launch(self, claimed: outbox.Claimed) -> None:
        task = asyncio.create_task(self._deliver(claimed), name=f"notify {claimed.place.name}")
        self._flights[task] = claimed.place
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._flights[task]
        self._wake.set()

    async def _deliver(self, claimed: outbox.Claimed) -> None:
        item = claimed.item
        try:
            await self._send(item, claimed.spec)
        except DeliveryFailed as error:
            await self._write_failure(item, error)
            return
        except Exception as error:  # noqa: BLE001 - a defect, whose words may hold a secret; it must not send for ever
            await self._write_failure(item, DeliveryFailed(f"delivering broke with {type(error).__name__}"))
            return
        event(
            _log, "notified", logging.DEBUG, notice=item.event, job=f"{item.namespace}/{item.job}", target=item.target
        )
        self._metrics.delivery(event=item.event, result="Sent")
        await self._until_written(lambda: self._store.write(lambda tx: outbox.sent(tx, item.id)))

    async def _write_failure(self, item: OutboxItem, error: DeliveryFailed) -> None:
        message = str(error)
        again = next_attempt(self._clock.now(), item.attempts, error)
        given_up = again is None
        event(
            _log,
            "notification given up" if given_up else "notification not delivered",
            logging.ERROR if given_up else logging.WARNING,
            notice=item.event,
            job=f"{item.namespace}/{item.job}",
            run=item.run,
            target=item.target,
            attempts=item.attempts,
            again_at=again,
            reason="Refused" if error.retry is Retry.Never else None,
            message_of_target=message,
        )
        self._metrics.delivery(event=item.event, result="Failed" if given_up else "Retried")
        if given_up:
            self._on_given_up(item, message)
        await self._until_written(
            lambda: self._store.write(lambda tx: outbox.failed(tx, item.id, self._owner, message, again))
        )

    async def _until_written(self, write: Callable[[], Awaitable[object]]) -> None:
        """The outcome is known, so it is worth waiting for the database: an outcome that is lost is a message that is sent twice."""
        while True:
            try:
                await write()
            except StoreUnavailable:
                await asyncio.sleep(_MARK_AGAIN_S)
            else:
                return

    async def _abandon(self) -> None:
        """End what is in flight; its claims run out by themselves, or `outbox.release` ends them at the next start."""
        flights = tuple(self._flights)
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
