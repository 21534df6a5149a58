"""Listening sockets in the networks of boxes, for `boxed` and for the trial of `abilities`.

A box with a network of its own has no way out but a proxy of the controller on 127.0.0.1, and that socket has to be made inside. `doorkeeper` does so; one of it serves all
boxes, because a Python for each would cost more than the box. Invariant: a socket that is handed out lies in the network of the named process, or none is.
"""

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path

PORT = 3128
"""Of the proxy, in every box: the usual one, free in a network where nothing else is."""
_PROGRAM = Path(__file__).with_name("doorkeeper.py")
_PATIENCE = 10.0  # seconds for an answer; it takes milliseconds


class Doorman:
    """Starts its program when first asked, and again should it be gone. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def listen(self, pid: int) -> socket.socket:
        """A non-blocking listening socket on 127.0.0.1:`PORT` in the network of that process. Blocks for milliseconds. Errors: OSError."""
        with self._lock:
            try:
                return self._ask(self._connected(), pid)
            except OSError:
                self._hang_up()
                raise

    def close(self) -> None:
        """End the program; a second call does nothing."""
        with self._lock:
            self._hang_up()

    def _connected(self) -> socket.socket:
        if self._line is not None and self._process is not None and self._process.poll() is None:
            return self._line
        self._hang_up()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_PATIENCE)
        with theirs:
            self._process = subprocess.Popen([sys.executable, "-I", "-S", str(_PROGRAM)], stdin=theirs.fileno(), env={})
        self._line = ours
        return ours

    def _ask(self, line: socket.socket, pid: int) -> socket.socket:
        line.send(f"{pid} {PORT}".encode())
        answer, fds, _, _ = socket.recv_fds(line, 512, 1)
        if answer == b"ok" and fds:
            return socket.socket(fileno=fds[0])
        raise OSError(answer.decode(errors="replace") or "the helper that opens it has ended")

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
        self._line = self._process = None
