"""Sending over real HTTP: signatures, answers, apprise, and no secret in anything that is said."""

import asyncio
import base64
import json
import logging
import shutil
import socket
import subprocess
import traceback
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import msgspec
import pytest

from controller.base.clock import SystemClock
from controller.base.errors import DeliveryFailed, Retry
from controller.base.logs import LogFormat, setup
from controller.base.masking import Masker
from controller.base.references import Allowed
from controller.notifications.errors import DeliveryPostponed, DeliveryRefused
from controller.notifications.send import Sender
from controller.notifications.targets import WebhookTarget
from controller.notifications.webhook import post, signatures
from tests.integration.notifications.conftest import NOW, Server, make_item

# Apprise loads modules of its own dependencies that Python will remove one day; it copes.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CANARY = "canary-7f4a9c2e"
KEY = "whsec_" + base64.b64encode(b"thirty-two bytes of a shared key").decode()


def spec(**webhook: object) -> bytes:
    return msgspec.json.encode({"webhook": webhook})


def env(name: str) -> dict[str, object]:
    return {"envRef": {"name": name}}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as one:
        yield one


async def send(item, target: bytes | None, environment: dict[str, str] | None = None, timeout: float = 30) -> Masker:
    """Send once with every variable of `environment` allowed."""
    masker = Masker()
    sender = Sender(
        Allowed(env=frozenset(environment or {})),
        SystemClock(),
        environment=environment or {},
        masker=masker,
        timeout=timedelta(seconds=timeout),
    )
    try:
        await sender.send(item, target)
    finally:
        await sender.close()
    return masker


def hmac_by_openssl(key: bytes, signed: bytes) -> str:
    """An implementation that shares nothing with ours."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    command = [openssl, "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary"]
    return base64.b64encode(subprocess.run(command, input=signed, check=True, capture_output=True).stdout).decode()


async def test_a_signed_message_verifies_with_an_independent_implementation(server: Server):
    """Signature over id, timestamp and the bytes that arrived; one for each key, so that keys can be rotated."""
    keys = f"{KEY}\nplain old key"
    await send(make_item(1), spec(url=server.url("/hook"), signingKeyFrom=env("KEY")), {"KEY": keys})
    (request,) = server.at("/hook")
    assert request.headers["webhook-id"] == "item-1"
    signed = f"item-1.{request.headers['webhook-timestamp']}.".encode() + request.body
    assert request.headers["webhook-signature"].split(" ") == [
        "v1," + hmac_by_openssl(b"thirty-two bytes of a shared key", signed),
        "v1," + hmac_by_openssl(b"plain old key", signed),
    ]
    assert request.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert json.loads(request.body)["data"]["run"] == "backup-1"


def test_the_published_example_of_the_standard_verifies():
    """The example that the documents of Standard Webhooks' authors use."""
    made = signatures(
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_without_a_key_nothing_is_signed(server: Server):
    """And headers of the target are sent, but cannot replace ours."""
    headers = [{"name": "Authorization", "valueFrom": env("AUTH")}, {"name": "Webhook-Id", "valueFrom": env("AUTH")}]
    await send(make_item(1), spec(url=server.url("/hook"), headersFrom=headers), {"AUTH": "Bearer token-1"})
    (request,) = server.at("/hook")
    assert request.headers["Authorization"] == "Bearer token-1"
    assert request.headers.getall("webhook-id") == ["item-1"]
    assert "webhook-signature" not in request.headers


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, DeliveryRefused),
        (401, DeliveryRefused),
        (404, DeliveryRefused),
        (410, DeliveryRefused),
        (408, DeliveryFailed),
        (429, DeliveryFailed),
        (500, DeliveryFailed),
        (503, DeliveryFailed),
    ],
)
async def test_answers_are_judged(server: Server, status: int, kind: type[DeliveryFailed]):
    """What may pass by itself is tried again, what needs a person is not; what the receiver says is told."""
    server.answer("/hook", (status, {}, "because\nof reasons"))
    with pytest.raises(DeliveryFailed, match=f"the webhook answered {status}: because of reasons") as caught:
        await send(make_item(1), spec(url=server.url("/hook")))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
    ],
)
async def test_retry_after_is_read_in_both_forms(
    server: Server, session: aiohttp.ClientSession, header: str, seconds: int | None
):
    """Seconds or a date; nonsense is as if it were not there."""
    server.answer("/hook", (429, {"Retry-After": header}, ""))
    with pytest.raises(DeliveryFailed) as caught:
        await post(
            session, WebhookTarget(server.url("/hook")), b"{}", message_id="1", now=NOW, timeout=timedelta(seconds=30)
        )
    assert (
        caught.value.retry_after.total_seconds() if isinstance(caught.value, DeliveryPostponed) else None
    ) == seconds


async def test_redirects_are_not_followed(server: Server):
    """Whoever follows one gives the message and its headers to somebody that nobody declared."""
    server.answer("/hook", (302, {"Location": server.url("/elsewhere")}, ""))
    with pytest.raises(DeliveryRefused, match="redirects are not followed"):
        await send(make_item(1), spec(url=server.url("/hook")))
    assert server.at("/elsewhere") == []


async def test_a_receiver_that_never_answers_is_given_up(server: Server):
    """Within the timeout, to be tried again."""
    server.hanging.add("/hook")
    with pytest.raises(DeliveryFailed, match=r"(did not answer|not delivered) within 0\.2 s") as caught:
        await send(make_item(1), spec(url=server.url("/hook")), timeout=0.2)
    assert caught.value.retry is Retry.Backoff


async def test_a_receiver_that_is_not_there_is_tried_again():
    """In words of the system."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(DeliveryFailed, match="cannot be reached: Connection refused") as caught:
            await send(make_item(1), spec(url=f"http://127.0.0.1:{port}/"))
    assert caught.value.retry is Retry.Backoff


async def test_a_target_that_does_not_exist_is_named():
    """It may be applied later, so it is tried again."""
    with pytest.raises(DeliveryFailed, match="there is no NotificationTarget 'hook'") as caught:
        await send(make_item(1), None)
    assert caught.value.retry is Retry.Backoff


async def test_a_cluster_target_refuses_namespaces_that_it_does_not_list(server: Server):
    """Nothing is sent."""
    target = msgspec.json.encode({"webhook": {"url": server.url("/hook")}, "allowedNamespaces": ["prod"]})
    with pytest.raises(DeliveryRefused, match="does not allow the namespace 'ops'"):
        await send(make_item(1, target_kind="ClusterNotificationTarget"), target)
    assert server.requests == []


async def test_apprise_delivers(server: Server):
    """Title, body and kind arrive through a real apprise service; the recipient goes where the URL says."""
    target = msgspec.json.encode({"appriseURLFrom": env("URL")})
    await send(make_item(1, to="#team a"), target, {"URL": server.url("/notify/{to}", "json")})
    (request,) = server.requests
    sent = json.loads(request.body)
    assert request.path == "/notify/#team a"
    assert sent["title"] == "ops/backup failed: exit code 3"
    assert "jobwarden logs backup-1 -n ops" in sent["message"]
    assert sent["type"] == "failure"


async def test_apprise_that_fails_says_why(server: Server, capfd: pytest.CaptureFixture[str]):
    """The service's own reason, and nothing on the terminal."""
    server.answer("/notify", 500)
    with pytest.raises(DeliveryFailed, match=r"did not accept the message: .*500") as caught:
        await send(
            make_item(1), msgspec.json.encode({"appriseURLFrom": env("URL")}), {"URL": server.url("/notify", "json")}
        )
    assert caught.value.retry is Retry.Backoff
    assert capfd.readouterr() == ("", "")


async def test_a_url_that_apprise_does_not_know_is_refused_without_showing_it(capfd: pytest.CaptureFixture[str]):
    """Nobody's token is printed because of a misspelt scheme."""
    with pytest.raises(DeliveryRefused, match="not one that apprise knows") as caught:
        await send(make_item(1), msgspec.json.encode({"appriseURLFrom": env("URL")}), {"URL": f"slakc://{CANARY}"})
    assert CANARY not in str(caught.value)
    assert capfd.readouterr() == ("", "")


async def test_an_apprise_service_that_hangs_holds_one_thread(server: Server):
    """The next message to it fails at once instead of taking another thread."""
    server.hanging.add("/notify")
    environment = {"URL": server.url("/notify", "json")}
    sender = Sender(
        Allowed(env=frozenset(environment)), SystemClock(), environment=environment, timeout=timedelta(seconds=2)
    )
    target = msgspec.json.encode({"appriseURLFrom": env("URL")})
    with pytest.raises(DeliveryFailed, match="within 2 s"):
        await sender.send(make_item(1), target)
    with pytest.raises(DeliveryFailed, match="an earlier message to this target still hangs"):
        await sender.send(make_item(2), target)
    await sender.close()
    assert len(server.at("/notify")) <= 1


def leaks(error: BaseException) -> bool:
    """Whether the secret is anywhere that a handler, a debugger or a crash report would print."""
    seen: list[BaseException | None] = [error]
    for one in seen:
        if one is None:
            continue
        printed = f"{one!r} {one.args!r} {''.join(traceback.format_exception(one))}"
        if CANARY in printed:
            return True
        seen += [one.__cause__, one.__context__]
    return False


ROADS = {
    "echoed by the receiver": (spec(urlFrom=env("SECRET")), "{base}/" + CANARY, (400, {}, f"no such path /{CANARY}")),
    "redirect": (spec(urlFrom=env("SECRET")), "{base}/" + CANARY, (302, {"Location": f"/{CANARY}/x"}, CANARY)),
    "invalid URL": (spec(urlFrom=env("SECRET")), "http://[" + CANARY, 200),
    "no URL": (spec(urlFrom=env("SECRET")), CANARY, 200),
    "unknown host": (spec(urlFrom=env("SECRET")), f"http://{CANARY}.invalid/", 200),
    "nobody listens": (spec(urlFrom=env("SECRET")), f"http://u:{CANARY}@127.0.0.1:9/{CANARY}", 200),
    "no TLS": (spec(urlFrom=env("SECRET")), "https{rest}/" + CANARY, 200),
    "invalid header": (
        spec(url="{base}/hook", headersFrom=[{"name": "X-Key", "valueFrom": env("SECRET")}]),
        f"{CANARY}\nX: y",
        200,
    ),
    "header echoed": (
        spec(url="{base}/hook", headersFrom=[{"name": "Authorization", "valueFrom": env("SECRET")}]),
        f"Bearer {CANARY}",
        (401, {}, f"bad token {CANARY}"),
    ),
    "invalid key": (spec(url="{base}/hook", signingKeyFrom=env("SECRET")), f"whsec_{CANARY}!", 200),
    "apprise unknown": (msgspec.json.encode({"appriseURLFrom": env("SECRET")}), f"nothing://{CANARY}", 200),
    "apprise refused": (msgspec.json.encode({"appriseURLFrom": env("SECRET")}), "json{rest}/" + CANARY, 404),
    "apprise unreachable": (
        msgspec.json.encode({"appriseURLFrom": env("SECRET")}),
        f"json://u:{CANARY}@127.0.0.1:9/{CANARY}?+X={CANARY}",
        200,
    ),
}


@pytest.mark.parametrize("road", ROADS)
async def test_no_road_to_failure_shows_a_secret(server: Server, road: str, capfd: pytest.CaptureFixture[str]):
    """Not in the error, its causes, its traceback, the log at level debug, or on the terminal."""
    target, secret, answer = ROADS[road]
    target = target.replace(b"{base}", server.url("").encode())
    secret = secret.replace("{base}", server.url("")).replace("{rest}", server.url("", ""))
    for path in (f"/{CANARY}", "/hook"):
        server.answer(path, answer)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    setup(LogFormat.Json, logging.DEBUG)
    try:
        with pytest.raises(DeliveryFailed) as caught:
            await send(make_item(1), target, {"SECRET": secret})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert not leaks(caught.value)
    out, err = capfd.readouterr()
    assert CANARY not in out + err


async def test_secrets_are_forgotten_after_sending(server: Server):
    """The masker knows them only while they are in use."""
    masker = await send(make_item(1), spec(urlFrom=env("URL")), {"URL": server.url("/hook")})
    assert masker.mask(server.url("/hook")) == server.url("/hook")


async def test_a_defect_of_a_library_is_a_failure_without_words(monkeypatch: pytest.MonkeyPatch):
    """Whatever is raised below, its text is not trusted."""

    async def broken(*_args: object, **_more: object) -> None:
        await asyncio.sleep(0)
        raise RuntimeError(CANARY)

    monkeypatch.setattr("controller.notifications.webhook.post", broken)
    with pytest.raises(DeliveryFailed, match="delivering broke with RuntimeError") as caught:
        await send(make_item(1), spec(url="http://h/"))
    assert not leaks(caught.value)
