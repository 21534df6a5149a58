"""An HTTPS proxy in front of an API server, that can go deaf, keep a request back, and answer in its place.

It has the server's own certificate, so that clients trust it and it can tell a watch from other requests. Shape: `with ApiProxy(plane) as proxy:`, and
`proxy.environment(person)` for a process that is to go through it.
"""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from tests.harness.controlplane import ControlPlane

_CHUNK = 65536
_HELD_SECONDS = 300.0
Fault = Callable[[str], bytes | None]
"""Takes a request line, gives the whole answer to it, or None to let it through."""


class Held:
    """One request that is kept back until `let_go`, however long: the next one whose line has all of these words. Whoever sent it may be gone by then."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.came = threading.Event()
        self.answer = b""
        """What the server says to it, once it has."""
        self._free, self._answered = threading.Event(), threading.Event()

    def let_go(self) -> bytes:
        """Let it through; gives the beginning of the server's answer. Errors: AssertionError when there is none."""
        self._free.set()
        assert self._answered.wait(_HELD_SECONDS), f"no answer to the request that was held: {self._words}"
        return self.answer

    def takes(self, line: str) -> bool:
        """Whether this is it: from now on it is."""
        if self.came.is_set() or not all(word in line for word in self._words):
            return False
        self.came.set()
        return True

    def wait(self) -> None:
        """Until it is let go."""
        self._free.wait(_HELD_SECONDS)

    def answered(self, data: bytes) -> None:
        """The server has said this."""
        self.answer += data
        self._answered.set()

    def finish(self) -> None:
        """Until the server has answered."""
        self._answered.wait(_HELD_SECONDS)


class ApiProxy:
    """One listening port; two threads for each connection."""

    def __init__(self, plane: ControlPlane) -> None:
        certificates = plane.folder / "certificates"
        self._plane = plane
        self._inside = ssl.create_default_context(cafile=str(certificates / "apiserver.crt"))
        self._outside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._outside.load_cert_chain(certificates / "apiserver.crt", certificates / "apiserver.key")
        for one in (self._inside, self._outside):
            # One thread reads a connection while another writes to it. From version 1.3 on the server sends tickets after the handshake: whoever writes while one is read may wait for ever.
            one.maximum_version = ssl.TLSVersion.TLSv1_2
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._deaf = threading.Event()
        self.fault: Fault = lambda _line: None
        self._held: list[Held] = []
        self.silenced: set[_Connection] = set()
        self.answered = 0
        """How many requests got the answer of a fault."""
        self.expired: list[str] = []
        """Requests for watches that the server itself has ended, since it does not know their version any more."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def environment(self, person: str) -> dict[str, str]:
        """What a process needs to reach the server through the proxy as this person."""
        config = yaml.safe_load(Path(self._plane.environment(person)["KUBECONFIG"]).read_text(encoding="utf-8"))
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._port}"
        path = self._plane.folder / f"{person}-{self._port}.kubeconfig"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return {"KUBECONFIG": str(path)}

    def hold(self, *words: str) -> Held:
        """Keep back the next request whose line has all of these words; others pass."""
        self._held.append(Held(*words))
        return self._held[-1]

    def held(self, line: str) -> Held | None:
        """What keeps this request back, None if nothing does."""
        return next((one for one in self._held if one.takes(line)), None)

    def silence_watches(self) -> None:
        """Watches stay open, old ones and new ones, and not a byte comes out of them; everything else goes on."""
        self._deaf.set()

    def mend(self) -> None:
        """Watches tell again; what was swallowed is lost, and its connections are ended."""
        self._deaf.clear()
        for one in list(self.silenced):
            one.end()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            outside = self._outside.wrap_socket(client, server_side=True)
            host, _, port = self._plane.server.removeprefix("https://").rpartition(":")
            with (
                outside,
                self._inside.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host) as inside,
            ):
                _Connection(self, outside, inside).run()

    def is_deaf(self, line: str) -> bool:
        """Whether the answer to this request is swallowed."""
        return self._deaf.is_set() and "watch=true" in line


class _Connection:
    """Bytes to and fro; the last request line says what they are about."""

    def __init__(self, proxy: ApiProxy, outside: ssl.SSLSocket, inside: ssl.SSLSocket) -> None:
        self._proxy, self._outside, self._inside = proxy, outside, inside
        self._line = ""
        self._held: Held | None = None

    def run(self) -> None:
        back = threading.Thread(target=self._back, daemon=True)
        back.start()
        self._forth()
        if self._held is not None:
            # Whoever sent it is gone; the server is still to get all of it, and to answer.
            self._held.finish()
        self.end()
        # Both are closed next, and the numbers of their descriptors are soon somebody else's.
        back.join()

    def _forth(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := self._outside.recv(_CHUNK):
                if (found := re.match(rb"(GET|POST|PUT|PATCH|DELETE) \S+", data)) is not None:
                    self._line = found[0].decode()
                    answer = self._proxy.fault(self._line)
                    if answer is not None:
                        self._proxy.answered += 1
                        self._outside.sendall(answer)
                        break
                    self._held = self._proxy.held(self._line)
                    if self._held is not None:
                        self._held.wait()
                self._inside.sendall(data)

    def _back(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := self._inside.recv(_CHUNK):
                if self._held is not None:
                    self._held.answered(data)
                if "watch=true" in self._line and b'"code":410' in data:
                    self._proxy.expired.append(self._line)
                if self._proxy.is_deaf(self._line):
                    self._proxy.silenced.add(self)
                else:
                    self._outside.sendall(data)
        self.end()

    def end(self) -> None:
        """Hang up on both."""
        self._proxy.silenced.discard(self)
        for one in (self._outside, self._inside):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def answer(code: int, reason: str, body: str, *headers: str) -> bytes:
    """A whole HTTP answer, after which the connection ends."""
    head = [
        f"HTTP/1.1 {code} {reason}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, *headers, "", body]).encode()
