"""Every built-in provider keeps to what third parties have to."""

import asyncio
import base64
import contextlib
import json
import time
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from controller.base.references import Unreadable
from controller.providers.conformance import ProviderConformance, Subject
from controller.providers.exec_credential import ExecCredential
from controller.providers.kubernetes_secret import KubernetesSecret
from controller.providers.protocol import Issued, Refused, Secret, Unavailable
from controller.providers.references import Files, Variables
from controller.providers.service_account_token import ServiceAccountToken
from controller.providers.token_exchange import TokenExchange
from controller.providers.vault import Vault
from tests.integration.providers.conftest import CANARY, Answer, Server, answers, surroundings
from tests.integration.providers.vaults import KEPT, SECRET_ID, Vaulted


class TestEnv(ProviderConformance):
    async def subject(self) -> Subject:
        around = surroundings(environment={"TOKEN": CANARY, "USER_NAME": "app-user"})
        provider = Variables({"keys": {"token": "TOKEN", "user": "USER_NAME"}}, around)
        return Subject(provider=provider, surroundings=around, secrets=(CANARY,), keys=("token", "user"))

    async def broken(self) -> Subject:
        around = surroundings(environment={})
        return Subject(provider=Variables({"keys": {"token": "TOKEN"}}, around), surroundings=around, keys=("token",))

    def misconfigured(self) -> list[Callable[[], object]]:
        return [lambda: Variables({"keys": ["token"]}, surroundings()), lambda: Variables({}, surroundings())]


class TestFile(ProviderConformance):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path
        (tmp_path / "token").write_text(CANARY + "\n")

    async def subject(self) -> Subject:
        around = surroundings(folders=(self.path,))
        provider = Files({"keys": {"token": str(self.path / "token")}}, around)
        return Subject(provider=provider, surroundings=around, secrets=(CANARY,), keys=("token",))

    async def broken(self) -> Subject:
        around = surroundings(folders=(self.path,))
        provider = Files({"keys": {"token": str(self.path / "none")}}, around)
        return Subject(provider=provider, surroundings=around, keys=("token",))


class TestExec(ProviderConformance):
    def _made(self, script: str) -> Subject:
        around = surroundings(environment={"ISSUER_KEY": "given-canary-1"})
        env = [{"name": "KEY", "valueFrom": {"envRef": {"name": "ISSUER_KEY"}}}]
        provider = ExecCredential({"command": "/bin/sh", "args": ["-c", script], "env": env}, around)
        return Subject(
            provider=provider,
            surroundings=around,
            secrets=(CANARY, "given-canary-1"),
            keys=("token",),
            timeout=timedelta(seconds=60),
        )

    async def subject(self) -> Subject:
        status = {"token": CANARY, "expirationTimestamp": "2100-01-01T00:00:00Z"}
        attested = {"metadata": {"annotations": {"jobwarden.dev/attestation": "gold"}}, "status": status}
        shape = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", **attested}
        return msgspec.structs.replace(self._made(f"echo '{json.dumps(shape)}'"), attestation="gold")

    async def broken(self) -> Subject:
        return self._made(f'echo {CANARY}; echo "no session with $KEY and {CANARY}" >&2; exit 1')

    async def hanging(self) -> Subject:
        return self._made("while :; do /bin/sleep 1000; done")

    def misconfigured(self) -> list[Callable[[], object]]:
        ours = {"command": "/bin/true", "env": [{"name": "JOBWARDEN_SCOPES", "value": "all"}]}
        return [
            lambda: ExecCredential({"command": "relative"}, surroundings()),
            lambda: ExecCredential(ours, surroundings()),
        ]


ISSUER = """
scopes=${JOBWARDEN_SCOPES-read write}
for one in $scopes; do
  case " ${JOBWARDEN_SUBJECT_TOKEN-read write} " in
    *" $one "*|*"+$one "*) ;;
    *) printf '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "metadata": {"annotations": {"jobwarden.dev/refused": "there is no %s"}}}' "$one"; exit ;;
  esac
done
printf '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "metadata": {"annotations": {"jobwarden.dev/scopes": "%s"}}, ' "$scopes"
printf '"status": {"token": "%s+%s "}}' "$KEY" "$scopes"
"""


class TestExecWithScopes(TestExec):
    """A program that knows scopes; its tokens tell theirs."""

    async def subject(self) -> Subject:
        return msgspec.structs.replace(self._made(ISSUER), scopes=("read", "write"))


class Kept:
    """Secrets of a cluster."""

    def __init__(self, *, hangs: bool = False, works: bool = True) -> None:
        self._hangs, self._works = hangs, works

    async def read(self, namespace: str, name: str, key: str) -> str | Unreadable:
        if self._hangs:
            await asyncio.Event().wait()
        if not self._works:
            return Unreadable("the API server cannot be reached", permanent=False)
        return CANARY if key == "token" else f"{CANARY}-{key}"

    async def issue(
        self, namespace: str, account: str, audiences: tuple[str, ...], lifetime: timedelta
    ) -> Issued | Refused | Unavailable:
        found = await self.read(namespace, account, "token")
        if isinstance(found, Unreadable):
            return Unavailable(found.message)
        return Issued(Secret(found), datetime.now(UTC) + lifetime)


class TestKubernetesSecret(ProviderConformance):
    def _made(self, **options: bool) -> Subject:
        around = surroundings(secrets=Kept(**options))
        provider = KubernetesSecret({"name": "api", "keys": ["token", "user"]}, around)
        return Subject(provider=provider, surroundings=around, secrets=(CANARY,), keys=("token", "user"))

    async def subject(self) -> Subject:
        return self._made()

    async def broken(self) -> Subject:
        return self._made(works=False)

    async def hanging(self) -> Subject:
        return self._made(hangs=True)


class TestServiceAccountToken(ProviderConformance):
    def _made(self, **options: bool) -> Subject:
        around = surroundings(tokens=Kept(**options))
        provider = ServiceAccountToken({"name": "deployer", "audiences": ["payments", "ledger"]}, around)
        return Subject(
            provider=provider,
            surroundings=around,
            secrets=(CANARY,),
            keys=("token",),
            scopes=("payments", "ledger"),
            principal="system:serviceaccount:team:deployer",
        )

    async def subject(self) -> Subject:
        return self._made()

    async def broken(self) -> Subject:
        return self._made(works=False)

    async def hanging(self) -> Subject:
        return self._made(hangs=True)


class TestVaultKept(ProviderConformance):
    engine: ClassVar[dict[str, Any]] = {"path": "app/db"}
    keys: tuple[str, ...] = ("user", "password")

    @pytest.fixture(autouse=True)
    def server(self, make_server: Callable[..., Server]) -> None:
        self.vault = Vaulted()
        self.up = make_server(self.vault.handle)

    def _made(self) -> Subject:
        around = surroundings(environment={"SECRET_ID": SECRET_ID})
        auth = {"appRole": {"roleID": "jobs", "secretIDFrom": {"envRef": {"name": "SECRET_ID"}}}}
        provider = Vault({"address": self.up.url, "auth": auth, **self.engine}, around)
        secrets = (SECRET_ID, str(KEPT["password"]), "hvs.canary-login", "canary-dynamic")
        return Subject(provider=provider, surroundings=around, secrets=secrets, keys=self.keys)

    async def subject(self) -> Subject:
        return self._made()

    async def broken(self) -> Subject:
        self.vault.handle = lambda *_: (500, {}, json.dumps({"errors": [f"cannot check {SECRET_ID}"]}).encode())  # type: ignore[method-assign]
        self.up._handle = self.vault.handle
        return self._made()

    async def hanging(self) -> Subject:
        self.up.hanging = True
        return self._made()

    def misconfigured(self) -> list[Callable[[], object]]:
        return [lambda: Vault({"address": "http://vault.example.org", "auth": {}, "path": "x"}, surroundings())]


class TestVaultDynamic(TestVaultKept):
    engine: ClassVar[dict[str, Any]] = {"engine": "Dynamic", "path": "database/creds/readonly"}
    keys = ("username", "password")


class Issuer:
    """A token endpoint with the answers of RFC 8693; the scopes that a token has are in it."""

    known = ("payments", "ledger", "audit")

    def handle(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        form = dict(urllib.parse.parse_qsl(body.decode()))
        had = self._scopes_of(form["subject_token"])
        asked = form.get("scope", " ".join(had)).split()
        if set(asked) - set(had):
            return answers(
                400, {"error": "invalid_scope", "error_description": f"no {asked} for {form['subject_token']}"}
            )
        claims = {
            "sub": "svc",
            "acr": "gold",
            "scope": " ".join(asked),
            "exp": int(time.time()) + 300,
            "jti": time.time_ns(),
        }
        token = f"e30.{_part(claims)}.{CANARY}"
        urn = "urn:ietf:params:oauth:token-type:access_token"
        return answers(
            200,
            {
                "access_token": token,
                "issued_token_type": urn,
                "token_type": "Bearer",
                "expires_in": 300,
                "scope": " ".join(asked),
            },
        )

    def _scopes_of(self, token: str) -> tuple[str, ...]:
        with contextlib.suppress(IndexError, ValueError):
            claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
            return tuple(claims["scope"].split())
        return self.known


def _part(claims: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


class TestTokenExchange(ProviderConformance):
    @pytest.fixture(autouse=True)
    def server(self, make_server: Callable[..., Server]) -> None:
        self.up = make_server(Issuer().handle)

    def _made(self) -> Subject:
        around = surroundings(environment={"SUBJECT": "subject-canary-1", "CLIENT": "client-canary-1"})
        config = {
            "tokenURL": self.up.url + "/token",
            "clientID": "jobwarden",
            "clientSecretFrom": {"envRef": {"name": "CLIENT"}},
            "subjectTokenFrom": {"envRef": {"name": "SUBJECT"}},
            "principalClaim": "sub",
            "attestationClaim": "acr",
        }
        return Subject(
            provider=TokenExchange(config, around),
            surroundings=around,
            secrets=(CANARY, "subject-canary-1", "client-canary-1"),
            keys=("token",),
            scopes=Issuer.known,
            principal="svc",
            attestation="gold",
        )

    async def subject(self) -> Subject:
        return self._made()

    async def broken(self) -> Subject:
        self.up._handle = lambda *_: answers(
            400, {"error": "invalid_grant", "error_description": "bad subject-canary-1"}
        )
        return self._made()

    async def hanging(self) -> Subject:
        self.up.hanging = True
        return self._made()
