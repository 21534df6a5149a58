"""Token exchange with a real authorization server."""

import base64
import json
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.base.clock import SystemClock
from controller.domain.proofs import Proven, Unproven, Verdict
from controller.domain.trust import Proof, ProofMethod, TrustLevel
from controller.proofs import verify
from controller.providers.calling import Caller
from controller.providers.conformance import ProviderConformance, Subject
from controller.providers.key_sets import KeySets, Place
from controller.providers.protocol import Refused, Secret, Session, Unavailable
from controller.providers.token_exchange import TokenExchange
from tests.harness.keycloak import HOW_TO_GET_IT, Keycloak, distribution
from tests.integration.providers.conftest import request, surroundings

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200)]

AGENT, CLIENT = "canary-agent-secret", "canary-client-secret"


def _mapper(name: str, kind: str, **config: str) -> dict[str, Any]:
    shown = {"access.token.claim": "true", "introspection.token.claim": "true"}
    return {"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": {**shown, **config}}


def _scope(name: str, *mappers: dict[str, Any], shown: bool = True) -> dict[str, Any]:
    attributes = {"include.in.token.scope": str(shown).lower()}
    return {"name": name, "protocol": "openid-connect", "attributes": attributes, "protocolMappers": list(mappers)}


def _client(name: str, secret: str, *default: str, optional: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {
        "clientId": name,
        "secret": secret,
        "publicClient": False,
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "defaultClientScopes": ["basic", *default],
        "optionalClientScopes": list(optional),
        **fields,
    }


_EXCHANGES = {"attributes": {"standard.token.exchange.enabled": "true"}}
_SCOPES = ("payments", "ledger")
REALM = {
    "realm": "jobs",
    "enabled": True,
    "accessTokenLifespan": 120,
    "clientScopes": [
        _scope("basic", _mapper("sub", "oidc-sub-mapper"), shown=False),
        _scope(
            "level",
            _mapper(
                "level",
                "oidc-hardcoded-claim-mapper",
                **{"claim.name": "trust_level", "claim.value": "Restricted", "jsonType.label": "String"},
            ),
            shown=False,
        ),
        *(_scope(name) for name in _SCOPES),
        _scope("email"),
    ],
    "clients": [
        _client(
            "agent",
            AGENT,
            protocolMappers=[
                _mapper("to-us", "oidc-audience-mapper", **{"included.client.audience": "jobwarden"}),
                _mapper("to-chatty", "oidc-audience-mapper", **{"included.client.audience": "chatty"}),
            ],
        ),
        _client("jobwarden", CLIENT, "level", optional=_SCOPES, **_EXCHANGES),
        _client("chatty", CLIENT, "email", optional=_SCOPES, **_EXCHANGES),
    ],
}


@pytest.fixture(scope="module")
def keycloak() -> Iterator[Keycloak]:
    """The server, shared by the tests of this module."""
    if distribution() is None:
        pytest.skip(HOW_TO_GET_IT)
    with Keycloak(Path(tempfile.gettempdir()) / f"jw-keycloak-{uuid.uuid4().hex[:12]}", REALM) as server:
        yield server


@pytest.fixture
def subject_token(keycloak: Keycloak) -> str:
    """What the run's identity has: a token of its own for us."""
    return str(keycloak.token("agent", AGENT)["access_token"])


def made(keycloak: Keycloak, token: str, **config: Any) -> tuple[TokenExchange, Any]:
    around = surroundings(environment={"SUBJECT": token, "CLIENT": CLIENT, "WRONG": "canary-wrong-secret"})
    shape = {
        "tokenURL": keycloak.token_url,
        "clientID": "jobwarden",
        "clientSecretFrom": {"envRef": {"name": "CLIENT"}},
        "subjectTokenFrom": {"envRef": {"name": "SUBJECT"}},
        "subjectTokenType": "AccessToken",
        "principalClaim": "sub",
        "trustLevelClaim": "trust_level",
    }
    return TokenExchange(shape | config, around), around


def caller(keycloak: Keycloak, token: str, **config: Any) -> Caller:
    provider, around = made(keycloak, token, **config)
    return Caller(provider, around, timedelta(seconds=60))


def claims(token: str | Secret) -> dict[str, Any]:
    text = token.reveal() if isinstance(token, Secret) else token
    return dict(json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "==")))


def scopes(token: Secret) -> set[str]:
    return set(claims(token).get("scope", "").split())


async def test_a_token_is_exchanged_for_one_that_is_narrow_and_ends(keycloak: Keycloak, subject_token: str) -> None:
    """The server itself says what the new one is good for, and for whom."""
    principal = claims(subject_token)["sub"]
    answer = await caller(keycloak, subject_token).resolve(request("payments", principal=principal))
    assert isinstance(answer, Session), answer
    token = answer.credentials["token"]
    assert scopes(token) == {"payments"} == set(answer.scopes or ())
    assert answer.principal == principal
    assert answer.level is TrustLevel.Restricted, "the profile grants Supervised, the server says Restricted"
    assert answer.expires_at is not None
    assert abs(answer.expires_at.timestamp() - claims(token)["exp"]) < 60
    said = keycloak.introspect(token.reveal(), "jobwarden", CLIENT)
    assert said["active"] is True
    assert (said["sub"], said["scope"]) == (principal, "payments")


@pytest.mark.parametrize("way", ["Basic", "Post"])
async def test_half_of_a_token_is_handed_on(keycloak: Keycloak, subject_token: str, way: str) -> None:
    """Of two scopes the child gets one; a third it does not get."""
    principal = claims(subject_token)["sub"]
    asked = caller(keycloak, subject_token, clientAuthentication=way)
    wide = await asked.resolve(request(*_SCOPES, principal=principal))
    assert isinstance(wide, Session), wide
    assert scopes(wide.credentials["token"]) == set(_SCOPES)
    half = await asked.downscope(request("ledger", principal=principal), wide)
    assert isinstance(half, Session), half
    assert scopes(half.credentials["token"]) == {"ledger"}
    assert isinstance(await asked.downscope(request("payments", principal=principal), half), Refused)


async def test_a_scope_that_the_server_does_not_know_is_refused(keycloak: Keycloak, subject_token: str) -> None:
    """In the server's words."""
    answer = await caller(keycloak, subject_token).resolve(request("admin"))
    assert isinstance(answer, Refused), answer
    assert "invalid_scope" in answer.message


async def test_a_server_that_grants_more_than_was_asked_for_is_not_believed(
    keycloak: Keycloak, subject_token: str
) -> None:
    """Default scopes of a client are added whatever was asked."""
    answer = await caller(keycloak, subject_token, clientID="chatty", trustLevelClaim=None).resolve(request("payments"))
    assert isinstance(answer, Refused), answer
    assert "granted email as well" in answer.message


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"clientSecretFrom": {"envRef": {"name": "WRONG"}}}, "_client"),
        ({"subjectTokenFrom": {"envRef": {"name": "WRONG"}}}, "invalid"),
        ({"audience": "nobody"}, "invalid_client"),
        ({"requestedTokenType": "JWT"}, "invalid_request"),
        ({"principalClaim": "nosuch"}, "no claim 'nosuch'"),
        ({"trustLevelClaim": "sub"}, "no claim 'sub' that is one of"),
        ({"tokenURL": "http://127.0.0.1:9/"}, "cannot be reached"),
    ],
)
async def test_what_the_server_refuses_is_refused_without_secrets(
    keycloak: Keycloak, subject_token: str, config: dict[str, Any], why: str
) -> None:
    """Wrong secret, wrong token, unknown audience, another type of token, claims that are not there; nobody there is an outage."""
    answer = await caller(keycloak, subject_token, **config).resolve(request("payments"))
    assert isinstance(answer, Unavailable if "cannot be reached" in why else Refused), answer
    assert why in answer.message
    for secret in (subject_token, CLIENT, "canary-wrong-secret"):
        assert secret not in answer.message


async def test_a_token_for_somebody_else_is_refused(keycloak: Keycloak, subject_token: str) -> None:
    """The subject of the token has to be the principal of the profile."""
    answer = await caller(keycloak, subject_token).resolve(request("payments", principal="somebody-else"))
    assert isinstance(answer, Refused)
    assert "not for 'somebody-else'" in answer.message


class TestTheConformanceSuite(ProviderConformance):
    """The same promises, with the real server behind them."""

    @pytest.fixture(autouse=True)
    def server(self, keycloak: Keycloak, subject_token: str) -> None:
        self.keycloak, self.token = keycloak, subject_token

    async def subject(self) -> Subject:
        provider, around = made(self.keycloak, self.token)
        return Subject(
            provider=provider,
            surroundings=around,
            secrets=(self.token, CLIENT, AGENT),
            principal=claims(self.token)["sub"],
            level=TrustLevel.Supervised,
            scopes=_SCOPES,
            keys=("token",),
            timeout=timedelta(seconds=60),
        )


class Hand(SystemClock):
    """A clock that is moved by hand where it counts seconds."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


async def test_its_tokens_are_proofs_also_after_it_has_changed_its_keys(keycloak: Keycloak) -> None:
    """Keys by discovery; a token of a new key makes it ask again, and one of the old key is good for as long as that is published."""
    clock = Hand()
    sets = KeySets(clock)
    place = Place(keycloak.issuer, discover=True)
    rule = Proof(methods=(ProofMethod.OIDC,), issuer=keycloak.issuer, audience="jobwarden")

    async def look(text: str, rule: Proof = rule) -> Verdict:
        found = verify.method_of(text, rule)
        assert isinstance(found, tuple)
        token = found[1]
        assert token is not None
        trusted = await sets.of(place, token.key)
        assert isinstance(trusted, tuple), trusted
        return verify.by_keys(token, ProofMethod.OIDC, rule, trusted, "default/job", datetime.now(UTC))

    old = str(keycloak.token("agent", AGENT)["access_token"])
    proven = await look(old)
    assert isinstance(proven, Proven), proven
    assert proven.subject == claims(old)["sub"]
    assert proven.once is not None
    wrong = await look(old, Proof(methods=(ProofMethod.OIDC,), issuer=keycloak.issuer, audience="somebody-else"))
    assert isinstance(wrong, Unproven)
    assert wrong.reason == "ProofWrongAudience"
    keycloak.rotate()
    new = str(keycloak.token("agent", AGENT)["access_token"])
    clock.seconds += 10
    renewed = await look(new)
    assert isinstance(renewed, Proven), renewed
    assert renewed.key != proven.key
    assert isinstance(await look(old), Proven)
