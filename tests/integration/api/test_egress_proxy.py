"""The egress proxy with real sockets: who shows a pass reaches the hosts in it, and nobody reaches anything else."""

import asyncio
import base64
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.api import egress_proxy
from controller.api.egress_proxy import EgressProxy
from controller.base.errors import InvalidInput
from controller.executors import egress_pass
from controller.executors.egress_pass import Pass

KEY, NEXT = "k" * 40, "n" * 40


class Times:
    """A wall clock that is moved by hand."""

    def __init__(self) -> None:
        self.moved = timedelta(0)

    def now(self) -> datetime:
        """The instant."""
        return datetime.now(UTC) + self.moved

    def monotonic(self) -> float:
        """For what is told not too often."""
        return self.moved.total_seconds()


class Site:
    """A server outside: it keeps what it was asked, says hello, and goes on with whoever wants to."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
            if b"stay" in self.heads[-1]:
                await reader.read()
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """On loopback."""
    made = Site()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


class Proxied:
    """A proxy, and a client of it."""

    def __init__(self, proxy: EgressProxy, clock: Times, key_file: Path) -> None:
        self.proxy, self.clock, self.key_file = proxy, clock, key_file

    def pass_for(self, *hosts: str, run: str = "a-1", key: str = KEY, life: timedelta = timedelta(hours=1)) -> str:
        """What the controller gives a run."""
        expires = int((self.clock.now() + life).timestamp())
        made = Pass(run=run, namespace="team-a", hosts=hosts, expires=expires)
        return egress_pass.sign(made, [key.encode()])

    async def ask(self, line: str, shown: str | None = None, *fields: str, then: str = "") -> str:
        """All that is answered to one request."""
        reader, writer = await self.open(line, shown, *fields, then=then)
        async with asyncio.timeout(20):
            said = await reader.read()
        writer.close()
        return said.decode()

    async def open(
        self, line: str, shown: str | None = None, *fields: str, then: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection over which a request was sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        if shown is not None:
            given = base64.b64encode(f"jobwarden:{shown}".encode()).decode()
            fields = (*fields, f"Proxy-Authorization: Basic {given}")
        writer.write("".join(f"{one}\r\n" for one in (f"{line} HTTP/1.1", *fields, "")).encode() + then.encode())
        return reader, writer

    async def connect(self, to: str, shown: str | None = None) -> str:
        """CONNECT, and a request behind it."""
        return await self.ask(f"CONNECT {to}", shown, then="GET / HTTP/1.0\r\n\r\n")


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[Proxied]:
    """One that serves."""
    key_file, clock = tmp_path / "key", Times()
    key_file.write_text(KEY)
    proxy = EgressProxy("127.0.0.1", 0, key_file, clock)
    await proxy.start()
    yield Proxied(proxy, clock, key_file)
    await proxy.stop(timedelta(0))


async def test_a_host_of_the_pass_is_reached(proxied: Proxied, site: Site) -> None:
    """By CONNECT, and by a plain request, which reaches the server without the pass."""
    shown = proxied.pass_for("localhost")
    assert (await proxied.connect(f"localhost:{site.port}", shown)).endswith("hello")
    assert (await proxied.ask(f"GET http://localhost:{site.port}/a?b", shown, "X-Mine: 1")).endswith("hello")
    head = site.heads[-1]
    assert head.startswith(b"GET /a?b HTTP/1.1\r\n")
    assert b"X-Mine: 1" in head
    assert b"authorization" not in head.lower()
    assert shown.encode() not in b"".join(site.heads)


async def test_what_the_pass_does_not_list_is_refused_and_told(
    proxied: Proxied, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """By name, by port, and by an address behind the name; the log says whose wish it was, once, and no pass."""
    shown = proxied.pass_for("localhost:1", "example.com")
    with caplog.at_level(logging.WARNING):
        for to in (f"localhost:{site.port}", f"127.0.0.1:{site.port}", f"localhost:{site.port}"):
            assert (await proxied.connect(to, shown)).startswith("HTTP/1.1 403 ")
    assert site.heads == []
    told = [vars(one)["fields"] for one in caplog.records]
    assert [(one["run"], one["to"]) for one in told] == [
        ("team-a/a-1", f"localhost:{site.port}"),
        ("team-a/a-1", f"127.0.0.1:{site.port}"),
    ]
    assert shown not in caplog.text


async def test_a_name_that_leads_back_to_the_proxy_itself_is_refused(proxied: Proxied, site: Site) -> None:
    """Whoever runs a zone decides where its names lead: not to the loopback of the proxy."""
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def theirs(host: str, *arguments: object, **more: object) -> object:
        return await real("127.0.0.1" if host == "evil.example" else host, *arguments, **more)  # type: ignore[arg-type]

    loop.getaddrinfo = theirs  # type: ignore[method-assign,assignment]
    answer = await proxied.connect(f"evil.example:{site.port}", proxied.pass_for("evil.example"))
    assert answer.startswith("HTTP/1.1 403 ")
    assert "which is this machine" in answer
    assert site.heads == []


async def test_without_a_pass_nothing_is_reached(proxied: Proxied, site: Site) -> None:
    """The answer says where it is, in the way that clients understand."""
    for line in (f"CONNECT localhost:{site.port}", f"GET http://localhost:{site.port}/", "BREW pot", "GET /metrics"):
        answer = await proxied.ask(line)
        assert answer.startswith("HTTP/1.1 407 ")
        assert 'Proxy-Authenticate: Basic realm="jobwarden"' in answer
        assert "show the pass of your run" in answer
    assert site.heads == []


@pytest.mark.parametrize("what", ["forged", "altered", "expired", "another user's"])
async def test_with_a_pass_that_is_not_good_nothing_is_reached(
    proxied: Proxied, site: Site, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """The log says that it happened, not too often."""
    shown = proxied.pass_for("localhost", key=NEXT if what == "forged" else KEY)
    if what == "altered":
        other = proxied.pass_for("localhost", run="b-1")
        shown = ".".join([*other.split(".")[:2], shown.split(".")[2]])
    if what == "expired":
        proxied.clock.moved = timedelta(hours=2)
    fields = ["Proxy-Authorization: Basic " + base64.b64encode(f"root:{shown}".encode()).decode()]
    given = (None, *fields) if what == "another user's" else (shown,)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            answer = await proxied.ask(f"CONNECT localhost:{site.port}", *given)
            assert answer.startswith("HTTP/1.1 403 ")
    assert ("has ended" in answer) == (what == "expired")
    assert site.heads == []
    assert [one.getMessage() for one in caplog.records] == ["passes were refused"]
    assert shown not in caplog.text


async def test_a_connection_ends_with_its_pass(proxied: Proxied, site: Site) -> None:
    """A Pod that outlived its run would keep it open for ever."""
    short = proxied.pass_for("localhost", life=timedelta(seconds=2))
    to = f"CONNECT localhost:{site.port}"
    reader, writer = await proxied.open(to, short, then="GET /stay HTTP/1.0\r\n\r\n")
    long_reader, long_writer = await proxied.open(to, proxied.pass_for("localhost"), then="GET /stay HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(20):
        assert (await reader.read()).endswith(b"hello")
    assert (await long_reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
    assert not long_reader.at_eof()
    for one in (writer, long_writer):
        one.close()


async def test_a_key_is_replaced_under_the_proxy(proxied: Proxied, site: Site) -> None:
    """The file is read as it is now, as a Secret that is mounted changes; without a key nobody is let out."""
    to, old, new = f"localhost:{site.port}", proxied.pass_for("localhost"), proxied.pass_for("localhost", key=NEXT)
    assert (await proxied.connect(to, new)).startswith("HTTP/1.1 403 ")
    proxied.key_file.write_text(f"{NEXT}\n{KEY}\n")
    for shown in (old, new):
        assert (await proxied.connect(to, shown)).endswith("hello")
    proxied.key_file.write_text(NEXT)
    assert (await proxied.connect(to, old)).startswith("HTTP/1.1 403 ")
    proxied.key_file.write_text("")
    assert (await proxied.connect(to, new)).startswith("HTTP/1.1 503 ")
    assert (await proxied.ask("GET /healthz")).startswith("HTTP/1.1 503 ")


async def test_a_probe_is_answered(proxied: Proxied) -> None:
    """It shows no pass."""
    assert (await proxied.ask("GET /healthz")).startswith("HTTP/1.1 200 ")


async def test_one_run_leaves_room_for_others(proxied: Proxied, site: Site) -> None:
    """It has 64 connections, whatever the number of its processes; and what has ended counts no more."""
    to, shown = f"CONNECT localhost:{site.port}", proxied.pass_for("localhost")
    lines = [await proxied.open(to, shown, then="GET /stay HTTP/1.0\r\n\r\n") for _ in range(64)]
    for reader, _ in lines:
        await reader.readuntil(b"hello")
    assert (await proxied.connect(f"localhost:{site.port}", shown)).startswith("HTTP/1.1 503 ")
    other = proxied.pass_for("localhost", run="b-1")
    assert (await proxied.connect(f"localhost:{site.port}", other)).endswith("hello")
    for _, writer in lines:
        writer.close()
    async with asyncio.timeout(20):
        while not (await proxied.connect(f"localhost:{site.port}", shown)).endswith("hello"):
            await asyncio.sleep(0.05)


async def test_one_address_leaves_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before it is known whose connections they are: who shows nothing cannot fill the proxy."""
    monkeypatch.setattr(egress_proxy, "_MOST_OF_ONE", 4)
    (tmp_path / "key").write_text(KEY)
    proxy = EgressProxy("0.0.0.0", 0, tmp_path / "key", Times())
    await proxy.start()
    lines = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(5)]
    async with asyncio.timeout(20):
        assert (await lines[-1][0].read()).startswith(b"HTTP/1.1 503 ")
    reader, writer = await asyncio.open_connection("127.0.0.2", proxy.port, local_addr=("127.0.0.2", 0))
    writer.write(_PROBE)
    async with asyncio.timeout(20):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    for _, one in (*lines, (reader, writer)):
        one.close()
    await proxy.stop(timedelta(0))


_PROBE = b"GET /healthz HTTP/1.1\r\n\r\n"


async def test_runs_whose_time_is_over_are_forgotten(proxied: Proxied, site: Site) -> None:
    """A proxy that runs for a year remembers those of the last hours."""
    for number in range(5):
        shown = proxied.pass_for("localhost", run=f"a-{number}")
        assert (await proxied.connect(f"localhost:{site.port}", shown)).endswith("hello")
    proxied.clock.moved = timedelta(hours=2)
    assert (await proxied.connect(f"localhost:{site.port}", proxied.pass_for("localhost"))).endswith("hello")
    assert len(proxied.proxy._accounts) == 1


async def test_the_longest_pass_fits_in_a_request(proxied: Proxied, site: Site) -> None:
    """A contract lists 64 hosts of 253 characters at most."""
    hosts = [f"{number:02}" + "a" * 251 for number in range(63)]
    assert (await proxied.connect(f"localhost:{site.port}", proxied.pass_for(*hosts, "localhost"))).endswith("hello")


async def test_it_does_not_begin_without_a_key(tmp_path: Path) -> None:
    """Else it would tell no pass from another text, or everybody that they have none."""
    for text in (None, "", "short"):
        if text is not None:
            (tmp_path / "key").write_text(text)
        with pytest.raises(InvalidInput, match="of the egress proxy"):
            await EgressProxy("127.0.0.1", 0, tmp_path / "key", Times()).start()


async def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, site: Site) -> None:
    """As the chart runs it: TERM takes nothing new, and what goes through may end."""
    (tmp_path / "key").write_text(KEY)
    port = _free_port()
    command = [sys.executable, "-m", "controller", "egress-proxy", "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen([*command, "--key-file", str(tmp_path / "key")], stderr=subprocess.PIPE, env=os.environ)
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                await asyncio.sleep(0.05)
        made = Pass("a-1", "team-a", ("localhost",), int(datetime.now(UTC).timestamp()) + 600)
        given = base64.b64encode(f"jobwarden:{egress_pass.sign(made, [KEY.encode()])}".encode()).decode()
        head = f"CONNECT localhost:{site.port} HTTP/1.1\r\nProxy-Authorization: Basic {given}\r\n\r\n"
        writer.write(f"{head}GET /stay HTTP/1.0\r\n\r\n".encode())
        async with asyncio.timeout(20):
            await reader.readuntil(b"hello")
            process.send_signal(signal.SIGTERM)
            while True:
                try:
                    _, late = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    break
                late.close()
                await asyncio.sleep(0.05)
            assert process.poll() is None
            writer.close()
            assert await asyncio.to_thread(process.wait) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
