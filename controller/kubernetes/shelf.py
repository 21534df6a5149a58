"""Objects that people and the controller talk with, RunRequests and Approvals: the newest of each, and our one way to write their status.

The desk fills it from lists and from the watch; `run_requests` and `approvals` read it. Invariant: as with the mirror that keeps the order, an object never goes back
to an older version.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from controller.base.logs import event
from controller.kubernetes.mirror import Mirror, as_json, path_of
from controller.kubernetes.objects import ApiFailed, Objects

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0

Body = Mapping[str, Any]


class Shelf:
    """Objects of some kinds, for one loop."""

    def __init__(self, objects: Callable[[], Objects]) -> None:
        self._objects = objects
        self._mirror = Mirror()
        self._bodies: dict[str, Body] = {}
        self._failures: dict[str, int] = {}
        self._again: dict[str, float] = {}
        self._told: set[tuple[str, int]] = set()

    def put(self, body: Body) -> None:
        """Take a version of an object."""
        self._mirror.put(body)
        self._keep(body)

    def drop(self, body: Body) -> None:
        """An object is gone."""
        self._mirror.drop(body)
        self._forget()

    def replace(self, kind: str, bodies: Iterable[Body], version: int) -> None:
        """Take a whole list of one kind, made at a resource version."""
        listed = list(bodies)
        self._mirror.replace(kind, listed, version)
        for body in listed:
            self._keep(body)
        self._forget()

    def of(self, kind: str) -> list[Body]:
        """All objects of a kind that are not on their way out."""
        return [body for body in self._bodies.values() if body["kind"] == kind]

    async def write(self, body: Body, status: Mapping[str, Any]) -> None:
        """Make this the status of an object, when it is not yet. What cannot be written now is tried again when it is offered again, after a pause."""
        path, now = path_of(body), asyncio.get_running_loop().time()
        if as_json(status) == as_json(body.get("status") or {}) or now < self._again.get(path, 0.0):
            return
        if await self.done(path, self._objects().apply_status(*named(body), body["metadata"]["uid"], status)):
            self._bodies[path] = {**body, "status": status}

    async def done(self, path: str, asked: Any) -> bool:
        """Whether the API server did it. Why not is told once an object; what is gone, or another one by now, the watch will tell."""
        try:
            await asked
        except ApiFailed as error:
            count = self._failures[path] = self._failures.get(path, 0) + 1
            pause = min(_FIRST_PAUSE_S * 2 ** (count - 1), _LONGEST_PAUSE_S)
            self._again[path] = asyncio.get_running_loop().time() + max(pause, error.retry_after or 0.0)
            if error.code not in (404, 409) and (path, error.code) not in self._told:
                self._told.add((path, error.code))
                event(
                    _log,
                    "an object could not be written",
                    logging.WARNING,
                    subject=path.lstrip("/"),
                    problem=str(error),
                )
            return False
        self._forgive(path)
        return True

    def may_try(self, path: str) -> bool:
        """Whether the pause after a failure is over."""
        return asyncio.get_running_loop().time() >= self._again.get(path, 0.0)

    def _keep(self, body: Body) -> None:
        path = path_of(body)
        held = self._mirror.held.get(path)
        if held is None:
            self._bodies.pop(path, None)
        elif held.version == int(body["metadata"]["resourceVersion"]):
            self._bodies[path] = body

    def _forget(self) -> None:
        for path in [one for one in self._bodies if one not in self._mirror.held]:
            del self._bodies[path]
            self._forgive(path)

    def _forgive(self, path: str) -> None:
        self._failures.pop(path, None)
        self._again.pop(path, None)
        self._told = {one for one in self._told if one[0] != path}


def named(body: Body) -> tuple[str, str, str]:
    """Kind, namespace and name. Pure."""
    metadata = body["metadata"]
    return body["kind"], metadata["namespace"], metadata["name"]


def printed(text: str) -> str:
    """Words of people as every database takes them: without NUL. Pure."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
