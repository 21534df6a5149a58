"""The loop of a source: whoever serves it says so, also when no document has changed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from controller.base.clock import SystemClock
from controller.loops.sources import SourceLoop
from controller.reconcile.pipeline import Outcome
from controller.reconcile.records import ReconcileRequested
from controller.sources.snapshot import Hint
from controller.store.database import open_store


class Unchanged:
    """A reconciler that finds everything as it was."""

    name = "jobs"
    kind = "Directory"
    location = "/jobs"

    @property
    def source(self) -> "Unchanged":
        return self

    async def sync(self, _hint: object) -> Outcome:
        return Outcome(source=self.name)

    async def hints(self) -> AsyncIterator[object]:
        await asyncio.Event().wait()
        yield None


async def test_a_source_that_is_served_again_is_told_although_nothing_changed(tmp_path: Path) -> None:
    """Its jobs were not run meanwhile and may be due: the dispatcher has to look."""
    store = open_store(f"sqlite:///{tmp_path}/world.db")
    told: list[Outcome] = []
    loop = SourceLoop(Unchanged(), store, SystemClock(), "me", changed=told.append)  # type: ignore[arg-type]
    task = asyncio.create_task(loop.run())
    try:
        await asyncio.wait_for(loop.synced.wait(), 60)
        for _ in range(3000):
            if told:
                break
            await asyncio.sleep(0.02)
        assert len(told) == 1
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        store.close()


class Asked(Unchanged):
    """A reconciler whose second look finds that an annotation asks for more."""

    def __init__(self) -> None:
        self.hinted: list[Hint | None] = []

    async def sync(self, hint: Hint | None) -> Outcome:
        self.hinted.append(hint)
        asked = (ReconcileRequested("default", "job", "now"),) if len(self.hinted) == 2 else ()
        return Outcome(source=self.name, intents=asked)

    async def hints(self) -> AsyncIterator[Hint]:
        yield Hint(frozenset({"//ScheduledJob/default/job"}))
        await asyncio.Event().wait()


async def test_a_reconcile_request_makes_the_whole_source_be_looked_at_once(tmp_path: Path) -> None:
    """What the annotation's own change told is one object; the request is about all of them."""
    store = open_store(f"sqlite:///{tmp_path}/world.db")
    source = Asked()
    loop = SourceLoop(source, store, SystemClock(), "me", changed=lambda _outcome: None)  # type: ignore[arg-type]
    task = asyncio.create_task(loop.run())
    try:
        async with asyncio.timeout(60):
            while len(source.hinted) < 3:
                await asyncio.sleep(0.02)
        assert [hint is None for hint in source.hinted] == [True, False, True]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        store.close()
