"""The lease when the database answers late or not at all: nobody's orphans are forgotten, nobody's grace outlives the lease."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from controller.base.clock import SystemClock
from controller.base.errors import StoreUnavailable
from controller.dispatch import requests
from controller.loops import lease
from controller.loops.lease import LeaseLoop, LeaseLost
from controller.store import instances
from controller.store.database import open_store
from controller.store.runs import OpenRun
from controller.store.store import Store
from tests.harness import Postgres
from tests.integration.dispatch.world import World

_CLOCK = SystemClock()
_HOUR = timedelta(hours=1)


class Dispatcher:
    """Remembers what it was told."""

    live = 0

    def __init__(self) -> None:
        self.graces: list[timedelta | None] = []

    def fence(self, *, fenced: bool) -> None: ...

    def interrupt(self, grace: timedelta | None = None) -> None:
        self.graces.append(grace)


class Doubtful:
    """A store that commits and then says that it could not, or says nothing else."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.unconfirmed: str | None = None
        self.dead = False
        self.broken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def break_off(self) -> None: ...

    async def write(self, function: Callable[[Any], Any]) -> Any:
        if self.dead:
            raise StoreUnavailable("nobody answers")
        result = await self._store.write(function)
        if self.unconfirmed is not None and self.unconfirmed in getattr(function, "__name__", ""):
            self.unconfirmed = None
            self.broken += 1
            raise StoreUnavailable("the connection broke after the commit")
        return result


@pytest.fixture
def store(postgres: Postgres) -> Iterator[Store]:
    """A PostgreSQL database of its own: leases are for those who share one."""
    with postgres.database() as url:
        opened = open_store(url)
        yield opened
        opened.close()


async def _until(condition: Callable[[], Any]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came")


@contextlib.asynccontextmanager
async def _running(loop: LeaseLoop) -> Any:
    task = asyncio.create_task(loop.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LeaseLost):
            await task


def _register(store: Store, owner: str) -> None:
    store.submit(lambda tx: instances.register(tx, owner, owner, "b", 1, _CLOCK.now(), _HOUR)).result(30)


async def test_orphans_whose_take_over_was_not_confirmed_are_adopted_at_the_next_renewal(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are ours in the database, so nobody else will ever end them."""
    monkeypatch.setattr(lease, "_RENEW", timedelta(seconds=1))
    world = World(store, owner="gone")
    for name in ("gone", "me"):
        with contextlib.suppress(Exception):
            _register(store, name)
    world.add("job")
    world.write(lambda tx: requests.trigger(tx, world.now, "default", "job", {}, None, "ann", new_id=world.new_id))
    (opened,) = world.turn().opened
    store.submit(lambda tx: instances.retire(tx, "gone")).result(30)
    adopted: list[str] = []

    def adopt(orphans: Sequence[OpenRun]) -> None:
        adopted.extend(orphan.run.name for orphan in orphans)

    doubtful = Doubtful(store)
    doubtful.unconfirmed = "take_over"
    loop = LeaseLoop(doubtful, Dispatcher(), "me", _CLOCK, adopt)  # type: ignore[arg-type]
    async with _running(loop):
        await _until(lambda: adopted)
    assert (adopted, doubtful.broken) == ([opened.run.name], 1)


async def test_no_grace_outlives_the_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that may take a minute to end is killed before somebody else may run it again."""
    monkeypatch.setattr(lease, "_RENEW", timedelta(milliseconds=50))
    monkeypatch.setattr(lease, "LEASE", timedelta(seconds=3))
    _register(store, "me")
    doubtful, dispatcher = Doubtful(store), Dispatcher()
    doubtful.dead = True
    async with _running(LeaseLoop(doubtful, dispatcher, "me", _CLOCK, lambda _runs: None)):  # type: ignore[arg-type]
        await _until(lambda: dispatcher.graces)
    assert dispatcher.graces[0] is not None
    assert timedelta(0) <= dispatcher.graces[0] < timedelta(seconds=3)


async def test_whoever_was_declared_gone_ends_everything_at_once(store: Store) -> None:
    """Others may be running it again already."""
    _register(store, "me")
    store.submit(lambda tx: instances.retire(tx, "me")).result(30)
    dispatcher = Dispatcher()
    with pytest.raises(LeaseLost):
        await LeaseLoop(store, dispatcher, "me", _CLOCK, lambda _runs: None).run()  # type: ignore[arg-type]
    assert dispatcher.graces == [timedelta(0)]
