"""Undoing what providers did: until it is undone, however often that fails, and people hear of what takes long."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from controller.base.errors import SourceUnavailable, StoreUnavailable
from controller.base.masking import SECRETS
from controller.base.tasks import Wake
from controller.domain.story import StoryEvent, StoryKind
from controller.domain.trust import Ref
from controller.loops import cleanups as loop_module
from controller.loops.cleanups import CleanupLoop, pause, told
from controller.store import cleanups
from controller.store.database import open_store
from controller.store.store import Store
from tests.integration.store.test_cleanups import START, make


class Clock:
    """Moved by the test."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


class Provider:
    """Undoes, or does what the test says instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[Ref, str, bytes]] = []
        self.instead: Callable[[bytes], object] = lambda _handle: None

    async def undo(self, provider: Ref, namespace: str, handle: bytes) -> None:
        self.asked.append((provider, namespace, handle))
        wait = self.instead(handle)
        if isinstance(wait, asyncio.Event):
            await wait.wait()


class Bench:
    """A loop with everything around it."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock, self.provider, self.wake = store, Clock(), Provider(), Wake()
        self.news: list[StoryEvent] = []
        self.loop = CleanupLoop(store, self.provider, self.clock, self.wake, self.news.append)

    async def record(self, *numbers: int) -> None:
        for number in numbers:
            await self.store.write(lambda tx, number=number: cleanups.record(tx, make(number)))
        self.wake.set()

    async def left(self) -> list[str]:
        return [one.id for one in await self.store.read(lambda tx: cleanups.of_run(tx, "none"))]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """On a database of its own."""
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    yield Bench(store)
    store.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_is_due_is_undone_with_what_was_recorded(bench: Bench) -> None:
    """Once each, and then nothing is left. Source: case S106."""
    async with bench.running():
        await bench.record(1, 2)
        await until(lambda: len(bench.provider.asked) == 2)
        while await bench.left():
            await asyncio.sleep(0.01)
    assert sorted(handle for _, _, handle in bench.provider.asked) == [b"lease/1", b"lease/2"]
    assert bench.provider.asked[0][:2] == (Ref("vault", "CredentialProvider"), "team")


async def test_what_cannot_be_undone_is_tried_again_later_and_people_hear_of_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """With growing pauses; told after some tries, and not with each of them."""

    def refuse(_handle: bytes) -> None:
        raise SourceUnavailable("sealed, says canary-secret")

    bench.provider.instead = refuse
    await bench.record(1)
    with SECRETS.masking("canary-secret"), caplog.at_level(logging.WARNING):
        for attempt in range(1, 31):
            assert await bench.loop._once()
            (one,) = await bench.store.read(lambda tx: cleanups.of_run(tx, "none"))
            assert (one.attempts, one.last_error) == (attempt, "sealed, says ***")
            assert one.not_before == bench.clock.at + pause(attempt)
            assert not await bench.loop._once()
            bench.clock.at = one.not_before
    assert [news.kind for news in bench.news] == [StoryKind.Trouble] * 2
    assert "CredentialProvider vault" in str(bench.news[0].message)
    assert "canary-secret" not in str(bench.news) + caplog.text
    assert len(caplog.records) == 2
    bench.provider.instead = lambda _handle: None
    assert await bench.loop._once()
    assert await bench.left() == []


async def test_a_provider_that_hangs_or_breaks_holds_up_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are undone meanwhile; of a defect only the type is told, as its words may hold anything."""
    monkeypatch.setattr(loop_module, "TIMEOUT", timedelta(seconds=0.05))
    hanging = asyncio.Event()

    def by_handle(handle: bytes) -> object:
        if handle == b"lease/2":
            raise RuntimeError("canary-secret")
        return hanging if handle == b"lease/1" else None

    bench.provider.instead = by_handle
    await bench.record(1, 2, 3)
    assert await bench.loop._once()
    found = await bench.store.read(lambda tx: cleanups.of_run(tx, "none"))
    assert [(one.id, one.last_error) for one in found] == [
        ("id-1", "no answer within 0.05 s"),
        ("id-2", "it broke with RuntimeError"),
    ]


async def test_a_database_that_goes_away_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was undone and not written is undone again when the claim ends."""
    await bench.record(1)

    def broken(_tx: object, _id: str) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(cleanups, "undone", broken)
        with pytest.raises(StoreUnavailable):
            await bench.loop._once()
    assert await bench.left() == ["id-1"]
    bench.clock.at += cleanups.LEASE
    await bench.loop.drain()
    assert await bench.left() == []
    assert len(bench.provider.asked) == 2


async def test_stopping_undoes_what_is_due_and_does_not_wait_for_ever(bench: Bench) -> None:
    """Credentials should not outlive the controller; a provider that hangs must not keep it."""
    await bench.record(*range(40))
    await bench.loop.drain()
    assert await bench.left() == []
    bench.provider.instead = lambda _handle: asyncio.Event()
    await bench.record(100)
    await bench.loop.drain(timedelta(seconds=0.05))
    assert await bench.left() == ["id-100"]


def test_pauses_grow_and_news_stay_rare() -> None:
    """5 s at first, an hour at last; told after a minute or so, and then once a day."""
    assert [pause(n).total_seconds() for n in (1, 2, 3, 4, 5, 20, 10_000)] == [5, 10, 20, 40, 80, 3600, 3600]
    assert [n for n in range(1, 60) if told(n)] == [5, 29, 53]
