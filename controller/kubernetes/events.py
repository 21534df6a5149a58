"""Events on objects, so that `kubectl describe` tells a job's story: events.k8s.io/v1, repeats as series, at a bounded rate, best effort.

`tell` takes occurrences at any time, `run` posts them. Invariant: nobody waits for an Event and nothing depends on one: what cannot be posted is dropped, and told
once. Source: KEP-383, and the API reference of events.k8s.io/v1.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from lightkube import AsyncClient
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType

from controller.base.clock import Clock
from controller.base.logs import event
from controller.base.tasks import Wake
from controller.kinds.catalog import API_VERSION, DEFAULT_NAMESPACE
from controller.kubernetes.bucket import Bucket
from controller.kubernetes.election import micro_time
from controller.kubernetes.objects import ApiFailed, answered
from controller.kubernetes.occurrences import Occurrence, Why, bounded

CONTROLLER = "jobwarden.dev/controller"
"""`reportingController` of all our Events."""

_log = logging.getLogger(__name__)
_RATE, _BURST = 20.0, 200.0
_MOST_WAITING = 1000
_BATCH = 100
_TRIES = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_FLUSH_S = 3.0

WINDOW = timedelta(minutes=10)
"""How long after its last repeat something counts as repeating."""
APART = 5
"""How many Events of one reason an object gets within that time before the rest is one series."""
_REFRESH = timedelta(minutes=1)  # between two writes of one series
_RESOURCE: Any = create_namespaced_resource("events.k8s.io", "v1", "Event", "events")

Identify = Callable[[Sequence[Occurrence]], Awaitable[Sequence[tuple[Occurrence, str]]]]
"""Gives those of the occurrences whose objects are there, with the objects' uids."""
_Group = tuple[str, Why]


class _Series:
    """One Event that was posted, and how often the same has happened."""

    def __init__(self, namespace: str, name: str, at: datetime) -> None:
        self.namespace, self.name, self.count, self.last = namespace, name, 1, at
        self.written, self.written_at = 1, at


class Recorder:
    """`tell` from any thread, `run` for the supervisor, `flush` when draining."""

    def __init__(self, client: AsyncClient, instance: str, clock: Clock, identify: Identify) -> None:
        """`instance` names this replica."""
        self._client: Any = client
        self._instance, self._clock, self._identify = instance, clock, identify
        self._waiting: deque[Occurrence] = deque(maxlen=_MOST_WAITING)
        self._wake = Wake()
        self._posting = asyncio.Lock()
        self._bucket = Bucket(_RATE, _BURST)
        self._series: dict[tuple[_Group, str | None], _Series] = {}
        self._posted: dict[_Group, deque[datetime]] = {}
        self._told: set[int] = set()

    def tell(self, occurrence: Occurrence) -> None:
        """Take it; never blocks, never raises. Of more than can be posted the oldest are dropped."""
        self._waiting.append(occurrence)
        self._wake.set()

    async def run(self) -> None:
        """Post what is told, until cancelled. Errors: StoreUnavailable."""
        while True:
            await self._post_waiting()
            await self._refresh()
            await self._wake.wait(_REFRESH.total_seconds() if self._series else None)

    async def flush(self) -> None:
        """Post what waits, for the end of a controller, which does not wait for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                await self._post_waiting()

    async def _post_waiting(self) -> None:
        async with self._posting:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                try:
                    found = await self._identify(batch)
                except BaseException:
                    self._waiting.extendleft(reversed(batch))
                    raise
                for occurrence, uid in found:
                    await self._record(occurrence, uid)

    async def _record(self, occurrence: Occurrence, uid: str) -> None:
        """Post it, or count it where the same was posted a while ago."""
        group = (uid, occurrence.why)
        crowded = self._is_crowded(group, occurrence.at)
        key = (group, None if crowded else occurrence.note)
        series = self._series.get(key) or self._series.get((group, occurrence.note))
        if series is not None:
            series.count += 1
            series.last = occurrence.at
            if series.written == 1:
                await self._write_series(series)
            return
        note = bounded(f"And more like this: {occurrence.note}") if crowded else occurrence.note
        name = await self._post(occurrence, uid, note)
        if name is not None:
            self._series[key] = _Series(_place(occurrence), name, occurrence.at)
            self._posted.setdefault(group, deque(maxlen=APART)).append(occurrence.at)

    def _is_crowded(self, group: _Group, now: datetime) -> bool:
        before = self._posted.get(group)
        return before is not None and len(before) == APART and now - before[0] < WINDOW

    async def _refresh(self) -> None:
        """Write the counts that have grown, and forget what does not repeat any more."""
        now = self._clock.now()
        for series in list(self._series.values()):
            if series.count > series.written and now - series.written_at >= _REFRESH:
                await self._write_series(series)
        self._series = {key: one for key, one in self._series.items() if now - one.last < WINDOW}
        self._posted = {group: times for group, times in self._posted.items() if now - times[-1] < WINDOW}

    # the API server

    async def _post(self, occurrence: Occurrence, uid: str, note: str) -> str | None:
        """The name of the new Event; None when there is none."""
        key, name = occurrence.key, f"{occurrence.key.name}.{secrets.token_hex(8)}"
        namespace = _place(occurrence)
        body = _RESOURCE(
            apiVersion="events.k8s.io/v1",
            kind="Event",
            metadata={"name": name, "namespace": namespace},
            eventTime=micro_time(occurrence.at),
            reportingController=CONTROLLER,
            reportingInstance=self._instance,
            action=occurrence.action,
            reason=str(occurrence.why),
            type=occurrence.type,
            note=note,
            regarding={
                "apiVersion": API_VERSION,
                "kind": key.kind,
                "name": key.name,
                "uid": uid,
                **({"namespace": key.namespace} if key.namespace else {}),
            },
        )
        return name if await self._insist(lambda: self._client.create(body)) else None

    async def _write_series(self, series: _Series) -> None:
        series.written, series.written_at = series.count, series.last
        seen: Mapping[str, Any] = {"series": {"count": series.count, "lastObservedTime": micro_time(series.last)}}
        await self._insist(
            lambda: self._client.patch(
                _RESOURCE, series.name, seen, namespace=series.namespace, patch_type=PatchType.MERGE
            )
        )

    async def _insist(self, call: Callable[[], Any]) -> bool:
        """Whether it was done; a server that is away is waited for, one that refuses is asked a few times."""
        pause, tries = _FIRST_PAUSE_S, 0
        while True:
            await self._bucket.take()
            try:
                await answered(call())
            except ApiFailed as error:
                tries += error.code != 0
                if error.code not in self._told:
                    self._told.add(error.code)
                    event(_log, "an event could not be posted", logging.WARNING, problem=str(error))
                if not error.passing or tries >= _TRIES:
                    return False
                await asyncio.sleep(max(pause, error.retry_after or 0.0))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                self._told.clear()
                return True


def _place(occurrence: Occurrence) -> str:
    """The namespace of an Event: that of its object, or the one where those about cluster objects are."""
    return occurrence.key.namespace or DEFAULT_NAMESPACE
