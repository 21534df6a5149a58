"""A TCP proxy in front of a PostgreSQL server's unix socket, that can be cut or made to swallow everything, as a network does.

Shape: `with Proxy(url) as proxy: Warden(database=proxy.url)`; `cut` ends connections and refuses new ones, `swallow` keeps them open and delivers
nothing, `mend` makes it a network again (what was swallowed is lost, and its connections are ended).
"""

import contextlib
import select
import socket
import threading
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict


class Proxy:
    """One listening port; a thread for each connection."""

    def __init__(self, url: str) -> None:
        parts = conninfo_to_dict(url)
        self._upstream = f"{parts['host']}/.s.PGSQL.{parts.get('port') or 5432}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://{parts['user']}@127.0.0.1:{self._listener.getsockname()[1]}/{parts['dbname']}"
        self._open: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._closed = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._listener.close()
        self._end_all()
        self._flows.set()

    def cut(self) -> None:
        """The network is gone: connections break, new ones are refused."""
        self._refuses = True
        self._end_all()

    def swallow(self) -> None:
        """The network is a black hole: connections stay, nothing arrives."""
        self._flows.clear()

    def mend(self) -> None:
        """It works again."""
        if not self._flows.is_set():
            self._end_all()
        self._refuses = False
        self._flows.set()

    def _end_all(self) -> None:
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                client.close()
            else:
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            both = {client, server}
            try:
                server.connect(self._upstream)
                self._open |= both
                self._pass_on(client, server)
            except OSError:
                pass
            finally:
                self._open -= both

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([client, server], [], [], 1)
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                while not self._flows.wait(0.5):
                    if client not in self._open or self._closed:
                        return
                (server if one is client else client).sendall(data)
