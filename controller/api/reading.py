"""Views and run logs over HTTP: what can be looked at without changing anything.

The control server's routes and the history server both answer with it. Invariant: nothing of the installation changes, whoever asks; who may ask is the caller's business. A
trust check has others outside asked: a provider may grant something for it, which nobody is given and which is taken back.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from aiohttp import web

from controller.api import headers
from controller.api.backend import Backend
from controller.domain.reasons import Reason
from controller.domain.records import Run
from controller.domain.states import RunState
from controller.gates.enquiries import Finding
from controller.status import logs, views
from controller.store.store import Tx

_POLL_SECONDS = 0.2
_PATIENCE = timedelta(seconds=20)
_CHECKS = 4
"""Trust checks at a time: each may have others asked."""


class Reading:
    """The handlers of one installation."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._checks = asyncio.Semaphore(_CHECKS)

    async def view(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/views/{name}?…: a view of `status.views`."""
        query, now, name = views.query_of(request.query), self._backend.clock.now(), request.match_info["name"]
        body = await self._backend.store.read(lambda tx: views.answer(tx, name, query, now))
        return web.Response(body=body, content_type="application/json")

    async def trust_check(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/views/trust-check?…: that view, when everybody has been asked whom the gates would ask. What they said is used for this answer alone."""
        query, now = views.query_of(request.query), self._backend.clock.now()
        found: dict[str, Finding] = {}

        def check(tx: Tx) -> views.Checked:
            return views.trust_check(tx, query, now, self._backend.abilities(), found)

        async with self._checks:
            until = self._backend.clock.monotonic() + _PATIENCE.total_seconds()
            # A gate that has its answer may let the next one ask.
            while (checked := await self._backend.store.read(check)).enquiries:
                left = max(until - self._backend.clock.monotonic(), 0.0)
                found |= await self._backend.enquire(checked.enquiries, timedelta(seconds=left))
        if checked.opens is not None:
            why = await asyncio.to_thread(self._backend.trial, *checked.opens)
            if why is not None:
                checked.shape["status"] |= {"decision": "Fail", "reason": Reason.StartFailed.value, "message": why}
        return web.Response(body=msgspec.json.encode(checked.shape), content_type="application/json")

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
