"""The provider `vault`: secrets of a Vault, or an OpenBao, by its HTTP API: values that are kept (KV version 2), or made for one run (Dynamic).

    vault:
      address: https://vault.example.org:8200
      auth: {kubernetes: {role: jobs, serviceAccount: deployer, audience: vault}}     or appRole, or tokenFrom
      engine: Dynamic
      path: database/creds/readonly                                                  for KV2: path below mount

Credentials are the fields of the secret. What Vault made for a run is a lease: it is prolonged during long runs, and revoked afterwards by its id, which is
no secret. Vault ends a lease with the token that asked for it, so a token that a login gave is kept with the session, prolonged with the lease, and the session
never outlives it; after reading a kept value such a token is revoked at once. The policy needs read on the path, and update on sys/leases/revoke for Dynamic.
Source: Vault's HTTP API: KV secrets engine v2, /sys/leases, /auth/token, AppRole and Kubernetes auth methods.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from controller.base.errors import InvalidInput
from controller.base.references import SecretSource
from controller.base.structs import described
from controller.providers import config as configuration
from controller.providers import web
from controller.providers.config import Config
from controller.providers.protocol import Answer, Issued, Refused, Request, Secret, Session, Unavailable
from controller.providers.references import no_scopes
from controller.providers.surroundings import Surroundings
from controller.providers.words import fit, listed

_TOKEN_LIFETIME = timedelta(minutes=10)
_CENTURY_S = 36_500 * 86_400


class KubernetesAuth(Config, frozen=True):
    """Login with the token of a service account of the provider's namespace."""

    role: str
    service_account: str
    audience: str | None = None
    mount: str = "kubernetes"


class AppRoleAuth(Config, frozen=True):
    """Login with a role's id and a secret id."""

    role_id: str = msgspec.field(name="roleID")
    secret_id_from: SecretSource = msgspec.field(name="secretIDFrom")
    mount: str = "approle"


class Auth(Config, frozen=True):
    """How to be somebody. Exactly one is set."""

    token_from: SecretSource | None = None
    kubernetes: KubernetesAuth | None = None
    app_role: AppRoleAuth | None = None


@described
class VaultConfig(Config, frozen=True):
    """Which Vault, who we are there, and what is read."""

    address: str
    auth: Auth
    path: str
    engine: Literal["KV2", "Dynamic"] = "KV2"
    mount: str = "secret"
    vault_namespace: str | None = None
    ca_from: SecretSource | None = None


class _Login(msgspec.Struct, frozen=True):
    client_token: str
    lease_duration: int = 0
    renewable: bool = False


class _LoggedIn(msgspec.Struct, frozen=True):
    auth: _Login


class _Versioned(msgspec.Struct, frozen=True):
    data: dict[str, Any] | None = None


class _Kept(msgspec.Struct, frozen=True):
    data: _Versioned


class _Leased(msgspec.Struct, frozen=True):
    lease_id: str = ""
    lease_duration: int = 0
    renewable: bool = False
    data: dict[str, Any] | None = None


class _Errors(msgspec.Struct, frozen=True):
    errors: list[str] = []


class _Ticket(msgspec.Struct, frozen=True):
    """A token of Vault. `own`: a login gave it to us, for this session alone."""

    token: Secret
    own: bool
    expires_at: datetime | None = None  # None: it does not end, or we are not told


_leased = msgspec.json.Decoder(_Leased)
_kept = msgspec.json.Decoder(_Kept)
_logged_in = msgspec.json.Decoder(_LoggedIn)
_errors = msgspec.json.Decoder(_Errors)


class Vault:
    """`vault`."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._config = configuration.read("vault", config, VaultConfig)
        _check(self._config, surroundings)
        self._surroundings = surroundings

    async def resolve(self, request: Request) -> Answer:
        """Source: `IdentityProvider.resolve`."""
        if request.scopes:
            return no_scopes(request)
        ticket = await self._log_in(request.lifetime)
        if not isinstance(ticket, _Ticket):
            return ticket
        answer = (
            await self._read_kept(request, ticket)
            if self._config.engine == "KV2"
            else await self._lease(request, ticket)
        )
        if ticket.own and not (isinstance(answer, Session) and answer.lease):
            await self._ask(ticket.token, "POST", "auth/token/revoke-self")  # else it ends by itself
        return answer

    async def renew(self, request: Request, session: Session) -> Answer:
        """Source: `Renewing.renew`. A lease that cannot be prolonged any more is a refusal; it still lasts until its end."""
        if session.lease is None:
            return await self.resolve(request)
        ticket = await self._renewed_ticket(request, session)
        if not isinstance(ticket, _Ticket):
            return ticket
        asked_at = self._surroundings.clock.now()
        body = {"lease_id": session.lease, "increment": _seconds(request.lifetime)}
        reply = await self._ask(ticket.token, "POST", "sys/leases/renew", body)
        if not isinstance(reply, web.Reply) or not reply.good:
            return self._failed(reply, "the lease")
        leased = reply.read(_leased)
        if leased is None or leased.lease_id != session.lease:
            return Refused("Vault's answer is none to the renewal of a lease")
        return msgspec.structs.replace(
            session, expires_at=_earlier(_end(leased.lease_duration, asked_at), ticket.expires_at)
        )

    async def revoke(self, lease: str) -> Refused | Unavailable | None:
        """Source: `Revoking.revoke`. Vault says yes to a lease that it does not know, so it may be asked twice."""
        ticket = await self._log_in(_TOKEN_LIFETIME)
        if not isinstance(ticket, _Ticket):
            return ticket
        reply = await self._ask(ticket.token, "POST", "sys/leases/revoke", {"lease_id": lease, "sync": True})
        if ticket.own:
            await self._ask(ticket.token, "POST", "auth/token/revoke-self")
        return None if isinstance(reply, web.Reply) and reply.good else self._failed(reply, "the lease")

    # Reading

    async def _read_kept(self, request: Request, ticket: _Ticket) -> Answer:
        config = self._config
        reply = await self._ask(ticket.token, "GET", f"{config.mount}/data/{config.path}")
        if not isinstance(reply, web.Reply) or not reply.good:
            return self._failed(reply, f"{config.mount}/{config.path}")
        kept = reply.read(_kept)
        if kept is None or kept.data.data is None:
            return Refused(f"Vault's answer is no secret of KV version 2: is {config.mount} such an engine?")
        return self._session(request, kept.data.data)

    async def _lease(self, request: Request, ticket: _Ticket) -> Answer:
        config = self._config
        asked_at = self._surroundings.clock.now()
        reply = await self._ask(ticket.token, "GET", config.path)
        if not isinstance(reply, web.Reply) or not reply.good:
            return self._failed(reply, config.path)
        leased = reply.read(_leased)
        if leased is None or not leased.data:
            return Refused(f"Vault's answer at {config.path} holds no credentials")
        if not leased.lease_id:
            return Refused(
                f"Vault gave no lease at {config.path}, so it cannot be revoked: for kept values say engine KV2"
            )
        session = self._session(request, leased.data)
        if not isinstance(session, Session):
            await self._ask(ticket.token, "POST", "sys/leases/revoke", {"lease_id": leased.lease_id})
            return session
        return msgspec.structs.replace(
            session,
            lease=leased.lease_id,
            expires_at=_earlier(_end(leased.lease_duration, asked_at), ticket.expires_at),
            kept=ticket.token if ticket.own else None,
        )

    def _session(self, request: Request, data: Mapping[str, Any]) -> Session | Refused:
        found = {key: Secret(_text(value)) for key, value in data.items()}
        self._surroundings.remember(*found.values())
        if missing := set(request.keys) - set(found):
            return Refused(f"the secret has no field {listed(missing)}, only {listed(found)}")
        return Session(credentials={key: found[key] for key in request.keys or found})

    # Tokens

    async def _log_in(self, lifetime: timedelta) -> _Ticket | Refused | Unavailable:
        auth = self._config.auth
        if auth.token_from is not None:
            token = await self._surroundings.read(auth.token_from)
            return _Ticket(token, own=False) if isinstance(token, Secret) else token
        if auth.app_role is not None:
            secret_id = await self._surroundings.read(auth.app_role.secret_id_from)
            if not isinstance(secret_id, Secret):
                return secret_id
            return await self._login(
                auth.app_role.mount, {"role_id": auth.app_role.role_id, "secret_id": secret_id.reveal()}
            )
        assert auth.kubernetes is not None
        return await self._log_in_as_account(auth.kubernetes, lifetime)

    async def _log_in_as_account(self, auth: KubernetesAuth, lifetime: timedelta) -> _Ticket | Refused | Unavailable:
        audiences = (auth.audience,) if auth.audience is not None else ()
        issued = await self._surroundings.token(auth.service_account, audiences, max(lifetime, _TOKEN_LIFETIME))
        if not isinstance(issued, Issued):
            return issued
        return await self._login(auth.mount, {"role": auth.role, "jwt": issued.token.reveal()})

    async def _login(self, mount: str, body: Mapping[str, str]) -> _Ticket | Refused | Unavailable:
        asked_at = self._surroundings.clock.now()
        reply = await self._ask(None, "POST", f"auth/{mount}/login", body)
        if not isinstance(reply, web.Reply) or not reply.good:
            return self._failed(reply, f"the login at {mount}")
        logged_in = reply.read(_logged_in)
        if logged_in is None or not logged_in.auth.client_token:
            return Refused(f"Vault's answer to the login at {mount} has no token")
        token = Secret(logged_in.auth.client_token)
        self._surroundings.remember(token)
        # Vault says 0 of a token that never ends.
        seconds = logged_in.auth.lease_duration
        return _Ticket(token, own=True, expires_at=_end(seconds, asked_at) if seconds else None)

    async def _renewed_ticket(self, request: Request, session: Session) -> _Ticket | Refused | Unavailable:
        """The token that the lease hangs on, prolonged."""
        if session.kept is None:
            return await self._log_in(request.lifetime)
        asked_at = self._surroundings.clock.now()
        reply = await self._ask(
            session.kept, "POST", "auth/token/renew-self", {"increment": f"{_seconds(request.lifetime)}s"}
        )
        if not isinstance(reply, web.Reply) or not reply.good:
            return self._failed(reply, "the token of the login")
        renewed = reply.read(_logged_in)
        if renewed is None:
            return Refused("Vault's answer is none to the renewal of a token")
        seconds = renewed.auth.lease_duration
        return _Ticket(session.kept, own=True, expires_at=_end(seconds, asked_at) if seconds else None)

    # Asking

    async def _ask(
        self, token: Secret | None, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> web.Reply | Refused | Unavailable:
        config = self._config
        authority = await self._surroundings.read(config.ca_from) if config.ca_from is not None else None
        if isinstance(authority, Refused | Unavailable):
            return authority
        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token.reveal()
        if config.vault_namespace is not None:
            headers["X-Vault-Namespace"] = config.vault_namespace
        return await web.ask(
            method,
            f"{config.address.rstrip('/')}/v1/{quote(path, safe='/')}",
            headers=headers,
            body=body,
            authority=authority.reveal() if authority is not None else None,
        )

    def _failed(self, reply: web.Reply | Refused | Unavailable, what: str) -> Refused | Unavailable:
        if not isinstance(reply, web.Reply):
            return reply
        errors = reply.read(_errors)
        said = fit("; ".join(errors.errors), self._surroundings.masker) if errors is not None else ""
        message = f"Vault answered {reply.status} about {what}" + (f": {said}" if said else "")
        return Unavailable(message, reply.retry_after) if reply.passing else Refused(message)


def _check(config: VaultConfig, surroundings: Surroundings) -> None:
    """Errors: InvalidInput naming the field."""
    web.check("spec.vault.address", config.address)
    configuration.segments("spec.vault.path", config.path)
    configuration.segments("spec.vault.mount", config.mount)
    auth = config.auth
    if sum(one is not None for one in (auth.token_from, auth.kubernetes, auth.app_role)) != 1:
        raise InvalidInput("spec.vault.auth: set exactly one of tokenFrom, kubernetes and appRole")
    if auth.token_from is not None:
        surroundings.check("spec.vault.auth.tokenFrom", auth.token_from)
    if auth.app_role is not None:
        surroundings.check("spec.vault.auth.appRole.secretIDFrom", auth.app_role.secret_id_from)
        configuration.segments("spec.vault.auth.appRole.mount", auth.app_role.mount)
    if auth.kubernetes is not None:
        configuration.segments("spec.vault.auth.kubernetes.mount", auth.kubernetes.mount)
    if config.ca_from is not None:
        surroundings.check("spec.vault.caFrom", config.ca_from)


def _text(value: object) -> str:
    """Fields are texts mostly; a number or a list is its JSON. Pure."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _seconds(lifetime: timedelta) -> int:
    return max(1, int(lifetime.total_seconds()))


def _end(seconds: int, asked_at: datetime) -> datetime:
    return asked_at + timedelta(seconds=min(max(seconds, 0), _CENTURY_S))


def _earlier(one: datetime, other: datetime | None) -> datetime:
    return one if other is None else min(one, other)
