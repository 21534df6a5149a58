"""The watch: kopf in a thread of its own, which says what it sees and writes nothing.

One raw handler for each kind; nothing is stored on people's objects. A watch that falls silent is renewed by kopf (its inactivity timeout). Invariant: `seen` is
called on the informer's thread for everything that the API server tells, lists after a reconnection included.
Source: kopf, "Embedding": a loop of its own and a stop flag, since cancelling its operator ends the process.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import kopf

from controller.base.errors import SourceUnavailable
from controller.kinds.catalog import GROUP, KINDS, VERSION
from controller.kubernetes.connection import Connection, credentials_of

Seen = Callable[[str | None, Mapping[str, Any]], None]
"""Type (ADDED, MODIFIED, DELETED; None for what a list contains) and object."""

_READY_SECONDS = 30.0
_STOP_SECONDS = 10.0
# Nobody is told it; without one kopf asks for the name of the user, which has none where a container's user is a number only.
_IDENTITY: Any = "jobwarden"


class Informer:
    """One watch over some kinds, from `start` to `stop`."""

    def __init__(self, connection: Connection, kinds: Iterable[str], namespaces: Sequence[str], seen: Seen) -> None:
        self._connection = connection
        self._kinds = tuple(kinds)
        self._namespaces = tuple(namespaces)
        self._seen = seen
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="informer", daemon=True)
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the watch has ended: with why, unless it was told to."""

    async def start(self) -> None:
        """Begin; gives back when the watch is on its way, or has ended already. Errors: SourceUnavailable."""
        self._thread.start()
        if not await asyncio.to_thread(self._ready.wait, _READY_SECONDS):
            await self.stop()
            raise SourceUnavailable(f"the watch of {self._connection.server} did not begin in {_READY_SECONDS:g} s")

    async def stop(self) -> None:
        """End it, and wait for a while until it has."""
        self._stop.set()
        self._ready.set()  # nobody need wait for it any more
        await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    def _run(self) -> None:
        # What it does is our news, not its own.
        logging.getLogger("kopf").setLevel(logging.ERROR)
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry(),
                    settings=_settings(),
                    standalone=True,
                    identity=_IDENTITY,
                    clusterwide=not self._namespaces,
                    namespaces=self._namespaces,
                    stop_flag=self._stop,
                    ready_flag=self._ready,
                )
            )
            reason = None if self._stop.is_set() else "it ended by itself"
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            reason = str(error) or type(error).__name__
        with contextlib.suppress(RuntimeError):  # the loop that would care has ended
            self._loop.call_soon_threadsafe(self._tell_ended, reason)
        self._ready.set()

    def _tell_ended(self, reason: str | None) -> None:
        if self.ended.done():
            return
        if reason is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(SourceUnavailable(f"the watch of {self._connection.server} has ended: {reason}"))

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry, id="login")
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return await credentials_of(self._connection)

        async def told(event: Any, **_: Any) -> None:
            self._seen(event["type"], event["object"])

        for kind in self._kinds:
            kopf.on.event(GROUP, VERSION, KINDS[kind].plural, registry=registry, id=f"seen-{kind.lower()}")(told)
        return registry


class _Patiently:
    """Pauses between tries, for ever: a watch does not give up, and a server that is back is noticed within seconds."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0)
        while True:
            yield 3.0


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # no right to watch namespaces and CRDs is needed
    settings.process.ultimate_exiting_timeout = None  # it would kill the process that it is embedded in
    settings.queueing.idle_timeout = 0.5
    settings.watching.server_timeout = 300
    settings.watching.chunk_size = 500
    settings.networking.error_backoffs = _Patiently()
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    return settings
