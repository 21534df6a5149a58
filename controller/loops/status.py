"""Keeps what is remembered and written about resources in step with the rows: conditions in the store, status files where somebody wants them, objects of a cluster.

Whoever changes a job says `touched`; a sweep finds what nobody said. Rows change faster than anybody reads, so a change lingers for a moment and
many changes of one job are one report; only what somebody who applied a document waits for is told at once. Invariant: this loop only reports; nothing that runs depends on it.
"""

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from controller.base.clock import Clock
from controller.base.logs import event
from controller.base.tasks import Wake
from controller.status import report
from controller.status.files import StatusFiles
from controller.status.report import Report
from controller.status.shapes import Shape
from controller.store import observed
from controller.store.store import Store

_log = logging.getLogger(__name__)


class Pace(msgspec.Struct, frozen=True):
    """Seconds: how long a change lingers, and between two sweeps over everything; `batch` jobs are read at once, and after each batch the loop
    rests for `rest` times as long as it took: whoever runs jobs comes first.
    """

    linger: float = 1.0
    sweep: float = 300.0
    batch: int = 50
    rest: float = 4.0


class StatusLoop:
    """`run` for the supervisor, restartable; `touched` for everybody, from any thread; `flush` when draining."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        files: StatusFiles | None = None,
        pace: Pace = Pace(),  # noqa: B008 - frozen
        reporting: Callable[[], Callable[[Shape], None]] = lambda: lambda _shape: None,
    ) -> None:
        """`reporting` is asked before resources are looked at, and what it gives is given every report, whether it is news or not."""
        self._store, self._clock, self._files, self._pace, self._reporting = store, clock, files, pace, reporting
        self._wake, self._hurry = Wake(), Wake()
        self._lock = threading.Lock()
        self._dirty: set[int] = set()
        self._paths: dict[int, Path] = {}
        self._others: set[int] = set()
        self._complained = False
        self._stale = False

    def touched(self, jobs: Iterable[int] = (), *, at_once: bool = False) -> None:
        """Something about these jobs, or about pools and targets, may look different now; `at_once`: and somebody waits for it. Never blocks."""
        with self._lock:
            self._dirty.update(jobs)
        if at_once:
            self._hurry.set()
        self._wake.set()

    def sweep_soon(self) -> None:
        """Resources came or went: look at everything again. Never blocks."""
        self._stale = True
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Errors: StoreUnavailable (weathered by the supervisor; it begins with a sweep again)."""
        while True:
            await self.sweep()
            next_sweep = time.monotonic() + self._pace.sweep
            while (left := next_sweep - time.monotonic()) > 0:
                if await self._wake.wait(left):
                    await self._hurry.wait(self._pace.linger)
                    if self._stale:
                        break
                    await self._flush(self._pace.rest)

    async def sweep(self) -> None:
        """Report everything, and remove the files of what is gone."""
        self._stale = False
        with self._lock:
            self._dirty.clear()
        self._paths.clear()
        ids = await self._store.read(observed.job_ids)
        await self._report_jobs(ids, self._pace.rest)
        await self._report_others()
        if self._files is not None:
            known = set(self._paths.values())
            await asyncio.to_thread(self._files.keep_only, known)

    async def flush(self) -> None:
        """Report what was touched, at once."""
        await self._flush(rest=0.0)

    async def _flush(self, rest: float) -> None:
        while chunk := self._some_touched():
            try:
                await self._report_jobs(chunk, rest)
            except BaseException:
                # Cancelled at a stop, or without a database for a while: `flush`, or the next round, has them still to do.
                self.touched(chunk)
                raise
        await self._report_others()

    def _some_touched(self) -> list[int]:
        """The next batch; the others stay touched, for whoever flushes while this loop rests."""
        with self._lock:
            return [self._dirty.pop() for _ in range(min(self._pace.batch, len(self._dirty)))]

    async def _report_jobs(self, ids: Sequence[int], rest: float) -> None:
        for start in range(0, len(ids), self._pace.batch):
            chunk, now, began = ids[start : start + self._pace.batch], self._clock.now(), time.monotonic()
            publish = self._reporting()
            reports = await self._store.read(functools.partial(report.jobs, ids=chunk, now=now))
            await self._keep(reports, publish)
            await self._forget(set(chunk) - {one.id for one in reports})
            await asyncio.sleep(rest * (time.monotonic() - began))

    async def _report_others(self) -> None:
        publish = self._reporting()
        reports = await self._store.read(functools.partial(report.others, now=self._clock.now()))
        await self._keep(reports, publish)
        found = {one.id for one in reports}
        await self._forget(self._others - found)
        self._others = found

    async def _keep(self, reports: Sequence[Report], publish: Callable[[Shape], None]) -> None:
        changed = {one.id: one.conditions for one in reports if one.conditions is not None}
        if changed:
            await self._store.write(lambda tx: observed.keep_conditions(tx, changed))
        for one in reports:
            publish(one.shape)
        if self._files is not None:
            for one in reports:
                self._paths[one.id] = self._files.path(one.shape)
            await asyncio.to_thread(self._write, self._files, reports)

    async def _forget(self, gone: set[int]) -> None:
        for one in gone:
            path = self._paths.pop(one, None)
            if path is not None and self._files is not None:
                await asyncio.to_thread(self._files.remove, path)

    def _write(self, files: StatusFiles, reports: Sequence[Report]) -> None:
        """Write files; a folder that cannot be written is told once, until it can be again."""
        try:
            for one in reports:
                files.write(one.shape)
        except OSError as error:
            if not self._complained:
                event(_log, f"status files cannot be written: {error}", logging.WARNING, reason="StatusDir")
            self._complained = True
        else:
            self._complained = False
