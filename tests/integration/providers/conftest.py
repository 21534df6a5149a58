"""Providers as they are called: with real programs, and with servers on loopback that speak the documented protocol of a backend."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import pytest

from controller.base.clock import SystemClock
from controller.base.references import Allowed
from controller.domain.trust import Identity, Subject, SubjectKind, TrustLevel
from controller.providers.protocol import Request
from controller.providers.surroundings import Surroundings

CANARY = "canary-5e3c1b-value"

Answer = tuple[int, dict[str, str], bytes]


class Server:
    """An HTTP server in threads. `handle(method, path, headers, body)` gives status, headers and body; `hanging` never answers until the end."""

    def __init__(self, handle: Callable[[str, str, Any, bytes], Answer]) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.hanging = False
        self._handle, self._released = handle, threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        self.requests.append((method, path, dict(headers), body))
        if self.hanging:
            self._released.wait()
        return self._handle(method, path, headers, body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, text = server.answer(self.command, self.path, self.headers, body)
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def answers(status: int, body: object, **headers: str) -> Answer:
    """JSON."""
    return status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode()


def surroundings(**options: Any) -> Surroundings:
    """Of an administrator's provider; `environment` is what the settings allow."""
    environment = options.pop("environment", {})
    allowed = Allowed(frozenset(environment), options.pop("folders", ()))
    namespace = options.pop("namespace", "team")
    clock = options.pop("clock", None) or SystemClock()
    return Surroundings(
        f"CredentialProvider {namespace}/x", namespace, clock=clock, allowed=allowed, environment=environment, **options
    )


def request(*scopes: str, principal: str = "svc", **fields: Any) -> Request:
    """Of a run of a Supervised identity."""
    identity = Identity(Subject(SubjectKind.Service, principal), level=TrustLevel.Supervised)
    return Request(
        **{"namespace": "team", "job": "job", "run": "job-1", "identity": identity, "scopes": scopes} | fields
    )


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """Makes servers; all end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda handle: stack.enter_context(Server(handle))
