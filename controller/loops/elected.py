"""The source of a cluster, reconciled by whoever is elected: the others keep their view of it warm, and wait.

Made by the composition root with `--kubernetes`. Invariant: what is written is written by the owner of the source's row, which only the elected replica
becomes; a transaction of a former leader that comes late finds another owner there, and nothing of it happens.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from controller.base.errors import SourceUnavailable
from controller.kubernetes.election import Election
from controller.loops.lease import LEASE
from controller.loops.sources import SourceLoop
from controller.reconcile.pipeline import Outcome
from controller.sources.snapshot import Hint

_LOOK = timedelta(seconds=1)
_OUTLIVED = LEASE + timedelta(seconds=5)
"""Whoever holds the Lease that long after we first looked lives."""


class ElectedSourceLoop(SourceLoop):
    """A `SourceLoop` whose turn comes and goes."""

    def __init__(self, election: Election, leads: Callable[[], None], *args: Any, **options: Any) -> None:
        """`leads` is called whenever a turn has begun and all is known; the rest is what a `SourceLoop` takes."""
        super().__init__(*args, **options)
        self._election, self._leads = election, leads
        self._is_new = False  # nothing was read in this turn yet

    async def run(self) -> None:
        """Until cancelled. Errors: StoreUnavailable, SourceUnavailable."""
        await self._election.take_turns(self._lead, self._follow)

    async def sync_now(self) -> bool:
        """See `SourceLoop.sync_now`."""
        ours = self._election.leading
        if ours:
            await self._sync(None)
        return ours

    async def _lead(self) -> None:
        self._reconciler.distrust()
        await self._claim(elected=True)
        self._is_new = True
        await self._sync(None, first=True)
        async for hint in self._reconciler.hints():
            await self._sync(hint)

    async def _follow(self) -> None:
        """Nothing is written, but for why nobody can be elected, where no live replica has the source."""
        warm = asyncio.create_task(self._keep_warm(), name=f"view of source {self.name}")
        began, told = self._clock.monotonic(), None
        try:
            while True:
                trouble = self._election.trouble
                if trouble is not None and trouble != told and await self._claim():
                    self._report(await self._reconciler.unavailable(trouble))
                told = trouble
                if trouble is not None or self._clock.monotonic() - began > _OUTLIVED.total_seconds():
                    self.looked_after.set()
                await asyncio.sleep(_LOOK.total_seconds())
        finally:
            warm.cancel()
            await asyncio.gather(warm, return_exceptions=True)

    async def _keep_warm(self) -> None:
        """Watch as a leader does, so that a turn begins with what is known; the view of one who cannot is cold, and no trouble."""
        while True:
            with contextlib.suppress(SourceUnavailable):
                await self._fetch(None)
                async for hint in self._source.changes():
                    await self._fetch(hint)
            await asyncio.sleep(_OUTLIVED.total_seconds())

    async def _fetch(self, hint: Hint | None) -> None:
        with contextlib.suppress(SourceUnavailable):
            await self._source.fetch({}, hint)
            self.synced.set()

    def _was_read(self, outcome: Outcome) -> None:
        # A cluster that could not be listed is not ready to be worked from.
        if outcome.unavailable is None:
            self.synced.set()
            if self._is_new:
                self._is_new = False
                self._leads()
        self.looked_after.set()
