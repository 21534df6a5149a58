"""An endpoint on loopback, for webhooks and the like, that keeps what it is sent and answers as it is told.

Shape: `deliveries(path)` gives the JSON bodies in order of arrival; `answer(path, 500, 200)` scripts the answers, the last one for ever; `say(path, …)` what is in them.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Receiver:
    """Context manager; while open it listens on `url(path)`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: dict[str, list[Any]] = {}
        self._answers: dict[str, list[int]] = {}
        self._words: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str = "/") -> str:
        """The address of one path."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def answer(self, path: str, *statuses: int) -> None:
        """Answer the next requests to `path` with these; the last one stays."""
        with self._lock:
            self._answers[path] = list(statuses)

    def say(self, path: str, value: Any) -> None:
        """Put this JSON into every answer to `path`."""
        with self._lock:
            self._words[path] = json.dumps(value).encode()

    def words(self, path: str) -> bytes:
        """What an answer to `path` holds."""
        with self._lock:
            return self._words.get(path, b"")

    def deliveries(self, path: str = "/") -> list[Any]:
        """What was sent to `path` so far, refused requests included."""
        with self._lock:
            return list(self._bodies.get(path, []))

    def record(self, path: str, body: bytes) -> int:
        """Keep one request; gives the status to answer with."""
        try:
            value = json.loads(body)
        except ValueError:
            value = body.decode("utf-8", "replace")
        with self._lock:
            self._bodies.setdefault(path, []).append(value)
            script = self._answers.get(path, [200])
            return script.pop(0) if len(script) > 1 else script[0]


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(receiver.record(self.path, body))
            words = receiver.words(self.path)
            self.send_header("Content-Length", str(len(words)))
            self.end_headers()
            self.wfile.write(words)

        def log_message(self, *args: object) -> None:
            """Say nothing; the test's own output is what matters."""

    return Handler
