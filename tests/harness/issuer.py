"""Who signs tokens: an issuer of OpenID Connect on loopback that publishes its keys, changes them, and misbehaves as it is told.

Shape: `token(**claims)` is signed with the newest key; `rotate()` makes another one and takes the old away.
"""

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.harness import proofs

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"


class Issuer:
    """Context manager; while open it listens on `url`."""

    def __init__(self, kind: str = "P-256") -> None:
        self._kind, self._lock, self._made = kind, threading.Lock(), 0
        self._answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: Counter[str] = Counter()
        self.delay = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.rotate()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What it calls itself."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def keys_url(self) -> str:
        """Where its keys are."""
        return self.url + KEYS

    def rotate(self) -> None:
        """Sign with another key from now on; the old one is not published any more."""
        self._made += 1
        self.key = proofs.key(self._kind, f"key-{self._made}")
        self.answer(KEYS, proofs.public(self.key))
        self.answer(DISCOVERY, {"issuer": self.url, "jwks_uri": self.keys_url})

    def token(self, **changed: Any) -> str:
        """A token that is good now, but for these claims; one that is None is left out."""
        said = proofs.claims(datetime.now(UTC), **({"iss": self.url} | changed))
        return proofs.token(said, self.key, proofs.KINDS[self._kind][0])

    def answer(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        """Answer requests to `path` with this from now on."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self._lock:
            self._answers[path] = (status, headers, data)

    def told(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Count a request, and what to answer."""
        with self._lock:
            self.asked[path] += 1
            found = self._answers.get(path, (404, {}, b""))
        time.sleep(self.delay)
        return found


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = issuer.told(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                return  # whoever asked has gone

        def log_message(self, *args: object) -> None:
            """Say nothing; the test's own output is what matters."""

    return Handler
