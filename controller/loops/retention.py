"""Forgets what has aged, an hour at a time: rows by `store.retention`, evidence by a rule of its own, and the run logs of runs that are no more."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from controller.base import paths
from controller.base.clock import Clock
from controller.store import evidence, outbox, retention
from controller.store.retention import Forgotten
from controller.store.store import Store

_EVERY = timedelta(hours=1)
_SENT_KEPT = timedelta(days=7)
_CHAINS = 50
"""Of how many chains of evidence one transaction looks for what has aged."""
_BREATH_S = 0.05
"""Between two portions, so that whoever is in a hurry goes first."""


class RetentionLoop:
    """`run` for the supervisor, restartable."""

    def __init__(
        self, store: Store, clock: Clock, log_dir: Path, evidence_kept: timedelta = timedelta(days=365)
    ) -> None:
        """`evidence_kept`: how long what is on record about runs is kept, however long the runs themselves are."""
        self._store = store
        self._clock = clock
        self._log_dir = log_dir
        self._evidence_kept = evidence_kept

    async def run(self) -> None:
        """Once now, then every hour. Errors: StoreUnavailable."""
        while True:
            await self.once()
            await asyncio.sleep(_EVERY.total_seconds())

    async def once(self) -> None:
        """Forget everything that has aged."""
        while forgotten := await self._store.write(partial(retention.prune_runs, now=self._clock.now())):
            await asyncio.to_thread(self._remove_logs, forgotten)
            await asyncio.sleep(_BREATH_S)
        while await self._store.write(partial(retention.prune_rest, now=self._clock.now())):
            await asyncio.sleep(_BREATH_S)
        while await self._store.write(partial(outbox.prune, before=self._clock.now() - _SENT_KEPT)):
            await asyncio.sleep(_BREATH_S)
        await self._forget_evidence()

    async def _forget_evidence(self) -> None:
        """What is covered now goes once its checkpoint is signed, so an hour later at most."""
        before = self._clock.now() - self._evidence_kept
        aged = await self._store.read(partial(evidence.aged, before=before))
        for start in range(0, len(aged), _CHAINS):
            chains = aged[start : start + _CHAINS]
            await self._store.write(partial(evidence.cover, chains=chains, before=before, now=self._clock.now()))
            await asyncio.sleep(_BREATH_S)
        while await self._store.write(evidence.prune):
            await asyncio.sleep(_BREATH_S)

    def _remove_logs(self, forgotten: Sequence[Forgotten]) -> None:
        """A log that cannot be removed is in nobody's way; the next rotation of the disk's owner finds it."""
        for entry in forgotten:
            with contextlib.suppress(OSError):
                paths.run_log(self._log_dir, entry.namespace, entry.job, entry.run).unlink(missing_ok=True)
