"""Status on the objects: written with server-side apply when it differs from what the API server has, and never otherwise.

The status loop offers what it projected, the source loop says which generations were reconciled; `run` writes. Newest wins: what changes while it waits to be
written is written once. Invariant: spec and metadata are never written, and a status names the generation that it was projected from, or one that means the same.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from controller.base.clock import Clock
from controller.base.logs import event
from controller.kinds.records import ManifestError
from controller.kubernetes.bucket import Bucket
from controller.kubernetes.mirror import Mirror, as_json, object_path
from controller.kubernetes.objects import ApiFailed, Objects
from controller.reconcile.pipeline import Outcome
from controller.reconcile.records import Key
from controller.status import conditions, project

_log = logging.getLogger(__name__)
_WRITERS = 4
_RATE = 50.0  # writes a second, over time
_BURST = 500.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_FLUSH_S = 5.0

Shape = Mapping[str, Any]


class StatusWriter:
    """Status of the objects of one source. `reporting` and `reconciled` at any time, `run` for the supervisor; all on one loop."""

    def __init__(
        self,
        objects: Callable[[], Objects],
        mirror: Mirror,
        clock: Clock,
        id_of: Callable[[Key], int | None],
        wrote: Callable[[str, int], None] = lambda _path, _version: None,
    ) -> None:
        """`objects` is asked when there is something to write; `id_of` gives the id of a resource that is in the database; `wrote` is told which
        version of an object has the status.
        """
        self._wrote = wrote
        self._objects, self._mirror, self._clock, self._id_of = objects, mirror, clock, id_of
        self._projected: dict[str, bytes] = {}
        self._generations: dict[str, int] = {}
        self._changed: dict[str, int] = {}  # when a path was last touched, as counted by `_moment`
        self._moment = 0
        self._due: dict[str, None] = {}  # in order
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._told: set[int] = set()
        self._busy = 0
        self._idle = asyncio.Event()
        self._bucket = Bucket(_RATE, _BURST)

    def reporting(self) -> Callable[[Shape], None]:
        """Somebody is about to look at resources; gives what takes how each of them looks.

        What was looked at before a change says nothing of the change: it is passed over, as whatever was touched is looked at again.
        """
        moment = self._moment
        return lambda shape: self._offer(shape, moment)

    def _offer(self, shape: Shape, moment: int) -> None:
        metadata = shape["metadata"]
        path = object_path(shape["kind"], metadata.get("namespace", ""), metadata["name"])
        # Another source may have a resource of the same name: its status is not the object's.
        ours = path in self._mirror.held and self._id_of(_key_of(path)) is not None
        if ours and self._changed.get(path, 0) <= moment:
            self._projected[path] = as_json(shape["status"])
            self._consider(path)

    def reconciled(self, outcome: Outcome, generations: Mapping[str, int]) -> None:
        """These generations are in the database, or refused."""
        if outcome.unavailable is not None:
            return
        touched, refused = set(outcome.touched), by_path(outcome.errors)
        self._generations.update(generations)
        for path in [one for one in self._generations if one not in self._mirror.held]:
            del self._generations[path]
            self._projected.pop(path, None)
            self._changed.pop(path, None)
        self._moment += 1
        for path in generations:
            number = self._id_of(_key_of(path))
            if number is None and path in refused:
                self._refuse(path, refused[path])
            elif number in touched:
                self._changed[path] = self._moment
                self._projected.pop(path, None)
                self._due.pop(path, None)
            elif number is not None:
                # It means what it meant before.
                self._consider(path)

    def forget(self) -> None:
        """Others write from now on: whatever was to be written is theirs, and is looked at anew when it is our turn again."""
        for known in (self._projected, self._generations, self._changed, self._due, self._failures):
            known.clear()

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(self._write_for_ever())

    async def flush(self) -> None:
        """Write what is due now, and wait for what is being written; for the end of a controller, which does not wait for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                while self._due or self._busy:
                    if self._due:
                        await self._write(self._next())
                    else:
                        await self._idle.wait()

    def _refuse(self, path: str, errors: Iterable[ManifestError]) -> None:
        held = self._mirror.held.get(path)
        if held is None:
            return
        before = msgspec.json.decode(held.status).get("conditions", [])
        value = project.refused_status(
            msgspec.json.encode(list(errors)),
            held.generation,
            conditions.decode(msgspec.json.encode(before)),
            self._clock.now(),
        )
        self._projected[path] = as_json(value)
        self._consider(path)

    def _consider(self, path: str) -> None:
        """Put it on the list, if it is to be written at all."""
        if self._wanted(path) is None:
            self._due.pop(path, None)
        elif path not in self._due:
            self._due[path] = None
            self._wake.set()

    def _wanted(self, path: str) -> dict[str, Any] | None:
        """The status to write; None while there is nothing new to say."""
        held, generation, projected = (
            self._mirror.held.get(path),
            self._generations.get(path),
            self._projected.get(path),
        )
        if held is None or generation is None or projected is None:
            return None
        status: dict[str, Any] = msgspec.json.decode(projected)
        status["observedGeneration"] = generation
        for condition in status["conditions"]:
            condition["observedGeneration"] = generation
        return None if as_json(status) == held.status else status

    def _next(self) -> str:
        path = next(iter(self._due))
        del self._due[path]
        return path

    async def _write_for_ever(self) -> None:
        while True:
            while not self._due:
                self._wake.clear()
                await self._wake.wait()
            await self._bucket.take()
            if self._due:
                await self._write(self._next())

    async def _write(self, path: str) -> None:
        status, held = self._wanted(path), self._mirror.held.get(path)
        if status is None or held is None:
            return
        kind, namespace, name = _key_of(path)
        self._busy += 1
        self._idle.clear()
        try:
            version = await self._objects().apply_status(kind, namespace, name, held.uid, status)
        except asyncio.CancelledError:
            # Whoever stops us has it written by `flush`.
            self._due[path] = None
            raise
        except ApiFailed as error:
            self._failed(path, error)
        else:
            self._failures.pop(path, None)
            if not self._failures:
                self._told.clear()
            self._mirror.wrote_status(path, status)
            if path in self._mirror.held:
                self._wrote(path, version)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    def _failed(self, path: str, error: ApiFailed) -> None:
        """What is gone needs no status; what may pass is tried again later; what will not is told, and waits for a change."""
        if error.code == 404 or (error.code == 409 and path not in self._mirror.held):
            self._failures.pop(path, None)
            return
        count = self._failures[path] = self._failures.get(path, 0) + 1
        if error.code not in self._told:
            self._told.add(error.code)
            event(_log, "a status could not be written", logging.WARNING, subject=path.lstrip("/"), problem=str(error))
        if error.passing:
            pause = min(_FIRST_PAUSE_S * 2 ** (count - 1), _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311
            asyncio.get_running_loop().call_later(max(pause, error.retry_after or 0.0), self._consider, path)


def _key_of(path: str) -> Key:
    kind, namespace, name = path.lstrip("/").split("/")
    return Key(kind, namespace, name)


def by_path(errors: Iterable[ManifestError]) -> dict[str, list[ManifestError]]:
    """Errors by the path of the object that they are about. Pure."""
    found: dict[str, list[ManifestError]] = {}
    for error in errors:
        found.setdefault(error.file, []).append(error)
    return found
