"""Custom resources as a source: what people applied, told as any other source tells its files.

`fetch` without a hint lists everything, in pages, and so finds what a watch has missed; with one it looks at the mirror that the informer keeps. Invariant:
nothing is written here, and an object that cannot be listed is never taken for one that is gone.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from controller.base.clock import Clock, SystemClock
from controller.base.errors import SourceUnavailable
from controller.kinds.catalog import KINDS
from controller.kubernetes.connection import Connection
from controller.kubernetes.hearing import Hearing
from controller.kubernetes.informer import Informer
from controller.kubernetes.mirror import Mirror, path_of, version_of
from controller.kubernetes.objects import ApiFailed, Objects
from controller.sources.snapshot import Hint, Snapshot, difference

DECLARED = tuple(name for name, kind in KINDS.items() if kind.verb is None)
"""Kinds that people declare; the others are the engine's own."""

_SETTLE_SECONDS = 2.0
_RETRY_SECONDS = 5.0
_RESYNC = timedelta(minutes=5)


class KubernetesSource:
    """One API server, or some namespaces of it. `objects` is opened by the first fetch, on the loop that uses it."""

    kind = "Kubernetes"
    namespace: str | None = None
    allowed_kinds: frozenset[str] | None = None

    def __init__(
        self,
        name: str,
        connection: Connection,
        namespaces: Sequence[str] = (),
        resync: timedelta = _RESYNC,
        clock: Clock = SystemClock(),  # noqa: B008 - it has no state
    ) -> None:
        """No namespaces: all of them, and the cluster's own kinds."""
        self.name = name
        self.mirror = Mirror()
        self.connection = connection
        self.location = connection.server + (f" ({', '.join(namespaces)})" if namespaces else "")
        self._namespaces = tuple(namespaces)
        self._kinds = tuple(kind for kind in DECLARED if KINDS[kind].namespaced or not namespaces)
        self._resync = resync
        self._objects: Objects | None = None
        self._fetched: dict[str, int] = {}
        self._stirred: set[str] = set()
        self._list_within = math.inf  # seconds
        self._defined = False
        self._news = asyncio.Event()
        self.hearing = Hearing(clock)

    @property
    def objects(self) -> Objects:
        """What asks and writes. Errors: InvalidInput for credentials that cannot be read."""
        if self._objects is None:
            self._objects = Objects(self.connection.client(), self._namespaces)
        return self._objects

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that are watched; none: all of them."""
        return self._namespaces

    async def fetch(self, known: Mapping[str, str], hint: Hint | None = None) -> Snapshot:
        """See `Source.fetch`."""
        if hint is None or hint.paths is None:
            await self._list()
        held, files = self.mirror.held, dict(self.mirror.digests)
        changed, removed = difference(known, files, hint.paths if hint is not None else None)
        read = changed if hint is not None and hint.paths is not None else held
        self._fetched = {path: held[path].generation for path in read}
        return Snapshot(
            revision=str(self.mirror.revision),
            files=files,
            changed={path: held[path].data for path in changed},
            removed=removed,
            oversized={},
        )

    def reconciled(self) -> dict[str, int]:
        """Paths and generations of what the last fetch gave, once it has been reconciled."""
        fetched, self._fetched = self._fetched, {}
        return fetched

    async def changes(self) -> AsyncIterator[Hint]:
        """See `Source.changes`. Errors: SourceUnavailable when the watch ends."""
        loop = asyncio.get_running_loop()

        def seen(kind: str | None, body: Mapping[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # nobody listens any more
                loop.call_soon_threadsafe(self._take, kind, body)

        while True:
            # A watch of what is not defined yet would never begin.
            while not self._defined:
                await asyncio.sleep(_RETRY_SECONDS)
                yield Hint()
            informer = Informer(self.connection, self._kinds, self._namespaces, seen)
            try:
                await informer.start()
                async for hint in self._hints(informer):
                    yield hint
            finally:
                await informer.stop()

    async def _hints(self, informer: Informer) -> AsyncIterator[Hint]:
        """What one watch tells, and a full list now and then, for as long as our kinds are defined."""
        loop = asyncio.get_running_loop()
        # What was deleted between the first list and the watch's own is told by neither.
        next_list = loop.time() + _SETTLE_SECONDS
        while self._defined:
            news = asyncio.ensure_future(self._news.wait())
            left = max(0.0, next_list - loop.time())
            try:
                await asyncio.wait((news, informer.ended), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            if informer.ended.done():
                informer.ended.result()
                raise SourceUnavailable(f"the watch of {self.connection.server} has ended")
            self._news.clear()
            next_list = min(next_list, loop.time() + self._list_within)
            self._list_within = math.inf
            stirred, self._stirred = self._stirred, set()
            if loop.time() >= next_list:
                next_list = loop.time() + self._resync.total_seconds()
                yield Hint()
            elif stirred:
                yield Hint(frozenset(stirred))

    async def close(self) -> None:
        """Let go of the connections."""
        if self._objects is not None:
            await self._objects.close()
            self._objects = None

    def _take(self, kind: str | None, body: Mapping[str, Any]) -> None:
        """News from the informer, on our loop."""
        path = self.mirror.drop(body) if kind == "DELETED" else self.mirror.put(body)
        self.hearing.heard(path_of(body), version_of(body))
        if path is not None:
            self._stirred.add(path)
        if kind is None and self._list_within > _SETTLE_SECONDS:
            # A list after the watch was lost says nothing of what was deleted meanwhile.
            self._list_soon(_SETTLE_SECONDS)
        if path is not None:
            self._news.set()

    async def _list(self) -> None:
        for kind in self._kinds:
            try:
                items, version = await self.objects.all_of(kind)
            except ApiFailed as error:
                self._defined = self._defined and error.code != 404
                self._list_soon(_RETRY_SECONDS)
                raise SourceUnavailable(_what_to_do(kind, error)) from error
            self.mirror.replace(kind, items, version)
            for item in items:
                self.hearing.expect(path_of(item), version_of(item))
        self.hearing.keep_only(self.mirror.held)
        self._defined = True

    def _list_soon(self, seconds: float) -> None:
        self._list_within = min(self._list_within, seconds)
        self._news.set()


def _what_to_do(kind: str, error: ApiFailed) -> str:
    known = KINDS[kind]
    if error.code == 404:
        return f"the cluster does not know {known.plural}; install them with `kubectl apply --server-side -f crds/`"
    if error.code in (401, 403):
        return f"{known.plural} may not be listed: {error}; manifests/kubernetes/rights.yaml has what is needed"
    return f"{known.plural} cannot be listed: {error}"
