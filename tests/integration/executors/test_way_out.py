"""The way out of a box: what its contract lists is reached through the proxy, and nothing else is, by any road."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from controller.domain.trust import Box, NetworkMode, Profile
from controller.executors import doorman
from tests.integration.executors.boxes import inside, needs_boxes, run_inside
from tests.integration.executors.conftest import Runner, living, until

pytestmark = needs_boxes

# A client of HTTP proxies in a few lines: `connect` and `get` are all that a test needs.
CLIENT = """
import os, socket, sys
from urllib.parse import urlsplit
def ask(head):
    proxy = urlsplit(os.environ['HTTPS_PROXY'])
    with socket.create_connection((proxy.hostname, proxy.port)) as line:
        line.sendall(head.encode())
        line.settimeout(20)
        said = b''
        while data := line.recv(4096):
            said += data
    return said.decode()
def connect(to, then='GET / HTTP/1.0\\r\\n\\r\\n'):
    return ask(f'CONNECT {to} HTTP/1.1\\r\\nHost: {to}\\r\\n\\r\\n' + then)
def get(url):
    return ask(f'GET {url} HTTP/1.1\\r\\nHost: {urlsplit(url).netloc}\\r\\nProxy-Authorization: secret\\r\\nConnection: keep-alive\\r\\n\\r\\n')
"""


class Site:
    """A server outside that keeps what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """On loopback, which is a place outside for whoever has a network of its own."""
    made = Site()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


def allowing(*hosts: str, profile: Profile = Profile.Isolated) -> Box:
    """A box with a way out to these, in which this very Python can be used."""
    python = str(Path(sys.executable).resolve().parents[1])
    return Box(profile=profile, read=(python,), network=NetworkMode.Restricted, hosts=hosts)


def python(code: str) -> dict[str, object]:
    """Fields of a request for a few lines of Python behind the client."""
    return {"script": f'{Path(sys.executable).resolve()} -I -S -c "$CODE"', "env": {"CODE": CLIENT + code}}


async def said(run: Runner, wanted: Box, code: str) -> str:
    """What it prints."""
    _, ended = run.start(inside(run, wanted, **python(code)))
    result = await ended
    assert result.exit_code == 0, result
    return result.stdout.decode()


async def test_a_listed_host_is_reached(run: Runner, site: Site) -> None:
    """By CONNECT, and by a plain request, which reaches the server without what was meant for the proxy."""
    wanted = allowing("localhost")
    assert (await said(run, wanted, f"print(connect('localhost:{site.port}'))")).endswith("hello\n")
    assert (await said(run, wanted, f"print(get('http://LOCALHOST:{site.port}/a?b'))")).endswith("hello\n")
    head = site.heads[-1].lower()
    assert head.startswith(b"get /a?b http/1.1\r\n")
    assert b"connection: close\r\n" in head
    assert b"secret" not in head
    assert b"keep-alive" not in head


async def test_only_the_listed_port_is_reached_where_one_is_listed(run: Runner, site: Site) -> None:
    """A web server is no licence for the database beside it."""
    ok = await said(run, allowing(f"localhost:{site.port}"), f"print(connect('localhost:{site.port}'))")
    assert ok.endswith("hello\n")
    refused = await said(run, allowing("localhost:1"), f"print(connect('localhost:{site.port}'))")
    assert refused.startswith("HTTP/1.1 403 ")


@pytest.mark.parametrize("target", ["127.0.0.1", "[::1]", "0.0.0.0", "2130706433", "127.1", "[::ffff:127.0.0.1]"])
async def test_an_address_is_no_way_around_the_names(run: Runner, site: Site, target: str) -> None:
    """However it is written."""
    answer = await said(run, allowing("localhost", "*.example.com"), f"print(connect('{target}:{site.port}'))")
    assert answer.startswith("HTTP/1.1 403 ")
    assert site.heads == []


async def test_a_listed_address_is_reached(run: Runner, site: Site) -> None:
    """Who lists it means it."""
    answer = await said(run, allowing("127.0.0.1"), f"print(connect('127.0.0.1:{site.port}'))")
    assert answer.endswith("hello\n")


async def test_a_refusal_says_why_and_is_told_with_the_run(run: Runner, site: Site) -> None:
    """In the log with its name, and in its note; once for each place."""
    code = f"[connect('elsewhere.example:{site.port}') for _ in range(3)]; print(connect('other.example:1'))"
    _, ended = run.start(inside(run, allowing("localhost"), **python(code)))
    result = await ended
    assert "other.example:1 may not be reached: the contract of this run does not list it" in result.stdout.decode()
    assert result.note == f"the box let nothing through to elsewhere.example:{site.port}, other.example:1"


@pytest.mark.parametrize("profile", list(Profile))
async def test_there_is_no_other_road(run: Runner, site: Site, profile: Profile) -> None:
    """No interface but loopback, and on that nothing but the proxy; no resolver; a child is no better off."""
    code = f"""
for address in (('127.0.0.1', {site.port}), ('192.0.2.1', 80), ('1.1.1.1', 53)):
    try:
        socket.create_connection(address, 5)
        print('reached', address)
    except OSError as error:
        print('refused')
try:
    socket.getaddrinfo('localhost.example', 80)
    print('resolved')
except OSError:
    print('refused')
sys.stdout.flush()
if os.fork() == 0:
    try:
        socket.create_connection(('127.0.0.1', {site.port}), 5)
        print('reached by a child', flush=True)
    except OSError:
        print('refused', flush=True)
    os._exit(0)
os.wait()
"""
    assert await said(run, allowing("example.com", profile=profile), code) == "refused\n" * 5
    assert site.heads == []


@pytest.mark.parametrize(
    "request_line", ["GET / HTTP/1.1", "BREW pot", "CONNECT host HTTP/1.1", "CONNECT a:b:c HTTP/1.1", "\x00"]
)
async def test_what_is_no_request_is_answered_in_words(run: Runner, request_line: str) -> None:
    """And ends."""
    answer = await said(
        run, allowing("localhost"), f"print(ask({request_line + chr(13) + chr(10) + chr(13) + chr(10)!r}))"
    )
    assert answer.startswith("HTTP/1.1 400 ")


async def test_a_head_without_end_is_cut_off(run: Runner) -> None:
    """The controller's memory is not the run's."""
    answer = await said(run, allowing("localhost"), "print(ask('GET http://localhost/ HTTP/1.1\\r\\n' + 'x' * 65536))")
    assert answer.startswith("HTTP/1.1 431 ")


async def test_a_host_that_is_away_is_a_gateway_error(run: Runner) -> None:
    """Nothing listens there."""
    assert (await said(run, allowing("localhost:1"), "print(connect('localhost:1'))")).startswith("HTTP/1.1 502 ")


async def test_long_bodies_pass_both_ways(run: Runner) -> None:
    """More than any buffer holds, and the end of one direction is not the end of the other."""
    size = 3_000_000

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = len(await reader.read())
        writer.write(b"y" * got)
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    code = f"""
line = socket.create_connection(('127.0.0.1', {doorman.PORT}))
line.sendall(b'CONNECT localhost:{port} HTTP/1.1\\r\\n\\r\\n')
assert line.recv(4096).startswith(b'HTTP/1.1 200')
line.sendall(b'x' * {size})
line.shutdown(socket.SHUT_WR)
got = 0
while data := line.recv(65536): got += len(data)
print(got)
"""
    assert await said(run, allowing("localhost"), code) == f"{size}\n"
    server.close()


async def test_a_run_cannot_hold_more_connections_than_its_share(run: Runner, site: Site) -> None:
    """Descriptors of the controller belong to all runs."""
    code = f"""
lines = [socket.create_connection(('127.0.0.1', {doorman.PORT})) for _ in range(80)]
lines[-1].settimeout(20)
print(lines[-1].recv(4096).decode())
"""
    assert (await said(run, allowing("localhost"), code)).startswith("HTTP/1.1 503 ")


async def test_the_command_waits_until_its_way_out_is_open(
    run: Runner, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes; a stop meanwhile waits for no grace period."""
    opened = asyncio.Event()
    held: list[int] = []
    listen = doorman.Doorman.listen

    def slowly(self: doorman.Doorman, pid: int) -> object:
        held.append(pid)
        asyncio.run_coroutine_threadsafe(opened.wait(), loop).result()
        return listen(self, pid)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(doorman.Doorman, "listen", slowly)
    first, first_ended = run.start(inside(run, allowing("localhost"), script="echo started"))
    _, second_ended = run.start(inside(run, allowing("localhost"), script="echo started"))
    await until(lambda: len(held) == 2, "both wait")
    assert first.output_bytes == 0
    first.stop("test")
    result = await first_ended
    assert (result.cancelled, result.signal, result.stdout) == (True, "SIGKILL", b"")
    assert living(result.run) == []
    opened.set()
    assert (await second_ended).stdout == b"started\n"


async def test_a_door_that_cannot_be_opened_ends_the_run_in_words(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is never started without it."""

    def broken(_self: doorman.Doorman, _pid: int) -> object:
        raise OSError("no descriptors left")

    monkeypatch.setattr(doorman.Doorman, "listen", broken)
    result = await run_inside(run, allowing("localhost"), "echo started")
    assert result.start_error == "the way out of the box could not be opened: no descriptors left"
    assert result.stdout == b""
    assert living(result.run) == []


async def test_a_doorman_that_dies_is_replaced(run: Runner, site: Site, pids: Callable[[str], int | None]) -> None:
    """It serves all runs, and must not be the end of them."""
    wanted, code = allowing("localhost"), f"print(connect('localhost:{site.port}'))"
    await said(run, wanted, code)
    helper = run.executor._boxes._doorman._process
    assert helper is not None
    helper.kill()
    helper.wait()
    assert (await said(run, wanted, code)).endswith("hello\n")
