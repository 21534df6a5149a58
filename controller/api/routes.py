"""What the control server answers: views, verbs, run logs, the live story.

    GET  /v1/views/<name>?…      a view of `status.views`
    POST /v1/verbs/<name>        a verb, done in one transaction; then the engine is woken
    GET  /v1/logs/<run>?follow   what a run printed
    GET  /v1/events              one JSON line for each piece of news, for as long as somebody listens

`control` imports this module when somebody asks for the first time. Invariant: who asks is who the kernel says (SO_PEERCRED), never who the
request says; and an answer that is an error has `{error: {reason, message, hint}}`.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from controller.api.backend import Backend, News
from controller.api.problems import answer_errors
from controller.api.reading import Reading
from controller.base.errors import Conflict, InvalidInput
from controller.base.people import Actor, of_uid
from controller.status import views

_DRAIN_SECONDS = 2.0
_PEER = struct.Struct("3i")


class Routes:
    """The handlers of one installation."""

    def __init__(self, backend: Backend, news: News) -> None:
        self._backend, self._news = backend, news
        self._reading = Reading(backend)

    async def serve(self, listening: socket.socket) -> None:
        """Answer whoever connects to this socket, until cancelled."""
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=_DRAIN_SECONDS)
        try:
            await runner.setup()
            await web.SockSite(runner, listening).start()
            await asyncio.get_running_loop().create_future()
        finally:
            await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[answer_errors])
        application.router.add_get("/v1/views/trust-check", self._trust_check)
        application.router.add_get("/v1/views/{name}", self._view)
        application.router.add_post("/v1/verbs/{name}", self._verb)
        application.router.add_get("/v1/logs/{run}", self._log)
        application.router.add_get("/v1/events", self._events)
        return application

    async def _view(self, request: web.Request) -> web.StreamResponse:
        _actor(request)
        return await self._reading.view(request)

    async def _trust_check(self, request: web.Request) -> web.StreamResponse:
        _actor(request)
        return await self._reading.trust_check(request)

    async def _verb(self, request: web.Request) -> web.StreamResponse:
        actor, name = _actor(request), request.match_info["name"]
        body = await _object(request)
        if name == "reconcile":
            return _json(await self._reconcile_now(body))
        now = self._backend.clock.now()
        answer = await self._backend.store.write(lambda tx: self._backend.perform(tx, name, body, actor, now))
        self._backend.wake()
        return _json(answer)

    async def _reconcile_now(self, body: Mapping[str, Any]) -> dict[str, Any]:
        named, namespace = body.get("name"), str(body.get("namespace", "default"))
        sources = None
        if named is not None:
            sources = [await self._backend.store.read(lambda tx: views.source_of(tx, namespace, str(named)))]
        read = list(await self._backend.reconcile(sources))
        if not read:
            which = f"the source {sources[0]}" if sources else "every source"
            raise Conflict(f"{which} is reconciled by another controller; ask that one")
        return {"sources": read}

    async def _log(self, request: web.Request) -> web.StreamResponse:
        _actor(request)
        return await self._reading.log(request)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        _actor(request)
        response = web.StreamResponse()
        response.content_type = "application/x-ndjson"
        await response.prepare(request)
        with self._news.watched() as watcher, contextlib.suppress(ConnectionResetError):
            while True:
                await response.write(await watcher.get())
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
