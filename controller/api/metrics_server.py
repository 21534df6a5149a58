"""`/metrics`, `/healthz` and `/readyz` on `--metrics-addr`.

The composition root gives `Metrics` and a `Health`. `/healthz` fails when the process should be restarted, `/readyz` when it cannot do its
work now; both name each check, so that whoever looks knows what is wrong. Invariant: a probe answers within its bound, whatever the
controller waits for; answering at all proves that the event loop turns.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
from aiohttp import web

from controller.base.errors import InvalidInput, StoreUnavailable
from controller.base.logs import event
from controller.base.metrics import Metrics

_log = logging.getLogger(__name__)
_READY_WITHIN_S = 5.0

Checks = Mapping[str, str | None]
"""Name of each check to what is wrong, None when it is well. For people: no secrets."""


class Health(Protocol):
    """What the probes ask."""

    def live(self) -> Checks:
        """Whether the controller's parts still move, above all the dispatcher. At once, without I/O."""
        ...

    async def ready(self) -> Checks:
        """Whether work can be done: the store answers, every source has been read once."""
        ...


class MetricsServer:
    """Serves from `start` to `stop`."""

    def __init__(
        self, address: str, metrics: Metrics, health: Health, refresh: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """`address` is HOST:PORT, [HOST]:PORT or :PORT; `refresh` brings what is counted in the store up to date before it is told.

        Errors: InvalidInput.
        """
        self._host, self._port = parse_address(address)
        self._metrics = metrics
        self._health = health
        self._refresh = refresh
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is served: the one given, or the one that the system chose for 0."""
        assert self._runner is not None
        assert self._runner.addresses
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen. Errors: InvalidInput when the address cannot be had, with what to do."""
        app = web.Application()
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/healthz", self._serve_live)
        app.router.add_get("/readyz", self._serve_ready)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host or None, self._port).start()
        except OSError as error:
            await self.stop()
            raise InvalidInput(_not_served(self._host, self._port, error)) from error
        event(_log, "serving metrics and probes", address=f"{self._host or '*'}:{self.port}")

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        if self._refresh is not None:
            # A database that is away is told by store_errors; the rest is worth telling all the same.
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(_READY_WITHIN_S):
                    await self._refresh()
        # Thousands of series take a while to write down; the event loop has better things to do.
        body, content_type = await asyncio.to_thread(self._metrics.render, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _serve_live(self, _request: web.Request) -> web.Response:
        return _answer(self._health.live())

    async def _serve_ready(self, _request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                checks = await self._health.ready()
        except TimeoutError:
            checks = {"checks": f"no answer within {_READY_WITHIN_S:g} s"}
        return _answer(checks)


def parse_address(text: str) -> tuple[str, int]:
    """Host ('' for every interface) and port. Pure. Errors: InvalidInput naming the accepted forms."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in host and not bracketed):
        raise InvalidInput(
            f"--metrics-addr {text!r} is not HOST:PORT; write for example 127.0.0.1:9090 or [::1]:9090, or :9090 for every interface"
        )
    return host[1:-1] if bracketed else host, int(port)


def _answer(checks: Checks) -> web.Response:
    well = all(trouble is None for trouble in checks.values())
    body = {
        "status": "ok" if well else "failing",
        "checks": {name: trouble or "ok" for name, trouble in checks.items()},
    }
    return web.Response(
        body=msgspec.json.encode(body),
        status=200 if well else 503,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _not_served(host: str, port: int, error: OSError) -> str:
    where = f"--metrics-addr {f'[{host}]' if ':' in host else host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: another process listens there already; stop it or choose another port"
    if error.errno == errno.EACCES:
        return f"{where}: this user may not listen there; choose a port above 1023"
    return f"{where}: cannot listen there: {error.strerror or error}"
