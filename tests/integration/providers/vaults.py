"""A Vault as its documents describe its HTTP: AppRole and Kubernetes logins, KV version 2, dynamic leases that hang on the token that asked for them.

The real one cannot be built from what the package registries have. What is modelled is what a client can observe: tokens, policies (all or nothing), leases,
their ends and the words of errors. Source: Vault's HTTP API documentation.
"""

import itertools
import json
import threading
from typing import Any

from tests.integration.providers.conftest import Answer, answers

TOKEN = "hvs.canary-static-token"
SECRET_ID = "canary-secret-id-1"
KEPT = {"user": "app", "password": "canary-kept-password", "port": 5432}


class Vaulted:
    """The state; give `handle` to a Server."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {TOKEN: 0}  # token to seconds that it lives
        self.leases: dict[str, str] = {}  # lease to the token that it hangs on
        self.jwts = {"canary-account-jwt"}
        self.sealed = False
        self.token_seconds, self.lease_seconds = 1200, 600
        self.handed: list[str] = [TOKEN, SECRET_ID, str(KEPT["password"])]  # every secret that there has been
        self._count = itertools.count(1)
        self._lock = threading.Lock()

    def handle(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        with self._lock:
            return self._handle(method, path.removeprefix("/v1/"), headers, json.loads(body) if body else {})

    def _handle(self, method: str, path: str, headers: Any, body: dict[str, Any]) -> Answer:
        if self.sealed:
            return errors(503, "Vault is sealed")
        if headers.get("X-Vault-Request") != "true":
            return errors(400, "missing X-Vault-Request")
        if path == "auth/approle/login":
            good = body == {"role_id": "jobs", "secret_id": SECRET_ID}
            return self._login() if good else errors(400, f"invalid secret id {body.get('secret_id')}")
        if path == "auth/kubernetes/login":
            good = body.get("role") == "jobs" and body.get("jwt") in self.jwts
            return self._login() if good else errors(403, "permission denied")
        token = headers.get("X-Vault-Token", "")
        if token not in self.tokens:
            return errors(403, f"permission denied for token {token}")
        return self._authorized(method, path, token, body)

    def _authorized(self, method: str, path: str, token: str, body: dict[str, Any]) -> Answer:
        if (method, path) == ("GET", "secret/data/app/db"):
            return answers(200, {"data": {"data": KEPT, "metadata": {"version": 3, "destroyed": False}}})
        if (method, path) == ("GET", "secret/data/app/deleted"):
            return answers(404, {"data": {"data": None, "metadata": {"deletion_time": "2026-01-01T00:00:00Z"}}})
        if (method, path) == ("GET", "kv1/app"):
            return answers(200, {"lease_id": "", "lease_duration": 2764800, "data": KEPT})
        if (method, path) == ("GET", "database/creds/readonly"):
            return self._lease(token)
        if (method, path) == ("POST", "sys/leases/renew"):
            return self._renew(body)
        if (method, path) == ("POST", "sys/leases/revoke"):
            self.leases.pop(body["lease_id"], None)
            return 204, {}, b""
        if (method, path) == ("POST", "auth/token/renew-self"):
            return answers(
                200, {"auth": {"client_token": token, "lease_duration": self.token_seconds, "renewable": True}}
            )
        if (method, path) == ("POST", "auth/token/revoke-self"):
            del self.tokens[token]
            self.leases = {lease: parent for lease, parent in self.leases.items() if parent != token}
            return 204, {}, b""
        return answers(404, {"errors": []})

    def _login(self) -> Answer:
        token = f"hvs.canary-login-{next(self._count)}"
        self.tokens[token] = self.token_seconds
        self.handed.append(token)
        return answers(
            200,
            {
                "auth": {
                    "client_token": token,
                    "accessor": "acc",
                    "lease_duration": self.token_seconds,
                    "renewable": True,
                }
            },
        )

    def _lease(self, token: str) -> Answer:
        number = next(self._count)
        lease, password = f"database/creds/readonly/lease{number}", f"canary-dynamic-{number}"
        self.leases[lease] = token
        self.handed.append(password)
        data = {"username": f"v-jobs-{number}", "password": password}
        return answers(200, {"lease_id": lease, "renewable": True, "lease_duration": self.lease_seconds, "data": data})

    def _renew(self, body: dict[str, Any]) -> Answer:
        lease = body["lease_id"]
        if lease not in self.leases:
            return errors(400, "lease not found")
        seconds = min(body["increment"], self.lease_seconds)
        return answers(200, {"lease_id": lease, "renewable": True, "lease_duration": seconds})


def errors(status: int, *words: str) -> Answer:
    """As Vault says no."""
    return answers(status, {"errors": list(words)})
