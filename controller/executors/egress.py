"""The way out of a box: a proxy that connects to the hosts of its contract, and to nothing else.

`boxed` makes one `WayOut` for each such run, around a listening socket in the network of the box. It takes CONNECT for any protocol, and requests in absolute form for plain
HTTP. Names are resolved out here: a box has no resolver. Invariants: what is not listed is never looked up; a name that leads back to this machine (loopback, link-local, the
metadata service of a cloud) is refused unless that very address, or `localhost`, is listed.
Source: RFC 9110 sections 7.1, 7.6.1 and 9.3.6; RFC 9112 section 3.2.2.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from controller.base.logs import event
from controller.executors.doorman import PORT

_log = logging.getLogger(__name__)

_URL = f"http://127.0.0.1:{PORT}"
ENVIRONMENT = {
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _URL),
    "no_proxy": "",
    "NO_PROXY": "",
}
"""What programs in the box are told, in both spellings that are in use."""

_HEAD = 16 * 1024  # bytes of a request's head
_PATIENCE = 30.0  # seconds for a head, and for a connection
_CHUNK = 64 * 1024
_CONNECTIONS = 64  # of one run at once: each costs two descriptors of the controller
_REMEMBERED = 16  # different refusals that a run keeps and the log tells; a run must not fill either


class Target(msgspec.Struct, frozen=True):
    """Where a request wants to go. `head`: what is sent there first, for plain HTTP."""

    host: str
    port: int
    head: bytes | None = None


class Refused(msgspec.Struct, frozen=True):
    """What the client is told: a status of HTTP and words."""

    status: str
    words: str


def allows(hosts: Iterable[str], host: str, port: int) -> bool:
    """Whether a list names this host: itself, or `*.` and a domain above it; with a port, only that port. Pure."""
    wanted = host.lower().rstrip(".")
    return any(_covers(pattern.lower(), wanted, port) for pattern in hosts)


def _covers(pattern: str, host: str, port: int) -> bool:
    name, _, only = pattern.partition(":")
    if only and int(only) != port:
        return False
    return host == name or (name.startswith("*.") and host.endswith(name[1:]) and not _address(host))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def may_connect(hosts: Iterable[str], host: str, address: str, port: int) -> bool:
    """Whether an address that a listed name led to may be used. Pure."""
    listed = tuple(hosts)
    found = _address(address.partition("%")[0])
    if found is None:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped if mapped is not None else found
    if not (found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast):
        return True
    return host.lower() == "localhost" or allows(listed, str(found), port)


def read_head(head: bytes) -> Target | Refused:
    """What a request asks for. Pure."""
    line, _, fields = head.partition(b"\r\n")
    words = line.decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return Refused("400 Bad Request", "this proxy understands HTTP/1.1")
    method, target, version = words
    try:
        if method == "CONNECT":
            parts = urlsplit(f"//{target}")
            if parts.hostname and parts.port and not (parts.path or parts.query or parts.username):
                return Target(parts.hostname, parts.port)
        elif target.lower().startswith("http://"):
            parts = urlsplit(target)
            if parts.hostname:
                path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
                start = f"{method} {path} {version}\r\n".encode("latin-1")
                return Target(parts.hostname, parts.port or 80, start + _end_to_end(fields))
    except ValueError:
        pass  # a port that is none, brackets that do not close
    return Refused("400 Bad Request", "this proxy takes CONNECT host:port, and requests for http://host/")


def _end_to_end(fields: bytes) -> bytes:
    """The fields without those for this proxy; one request a connection, so that no later one goes where the first was allowed."""
    kept = [line for line in fields.split(b"\r\n") if line and line.split(b":")[0].strip().lower() not in _FOR_US]
    return b"".join(line + b"\r\n" for line in (*kept, b"Connection: close")) + b"\r\n"


_FOR_US = frozenset({b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"te", b"upgrade"})


class WayOut:
    """The proxy of one run. Everything is for the event loop's thread."""

    def __init__(self, run: str, hosts: tuple[str, ...]) -> None:
        self.refused: dict[str, int] = {}  # destination to how often
        self._run = run
        self._hosts = hosts
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, listener: socket.socket) -> None:
        """Serve what comes in at the listener, which is ours from now on."""
        self._server = await asyncio.start_server(self._accepted, sock=listener, limit=_HEAD)

    def close(self) -> None:
        """Let go of the listener (and with it of the network of the box) and cut what goes through."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= _CONNECTIONS:
            writer.write(_response(Refused("503 Service Unavailable", f"a run has at most {_CONNECTIONS} connections")))
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, TimeoutError):
            answer = await self._reach(reader)
            if isinstance(answer, Refused):
                writer.write(_response(answer))
                await writer.drain()
                return
            target, (far_reader, far_writer) = answer
            with contextlib.closing(far_writer):
                if target.head is None:
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    far_writer.write(target.head)
                await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))

    async def _reach(
        self, reader: asyncio.StreamReader
    ) -> Refused | tuple[Target, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """The connection that a request asks for, or why there is none."""
        try:
            async with asyncio.timeout(_PATIENCE):
                target = read_head(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            return Refused("431 Request Header Fields Too Large", f"the head of a request holds at most {_HEAD} bytes")
        if isinstance(target, Refused):
            return target
        if not allows(self._hosts, target.host, target.port):
            return self._refuse(target, "the contract of this run does not list it")
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._connect(target)
        except (
            OSError,
            UnicodeError,
        ) as error:  # a TimeoutError is one of the first; a label that is too long one of the second
            return Refused("502 Bad Gateway", f"{target.host}:{target.port} cannot be reached: {error}")

    async def _connect(
        self, target: Target
    ) -> Refused | tuple[Target, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """To the first address that answers."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        addresses = [str(one[4][0]) for one in found]
        usable = [one for one in addresses if may_connect(self._hosts, target.host, one, target.port)]
        if not usable:
            return self._refuse(target, f"it leads to {addresses[0]}, which is this machine; list that address as well")
        for address in usable[:-1]:
            with contextlib.suppress(OSError):
                return target, await asyncio.open_connection(address, target.port)
        return target, await asyncio.open_connection(usable[-1], target.port)

    def _refuse(self, target: Target, why: str) -> Refused:
        where = f"{target.host[:253]}:{target.port}"
        if where in self.refused:
            self.refused[where] += 1
        elif len(self.refused) < _REMEMBERED:
            self.refused[where] = 1
            event(_log, "a connection out of a box was refused", logging.WARNING, run=self._run, to=where, why=why)
        return Refused("403 Forbidden", f"{where} may not be reached: {why}")


def _response(refused: Refused) -> bytes:
    body = f"jobwarden: {refused.words}\n".encode()
    head = f"HTTP/1.1 {refused.status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes one way, and the end of them."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
