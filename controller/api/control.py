"""The control server: HTTP on a unix socket that only its user can open. Views, verbs, run logs and the live story.

    GET  /v1/views/<name>?…      a view of `status.views`
    POST /v1/verbs/<name>        a verb, done in one transaction; then the engine is woken
    GET  /v1/logs/<run>?follow   what a run printed
    GET  /v1/events              one JSON line for each piece of news, for as long as somebody listens

The composition root gives it the store and the few functions it calls. Invariant: who asks is who the kernel says (SO_PEERCRED), never who the
request says; and an answer that is an error has `{error: {reason, message, hint}}`.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
from aiohttp import web

from controller.api.problems import answer_errors
from controller.base.clock import Clock
from controller.base.errors import InvalidInput
from controller.base.paths import private_folder
from controller.base.people import Actor, of_uid
from controller.domain.records import Run
from controller.domain.states import RunState
from controller.domain.story import StoryEvent
from controller.status import logs, views
from controller.store.store import Store, Tx

Perform = Callable[[Tx, str, Mapping[str, Any], Actor, Any], dict[str, Any]]
"""Does a verb in a transaction: `app.commands.perform`."""
Reconcile = Callable[[Sequence[str] | None], Awaitable[Sequence[str]]]
"""Reads these sources again now (None: all); gives the names of those that it serves."""

_RETRY_SECONDS = 5.0
_POLL_SECONDS = 0.2
_MOST_NEWS = 1000
_DRAIN_SECONDS = 2.0
_PEER = struct.Struct("3i")


class ControlServer:
    """Serves one installation. `serve` runs for ever; `publish` hands news to whoever watches. All on the loop's thread."""

    def __init__(
        self,
        path: Path,
        store: Store,
        clock: Clock,
        *,
        perform: Perform,
        wake: Callable[[], None],
        reconcile: Reconcile,
        log_dir: Path,
        host: str,
    ) -> None:
        self._path, self._store, self._clock = path, store, clock
        self._perform, self._wake, self._reconcile = perform, wake, reconcile
        self._log_dir, self._host = log_dir, host
        self._watchers: set[asyncio.Queue[bytes]] = set()

    async def serve(self, listening: Callable[[], None] = lambda: None) -> None:
        """Listen until cancelled. Where another controller of the same database listens already, wait to take its place.

        Effect: makes the socket and its folder, and removes the socket at the end. Errors: InvalidInput for a folder that is not private, OSError.
        """
        private_folder(self._path.parent, os.getuid())
        lock = await self._lock()
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=_DRAIN_SECONDS)
        try:
            await runner.setup()
            await web.SockSite(runner, self._bound()).start()
            listening()
            await asyncio.get_running_loop().create_future()
        finally:
            self._path.unlink(missing_ok=True)
            await runner.cleanup()
            lock.close()

    def publish(self, event: StoryEvent) -> None:
        """Give news to every watcher; one who does not read loses the oldest."""
        if not self._watchers:
            return
        line = msgspec.json.encode(event) + b"\n"
        for watcher in self._watchers:
            if watcher.full():
                watcher.get_nowait()
            watcher.put_nowait(line)

    async def _lock(self) -> IO[bytes]:
        """The lock that says whose socket it is; it goes with the process, so a stale socket is known as one."""
        file = self._path.with_suffix(".lock").open("ab")
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return file

    def _bound(self) -> socket.socket:
        self._path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(self._path))
        # Nobody else can enter the folder, so nobody connects between these two lines.
        self._path.chmod(0o600)
        return bound

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[answer_errors])
        application.router.add_get("/v1/views/{name}", self._view)
        application.router.add_post("/v1/verbs/{name}", self._verb)
        application.router.add_get("/v1/logs/{run}", self._log)
        application.router.add_get("/v1/events", self._events)
        return application

    async def _view(self, request: web.Request) -> web.StreamResponse:
        _actor(request)
        query, now, name = views.query_of(request.query), self._clock.now(), request.match_info["name"]
        body = await self._store.read(lambda tx: views.answer(tx, name, query, now))
        return web.Response(body=body, content_type="application/json")

    async def _verb(self, request: web.Request) -> web.StreamResponse:
        actor, name = _actor(request), request.match_info["name"]
        body = await _object(request)
        if name == "reconcile":
            return _json(await self._reconcile_now(body))
        now = self._clock.now()
        answer = await self._store.write(lambda tx: self._perform(tx, name, body, actor, now))
        self._wake()
        return _json(answer)

    async def _reconcile_now(self, body: Mapping[str, Any]) -> dict[str, Any]:
        named, namespace = body.get("name"), str(body.get("namespace", "default"))
        sources = None
        if named is not None:
            sources = [await self._store.read(lambda tx: views.source_of(tx, namespace, str(named)))]
        return {"sources": list(await self._reconcile(sources))}

    async def _log(self, request: web.Request) -> web.StreamResponse:
        _actor(request)
        query, name = (
            views.query_of({"namespace": request.query.get("namespace", "default")}),
            request.match_info["run"],
        )
        follow = request.query.get("follow") == "true"
        run = await self._store.read(lambda tx: logs.find(tx, query.namespace, name))
        reader = logs.Reader(run, self._log_dir, self._host)
        response = web.StreamResponse(headers={"X-Jobwarden-Note": reader.note, "X-Jobwarden-Run": run.name})
        response.content_type = "application/octet-stream"
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):
            while follow and run.state is RunState.Running:
                await self._send(response, reader.pieces)
                await asyncio.sleep(_POLL_SECONDS)
                run = await self._again(run)
            await self._send(response, functools.partial(reader.rest, run))
            await response.write_eof()
        return response

    async def _again(self, run: Run) -> Run:
        return await self._store.read(lambda tx: logs.find(tx, run.namespace, run.name))

    async def _send(self, response: web.StreamResponse, pieces: Callable[[], Any]) -> None:
        iterator = pieces()
        # A disk may be slow; the loop must not wait for it.
        while (piece := await asyncio.to_thread(next, iterator, None)) is not None:
            await response.write(piece)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        _actor(request)
        response = web.StreamResponse()
        response.content_type = "application/x-ndjson"
        await response.prepare(request)
        watcher: asyncio.Queue[bytes] = asyncio.Queue(_MOST_NEWS)
        self._watchers.add(watcher)
        try:
            with contextlib.suppress(ConnectionResetError):
                while True:
                    await response.write(await watcher.get())
        finally:
            self._watchers.discard(watcher)
        return response


def _actor(request: web.Request) -> Actor:
    """Who is at the other end. Errors: HTTPForbidden for anybody but the owner of this process and root."""
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is None:
        raise web.HTTPForbidden
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    if uid not in (os.getuid(), 0):
        raise web.HTTPForbidden
    return of_uid(uid)


async def _object(request: web.Request) -> Mapping[str, Any]:
    try:
        body = msgspec.json.decode(await request.read() or b"{}")
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidInput("the request must be a JSON object")
    return body


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
