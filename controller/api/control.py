"""The control server: HTTP on a unix socket that only its user can open.

The composition root gives it a backend. It listens from the start, as systemd would for it, and learns HTTP from the first caller: `routes` takes a
quarter of a second to import, which a controller that nobody asks does not owe.
"""

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from controller.api.backend import Backend, News
from controller.base.paths import private_folder

if TYPE_CHECKING:
    from controller.api.routes import Routes

_RETRY_SECONDS = 5.0
_BACKLOG = 128


class ControlServer:
    """Serves one installation for as long as `serve` runs; `news` is passed on to whoever watches."""

    def __init__(self, path: Path, backend: Backend) -> None:
        self._path, self._backend = path, backend
        self.news = News()

    async def serve(self, listening: Callable[[], None] = lambda: None) -> None:
        """Listen until cancelled. Where another controller of the same database listens already, wait to take its place.

        Effect: makes the socket and its folder, and removes the socket at the end. Errors: InvalidInput for a folder that is not private, OSError.
        """
        private_folder(self._path.parent, os.getuid())
        with await self._lock():
            try:
                with self._bound() as bound:
                    listening()
                    await _caller(bound)
                    routes = await asyncio.to_thread(self._routes)
                    await routes.serve(bound)
            finally:
                self._path.unlink(missing_ok=True)

    def _routes(self) -> "Routes":
        from controller.api.routes import Routes  # noqa: PLC0415 - see above

        return Routes(self._backend, self.news)

    async def _lock(self) -> IO[bytes]:
        """The lock that says whose socket it is; it goes with the process, so a stale socket is known as one."""
        file = self._path.with_suffix(".lock").open("ab")
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return file

    def _bound(self) -> socket.socket:
        self._path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(self._path))
        # Nobody else can enter the folder, so nobody connects between these two lines.
        self._path.chmod(0o600)
        bound.listen(_BACKLOG)
        bound.settimeout(0)
        return bound


async def _caller(listening: socket.socket) -> None:
    """Wait until somebody has connected, and leave it to be accepted."""
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listening, called.set)
    try:
        await called.wait()
    finally:
        loop.remove_reader(listening)
