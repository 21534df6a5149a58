"""What a credential provider is: the Protocol behind the entry points `jobwarden.identity_providers`.

An entry point names a callable, usually a class, that takes the configuration of one CredentialProvider and its `Surroundings` and gives an
`IdentityProvider`. What it can do beyond `resolve` it says by having the methods of `Downscoping`, `Renewing`, `Revoking` or `Closing`. PROVIDERS.md is the
guide, `conformance` the suite that checks one.

Invariant: a value that must not be shown is a `Secret` from where it is read to where it is handed over; a refusal and an outage are answers, not exceptions.
"""

import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NoReturn, Protocol, Self, runtime_checkable

import msgspec

from controller.base.masking import MASK
from controller.base.references import Unreadable
from controller.domain.trust import Identity, TrustLevel

GROUP = "jobwarden.identity_providers"
"""The group of entry points."""


class Secret:
    """Text that nobody sees by accident: printing, formatting, encoding and pickling it do not give it away. `reveal` does, and is easy to search for."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself, for the one place that has to hand it over."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        """In a time that tells nothing of where two texts differ."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._value), _bytes(other._value))

    # Equal without a hash: a secret is no key of anything.
    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a provider, and for whom."""

    namespace: str
    job: str
    run: str = ""  # "": nothing runs, somebody asks what would be decided
    identity: Identity | None = (
        None  # None: the provider is not that of the run's identity, so its answer has to fit none
    )
    scopes: tuple[str, ...] = ()  # all that the answer may have; (): nothing was said about scopes
    keys: tuple[str, ...] = ()  # the credentials that are wanted; (): those that there are
    lifetime: timedelta = timedelta(hours=1)  # how long credentials are needed at most


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider vouches for, and the credentials that go with it. Lives in memory only."""

    credentials: Mapping[str, Secret] = {}  # by key, such as `token`
    principal: str | None = None  # None: the provider does not say who this is
    level: TrustLevel | None = None  # None: the provider says nothing about it
    scopes: tuple[str, ...] | None = None  # what was granted; None: the provider knows nothing of scopes
    attestations: tuple[str, ...] | None = None  # what it attests about that one; None: it says nothing about it
    expires_at: datetime | None = None  # aware; None: it does not end by itself
    lease: str | None = (
        None  # what `Revoking.revoke` takes: holds no secret, since it is written down before credentials are used
    )
    kept: Secret | None = None  # for the provider alone: given back at `renew`, never delivered, never written down


class Refused(msgspec.Struct, frozen=True):
    """A verdict: no, and asking again changes nothing. The message says what is wrong and what to do."""

    message: str


class Unavailable(msgspec.Struct, frozen=True):
    """The provider cannot be asked now. The caller defers, within bounds; then it denies."""

    message: str
    retry_after: timedelta | None = None  # where the provider named a time


Answer = Session | Refused | Unavailable


@runtime_checkable
class IdentityProvider(Protocol):
    """What every provider does."""

    async def resolve(self, request: Request) -> Answer:
        """Say who this is and give the credentials that are asked for.

        Shape:  scopes no wider than `request.scopes`, and None only where scopes mean nothing to the provider; then a request that names some is refused.
        Effect: what has to be undone is named by `lease`. May be cancelled at any await: then nothing is left behind that does not end by itself.
        Errors: any exception is an outage, and its text is cut and masked; better is an `Unavailable` with words of one's own.
        """
        ...


@runtime_checkable
class Immediate(Protocol):
    """Has what it gives in memory. Of ours only: a plug-in is asked where it can be left alone when it hangs."""

    def resolve_now(self, request: Request) -> Answer:
        """As `resolve`, which is not asked then."""
        ...


@runtime_checkable
class Downscoping(Protocol):
    """Can make less of what it gave. One without this is never asked, and whoever wants less of it is refused."""

    async def downscope(self, request: Request, session: Session) -> Answer:
        """A session for `request.scopes` (at least one) made of `session`: never for more than that, nor for longer than the backend would grant anew."""
        ...


@runtime_checkable
class Renewing(Protocol):
    """Can prolong what it gave. For one without this, `resolve` is asked again."""

    async def renew(self, request: Request, session: Session) -> Answer:
        """The same credentials for longer, or others in their place. `session` is the newest one that was given; its `lease` stays the same."""
        ...


@runtime_checkable
class Revoking(Protocol):
    """Can take back what it gave."""

    async def revoke(self, lease: str) -> Refused | Unavailable | None:
        """End what `lease` names, now. None: it is over, also when it was before. May be called by another process than the one that resolved."""
        ...


@runtime_checkable
class Closing(Protocol):
    """Holds connections."""

    async def close(self) -> None:
        """Let go of them; nothing is asked afterwards."""
        ...


class SecretReader(Protocol):
    """Reads keys of Secrets of a cluster."""

    async def read(self, namespace: str, name: str, key: str) -> str | Unreadable:
        """The value as text, or why there is none. Namespace "": the controller's own."""
        ...


class Issued(msgspec.Struct, frozen=True):
    """A token of a service account."""

    token: Secret
    expires_at: datetime


class TokenIssuer(Protocol):
    """Asks a cluster for tokens of service accounts. Source: the TokenRequest API of Kubernetes."""

    async def issue(
        self, namespace: str, account: str, audiences: tuple[str, ...], lifetime: timedelta
    ) -> Issued | Refused | Unavailable:
        """A token for these audiences (): the API server's own. Namespace "": the controller's own."""
        ...
