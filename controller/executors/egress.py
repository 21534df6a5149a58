"""The way out of a box: a proxy that connects to the hosts of its contract, and to nothing else.

`boxed` makes one `WayOut` for each such run, around a listening socket in the network of the box; `api.egress_proxy` serves all Pods of a cluster with the same `Proxy`, and
knows them by their passes. It takes CONNECT for any protocol, and requests in absolute form for plain HTTP. Names are resolved out here: a box has no resolver.
Invariants: what is not listed is never looked up; a name that leads back to this machine (loopback, link-local, the metadata service of a cloud) is refused unless that very
address, or `localhost`, is listed.
Source: RFC 9110 sections 7.1, 7.6.1 and 9.3.6; RFC 9112 section 3.2.2.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from controller.base.logs import event
from controller.executors.doorman import PORT

_log = logging.getLogger(__name__)

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""The variables by which programs learn of a proxy, in both spellings that are in use."""
NO_EXCEPTIONS = {"no_proxy": "", "NO_PROXY": ""}
ENVIRONMENT = {**dict.fromkeys(PROXIES, f"http://127.0.0.1:{PORT}"), **NO_EXCEPTIONS}
"""What programs in the box are told."""

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


class Answer(msgspec.Struct, frozen=True):
    """What the client is told instead of being connected: a status of HTTP, words, and fields beside the usual ones."""

    status: str
    words: str
    fields: tuple[str, ...] = ()


class Account:
    """What is remembered of one run, which must fill neither memory nor the log with it."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.refused: dict[str, int] = {}  # destination to how often
        self.connections = 0  # that are open

    def refuse(self, target: Target, why: str) -> Answer:
        """The answer to a wish that is not granted; told in the log when it is new."""
        where = f"{target.host[:253]}:{target.port}"
        if where in self.refused:
            self.refused[where] += 1
        elif len(self.refused) < _REMEMBERED:
            self.refused[where] = 1
            event(_log, "a connection out of a box was refused", logging.WARNING, run=self.run, to=where, why=why)
        return Answer("403 Forbidden", f"{where} may not be reached: {why}")


class Guest(msgspec.Struct, frozen=True):
    """Whoever asks, once that is known. `seconds`: how long it may stay; None: as long as it likes."""

    account: Account
    hosts: tuple[str, ...]
    seconds: float | None = None


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


def read_head(head: bytes) -> Target | Answer:
    """What a request asks for. Pure."""
    line, _, fields = head.partition(b"\r\n")
    words = line.decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return Answer("400 Bad Request", "this proxy understands HTTP/1.1")
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
    return Answer("400 Bad Request", "this proxy takes CONNECT host:port, and requests for http://host/")


def _end_to_end(fields: bytes) -> bytes:
    """The fields without those for this proxy; one request a connection, so that no later one goes where the first was allowed."""
    kept = [line for line in fields.split(b"\r\n") if line and line.split(b":")[0].strip().lower() not in _FOR_US]
    return b"".join(line + b"\r\n" for line in (*kept, b"Connection: close")) + b"\r\n"


_FOR_US = frozenset({b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"te", b"upgrade"})


Admit = Callable[[bytes], Guest | Answer]
"""Who asks, by the head of a request; or what it is answered."""


class Proxy:
    """Takes requests, and connects whoever may go where it wants to go. Everything is for the event loop's thread."""

    def __init__(
        self, admit: Admit, *, most: int = _CONNECTIONS, most_of_one: int | None = None, longest_head: int = _HEAD
    ) -> None:
        """`most` connections at once, and `most_of_one` of one address, from before it is known whose they are."""
        self._admit = admit
        self._most, self._most_of_one = most, most_of_one or most
        self._longest_head = longest_head
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._from: Counter[str] = Counter()

    @property
    def port(self) -> int:
        """The port that is served."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def open(self, **where: Any) -> None:
        """Serve what comes in: at a listener (`sock`), which is ours from now on, or at `host` and `port`. Errors: OSError."""
        self._server = await asyncio.start_server(self._accepted, limit=self._longest_head, **where)

    def close(self) -> None:
        """Let go of the listener (and with it of the network of a box) and cut what goes through."""
        self.refuse_more()
        for task in self._tasks:
            task.cancel()

    def refuse_more(self) -> None:
        """Let go of the listener; what goes through goes on."""
        if self._server is not None:
            self._server.close()

    async def empty(self) -> None:
        """Wait until nothing goes through any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("",))[0])
        if len(self._tasks) >= self._most or self._from[peer] >= self._most_of_one:
            writer.write(_response(_full(min(self._most, self._most_of_one))))
            writer.close()
            return
        self._from[peer] += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._left(done, peer))

    def _left(self, task: asyncio.Task[None], peer: str) -> None:
        self._tasks.discard(task)
        self._from[peer] -= 1
        if not self._from[peer]:
            del self._from[peer]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, TimeoutError):
            wish = await self._received(reader)
            if isinstance(wish, Answer):
                await _tell(writer, wish)
                return
            guest, target = wish
            account = guest.account
            if account.connections >= _CONNECTIONS:
                await _tell(writer, _full(_CONNECTIONS))
                return
            account.connections += 1
            try:
                async with asyncio.timeout(guest.seconds):
                    await _connect_and_pass(guest, target, reader, writer)
            finally:
                account.connections -= 1

    async def _received(self, reader: asyncio.StreamReader) -> Answer | tuple[Guest, Target]:
        """Who asks, and for what."""
        try:
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            words = f"the head of a request holds at most {self._longest_head} bytes"
            return Answer("431 Request Header Fields Too Large", words)
        guest = self._admit(head)
        if isinstance(guest, Answer):
            return guest
        target = read_head(head)
        return target if isinstance(target, Answer) else (guest, target)


async def _connect_and_pass(
    guest: Guest, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Until both ends have said all."""
    found = await _reach(guest, target)
    if isinstance(found, Answer):
        await _tell(writer, found)
        return
    far_reader, far_writer = found
    with contextlib.closing(far_writer):
        if target.head is None:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far_writer.write(target.head)
        await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))


async def _reach(guest: Guest, target: Target) -> Answer | tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The connection that is asked for, or why there is none."""
    if not allows(guest.hosts, target.host, target.port):
        return guest.account.refuse(target, "the contract of this run does not list it")
    try:
        async with asyncio.timeout(_PATIENCE):
            return await _connect(guest, target)
    except (
        OSError,
        UnicodeError,
    ) as error:  # a TimeoutError is one of the first; a label that is too long one of the second
        return Answer("502 Bad Gateway", f"{target.host}:{target.port} cannot be reached: {error}")


async def _connect(guest: Guest, target: Target) -> Answer | tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that answers."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    usable = [one for one in addresses if may_connect(guest.hosts, target.host, one, target.port)]
    if not usable:
        why = f"it leads to {addresses[0]}, which is this machine; list that address as well"
        return guest.account.refuse(target, why)
    for address in usable[:-1]:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(address, target.port)
    return await asyncio.open_connection(usable[-1], target.port)


class WayOut:
    """The proxy of one run, which needs no pass: nobody else is in the network of its box."""

    def __init__(self, run: str, hosts: tuple[str, ...]) -> None:
        self._account = Account(run)
        guest = Guest(self._account, hosts)
        self._proxy = Proxy(lambda _head: guest)

    @property
    def refused(self) -> dict[str, int]:
        """Destination to how often."""
        return self._account.refused

    async def open(self, listener: socket.socket) -> None:
        """Serve what comes in at the listener, which is ours from now on."""
        await self._proxy.open(sock=listener)

    def close(self) -> None:
        """Let go of the listener (and with it of the network of the box) and cut what goes through."""
        self._proxy.close()


def _full(most: int) -> Answer:
    return Answer("503 Service Unavailable", f"there are {most} connections already; close some first")


async def _tell(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(_response(answer))
    await writer.drain()


def _response(answer: Answer) -> bytes:
    body = f"jobwarden: {answer.words}\n".encode()
    usual = ("Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(body)}", "Connection: close")
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {answer.status}", *usual, *answer.fields, "")).encode() + body


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes one way, and the end of them."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
