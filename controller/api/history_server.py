"""`--history-addr`: views and run logs over TCP, for verbs that reach the controller through the API server's service proxy.

    GET /v1/views/<name>?…      as the control socket
    GET /v1/logs/<run>?follow   as the control socket

No verb, no news, no other method. The API server takes the credentials of people out of what it passes on, so who they are cannot be known here: RBAC
has let them through the proxy (`services/proxy`), and the token, which lies in a Secret beside the Service, shows that they came with a right to read it.
Invariant: nothing is answered without the token, and without a token nothing is served.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from controller.api import headers
from controller.api.backend import Backend
from controller.api.problems import answer_errors, problem
from controller.api.reading import Reading
from controller.base.errors import InvalidInput
from controller.base.logs import event

_SHORTEST = 16
_DRAIN_SECONDS = 2.0
_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HistoryServer:
    """Serves from `start` to `stop`."""

    def __init__(self, host: str, port: int, token_file: Path, backend: Backend) -> None:
        """`host` "" is every interface. The file holds the token; it may be replaced while it is served."""
        self._host, self._port, self._token_file = host, port, token_file
        self._reading = Reading(backend)
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is served: the one given, or the one that the system chose for 0."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen. Errors: InvalidInput for a token that cannot be used, or an address that cannot be had."""
        if (wrong := self._token()[1]) is not None:
            raise InvalidInput(f"--history-token-file {self._token_file}: {wrong}")
        application = web.Application(middlewares=[answer_errors, _only_with(self._token)])
        application.router.add_get("/v1/views/trust-check", self._reading.trust_check, allow_head=False)
        application.router.add_get("/v1/views/{name}", self._reading.view, allow_head=False)
        application.router.add_get("/v1/logs/{run}", self._reading.log, allow_head=False)
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=_DRAIN_SECONDS
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host or None, self._port).start()
        except OSError as error:
            await self.stop()
            where = f"--history-addr {self._host}:{self._port}"
            raise InvalidInput(f"{where}: cannot listen there: {error.strerror or error}") from error
        event(_log, "serving history", address=f"{self._host or '*'}:{self.port}")

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def _token(self) -> tuple[bytes, str | None]:
        """The token as it is now, and what is wrong with it. It is read again each time: a Secret that is mounted changes under us."""
        try:
            token = self._token_file.read_bytes().strip()
        except OSError as error:
            return b"", f"the token cannot be read: {error.strerror or error}"
        return token, None if len(token) >= _SHORTEST else f"the token needs at least {_SHORTEST} characters"


def _only_with(token_now: Callable[[], tuple[bytes, str | None]]) -> Middleware:
    """Answers nobody who does not know the token."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        token, wrong = token_now()
        given = request.headers.get(headers.TOKEN, "").encode(errors="surrogateescape")
        if wrong is not None or not hmac.compare_digest(given, token):
            return problem(401, "Forbidden", f"{headers.TOKEN} is missing or not the one of this controller")
        return await handler(request)

    return check
