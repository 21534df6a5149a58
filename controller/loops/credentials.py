"""Removes credentials that somebody has left in memory: a controller that died, or a run whose folder could not be removed.

Once when the controller has ended the processes of those before it, then every minute, for others of this host that died and do not come back.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path

from controller.base.logs import event
from controller.executors import private_files, processes
from controller.executors.private_files import PrivateFiles

_log = logging.getLogger(__name__)

_EVERY = timedelta(minutes=1)


class CredentialLoop:
    """`once` at the start; `run` for the supervisor, restartable."""

    def __init__(self, private: PrivateFiles, where: Sequence[Path]) -> None:
        self._private = private
        self._where = where
        self._told: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Sweep every minute."""
        while True:
            await asyncio.sleep(_EVERY.total_seconds())
            await self.once()

    async def once(self) -> None:
        """Sweep now. What cannot be removed is told once."""
        swept = await asyncio.to_thread(private_files.sweep, self._where, _alive)
        if swept.removed:
            event(_log, "credentials that a dead controller had left were removed", runs=len(swept.removed))
        left = frozenset((*swept.left, *self._private.retry()))
        for words in left - self._told:
            event(_log, "credentials are left in memory", logging.WARNING, problem=words)
        self._told = left


def _alive(runs: Collection[str]) -> set[str]:
    return {process.run for process in processes.scan(set(runs), {}) if process.run is not None}
