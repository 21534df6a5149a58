"""The desk: RunRequests and Approvals are watched, and what people ask and decide with them becomes rows.

One task that looks at what is there and does what is due, again and again: when an object changes, when jobs change, and now and then. Invariant: only the instance
that serves the source of custom resources acts; whatever is done twice, here or by two instances, is done once in the database.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from controller.base.clock import Clock
from controller.base.errors import SourceUnavailable
from controller.base.tasks import Wake
from controller.kubernetes.approvals import Approvals
from controller.kubernetes.informer import Informer
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.run_requests import RunRequests
from controller.kubernetes.shelf import Shelf
from controller.kubernetes.source import KubernetesSource
from controller.store import serving
from controller.store.store import Store

_KINDS = ("RunRequest", "Approval")
_LINGER_S = 0.1
_REST, _MOST_REST_S = 4.0, 1.0  # times as long as a round took: whoever runs jobs comes first
_CLOSE_S = 5.0
_LOOK_S = 5.0  # what another replica did is told by nobody
_SETTLE_S = 2.0
_RESYNC_S = 300.0


class Desk:
    """`run` for the supervisor, restartable; `wake` and `open` for the composition root."""

    def __init__(
        self, source: KubernetesSource, store: Store, clock: Clock, owner: str, changed: Callable[[], None]
    ) -> None:
        """`changed` is called when somebody's wish has become rows."""
        self._source, self._store, self._owner = source, store, owner
        self._shelf = Shelf(lambda: source.objects)
        self._requests = RunRequests(source, self._shelf, store, clock, owner, changed)
        self._approvals = Approvals(source, self._shelf, store, clock, owner, changed)
        self._served = asyncio.Event()
        self._wake = Wake()
        self._next_list = 0.0
        self._busy = asyncio.Lock()
        self._closed = False

    def open(self) -> None:
        """The source has been read here: it is ours, and jobs are known."""
        self._served.set()

    def shut(self) -> None:
        """Somebody else has the source; what we know of jobs gets old."""
        self._served.clear()

    def wake(self) -> None:
        """Jobs, dispatches or runs may look different now. From any thread; never blocks."""
        self._wake.set()

    async def close(self) -> None:
        """Ask the API server for nothing any more; what it has been asked is waited for, for a while."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S), self._busy:
                pass

    async def run(self) -> None:
        """Until cancelled. Errors: SourceUnavailable, StoreUnavailable; to be entered again."""
        await self._served.wait()
        # A watch of what is not defined yet, or may not be listed, would never begin.
        await self._list()
        loop = asyncio.get_running_loop()

        def seen(kind: str | None, body: Mapping[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # nobody listens any more
                loop.call_soon_threadsafe(self._take, kind, body)

        informer = Informer(self._source.connection, _KINDS, self._source.namespaces, seen)
        await informer.start()
        informer.ended.add_done_callback(lambda _ended: self._wake.set())
        # What was deleted between the list and the watch's own is told by neither.
        self._list_soon()
        try:
            await self._work(informer)
        finally:
            await informer.stop()

    async def _work(self, informer: Informer) -> None:
        loop = asyncio.get_running_loop()
        while not informer.ended.done():
            began = loop.time()
            async with self._busy:
                if loop.time() >= self._next_list and not self._closed:
                    await self._list()
                pause = _LOOK_S if self._closed else await self._round()
            took = loop.time() - began
            await self._wake.wait(max(0.0, min(pause, self._next_list - loop.time())))
            await asyncio.sleep(max(_LINGER_S, min(took * _REST, _MOST_REST_S)))
        informer.ended.result()
        raise SourceUnavailable(f"the watch of {self._source.connection.server} has ended")

    async def _round(self) -> float:
        """Do what is due; seconds until something is due by itself."""
        mine = await self._store.read(partial(serving.is_owner, name=self._source.name, owner=self._owner))
        if not mine:
            return _LOOK_S
        try:
            return min(_LOOK_S, await self._requests.round(), await self._approvals.round())
        except ApiFailed as error:
            raise SourceUnavailable(str(error)) from error

    async def _list(self) -> None:
        try:
            for kind in _KINDS:
                self._shelf.replace(kind, *await self._source.objects.all_of(kind))
            await self._requests.remember()
            self._approvals.tidy()
        except ApiFailed as error:
            raise SourceUnavailable(
                f"what people ask and decide cannot be read: {error}; crds/ and manifests/kubernetes/rights.yaml have what is needed"
            ) from error
        self._next_list = asyncio.get_running_loop().time() + _RESYNC_S

    def _list_soon(self) -> None:
        self._next_list = min(self._next_list, asyncio.get_running_loop().time() + _SETTLE_S)
        self._wake.set()

    def _take(self, kind: str | None, body: Mapping[str, Any]) -> None:
        """News from the informer, on our loop."""
        if kind == "DELETED":
            self._shelf.drop(body)
        else:
            self._shelf.put(body)
        if kind is None:
            # A list after the watch was lost says nothing of what was deleted meanwhile.
            self._list_soon()
        self._wake.set()
