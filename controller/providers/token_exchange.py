"""The provider `oidcTokenExchange`: a token of one's own becomes a narrower one at an authorization server.

    oidcTokenExchange:
      tokenURL: https://sso.example.org/realms/jobs/protocol/openid-connect/token
      clientID: jobwarden
      clientSecretFrom: {fileRef: {path: /etc/jobwarden/client-secret}}
      subjectTokenFrom: {serviceAccountToken: {name: deployer, audiences: [sso]}}
      audience: payments

The credential is `token`. Of scopes the server grants those that were asked for, or fewer, or the answer is refused; less of a token is made by
exchanging it again. With `principalClaim`, `trustLevelClaim` and `attestationClaim` the answer's claims say who it is for: they come from the server itself, over TLS, so
their signature is not verified here (OpenID Connect Core, section 3.1.3.7, item 6). Source: RFC 8693; for errors RFC 6749, section 5.2.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import quote_plus

import msgspec

from controller.base.errors import InvalidInput
from controller.base.references import EnvRef, FileRef, SecretKeyRef, SecretSource
from controller.base.structs import described
from controller.domain.trust import TrustLevel
from controller.providers import config as configuration
from controller.providers import web
from controller.providers.config import Config
from controller.providers.protocol import Answer, Issued, Refused, Request, Secret, Session, Unavailable
from controller.providers.surroundings import Surroundings
from controller.providers.words import fit, listed

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ASK_AGAIN = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_CENTURY_S = 36_500 * 86_400


class TokenType(StrEnum):
    """Kinds of tokens, with their names of RFC 8693, section 3."""

    AccessToken = "AccessToken"
    IDToken = "IDToken"
    JWT = "JWT"

    @property
    def urn(self) -> str:
        """The name in requests."""
        return _URN + _URNS[self]


_URN = "urn:ietf:params:oauth:token-type:"
_URNS = {TokenType.AccessToken: "access_token", TokenType.IDToken: "id_token", TokenType.JWT: "jwt"}


class Account(Config, frozen=True):
    """A service account of the provider's namespace, whose token is exchanged."""

    name: str
    audiences: tuple[str, ...] = ()


class SubjectToken(Config, frozen=True):
    """Where the token is read that is exchanged. Exactly one is set."""

    env_ref: EnvRef | None = None
    file_ref: FileRef | None = None
    secret_key_ref: SecretKeyRef | None = None
    service_account_token: Account | None = None

    @property
    def source(self) -> SecretSource:
        """All but the service account."""
        return SecretSource(self.env_ref, self.file_ref, self.secret_key_ref)


@described
class ExchangeConfig(Config, frozen=True):
    """The server, who we are there, and what is exchanged for what."""

    token_url: str = msgspec.field(name="tokenURL")
    subject_token_from: SubjectToken
    subject_token_type: TokenType = TokenType.JWT
    requested_token_type: TokenType = TokenType.AccessToken
    client_id: str | None = msgspec.field(default=None, name="clientID")
    client_secret_from: SecretSource | None = None
    client_authentication: Literal["Basic", "Post"] = "Basic"
    audience: str | None = None
    resource: str | None = None
    principal_claim: str | None = None
    trust_level_claim: str | None = None
    attestation_claim: str | None = None
    ca_from: SecretSource | None = None


class _Granted(msgspec.Struct, frozen=True):
    """RFC 8693, section 2.2.1."""

    access_token: str
    issued_token_type: str
    token_type: str
    expires_in: int | None = None
    scope: str | None = None


class _Error(msgspec.Struct, frozen=True):
    """RFC 6749, section 5.2."""

    error: str
    error_description: str = ""


_granted = msgspec.json.Decoder(_Granted)
_error = msgspec.json.Decoder(_Error)


class TokenExchange:
    """`oidcTokenExchange`."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._config = configuration.read("oidcTokenExchange", config, ExchangeConfig)
        _check(self._config, surroundings)
        self._surroundings = surroundings

    async def resolve(self, request: Request) -> Answer:
        """Source: `IdentityProvider.resolve`."""
        if missing := set(request.keys) - {"token"}:
            return Refused(f"it has no credential {listed(missing)}, only token")
        subject = await self._subject_token(request)
        if not isinstance(subject, Secret):
            return subject
        return await self._exchange(request, subject, self._config.subject_token_type.urn)

    async def downscope(self, request: Request, session: Session) -> Answer:
        """Source: `Downscoping.downscope`. The token that is there becomes the subject."""
        token = session.credentials.get("token")
        if token is None:
            return Refused("the session that is to be narrowed has no token")
        return await self._exchange(request, token, self._config.requested_token_type.urn)

    async def _subject_token(self, request: Request) -> Secret | Refused | Unavailable:
        account = self._config.subject_token_from.service_account_token
        if account is None:
            return await self._surroundings.read(self._config.subject_token_from.source)
        lifetime = max(request.lifetime, timedelta(minutes=10))
        issued = await self._surroundings.token(account.name, account.audiences, lifetime)
        return issued.token if isinstance(issued, Issued) else issued

    async def _exchange(self, request: Request, subject: Secret, kind: str) -> Answer:
        config = self._config
        form = {
            "grant_type": _EXCHANGE,
            "subject_token": subject.reveal(),
            "subject_token_type": kind,
            "requested_token_type": config.requested_token_type.urn,
            **({"scope": " ".join(request.scopes)} if request.scopes else {}),
            **({"audience": config.audience} if config.audience else {}),
            **({"resource": config.resource} if config.resource else {}),
        }
        headers = await self._authenticate(form)
        if not isinstance(headers, dict):
            return headers
        authority = await self._read(config.ca_from)
        if isinstance(authority, Refused | Unavailable):
            return authority
        asked_at = self._surroundings.clock.now()
        reply = await web.ask(
            "POST",
            config.token_url,
            headers=headers,
            form=form,
            authority=authority.reveal() if authority is not None else None,
        )
        if isinstance(reply, Unavailable):
            return reply
        return self._judged(request, reply, asked_at)

    async def _authenticate(self, form: dict[str, str]) -> dict[str, str] | Refused | Unavailable:
        """Headers that say who we are; or `form` says it. Source: RFC 6749, section 2.3.1."""
        config = self._config
        if config.client_id is None:
            return {}
        secret = await self._read(config.client_secret_from)
        if isinstance(secret, Refused | Unavailable):
            return secret
        if secret is None or config.client_authentication == "Post":
            form["client_id"] = config.client_id
            if secret is not None:
                form["client_secret"] = secret.reveal()
            return {}
        pair = f"{quote_plus(config.client_id)}:{quote_plus(secret.reveal())}"
        encoded = base64.b64encode(pair.encode()).decode()
        self._surroundings.remember(Secret(encoded))
        return {"Authorization": f"Basic {encoded}"}

    async def _read(self, source: SecretSource | None) -> Secret | Refused | Unavailable | None:
        return None if source is None else await self._surroundings.read(source)

    def _judged(self, request: Request, reply: web.Reply, asked_at: datetime) -> Answer:
        if not reply.good:
            return self._failed(reply)
        granted = reply.read(_granted)
        if granted is None:
            return Refused("the authorization server's answer is none to a token exchange (RFC 8693, section 2.2.1)")
        token = Secret(granted.access_token)
        self._surroundings.remember(token)
        wanted = self._config.requested_token_type.urn
        if granted.issued_token_type != wanted:
            return Refused(f"the authorization server issued another type of token than {wanted}")
        if granted.token_type.lower() not in {"bearer", "n_a"}:
            return Refused("the authorization server issued a token that its bearer alone cannot use")
        claims = _claims(granted.access_token)
        expires_at = _end(granted, claims, asked_at)
        if expires_at is None:
            return Refused("the authorization server does not say when the token ends: let it give expires_in")
        return self._session(request, granted, token, claims, expires_at)

    def _session(
        self, request: Request, granted: _Granted, token: Secret, claims: Mapping[str, Any], expires_at: datetime
    ) -> Answer:
        # Left out, the scope is what was asked for: RFC 6749, section 5.1.
        scopes = request.scopes if granted.scope is None else tuple(granted.scope.split())
        if request.scopes and (beyond := set(scopes) - set(request.scopes)):
            return Refused(
                f"the authorization server granted {listed(beyond)} as well, which nobody asked for: take that out of the client's default scopes"
            )
        config = self._config
        principal = _text(claims, config.principal_claim)
        if config.principal_claim is not None and principal is None:
            return Refused(f"the token has no claim {config.principal_claim!r} that says who it is for")
        level = _level(claims, config.trust_level_claim)
        if isinstance(level, Refused):
            return level
        return Session(
            credentials={"token": token},
            principal=principal,
            level=level,
            scopes=scopes,
            attestations=_attested(claims, config.attestation_claim),
            expires_at=expires_at,
        )

    def _failed(self, reply: web.Reply) -> Refused | Unavailable:
        error = reply.read(_error)
        if error is None:
            message = f"the authorization server answered {reply.status}"
            return Unavailable(message, reply.retry_after) if reply.passing else Refused(message)
        said = fit(f"{error.error}: {error.error_description}".removesuffix(": "), self._surroundings.masker)
        message = f"the authorization server answered {reply.status}, {said}"
        again = reply.passing or error.error in _ASK_AGAIN
        return Unavailable(message, reply.retry_after) if again else Refused(message)


def _check(config: ExchangeConfig, surroundings: Surroundings) -> None:
    """Errors: InvalidInput naming the field."""
    place = "spec.oidcTokenExchange"
    web.check(f"{place}.tokenURL", config.token_url)
    if config.client_secret_from is not None and config.client_id is None:
        raise InvalidInput(f"{place}.clientSecretFrom: it is the secret of a client, so say clientID")
    subject = config.subject_token_from
    if subject.service_account_token is None:
        surroundings.check(f"{place}.subjectTokenFrom", subject.source)
    elif subject.source != SecretSource():
        raise InvalidInput(f"{place}.subjectTokenFrom: set exactly one of its fields")
    for name, source in (("clientSecretFrom", config.client_secret_from), ("caFrom", config.ca_from)):
        if source is not None:
            surroundings.check(f"{place}.{name}", source)


def _claims(token: str) -> Mapping[str, Any]:
    """The claims of a JWT, unverified; {} for a token that is none. Pure. Source: RFC 7519, section 3."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return {}
    return found if isinstance(found, dict) else {}


def _end(granted: _Granted, claims: Mapping[str, Any], asked_at: datetime) -> datetime | None:
    """When the token ends, counted from before it was asked for; None where nobody says it. Pure."""
    if granted.expires_in is not None:
        return asked_at + timedelta(seconds=min(max(granted.expires_in, 0), _CENTURY_S))
    said = claims.get("exp")
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < 253_402_300_799:
        return None
    return datetime.fromtimestamp(said, UTC)


def _text(claims: Mapping[str, Any], name: str | None) -> str | None:
    said = claims.get(name) if name is not None else None
    return said if isinstance(said, str) and said else None


def _attested(claims: Mapping[str, Any], name: str | None) -> tuple[str, ...] | None:
    """What a claim attests; one that is not there, or is nothing of the kind, attests nothing. Pure."""
    if name is None:
        return None
    said = claims.get(name)
    words = said if isinstance(said, list) else [said]
    return tuple(one for one in words if isinstance(one, str) and one)


def _level(claims: Mapping[str, Any], name: str | None) -> TrustLevel | Refused | None:
    """The level that a claim says; a claim that is wanted and says none of ours is a refusal. Pure."""
    if name is None:
        return None
    said = _text(claims, name)
    if said is None or said not in set(TrustLevel):
        return Refused(f"the token has no claim {name!r} that is one of {', '.join(TrustLevel)}")
    return TrustLevel(said)
