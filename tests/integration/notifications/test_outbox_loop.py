"""The outbox loop over a real store and real HTTP: retries, slow targets, crashes, outages, draining."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from controller.base.errors import DeliveryFailed, StoreUnavailable
from controller.base.metrics import PrometheusMetrics
from controller.base.references import Allowed
from controller.base.tasks import Wake
from controller.domain.records import OutboxItem
from controller.loops.outbox import OutboxLoop, Settings
from controller.notifications.errors import DeliveryRefused
from controller.notifications.send import Sender
from controller.store import outbox
from controller.store.store import Store
from tests.integration.notifications.conftest import NOW, Server, declare, make_item, until


class MovedClock:
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


class Bench:
    """A loop with everything around it; `wake` after moving the clock."""

    def __init__(self, store: Store, send=None, settings: Settings = Settings()) -> None:  # noqa: B008 - frozen
        self.store = store
        self.clock = MovedClock()
        self.wake = Wake()
        self.given_up: list[tuple[str, str]] = []
        self.metrics = PrometheusMetrics(version="1", mode="embedded", store="sqlite")
        self.sender = Sender(Allowed(), self.clock)
        self.loop = OutboxLoop(
            store,
            send or self.sender.send,
            self.clock,
            "me",
            self.wake,
            metrics=self.metrics,
            settings=settings,
            on_given_up=lambda item, error: self.given_up.append((item.id, error)),
        )

    async def enqueue(self, *items: OutboxItem) -> None:
        await self.store.write(lambda tx: outbox.enqueue(tx, items))
        self.wake.set()

    def pass_time(self, seconds: float) -> None:
        self.clock.at += timedelta(seconds=seconds)
        self.wake.set()

    def pending(self) -> int:
        return self.store.read_now(outbox.pending)

    def counted(self, result: str) -> bool:
        return (
            f'jobwarden_notifications_total{{event="Failed",result="{result}"}} 1.0'
            in self.metrics.render()[0].decode()
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.sender.close()


async def hooks(store: Store, server: Server, *names: str) -> None:
    for name in names:
        await store.write(lambda tx, name=name: declare(tx, name, {"webhook": {"url": server.url(f"/{name}")}}))


async def test_an_enqueued_item_is_sent_at_once(store: Store, server: Server):
    """The wake is enough; afterwards nothing is pending."""
    await hooks(store, server, "hook")
    bench = Bench(store)
    async with bench.running():
        await bench.enqueue(make_item(1))
        await until(lambda: len(server.at("/hook")) == 1)
        await until(lambda: bench.pending() == 0)
    assert bench.counted("Sent")


async def test_a_failure_is_sent_again_with_the_same_id(
    sqlite: Store, server: Server, caplog: pytest.LogCaptureFixture
):
    """When the delay has passed, not before; receivers recognise it by its webhook-id."""
    await hooks(sqlite, server, "hook")
    server.answer("/hook", 500, 200)
    bench = Bench(sqlite)
    async with bench.running():
        await bench.enqueue(make_item(1))
        await until(lambda: any(record.message == "notification not delivered" for record in caplog.records))
        await until(lambda: bench.loop.in_flight == 0)
        bench.pass_time(9)
        await until(lambda: sqlite.read_now(outbox.next_due) == NOW + timedelta(seconds=10))
        assert len(server.at("/hook")) == 1
        bench.pass_time(1)
        await until(lambda: bench.pending() == 0)
    first, second = server.at("/hook")
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "item-1"
    assert first.body == second.body


async def test_a_permanent_refusal_is_told_and_not_repeated(
    sqlite: Store, server: Server, caplog: pytest.LogCaptureFixture
):
    """One request, an error in the log, visible as failed."""
    await hooks(sqlite, server, "hook")
    server.answer("/hook", 404)
    bench = Bench(sqlite)
    async with bench.running():
        await bench.enqueue(make_item(1))
        await until(lambda: bench.pending() == 0)
        bench.pass_time(86400)
        await until(lambda: bench.loop.in_flight == 0)
    assert len(server.at("/hook")) == 1
    assert bench.given_up == [("item-1", "the webhook answered 404")]
    assert [item.id for item in sqlite.read_now(outbox.failures)] == ["item-1"]
    assert [record.levelno for record in caplog.records if record.message == "notification given up"] == [logging.ERROR]
    assert bench.counted("Failed")


async def test_attempts_are_bounded(sqlite: Store):
    """Twelve, then it is given up with the last reason."""
    attempts: list[int] = []

    async def failing(item: OutboxItem, _spec: bytes | None) -> None:
        attempts.append(item.attempts)
        raise DeliveryFailed("nobody there")

    bench = Bench(sqlite, failing)
    async with bench.running():
        await bench.enqueue(make_item(1))
        for number in range(1, 13):
            await until(lambda number=number: len(attempts) == number)
            await until(lambda: bench.loop.in_flight == 0)
            bench.pass_time(3600)
        await until(lambda: bench.pending() == 0)
        bench.pass_time(86400)
    assert attempts == list(range(1, 13))
    assert bench.given_up == [("item-1", "nobody there")]


async def test_a_slow_target_delays_no_other(sqlite: Store, server: Server):
    """Its messages hang, even more of them than may be in flight, while others are delivered."""
    await hooks(sqlite, server, "slow", "quick")
    server.hanging.add("/slow")
    bench = Bench(sqlite, settings=Settings(at_once=6, each=4))
    async with bench.running():
        await bench.enqueue(*(make_item(n, target="slow") for n in range(50)))
        await until(lambda: len(server.at("/slow")) == 4)
        await bench.enqueue(*(make_item(100 + n, target="quick") for n in range(10)))
        await until(lambda: len(server.at("/quick")) == 10)
        assert len(server.at("/slow")) == 4
        server.release()
        await until(lambda: bench.pending() == 0)
    assert len(server.at("/slow")) == 50


async def test_a_crash_between_sending_and_writing_sends_once_more_with_the_same_id(store: Store, server: Server):
    """The receiver got it, nobody wrote it down: after the claim it is sent again, once, under the same id."""
    await hooks(store, server, "hook")
    bench = Bench(store)
    await bench.enqueue(make_item(1))
    # A controller that dies at the worst moment: it claimed and sent, and wrote nothing.
    (claimed,) = await store.write(lambda tx: outbox.claim(tx, NOW, "dead", 10))
    await bench.sender.send(claimed.item, claimed.spec)
    async with bench.running():
        bench.pass_time(1)
        await until(lambda: bench.loop.in_flight == 0)
        assert len(server.at("/hook")) == 1
        bench.pass_time(outbox.LEASE.total_seconds())
        await until(lambda: bench.pending() == 0)
    assert [request.headers["webhook-id"] for request in server.at("/hook")] == ["item-1", "item-1"]


async def test_a_loop_that_is_cancelled_leaves_nothing_half_done(sqlite: Store, server: Server):
    """What was in flight is pending and becomes due again for the next start."""
    await hooks(sqlite, server, "hook")
    server.hanging.add("/hook")
    bench = Bench(sqlite)
    async with bench.running():
        await bench.enqueue(make_item(1))
        await until(lambda: len(server.at("/hook")) == 1)
    assert bench.loop.in_flight == 0
    assert bench.pending() == 1
    assert await sqlite.write(lambda tx: outbox.release(tx, NOW)) == 1
    assert sqlite.read_now(outbox.next_due) == NOW


async def test_draining_sends_what_is_due_and_claims_nothing_afterwards(sqlite: Store, server: Server):
    """The failure that stopped everything still reaches somebody."""
    await hooks(sqlite, server, "hook")
    bench = Bench(sqlite)
    await sqlite.write(lambda tx: outbox.enqueue(tx, [make_item(1)]))
    await bench.loop.drain(timedelta(seconds=60))
    assert len(server.at("/hook")) == 1
    assert bench.pending() == 0
    async with bench.running():
        await bench.enqueue(make_item(2))
        await asyncio.sleep(0)
    assert bench.pending() == 1


async def test_draining_is_bounded(sqlite: Store, server: Server):
    """A target that hangs does not hold up the stop; its message stays for the next start."""
    await hooks(sqlite, server, "hook")
    server.hanging.add("/hook")
    bench = Bench(sqlite)
    async with bench.running():
        await bench.enqueue(make_item(1))
        await until(lambda: len(server.at("/hook")) == 1)
        await bench.loop.drain(timedelta(milliseconds=50))
    assert bench.pending() == 1


async def test_an_outcome_waits_for_the_database(sqlite: Store, monkeypatch: pytest.MonkeyPatch):
    """An outage after sending does not send again: the outcome is written when the database is back."""
    monkeypatch.setattr("controller.loops.outbox._MARK_AGAIN_S", 0.01)
    sent: list[str] = []
    out = False
    write = sqlite.write

    async def sometimes(function):
        if out:
            raise StoreUnavailable("locked")
        return await write(function)

    async def send(item: OutboxItem, _spec: bytes | None) -> None:
        nonlocal out
        out = True
        sent.append(item.id)

    bench = Bench(sqlite, send)
    await bench.enqueue(make_item(1))
    monkeypatch.setattr(sqlite, "write", sometimes)
    running = asyncio.create_task(bench.loop.run())
    await until(lambda: sent)
    bench.wake.set()
    with pytest.raises(StoreUnavailable):  # the supervisor weathers it and enters again
        await running
    assert bench.loop.in_flight == 1
    out = False
    async with bench.running():
        await until(lambda: bench.pending() == 0)
    assert sent == ["item-1"]


async def test_a_defect_in_a_sender_does_not_send_for_ever(sqlite: Store):
    """What raises anything else counts as a failed attempt, its words untold."""

    async def broken(_item: OutboxItem, _spec: bytes | None) -> None:
        raise KeyError("canary")

    bench = Bench(sqlite, broken)
    async with bench.running():
        await bench.enqueue(make_item(1))
        await until(lambda: sqlite.read_now(outbox.next_due) == NOW + timedelta(seconds=10))
    released = await sqlite.write(lambda tx: outbox.claim(tx, NOW + timedelta(seconds=10), "me", 1))
    assert released[0].item.last_error == "delivering broke with KeyError"


async def test_refusals_of_the_declaration_are_given_up(sqlite: Store):
    """A target that may not be used does not fill the log for hours."""

    async def refusing(_item: OutboxItem, _spec: bytes | None) -> None:
        raise DeliveryRefused("not allowed")

    bench = Bench(sqlite, refusing)
    async with bench.running():
        await bench.enqueue(make_item(1))
        await until(lambda: bench.given_up == [("item-1", "not allowed")])
        await until(lambda: bench.pending() == 0)
