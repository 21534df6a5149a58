"""The loop of a source: whoever serves it says so, also when no document has changed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from controller.base.clock import SystemClock
from controller.loops.sources import SourceLoop
from controller.reconcile.pipeline import Outcome
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
