"""Credentials of a cluster, from a real API server: keys of Secrets, and tokens of service accounts that it takes back."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lightkube import AsyncClient

from controller.base.clock import SystemClock
from controller.domain.trust import Identity, Subject, SubjectKind
from controller.kubernetes import connection
from controller.kubernetes.secrets import Secrets
from controller.kubernetes.tokens import ServiceAccountTokens
from controller.providers.calling import Caller
from controller.providers.conformance import ProviderConformance
from controller.providers.conformance import Subject as Tried
from controller.providers.kubernetes_secret import KubernetesSecret
from controller.providers.protocol import Refused, Request, Secret, Session, Unavailable
from controller.providers.service_account_token import ServiceAccountToken
from controller.providers.surroundings import Surroundings
from tests.harness.controlplane import ControlPlane

CANARY = "canary-5e3c1b-value"
AUDIENCES = ["payments", "ledger"]


def connected(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, person: str = "controller") -> AsyncClient:
    """As the controller connects."""
    for name, value in plane.environment(person).items():
        monkeypatch.setenv(name, value)
    return connection.connect().client()


@pytest.fixture
async def client(api: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncClient]:
    """With the controller's own rights."""
    made = connected(api, monkeypatch)
    yield made
    await made.aclose()


def surroundings(client: AsyncClient, namespace: str) -> Surroundings:
    return Surroundings(
        f"CredentialProvider {namespace}/x",
        namespace,
        clock=SystemClock(),
        host=False,
        secrets=Secrets(client, "default"),
        tokens=ServiceAccountTokens(client, "default"),
    )


def caller(client: AsyncClient, namespace: str, make: Callable[..., Any], **config: Any) -> Caller:
    around = surroundings(client, namespace)
    return Caller(make(config, around), around, timedelta(seconds=60))


def request(namespace: str, *scopes: str, **fields: Any) -> Request:
    identity = Identity(Subject(SubjectKind.Workload, f"system:serviceaccount:{namespace}:deployer"))
    return Request(**{"namespace": namespace, "job": "job", "identity": identity, "scopes": scopes} | fields)


def allow(api: ControlPlane, namespace: str, verb: str, resource: str, name: str) -> None:
    role = f"{verb}-{resource}".replace("/", "-")
    api.kubectl(
        "create", "role", role, f"--verb={verb}", f"--resource={resource}", f"--resource-name={name}", "-n", namespace
    ).ok()
    api.kubectl("create", "rolebinding", role, f"--role={role}", "--user=controller", "-n", namespace).ok()


async def granted(ask: Callable[[], Awaitable[object]]) -> object:
    """The first answer that is none about rights: RBAC is known to the server a moment after it was written."""
    ends = datetime.now(UTC) + timedelta(seconds=60)
    while True:
        answer = await ask()
        refused = isinstance(answer, Refused | Unavailable) and "in a Role" in answer.message
        if not refused or datetime.now(UTC) > ends:
            return answer


def review(api: ControlPlane, token: str, *audiences: str) -> dict[str, Any]:
    """What the API server says of a token. Source: TokenReview, authentication.k8s.io/v1."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": list(audiences)},
    }
    said = api.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(body)).ok().out
    return dict(json.loads(said)["status"])


async def test_keys_of_a_secret_are_read_with_the_right_to(
    api: ControlPlane, client: AsyncClient, namespace: str
) -> None:
    """Without it the answer says which right is missing; a key that is not there, and a Secret that is not there, are told apart."""
    data = {"token": base64.b64encode(CANARY.encode()).decode(), "other": base64.b64encode(b"x").decode()}
    api.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "api"}, "data": data}, namespace=namespace
    ).ok()
    asked = caller(client, namespace, KubernetesSecret, name="api", keys=["token"])
    refused = await asked.resolve(request(namespace))
    assert isinstance(refused, Unavailable)
    assert "may not be read" in refused.message
    allow(api, namespace, "get", "secrets", "api")
    answer = await granted(lambda: asked.resolve(request(namespace)))
    assert isinstance(answer, Session), answer
    assert answer.credentials == {"token": Secret(CANARY)}
    missing = caller(client, namespace, KubernetesSecret, name="api", keys=["nosuch"])
    assert "has no key nosuch" in (await missing.resolve(request(namespace))).message  # type: ignore[union-attr]
    assert isinstance(await asked.resolve(request(namespace, keys=("other",))), Refused)


async def test_a_token_of_a_service_account_is_for_its_audiences_and_ends(
    api: ControlPlane, client: AsyncClient, namespace: str
) -> None:
    """The server takes it for those audiences, and for no other, also not for itself; half of it is for one."""
    api.kubectl("create", "serviceaccount", "deployer", "-n", namespace).ok()
    asked = caller(client, namespace, ServiceAccountToken, name="deployer", audiences=AUDIENCES, lifetime="15m")
    refused = await asked.resolve(request(namespace))
    assert isinstance(refused, Refused)
    assert "serviceaccounts/token" in refused.message
    allow(api, namespace, "create", "serviceaccounts/token", "deployer")
    wide = await granted(lambda: asked.resolve(request(namespace)))
    assert isinstance(wide, Session), wide
    token = wide.credentials["token"].reveal()
    said = review(api, token, "ledger", "unknown")
    assert said["authenticated"] is True
    assert said["audiences"] == ["ledger"]
    assert said["user"]["username"] == wide.principal == f"system:serviceaccount:{namespace}:deployer"
    assert review(api, token, "unknown").get("authenticated") is not True
    assert review(api, token, "https://kubernetes.default.svc").get("authenticated") is not True
    assert wide.expires_at is not None
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["exp"] == wide.expires_at.timestamp()
    assert claims["exp"] - claims["iat"] == 900
    half = await asked.downscope(request(namespace, "ledger"), wide)
    assert isinstance(half, Session), half
    assert review(api, half.credentials["token"].reveal(), "payments").get("authenticated") is not True
    assert review(api, half.credentials["token"].reveal(), "ledger")["authenticated"] is True
    assert isinstance(await asked.downscope(request(namespace, "payments"), half), Refused)
    assert isinstance(await asked.resolve(request(namespace, "admin")), Refused)


async def test_an_account_that_is_not_there_is_refused(
    api: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody who would see it."""
    client = connected(api, monkeypatch, "admin")
    answer = await caller(client, namespace, ServiceAccountToken, name="nobody", audiences=AUDIENCES).resolve(
        request(namespace)
    )
    await client.aclose()
    assert isinstance(answer, Refused)
    assert f"no service account {namespace}/nobody" in answer.message


async def test_an_api_server_that_is_gone_is_an_outage(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both kinds; worth asking again."""
    client = connected(plane, monkeypatch, "admin")
    plane.stop_api()
    for make, config in (
        (ServiceAccountToken, {"name": "a", "audiences": AUDIENCES}),
        (KubernetesSecret, {"name": "s", "keys": ["k"]}),
    ):
        answer = await caller(client, "default", make, **config).resolve(request("default"))
        assert isinstance(answer, Unavailable)
        assert "cannot be reached" in answer.message
    await client.aclose()


class TestServiceAccountTokenConformance(ProviderConformance):
    """What third parties have to keep to, with the real API server behind it."""

    @pytest.fixture(autouse=True)
    def cluster(self, api: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api, self.namespace, self.monkeypatch = api, namespace, monkeypatch
        api.kubectl("create", "serviceaccount", "deployer", "-n", namespace).ok()

    async def subject(self) -> Tried:
        around = surroundings(connected(self.api, self.monkeypatch, "admin"), self.namespace)
        return Tried(
            provider=ServiceAccountToken({"name": "deployer", "audiences": AUDIENCES}, around),
            surroundings=around,
            principal=f"system:serviceaccount:{self.namespace}:deployer",
            scopes=tuple(AUDIENCES),
            keys=("token",),
            timeout=timedelta(seconds=60),
        )
