"""Lists and watches Jobs and Pods of ours, for ever: what `executor` knows of the cluster.

One list, then a watch from it; a watch that ends is taken up again, one that is too old or fails begins with a new list. Invariant: whoever listens hears of every
object that exists after a list, and of every one that is gone, whatever was missed in between.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from controller.base.logs import event
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.workloads import Workloads

_log = logging.getLogger(__name__)

Object = Mapping[str, Any]
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


class Watcher:
    """One kind in one namespace ("": in all). `seen` gets every object as it is, `gone` the key of one that is no more."""

    def __init__(
        self,
        workloads: Workloads,
        kind: str,
        namespace: str,
        seen: Callable[[Object], None],
        gone: Callable[[tuple[str, str]], None],
    ) -> None:
        self._workloads, self._kind, self._namespace = workloads, kind, namespace
        self._seen, self._gone = seen, gone
        self._known: set[tuple[str, str]] = set()
        self._told = False
        self.listed = asyncio.Event()
        """Set once everything was listed for the first time."""

    async def run(self) -> None:
        """Watch until cancelled."""
        failures = 0
        while True:
            try:
                version = await self._list()
                failures, self._told = 0, False
                await self._watch(version)
            except ApiFailed as error:
                failures += 1
                self._tell(error)
                pause = min(_FIRST_PAUSE_S * 2 ** min(failures - 1, 8), _LONGEST_PAUSE_S)
                await asyncio.sleep(max(error.retry_after or 0.0, pause * random.uniform(0.5, 1.0)))  # noqa: S311

    async def _list(self) -> str:
        items, version = await self._workloads.list(self._kind, self._namespace)
        there = {key_of(item) for item in items}
        for key in self._known - there:
            self._gone(key)
        self._known = there
        for item in items:
            self._seen(item)
        self.listed.set()
        return version

    async def _watch(self, version: str) -> None:
        """Until a watch fails: one that only ends is taken up again where it stood."""
        while True:
            stream = self._workloads.watch(self._kind, self._namespace, version)
            async with contextlib.aclosing(stream):
                async for what, item in stream:
                    version = item["metadata"]["resourceVersion"]
                    self._take(what, item)
            # Something in between may end every watch at once.
            await asyncio.sleep(_FIRST_PAUSE_S)

    def _take(self, what: str, item: Object) -> None:
        if what == "BOOKMARK":
            return
        key = key_of(item)
        self._seen(item)
        if what == "DELETED":
            # Seen first: its last state may be its end.
            self._known.discard(key)
            self._gone(key)
        else:
            self._known.add(key)

    def _tell(self, error: ApiFailed) -> None:
        if error.code != 410 and not self._told:
            self._told = True
            event(_log, "Pods of runs cannot be watched", logging.WARNING, kind=self._kind, problem=str(error))


def key_of(item: Object) -> tuple[str, str]:
    """Namespace and name of an object. Pure."""
    return item["metadata"]["namespace"], item["metadata"]["name"]
