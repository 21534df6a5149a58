"""Views and run logs over HTTP: what can be looked at without changing anything.

The control server's routes and the history server both answer with it. Invariant: it reads, whoever asks; who may ask is the caller's business.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Any

from aiohttp import web

from controller.api import headers
from controller.api.backend import Backend
from controller.domain.records import Run
from controller.domain.states import RunState
from controller.status import logs, views

_POLL_SECONDS = 0.2


class Reading:
    """The handlers of one installation."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def view(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/views/{name}?…: a view of `status.views`."""
        query, now, name = views.query_of(request.query), self._backend.clock.now(), request.match_info["name"]
        body = await self._backend.store.read(lambda tx: views.answer(tx, name, query, now))
        return web.Response(body=body, content_type="application/json")

    async def log(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/logs/{run}?follow=true: what a run printed."""
        query, name = (
            views.query_of({"namespace": request.query.get("namespace", "default")}),
            request.match_info["run"],
        )
        follow = request.query.get("follow") == "true"
        run = await self._backend.store.read(lambda tx: logs.find(tx, query.namespace, name))
        reader = logs.Reader(run, self._backend.log_dir, self._backend.host)
        response = web.StreamResponse(headers={headers.NOTE: reader.note, headers.RUN: run.name})
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
        return await self._backend.store.read(lambda tx: logs.find(tx, run.namespace, run.name))

    async def _send(self, response: web.StreamResponse, pieces: Callable[[], Any]) -> None:
        iterator = pieces()
        # A disk may be slow; the loop must not wait for it.
        while (piece := await asyncio.to_thread(next, iterator, None)) is not None:
            await response.write(piece)
