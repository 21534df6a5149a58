"""What every provider has to keep to, as tests: subclass `ProviderConformance` in a test module, and run pytest.

    from controller.providers.conformance import ProviderConformance, Subject

    class TestMine(ProviderConformance):
        async def subject(self) -> Subject:
            surroundings = Surroundings("CredentialProvider team/mine", "team", clock=SystemClock())
            return Subject(Mine({"url": self.server.url}, surroundings), surroundings, secrets=("what-the-backend-gives",))

Each test makes its own subject, on an event loop of its own, and calls it as the controller does. Needs nothing but the standard library: `unittest.SkipTest`
says which promises a provider does not make. The built-in providers pass it (tests/integration/providers). Invariant: a test fails only for what the Protocol promises.
"""

import asyncio
import json
import pickle
import unittest
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from controller.domain.trust import Identity, SubjectKind, TrustLevel
from controller.domain.trust import Subject as Principal
from controller.providers.calling import Caller
from controller.providers.promises import Conformance, Tested, cut_off
from controller.providers.protocol import (
    Downscoping,
    IdentityProvider,
    Refused,
    Request,
    Revoking,
    Session,
    Unavailable,
)

_UNKNOWN = "jobwarden-conformance-no-such-scope"
_UNATTESTED = "jobwarden-conformance-no-such-attestation"


class Subject(Tested, frozen=True, kw_only=True):
    """A provider that answers, and what is known of it."""

    provider: IdentityProvider
    principal: str = "conformance"  # of the identity that it answers for
    level: TrustLevel = TrustLevel.Supervised  # that the identity's profile grants
    scopes: tuple[str, ...] = ()  # that it knows; two or more where it can downscope
    keys: tuple[str, ...] = ()  # that it has
    attestation: str = ""  # that it attests about that principal


class ProviderConformance(Conformance[Subject]):
    """Subclass it, and say at least what its `subject` is."""

    # Answers

    def test_it_gives_a_session_that_is_accepted(self) -> None:
        """What it gives for an honest request, the controller believes."""

        async def check(subject: Subject) -> None:
            session = await _session(subject, _request(subject))
            assert session.level is not None
            assert session.level.rank <= subject.level.rank
            if subject.keys:
                assert set(session.credentials) >= set(subject.keys)

        self._with(self.subject, check)

    def test_it_gives_no_more_credentials_than_are_wanted(self) -> None:
        """A key that is named comes alone."""

        async def check(subject: Subject) -> None:
            if not subject.keys:
                raise unittest.SkipTest("no keys are known")
            session = await _session(subject, _request(subject, keys=subject.keys[:1]))
            assert set(session.credentials) == {subject.keys[0]}

        self._with(self.subject, check)

    def test_a_key_that_it_does_not_have_is_refused(self) -> None:
        """Not left out."""

        async def check(subject: Subject) -> None:
            answer = await _caller(subject).resolve(_request(subject, keys=("jobwarden-conformance-no-such-key",)))
            assert isinstance(answer, Refused), _kind(answer)

        self._with(self.subject, check)

    def test_a_scope_that_it_does_not_know_is_not_granted(self) -> None:
        """It refuses, or gives less; it never gives what it has instead."""

        async def check(subject: Subject) -> None:
            request = _request(subject, scopes=(_UNKNOWN,))
            answer = await subject.provider.resolve(request)
            assert not isinstance(answer, Unavailable), "an unknown scope is a verdict, not an outage"
            if isinstance(answer, Session):
                assert answer.scopes is not None, "it was asked for a scope and says nothing of scopes"
                assert not set(answer.scopes) - {_UNKNOWN}, "it granted what was not asked for"

        self._with(self.subject, check)

    def test_it_grants_no_scope_that_was_not_asked_for(self) -> None:
        """One of several comes alone."""

        async def check(subject: Subject) -> None:
            if not subject.scopes:
                raise unittest.SkipTest("no scopes are known")
            session = await _session(subject, _request(subject, scopes=subject.scopes[:1]))
            assert set(session.scopes or ()) <= {subject.scopes[0]}

        self._with(self.subject, check)

    def test_what_it_attests_is_believed(self) -> None:
        """It says so for an identity that wants it attested, narrowed or not."""

        async def check(subject: Subject) -> None:
            if not subject.attestation:
                raise unittest.SkipTest("nothing is said of what it attests")
            wanted = _attesting(_request(subject, scopes=subject.scopes), subject.attestation)
            wide = await _session(subject, wanted)
            if isinstance(subject.provider, Downscoping) and subject.scopes:
                less = msgspec.structs.replace(wanted, scopes=subject.scopes[:1])
                narrow = await _caller(subject).downscope(less, wide)
                assert isinstance(narrow, Session), _kind(narrow)

        self._with(self.subject, check)

    def test_it_attests_nothing_because_it_is_wanted(self) -> None:
        """What it attests it knows; what the identity wants is no source of that."""

        async def check(subject: Subject) -> None:
            answer = await subject.provider.resolve(_attesting(_request(subject), _UNATTESTED))
            assert not isinstance(answer, Unavailable), "an unknown attestation is a verdict, not an outage"
            if isinstance(answer, Session):
                assert _UNATTESTED not in (answer.attestations or ()), "it attests whatever is wanted"

        self._with(self.subject, check)

    def test_two_requests_at_once_do_not_meet(self) -> None:
        """An instance serves many runs; every one gets what it asked for."""

        async def check(subject: Subject) -> None:
            requests = [_request(subject, run=f"run-{number}") for number in range(4)]
            caller = _caller(subject)
            answers = await asyncio.gather(*(caller.resolve(request) for request in requests))
            assert all(isinstance(answer, Session) for answer in answers), [_kind(answer) for answer in answers]
            leases = [answer.lease for answer in answers if isinstance(answer, Session) and answer.lease is not None]
            assert len(leases) == len(set(leases)), "two runs share a lease, so the end of one ends the other"

        self._with(self.subject, check)

    # Less

    def test_downscoping_gives_less_and_never_more(self) -> None:
        """For a scope that is there it works, for one that is not it is refused, also when nobody else looks."""

        async def check(subject: Subject) -> None:
            provider = subject.provider
            if not isinstance(provider, Downscoping):
                raise unittest.SkipTest("it cannot downscope, so it is never asked to")
            if not subject.scopes:
                raise unittest.SkipTest("no scopes are known")
            caller = _caller(subject)
            wide = await _session(subject, _request(subject, scopes=subject.scopes))
            wanted = _request(subject, scopes=subject.scopes[:1])
            narrow = await caller.downscope(wanted, wide)
            assert isinstance(narrow, Session), _kind(narrow)
            assert set(narrow.scopes or ()) <= set(subject.scopes[:1])
            beyond = await provider.downscope(_request(subject, scopes=(*subject.scopes[:1], _UNKNOWN)), narrow)
            granted = set(beyond.scopes or ()) if isinstance(beyond, Session) else set()
            assert granted <= {*subject.scopes[:1]}, "it made more of less"

        self._with(self.subject, check)

    # Ends

    def test_what_it_gives_ends_after_now_and_says_so_with_a_time_zone(self) -> None:
        """An end without a zone is hours wrong somewhere."""

        async def check(subject: Subject) -> None:
            answer = await subject.provider.resolve(_request(subject))
            assert isinstance(answer, Session), _kind(answer)
            if answer.expires_at is not None:
                assert answer.expires_at.tzinfo is not None
                assert answer.expires_at > subject.surroundings.clock.now()

        self._with(self.subject, check)

    def test_a_lease_can_be_revoked_twice_and_by_another_instance(self) -> None:
        """As after a crash: all that is known is the lease."""

        async def check(subject: Subject) -> None:
            session = await _session(subject, _request(subject))
            if session.lease is None or not isinstance(subject.provider, Revoking):
                raise unittest.SkipTest("it gives no leases")
            assert await _caller(await self.subject()).revoke(session.lease) is None
            assert await _caller(subject).revoke(session.lease) is None, "revoking is not idempotent"

        self._with(self.subject, check)

    def test_whoever_gives_leases_can_revoke_them(self) -> None:
        """A lease that nobody can end is none."""

        async def check(subject: Subject) -> None:
            session = await _session(subject, _request(subject))
            assert session.lease is None or isinstance(subject.provider, Revoking)

        self._with(self.subject, check)

    # Outages

    def test_a_broken_backend_is_an_outage_or_a_refusal_with_words(self) -> None:
        """Never a session; never silence."""

        async def check(subject: Subject) -> None:
            answer = await _caller(subject).resolve(_request(subject))
            assert isinstance(answer, Refused | Unavailable), _kind(answer)
            assert "does not say why" not in answer.message
            subject.unseen(answer.message, repr(answer))

        self._with(self.broken, check)

    def test_a_hanging_backend_is_cut_off(self) -> None:
        """Cancelled by whoever waits, it lets go."""

        async def check(subject: Subject) -> None:
            quick = msgspec.structs.replace(subject, timeout=timedelta(milliseconds=300))
            answer = await asyncio.wait_for(_caller(quick).resolve(_request(subject)), 30)
            assert isinstance(answer, Unavailable), _kind(answer)
            await cut_off(subject.provider.resolve(_request(subject)))

        self._with(self.hanging, check)

    # Secrets

    def test_no_secret_is_seen_by_accident(self) -> None:
        """Not in what is printed of provider, session and answers; and nothing of it can be encoded."""

        async def check(subject: Subject) -> None:
            session = await _session(subject, _request(subject))
            printed = (repr(session), str(session), f"{session}", repr(subject.provider), str(session.credentials))
            subject.unseen(*printed)
            for secret in session.credentials.values():
                assert secret.reveal() not in f"{secret!r} {secret} {secret:>8}"
            for encode in (msgspec.json.encode, json.dumps, pickle.dumps):
                _assert_refuses(encode, session)
            refused = await _caller(subject).resolve(_request(subject, scopes=(_UNKNOWN,), keys=("no-such-key",)))
            subject.unseen(repr(refused))

        self._with(self.subject, check)

    def test_a_lease_holds_no_secret(self) -> None:
        """It is written into the database."""

        async def check(subject: Subject) -> None:
            session = await _session(subject, _request(subject))
            subject.unseen(session.lease or "")

        self._with(self.subject, check)

    async def _close(self, subject: Subject) -> None:
        await _caller(subject).close()


def _caller(subject: Subject) -> Caller:
    return Caller(subject.provider, subject.surroundings, subject.timeout)


def _request(
    subject: Subject, *, scopes: tuple[str, ...] = (), keys: tuple[str, ...] = (), run: str = "conformance-1"
) -> Request:
    identity = Identity(Principal(SubjectKind.Service, subject.principal), scopes=subject.scopes, level=subject.level)
    return Request(namespace="conformance", job="job", run=run, identity=identity, scopes=scopes, keys=keys)


def _attesting(request: Request, wanted: str) -> Request:
    assert request.identity is not None
    return msgspec.structs.replace(request, identity=msgspec.structs.replace(request.identity, attestation=wanted))


async def _session(subject: Subject, request: Request) -> Session:
    answer = await _caller(subject).resolve(request)
    assert isinstance(answer, Session), _kind(answer)
    return answer


def _kind(answer: object) -> str:
    return repr(answer) if isinstance(answer, Refused | Unavailable) else type(answer).__name__


def _assert_refuses(encode: Callable[[Any], object], thing: Session) -> None:
    if not thing.credentials:
        return
    try:
        encode(thing)
    except Exception:  # noqa: BLE001 - each has its own
        return
    raise AssertionError(f"{encode.__module__} encodes a session")
