"""The lease of this controller instance on PostgreSQL: renewed in time, or everything that runs here is ended before it runs out.

Also takes over what instances left whose lease has run out. On SQLite the file lock takes the lease's place and this loop is not started.
Invariant: two instances never believe that they own the same run at the same time, as long as neither is stopped without its clock noticing
(SIGSTOP, a frozen machine: the documented exception of design 03).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from controller.base.clock import Clock
from controller.base.errors import StoreUnavailable
from controller.base.logs import event
from controller.dispatch import recover
from controller.dispatch.recover import TakenOver
from controller.loops.dispatcher import Dispatcher
from controller.store import instances, runs
from controller.store.runs import OpenRun
from controller.store.store import Store, Tx

_log = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
_RENEW = LEASE / 5
_MARGIN = LEASE / 3
"""What is left of the lease when local runs are ended: enough for TERM, KILL and the way to the database."""

_STUCK = 2 * LEASE
"""Without an answer for that long, connections are given up."""
_LAST_MOMENT = timedelta(seconds=1)
"""Between the last KILL and the end of the lease."""


class LeaseLost(Exception):
    """Another instance has declared this one gone; it must not go on under its old name."""


class LeaseLoop:
    """`run` for the supervisor."""

    def __init__(
        self, store: Store, dispatcher: Dispatcher, owner: str, clock: Clock, adopt: Callable[[Sequence[OpenRun]], None]
    ) -> None:
        """`adopt` resolves orphans that were taken over."""
        self._store = store
        self._dispatcher = dispatcher
        self._owner = owner
        self._clock = clock
        self._adopt = adopt
        self._renewed_at = clock.monotonic()
        self._unresolved: list[OpenRun] = []
        self._fenced = False

    async def run(self) -> None:
        """Renew and take over, for ever. Errors: LeaseLost."""
        while True:
            await self._renew()
            await asyncio.sleep(_RENEW.total_seconds())

    async def _renew(self) -> None:
        asked_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(_RENEW.total_seconds()):
                alive = await self._store.write(
                    partial(instances.renew, instance=self._owner, now=self._clock.now(), lease=LEASE)
                )
                taken = await self._store.write(self._take_over) if alive else None
                orphans = await self._orphans(taken) if taken is not None else []
        except (StoreUnavailable, TimeoutError) as error:
            self._missed(error)
            return
        if taken is None:
            self._dispatcher.fence(fenced=True)
            self._dispatcher.interrupt(timedelta(0))
            raise LeaseLost("another controller has declared this one gone, because its lease had run out")
        self._renewed_at = asked_at
        self._fenced = False
        self._dispatcher.fence(fenced=False)
        if taken.instances or orphans:
            event(
                _log,
                "took over from controllers that are gone",
                logging.WARNING,
                instances=len(taken.instances),
                runs=len(orphans),
            )
            self._adopt(orphans)

    def _take_over(self, tx: Tx) -> TakenOver:
        """Take over, and remember what before anybody knows whether it is committed: a run that is ours is never given twice."""
        taken = recover.take_over(tx, self._owner, self._clock.now())
        self._unresolved += taken.runs
        return taken

    async def _orphans(self, taken: TakenOver) -> list[OpenRun]:
        """What was taken over now, and before, when the answer did not come in time. Errors: StoreUnavailable."""
        doubtful = {opened.run.name: opened for opened in self._unresolved}
        if len(doubtful) > len(taken.runs):
            mine = await self._store.read(partial(runs.live_of, owner=self._owner))
            ours = {opened.run.name for opened in mine}
            doubtful = {name: opened for name, opened in doubtful.items() if name in ours}
        self._unresolved.clear()
        return list(doubtful.values())

    def _missed(self, error: Exception) -> None:
        """The lease runs down; end what runs here while it still is ours."""
        age = self._clock.monotonic() - self._renewed_at
        if age >= _STUCK.total_seconds():
            # No transaction takes that long: the network has swallowed it, and a new connection may get through.
            self._store.break_off()
        if age < (LEASE - _MARGIN).total_seconds():
            return
        if not self._fenced:
            event(
                _log,
                "the lease cannot be renewed; ending local runs",
                logging.ERROR,
                problem=str(error) or "no answer in time",
                live=self._dispatcher.live,
            )
        self._fenced = True
        self._dispatcher.fence(fenced=True)
        # Killed before the lease ends, however long the job's own grace is: then others may run it again.
        self._dispatcher.interrupt(max(LEASE - timedelta(seconds=age) - _LAST_MOMENT, timedelta(0)))
