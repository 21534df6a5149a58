"""A Vault: what is kept there, what it makes for a run, and that nothing of it outlives what it was for."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from controller.base.clock import SystemClock
from controller.providers.calling import Caller
from controller.providers.protocol import Issued, Refused, Secret, Session, Unavailable
from controller.providers.vault import Vault
from tests.integration.providers.conftest import Server, request, surroundings
from tests.integration.providers.vaults import KEPT, SECRET_ID, TOKEN, Vaulted
from tests.unit.providers.clocks import Hand

APP_ROLE = {"appRole": {"roleID": "jobs", "secretIDFrom": {"envRef": {"name": "SECRET_ID"}}}}
STATIC = {"tokenFrom": {"envRef": {"name": "VAULT_TOKEN"}}}
DYNAMIC = {"engine": "Dynamic", "path": "database/creds/readonly"}
ENVIRONMENT = {"SECRET_ID": SECRET_ID, "VAULT_TOKEN": TOKEN}


@pytest.fixture
def vault() -> Vaulted:
    return Vaulted()


@pytest.fixture
def server(vault: Vaulted, make_server: Callable[..., Server]) -> Server:
    return make_server(vault.handle)


def caller(server: Server, auth: dict[str, Any] = APP_ROLE, clock: Any = None, **config: Any) -> Caller:
    around = surroundings(environment=ENVIRONMENT, clock=clock, tokens=Tokens())
    made = Vault({"address": server.url, "auth": auth, "path": "app/db"} | config, around)
    return Caller(made, around, timedelta(seconds=30))


class Tokens:
    """An API server that issues one token."""

    async def issue(self, namespace: str, account: str, audiences: tuple[str, ...], lifetime: timedelta) -> Issued:
        assert (namespace, account, audiences) == ("team", "deployer", ("vault",))
        return Issued(Secret("canary-account-jwt"), SystemClock().now() + lifetime)


@pytest.mark.parametrize(
    "auth",
    [
        APP_ROLE,
        STATIC,
        {"kubernetes": {"role": "jobs", "serviceAccount": "deployer", "audience": "vault"}},
    ],
)
async def test_a_kept_secret_is_read_and_no_token_is_left(vault: Vaulted, server: Server, auth: dict[str, Any]) -> None:
    """With every kind of login; numbers are their JSON."""
    answer = await caller(server, auth).resolve(request())
    assert isinstance(answer, Session), answer
    assert answer.credentials == {
        "user": Secret("app"),
        "password": Secret(str(KEPT["password"])),
        "port": Secret("5432"),
    }
    assert (answer.lease, answer.kept, answer.expires_at) == (None, None, None)
    assert set(vault.tokens) == {TOKEN}
    one = await caller(server, auth).resolve(request(keys=("password",)))
    assert isinstance(one, Session)
    assert set(one.credentials) == {"password"}


async def test_a_dynamic_secret_is_a_lease_of_its_own_that_is_renewed_and_revoked(
    vault: Vaulted, server: Server
) -> None:
    """Revoked by another instance that knows nothing but the lease; twice."""
    clock = Hand()
    asked = caller(server, clock=clock, **DYNAMIC)
    answer = await asked.resolve(request())
    assert isinstance(answer, Session), answer
    assert answer.lease in vault.leases
    assert answer.expires_at == clock.now() + timedelta(seconds=vault.lease_seconds)
    clock.move(300)
    renewed = await asked.renew(request(), answer)
    assert isinstance(renewed, Session), renewed
    assert renewed.expires_at == clock.now() + timedelta(seconds=vault.lease_seconds)
    assert renewed.credentials == answer.credentials
    after = caller(server, **DYNAMIC)
    assert await after.revoke(str(answer.lease)) is None
    assert not vault.leases
    assert await after.revoke(str(answer.lease)) is None
    ended = await asked.renew(request(), renewed)
    assert isinstance(ended, Refused)
    assert "lease not found" in ended.message


async def test_a_session_never_outlives_the_token_that_its_lease_hangs_on(vault: Vaulted, server: Server) -> None:
    """Vault ends the lease with it, whatever the lease says."""
    vault.token_seconds = 60
    clock = Hand()
    answer = await caller(server, clock=clock, **DYNAMIC).resolve(request())
    assert isinstance(answer, Session)
    assert answer.expires_at == clock.now() + timedelta(seconds=60)


async def test_two_runs_share_no_lease_and_no_token(vault: Vaulted, server: Server) -> None:
    """The end of one is not the end of the other."""
    asked = caller(server, **DYNAMIC)
    first, second = await asked.resolve(request()), await asked.resolve(request())
    assert isinstance(first, Session)
    assert isinstance(second, Session)
    assert first.credentials != second.credentials
    assert first.kept != second.kept
    assert await asked.revoke(str(first.lease)) is None
    assert set(vault.leases) == {second.lease}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"path": "app/nothing"}, "Vault answered 404 about secret/app/nothing"),
        ({"path": "app/deleted"}, "Vault answered 404"),
        ({"engine": "Dynamic", "path": "kv1/app"}, "say engine KV2"),
        (
            {"auth": {"appRole": {"roleID": "nobody", "secretIDFrom": {"envRef": {"name": "SECRET_ID"}}}}},
            "invalid secret id ***",
        ),
        ({"auth": {"tokenFrom": {"envRef": {"name": "SECRET_ID"}}}}, "permission denied for token ***"),
        ({"auth": {"tokenFrom": {"envRef": {"name": "UNSAID"}}}}, "may not be read"),
    ],
)
async def test_a_no_is_final_and_quotes_no_secret(
    vault: Vaulted, server: Server, config: dict[str, Any], why: str
) -> None:
    """Also where Vault quotes what it was sent."""
    answer = (
        await caller(server, **config).resolve(request())
        if "auth" not in config
        else await caller(server, config["auth"]).resolve(request())
    )
    assert isinstance(answer, Refused), answer
    assert why in answer.message
    assert not [secret for secret in vault.handed if secret in answer.message]
    assert not vault.leases
    assert set(vault.tokens) == {TOKEN}


async def test_a_key_that_a_dynamic_secret_does_not_have_leaves_no_lease(vault: Vaulted, server: Server) -> None:
    """What was made for nobody is taken back."""
    for auth in (APP_ROLE, STATIC):
        assert isinstance(await caller(server, auth, **DYNAMIC).resolve(request(keys=("token",))), Refused)
    assert not vault.leases
    assert set(vault.tokens) == {TOKEN}


async def test_a_sealed_vault_is_an_outage(vault: Vaulted, server: Server) -> None:
    """It is worth asking again."""
    vault.sealed = True
    answer = await caller(server).resolve(request())
    assert isinstance(answer, Unavailable)
    assert "Vault is sealed" in answer.message


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((200, {}, b"<html>captive portal</html>"), Refused),
        ((200, {}, b"[]"), Refused),
        ((200, {}, b'{"auth": {"client_token": ""}}'), Refused),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), Refused),
        ((429, {"Retry-After": "17"}, b""), Unavailable),
        ((473, {}, b""), Unavailable),
        ((500, {}, b"x" * 300_000), Unavailable),
    ],
)
async def test_answers_that_are_none_are_no_sessions(
    make_server: Callable[..., Server], reply: tuple[int, dict[str, str], bytes], kind: type
) -> None:
    """Redirects are not followed; a wait that is named is kept."""
    server = make_server(lambda *_: reply)
    answer = await caller(server).resolve(request())
    assert isinstance(answer, kind), answer
    if reply[0] == 429:
        assert isinstance(answer, Unavailable)
        assert answer.retry_after == timedelta(seconds=17)
    assert len(server.requests) == 1
