"""The conformance suite fails for providers that break a promise: one for each."""

import unittest
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.base.clock import SystemClock
from controller.providers.conformance import ProviderConformance, Subject
from controller.providers.protocol import Refused, Request, Secret, Session, Unavailable
from controller.providers.surroundings import Surroundings

CANARY = "canary-5e3c1b-value"


class Good:
    """Breaks nothing."""

    known: tuple[str, ...] = ("a", "b")
    ended: set[str] = set()  # noqa: RUF012 - shared by instances, as a backend is
    count = 0

    async def resolve(self, request: Request) -> Any:
        if set(request.scopes) - set(self.known):
            return Refused("unknown scope")
        if set(request.keys) - {"token", "user"}:
            return Refused("unknown key")
        Good.count += 1
        found = {"token": Secret(CANARY), "user": Secret("app-user")}
        return Session(
            credentials={key: found[key] for key in request.keys or found},
            scopes=request.scopes or self.known,
            attestations=("gold",),
            lease=f"lease/{Good.count}",
        )

    async def downscope(self, request: Request, session: Session) -> Any:
        if set(request.scopes) - set(session.scopes or ()):
            return Refused("not among them")
        return await self.resolve(request)

    async def revoke(self, lease: str) -> Any:
        self.ended.add(lease)


class Ignores(Good):
    """Takes no notice of scopes."""

    async def resolve(self, request: Request) -> Any:
        return Session(credentials={"token": Secret(CANARY)}, scopes=self.known)


class Silent(Good):
    async def resolve(self, request: Request) -> Any:
        return Session(credentials={"token": Secret(CANARY), "user": Secret("app-user")})


class Flaky(Good):
    async def resolve(self, request: Request) -> Any:
        return Unavailable("scopes?") if request.scopes else await super().resolve(request)


class Widens(Good):
    async def downscope(self, request: Request, session: Session) -> Any:
        return Session(scopes=request.scopes)


class Agrees(Good):
    """Attests what is wanted."""

    async def resolve(self, request: Request) -> Any:
        assert request.identity is not None
        return Session(attestations=(request.identity.attestation or "",))


class Mute(Good):
    async def resolve(self, request: Request) -> Any:
        return Session(scopes=request.scopes, attestations=None)


class Forgets(Good):
    """Makes less of a session, and attests nothing of it."""

    async def downscope(self, request: Request, session: Session) -> Any:
        return Session(scopes=request.scopes)


class Once(Good):
    async def revoke(self, lease: str) -> Any:
        if lease in self.ended:
            return Refused("no such lease")
        return await super().revoke(lease)


class Keeps:
    """Gives leases that nobody can end."""

    async def resolve(self, request: Request) -> Any:
        return Session(scopes=request.scopes or ("a", "b"), lease="lease/1")


class Shares(Good):
    async def resolve(self, request: Request) -> Any:
        return Session(scopes=request.scopes or self.known, lease="the-one")


class Naive(Good):
    async def resolve(self, request: Request) -> Any:
        return Session(expires_at=datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1))


class Telling(Good):
    def __repr__(self) -> str:
        return f"Telling({CANARY})"


class Leaky(Good):
    async def resolve(self, request: Request) -> Any:
        return Session(credentials={"token": Secret("other")}, lease=f"lease/{CANARY}")


class Suite(ProviderConformance):
    def __init__(self, kind: type) -> None:
        self.kind = kind

    async def subject(self) -> Subject:
        around = Surroundings("CredentialProvider team/x", "team", clock=SystemClock())
        provider = self.kind()
        return Subject(
            provider=provider,
            surroundings=around,
            secrets=(CANARY,),
            scopes=("a", "b"),
            keys=("token", "user"),
            attestation="gold",
        )

    async def broken(self) -> Subject:
        return await self.subject()

    def misconfigured(self) -> list[Any]:
        return [self.kind]


PROMISES = [name for name in dir(ProviderConformance) if name.startswith("test_")]
_ABOUT_BACKENDS = {
    "test_a_broken_backend_is_an_outage_or_a_refusal_with_words",
    "test_a_wrong_configuration_is_told_when_it_is_made",
    "test_a_hanging_backend_is_cut_off",
}


@pytest.mark.parametrize("promise", sorted(set(PROMISES) - _ABOUT_BACKENDS))
def test_an_honest_provider_passes(promise: str) -> None:
    """All of it."""
    getattr(Suite(Good), promise)()


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Ignores, "test_a_scope_that_it_does_not_know_is_not_granted"),
        (Ignores, "test_it_grants_no_scope_that_was_not_asked_for"),
        (Ignores, "test_a_key_that_it_does_not_have_is_refused"),
        (Silent, "test_a_scope_that_it_does_not_know_is_not_granted"),
        (Silent, "test_it_gives_no_more_credentials_than_are_wanted"),
        (Flaky, "test_a_scope_that_it_does_not_know_is_not_granted"),
        (Widens, "test_downscoping_gives_less_and_never_more"),
        (Agrees, "test_it_attests_nothing_because_it_is_wanted"),
        (Mute, "test_what_it_attests_is_believed"),
        (Forgets, "test_what_it_attests_is_believed"),
        (Once, "test_a_lease_can_be_revoked_twice_and_by_another_instance"),
        (Keeps, "test_whoever_gives_leases_can_revoke_them"),
        (Shares, "test_two_requests_at_once_do_not_meet"),
        (Naive, "test_what_it_gives_ends_after_now_and_says_so_with_a_time_zone"),
        (Naive, "test_it_gives_a_session_that_is_accepted"),
        (Telling, "test_no_secret_is_seen_by_accident"),
        (Leaky, "test_a_lease_holds_no_secret"),
        (Good, "test_a_broken_backend_is_an_outage_or_a_refusal_with_words"),
        (Good, "test_a_wrong_configuration_is_told_when_it_is_made"),
    ],
)
def test_a_broken_promise_is_found(kind: type, promise: str) -> None:
    """By the test that has its name; what is shown of it holds no secret."""
    with pytest.raises(AssertionError) as error:
        getattr(Suite(kind), promise)()
    assert CANARY not in str(error.value)


def test_what_a_provider_does_not_promise_is_skipped() -> None:
    """And told as such."""
    with pytest.raises(unittest.SkipTest):
        Suite(Good).test_a_hanging_backend_is_cut_off()
