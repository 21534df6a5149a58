"""Decision points that answer, and servers that do anything else: neither takes nor gives more than a decision."""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.app.credentials import around
from controller.base.references import Allowed, EnvRef, SecretKeyRef, SecretSource, Unreadable
from controller.domain.trust import Decision, External
from controller.gates.enquiries import Away, DecisionAsked, Judged
from controller.loops.enquiring import PATIENCE
from controller.providers import breaker
from controller.providers.decision_point import DecisionPoints
from tests.integration.providers.conftest import CANARY, Answer, Server, answers
from tests.unit.providers.clocks import Hand

POLICY = "AuthorizationPolicy team/opa"
SHOWN = {"job": {"name": "nightly"}, "request": {"parameters": {"to": "ann"}}}
ENVIRONMENT = {"HEADER": f"Bearer {CANARY}", "BROKEN": "line\nbreak", "EMPTY": " "}
Handle = Callable[[str, str, Any, bytes], Answer]


class Secrets:
    """Those of a cluster that has one Secret."""

    async def read(self, namespace: str, name: str, key: str) -> str | Unreadable:
        if (namespace, name, key) == ("team", "opa", "header"):
            return f"Bearer {CANARY}"
        return Unreadable(f"there is no Secret {namespace}/{name}", permanent=False)


def points(clock: Hand | None = None, environment: dict[str, str] | None = None, **options: Any) -> DecisionPoints:
    """Of a controller that may read these variables; with `secrets` one in a cluster."""
    known = environment or ENVIRONMENT
    clock = clock or Hand()
    return DecisionPoints(clock, around(clock, allowed=Allowed(frozenset(known)), environment=known, **options))


def question(url: str, of: str = POLICY, home: str = "team", **external: Any) -> DecisionAsked:
    """Of a policy whose decision point is there."""
    return DecisionAsked(
        of=of, namespace="team", home=home, external=External(url, **external), input=SHOWN, time_zone="Europe/Berlin"
    )


def variable(name: str) -> SecretSource:
    return SecretSource(env_ref=EnvRef(name))


async def said(make_server: Callable[[Handle], Server], answer: Answer) -> Judged | Away:
    """What comes of an answer."""
    server = make_server(lambda *_: answer)
    return await points().ask(question(f"{server.url}/v1/data/jobs"))


async def test_a_decision_point_is_shown_the_dispatch_and_the_time_as_it_is(
    make_server: Callable[[Handle], Server],
) -> None:
    """As JSON, with the headers that the policy names."""
    server = make_server(lambda *_: answers(200, {"result": True}))
    clock = Hand()
    clock.move(3600)
    asked = question(f"{server.url}/v1/data/jobs", headers=(("Authorization", variable("HEADER")),))
    assert await points(clock).ask(asked) == Judged(Decision.Permit)
    [(method, path, headers, body)] = server.requests
    assert (method, path) == ("POST", "/v1/data/jobs")
    assert headers["Authorization"] == f"Bearer {CANARY}"
    assert headers["Content-Type"] == "application/json"
    time = {"now": "2026-01-01T01:00:00Z", "date": "2026-01-01", "hour": 2, "minute": 0, "weekday": 4}
    assert json.loads(body) == {"input": {**SHOWN, "time": time}}


async def test_whoever_decides_may_say_why(make_server: Callable[[Handle], Server]) -> None:
    """A header that comes back in the words is masked."""
    server = make_server(lambda *_: answers(200, {"result": {"allow": False, "reason": f"who is Bearer {CANARY}?"}}))
    found = await points().ask(question(server.url, headers=(("Authorization", variable("HEADER")),)))
    assert isinstance(found, Judged)
    assert (found.decision, found.understood) == (Decision.Deny, True)
    assert "who is" in found.message
    assert CANARY not in found.message


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (answers(200, {}), "no result"),
        ((200, {"Content-Type": "text/html"}, b"<html>sign in</html>"), "no JSON"),
        ((200, {}, b'{"result": tr'), "no JSON"),
        ((204, {}, b""), "empty"),
        ((302, {"Location": "https://elsewhere.example/"}, b""), "redirect"),
        ((307, {"Location": "/v1/data/other"}, b""), "redirect"),
        (answers(400, {"code": "invalid_parameter"}), "400"),
        (answers(401, {}), "headersFrom"),
        (answers(403, {"result": True}), "403"),
        (answers(404, {"result": True}), "404"),
    ],
)
async def test_what_is_no_decision_denies_and_says_what_it_was(
    make_server: Callable[[Handle], Server], answer: Answer, word: str
) -> None:
    """Nothing is gained by asking again; a redirect is not followed."""
    found = await said(make_server, answer)
    assert isinstance(found, Judged), found
    assert (found.decision, found.understood) == (Decision.Deny, False)
    assert word in found.message


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (answers(500, {"result": True}), "500"),
        (answers(503, {}, **{"Retry-After": "7"}), "503"),
        (answers(429, {}, **{"Retry-After": "7200"}), "429"),
        ((200, {}, b'{"result": true, "x": "' + b"x" * 300_000 + b'"}'), "more than"),
    ],
)
async def test_what_may_pass_is_an_outage(make_server: Callable[[Handle], Server], answer: Answer, word: str) -> None:
    """It is asked again, as often as whoever asks has patience."""
    found = await said(make_server, answer)
    assert isinstance(found, Away), found
    assert word in found.message
    assert (found.retry_after == timedelta(seconds=7)) is (word == "503")
    assert found.retry_after is None or found.retry_after <= PATIENCE / 2


async def test_half_an_answer_and_no_answer_are_outages(make_server: Callable[[Handle], Server]) -> None:
    """Whoever hangs is given up when the timeout is over; whoever hangs up, and whoever is not there, at once."""

    async def half(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result": true}')
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(half, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    asking = points()
    assert isinstance(await asking.ask(question(f"http://127.0.0.1:{port}/")), Away)
    listening.close()
    await listening.wait_closed()
    assert isinstance(await asking.ask(question(f"http://127.0.0.1:{port}/")), Away)
    server = make_server(lambda *_: answers(200, {"result": True}))
    server.hanging = True
    found = await asking.ask(question(server.url, timeout=timedelta(seconds=1)))
    assert found == Away("no answer within 1s")


async def test_one_that_keeps_failing_is_left_alone_for_a_while(make_server: Callable[[Handle], Server]) -> None:
    """Then it is tried with one question; another policy's is asked all the while."""
    broken, clock = [True], Hand()
    server = make_server(lambda *_: answers(500 if broken[0] else 200, {"result": True}))
    asking = points(clock)
    asked = question(server.url)
    for _ in range(breaker.THRESHOLD):
        assert isinstance(await asking.ask(asked), Away)
    left_alone = await asking.ask(asked)
    assert isinstance(left_alone, Away)
    assert left_alone.retry_after == breaker.FIRST
    assert "it answered 500" in left_alone.message
    assert len(server.requests) == breaker.THRESHOLD
    broken[0] = False
    assert await asking.ask(question(server.url, of="AuthorizationPolicy team/other")) == Judged(Decision.Permit)
    clock.move(breaker.FIRST.total_seconds())
    assert await asking.ask(asked) == Judged(Decision.Permit)


async def test_after_an_outage_of_hours_the_first_who_waits_finds_out_that_it_is_over(
    make_server: Callable[[Handle], Server],
) -> None:
    """It is never left alone for so long that a dispatch is refused without anybody having been asked."""
    clock = Hand()
    server = make_server(lambda *_: answers(500, {}))
    asking = points(clock)
    asked = question(server.url)
    for _ in range(20):
        found = await asking.ask(asked)
        assert isinstance(found, Away)
        assert (found.retry_after or timedelta(0)) <= PATIENCE / 2
        clock.move((found.retry_after or timedelta(0)).total_seconds())
    assert len(server.requests) > 10


@pytest.mark.parametrize(
    ("external", "word", "passing"),
    [
        ({"headers": (("X", variable("UNKNOWN")),)}, "allowEnv", False),
        ({"headers": (("X", variable("EMPTY")),)}, "empty", False),
        ({"headers": (("X", variable("BROKEN")),)}, "line break", True),
        ({"headers": (("X", SecretSource(secret_key_ref=SecretKeyRef("opa", "header"))),)}, "no cluster", False),
        ({"headers": (("X", SecretSource()),)}, "exactly one", False),
        ({"authority": variable("HEADER")}, "no certificate", True),
    ],
)
async def test_without_what_it_takes_to_ask_nobody_is_asked(
    make_server: Callable[[Handle], Server], external: dict[str, Any], word: str, passing: bool
) -> None:
    """A header that cannot be read, a certificate that is none: never a question without it."""
    server = make_server(lambda *_: answers(200, {"result": True}))
    found = await points().ask(question(server.url, **external))
    assert isinstance(found, Away) is passing
    assert not isinstance(found, Judged) or (found.decision, found.understood) == (Decision.Deny, False)
    assert word in found.message
    assert CANARY not in found.message
    assert server.requests == []


async def test_a_policy_of_a_tenant_asks_nobody_on_the_controllers_host(
    make_server: Callable[[Handle], Server],
) -> None:
    """In a cluster only one of the whole cluster may, and only it reads variables of the controller."""
    server = make_server(lambda *_: answers(200, {"result": True}))
    asking = points(secrets=Secrets())
    refused = await asking.ask(question(server.url))
    assert isinstance(refused, Judged)
    assert (refused.decision, refused.understood) == (Decision.Deny, False)
    assert "ClusterAuthorizationPolicy" in refused.message
    header = (("X", variable("HEADER")),)
    assert isinstance(await asking.ask(question("https://opa.example.org/", headers=header)), Judged)
    assert server.requests == []
    whole = question(server.url, of="ClusterAuthorizationPolicy opa", home="", headers=header)
    assert await asking.ask(whole) == Judged(Decision.Permit)


async def test_nothing_is_asked_in_the_clear_off_this_host() -> None:
    """Also where a document got past whoever checks documents."""
    found = await points().ask(question("http://opa.example.org/v1/data/jobs"))
    assert isinstance(found, Judged)
    assert (found.decision, found.understood) == (Decision.Deny, False)
    assert "https" in found.message


async def test_a_server_has_to_be_vouched_for(make_server: Callable[[Handle], Server], tmp_path: Path) -> None:
    """By what the system trusts, or by what caFrom names; a certificate for somebody else's name is none."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: install it with the system's package manager")
    subprocess.run(
        f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key -out own".split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    server = make_server(lambda *_: answers(200, {"result": True}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own", tmp_path / "key")
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    by_address = server.url.replace("http:", "https:")
    by_name = by_address.replace("127.0.0.1", "localhost")
    asking = points(environment={"CA": (tmp_path / "own").read_text()})
    for url, external in ((by_name, {}), (by_address, {"authority": variable("CA")})):
        stranger = await asking.ask(question(url, **external))
        assert isinstance(stranger, Away)
        assert "caFrom" in stranger.message
    assert await asking.ask(question(by_name, authority=variable("CA"))) == Judged(Decision.Permit)
    assert len(server.requests) == 1
