"""Token exchange with a server that does not keep to RFC 8693, and over TLS."""

import base64
import json
import shutil
import ssl
import subprocess
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.providers.calling import Caller
from controller.providers.protocol import Issued, Refused, Secret, Session, Unavailable
from controller.providers.token_exchange import TokenExchange
from tests.integration.providers.conftest import CANARY, Answer, Server, answers, request, surroundings
from tests.unit.providers.clocks import NOW, Hand

URN = "urn:ietf:params:oauth:token-type:"
GOOD = {
    "access_token": CANARY,
    "issued_token_type": f"{URN}access_token",
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "payments",
}


def jwt(**claims: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{part}.c2lnbmF0dXJl"


def caller(url: str, **config: Any) -> Caller:
    environment = {"SUBJECT": "canary-subject-token", "SECRET": "canary client/secret", "CA": config.pop("ca", "")}
    around = surroundings(environment=environment, clock=Hand(), tokens=config.pop("tokens", None))
    shape = {"tokenURL": f"{url}/token", "subjectTokenFrom": {"envRef": {"name": "SUBJECT"}}}
    return Caller(TokenExchange(shape | config, around), around, timedelta(seconds=30))


async def asked(make_server: Callable[..., Server], reply: Answer, *scopes: str, **config: Any) -> object:
    server = make_server(lambda *_: reply)
    return await caller(server.url, **config).resolve(request(*scopes))


def without(*fields: str, **others: object) -> dict[str, object]:
    return {key: value for key, value in (GOOD | others).items() if key not in fields}


async def test_what_is_sent_is_an_exchange(make_server: Callable[..., Server]) -> None:
    """Every parameter of RFC 8693, section 2.1, and who we are by RFC 6749, section 2.3.1."""
    server = make_server(lambda *_: answers(200, GOOD | {"scope": "a b"}))
    config = {
        "clientID": "job:warden",
        "clientSecretFrom": {"envRef": {"name": "SECRET"}},
        "audience": "ledger",
        "resource": "https://ledger.example.org/api",
        "subjectTokenType": "IDToken",
    }
    answer = await caller(server.url, **config).resolve(request("a", "b"))
    assert isinstance(answer, Session), answer
    assert answer.expires_at == NOW + timedelta(seconds=300)
    ((method, path, headers, body),) = server.requests
    assert (method, path) == ("POST", "/token")
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert dict(urllib.parse.parse_qsl(body.decode())) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "canary-subject-token",
        "subject_token_type": f"{URN}id_token",
        "requested_token_type": f"{URN}access_token",
        "scope": "a b",
        "audience": "ledger",
        "resource": "https://ledger.example.org/api",
    }
    pair = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "job%3Awarden:canary+client%2Fsecret"


async def test_a_token_of_a_service_account_can_be_the_subject(make_server: Callable[..., Server]) -> None:
    """Asked for from the cluster, for the audience of the server."""

    class Tokens:
        async def issue(self, namespace: str, account: str, audiences: tuple[str, ...], lifetime: timedelta) -> Issued:
            return Issued(Secret(f"canary-{namespace}-{account}-{audiences[0]}"), NOW)

    server = make_server(lambda *_: answers(200, GOOD))
    subject = {"serviceAccountToken": {"name": "deployer", "audiences": ["sso"]}}
    answer = await caller(server.url, subjectTokenFrom=subject, tokens=Tokens()).resolve(request("payments"))
    assert isinstance(answer, Session), answer
    assert "subject_token=canary-team-deployer-sso" in server.requests[0][3].decode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (GOOD | {"scope": "payments admin"}, "granted admin as well"),
        (GOOD | {"issued_token_type": f"{URN}refresh_token"}, "another type of token"),
        (without("issued_token_type"), "section 2.2.1"),
        (without("access_token"), "section 2.2.1"),
        (GOOD | {"token_type": "DPoP"}, "its bearer alone cannot use"),
        (without("expires_in"), "when the token ends"),
        (without("expires_in", access_token=jwt(exp="soon")), "when the token ends"),
        (without("expires_in", access_token=jwt(exp=True)), "when the token ends"),
        (without("expires_in", access_token="e30.%%%.x"), "when the token ends"),
        (GOOD | {"expires_in": 0}, "had ended"),
        (GOOD | {"expires_in": -5}, "had ended"),
        (without("expires_in", access_token=jwt(exp=1)), "had ended"),
        (GOOD | {"expires_in": "300"}, "section 2.2.1"),
        ([GOOD], "section 2.2.1"),
        ("<html>", "section 2.2.1"),
    ],
)
async def test_an_answer_that_is_not_what_was_asked_for_is_refused(
    make_server: Callable[..., Server], body: object, why: str
) -> None:
    """Wider, of another type, without an end, or no answer at all."""
    answer = await asked(make_server, answers(200, body), "payments")
    assert isinstance(answer, Refused), answer
    assert why in answer.message
    assert CANARY not in answer.message


@pytest.mark.parametrize(
    ("claims", "attested"),
    [
        ({"acr": "gold"}, True),
        ({"acr": ["silver", "gold", 7]}, True),
        ({"acr": "goldfish"}, False),
        ({"acr": {"gold": True}}, False),
        ({"amr": "gold"}, False),
        ({"acr": None}, False),
    ],
)
async def test_a_claim_says_what_is_attested(
    make_server: Callable[..., Server], claims: dict[str, Any], attested: bool
) -> None:
    """A text or a list of them; where nothing is to be attested it may say anything, and without the setting it says nothing."""
    server = make_server(lambda *_: answers(200, GOOD | {"access_token": jwt(**claims)}))
    plain = request("payments")
    assert plain.identity is not None
    wanted = msgspec.structs.replace(plain, identity=msgspec.structs.replace(plain.identity, attestation="gold"))
    answer = await caller(server.url, attestationClaim="acr").resolve(wanted)
    assert isinstance(answer, Session) is attested, answer
    assert isinstance(await caller(server.url, attestationClaim="acr").resolve(plain), Session)
    refused = await caller(server.url).resolve(wanted)
    assert isinstance(refused, Refused)
    assert "says nothing of attestations" in refused.message


@pytest.mark.parametrize(
    ("body", "end"),
    [
        (GOOD, NOW + timedelta(seconds=300)),
        (without("scope"), NOW + timedelta(seconds=300)),
        (GOOD | {"expires_in": 10**30}, NOW + timedelta(days=36_500)),
        (without("expires_in", access_token=jwt(exp=4_000_000_000)), datetime(2096, 10, 2, 7, 6, 40, tzinfo=UTC)),
    ],
)
async def test_an_end_is_what_the_server_says_or_the_token(
    make_server: Callable[..., Server], body: object, end: datetime
) -> None:
    """A scope that is left out is the one that was asked for: RFC 6749, section 5.1."""
    answer = await asked(make_server, answers(200, body), "payments")
    assert isinstance(answer, Session), answer
    assert answer.expires_at == end
    assert answer.scopes == ("payments",)


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (
            answers(400, {"error": "invalid_scope", "error_description": "no canary-subject-token"}),
            Refused,
            "invalid_scope: no ***",
        ),
        (answers(400, {"error": "temporarily_unavailable"}), Unavailable, "temporarily_unavailable"),
        (answers(401, {"error": "invalid_client", "error_description": "x" * 10_000}), Refused, "invalid_client"),
        (answers(503, {"error": "server_error"}, **{"Retry-After": "9"}), Unavailable, "503"),
        ((404, {}, b"not here"), Refused, "answered 404"),
        ((502, {}, b"Bad Gateway"), Unavailable, "answered 502"),
        ((307, {"Location": "http://127.0.0.1:9/elsewhere"}, b""), Refused, "answered 307"),
        ((200, {}, b"x" * 300_000), Unavailable, "more than 262144 bytes"),
    ],
)
async def test_what_a_server_says_no_with_is_told_in_bounds(
    make_server: Callable[..., Server], reply: Answer, kind: type, said: str
) -> None:
    """Final or passing as RFC 6749 and HTTP mean it; redirects would take the token elsewhere."""
    answer = await asked(make_server, reply, "payments")
    assert isinstance(answer, kind), answer
    assert isinstance(answer, Refused | Unavailable)
    assert said in answer.message
    assert len(answer.message) < 400
    if reply[0] == 503:
        assert isinstance(answer, Unavailable)
        assert answer.retry_after == timedelta(seconds=9)


async def test_over_tls_the_authority_that_is_named_is_believed_and_no_other(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """Secrets are sent to nobody else: the server hears no request."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: install it with the system's package manager")
    for name in ("own", "other"):
        subprocess.run(
            f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 "
            f"-keyout {name}.key -out {name}".split(),
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    server = make_server(lambda *_: answers(200, GOOD))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own", tmp_path / "own.key")
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    ca = {"caFrom": {"envRef": {"name": "CA"}}}
    trusted = await caller(url, **ca, ca=(tmp_path / "own").read_text()).resolve(request("payments"))
    assert isinstance(trusted, Session), trusted
    for options in ({}, {**ca, "ca": (tmp_path / "other").read_text()}):
        answer = await caller(url, **options).resolve(request("payments"))
        assert isinstance(answer, Unavailable), answer
        assert "certificate is not trusted" in answer.message
    broken = await caller(url, **ca, ca="-----BEGIN NOTHING").resolve(request("payments"))
    assert isinstance(broken, Unavailable)
    assert "no certificate in PEM" in broken.message
    assert len(server.requests) == 1
