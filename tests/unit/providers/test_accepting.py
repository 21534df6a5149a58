"""A provider may give less than was asked for: never more, never late, never for somebody else."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.trust import Identity, Subject, SubjectKind, TrustLevel
from controller.providers.accepting import accept, accept_narrower, credential, narrowing_refused
from controller.providers.protocol import Refused, Secret, Session

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
CANARY = "canary-5e3c1b-value"

levels = st.sampled_from(list(TrustLevel))
scopes = st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True).map(tuple)
sessions = st.builds(
    Session,
    credentials=st.just({"token": Secret(CANARY)}),
    principal=st.sampled_from([None, "svc", "other"]),
    level=st.none() | levels,
    scopes=st.none() | scopes,
    expires_at=st.sampled_from([None, NOW - timedelta(seconds=1), NOW, LATER]),
    lease=st.sampled_from([None, "lease/1", f"lease/{CANARY}"]),
)
identities = st.builds(Identity, st.just(Subject(SubjectKind.Service, "svc")), level=levels)


def someone(level: TrustLevel = TrustLevel.Supervised) -> Identity:
    return Identity(Subject(SubjectKind.Service, "svc"), level=level)


@given(identities, scopes, sessions)
def test_what_is_accepted_is_never_more_than_was_granted_and_asked(
    identity: Identity, asked: tuple[str, ...], session: Session
) -> None:
    """Level, scopes, principal and end, for every combination; and every honest answer is accepted."""
    accepted = accept(identity, asked, session, NOW)
    honest = (
        session.principal in (None, "svc")
        and (not asked or (session.scopes is not None and set(session.scopes) <= set(asked)))
        and (session.expires_at is None or session.expires_at > NOW)
        and CANARY not in (session.lease or "")
    )
    assert isinstance(accepted, Session) is honest
    if isinstance(accepted, Session):
        assert accepted.level is not None
        assert accepted.level.rank == min(identity.level.rank, (session.level or identity.level).rank)
    else:
        assert CANARY not in accepted.message


@given(identities, sessions, scopes, sessions)
def test_what_is_made_of_a_session_is_in_nothing_more_than_it(
    identity: Identity, wide: Session, asked: tuple[str, ...], made: Session
) -> None:
    """Source: spec-scheduler 7; S100."""
    wide = msgspec.structs.replace(wide, level=wide.level or identity.level)
    narrow = accept_narrower(identity, wide, asked, made, NOW)
    if isinstance(narrow, Session):
        assert asked
        assert wide.scopes is not None
        assert set(narrow.scopes or ()) <= set(asked) <= set(wide.scopes)
        assert narrow.level is not None
        assert wide.level is not None
        assert narrow.level.rank <= min(identity.level.rank, wide.level.rank)
        assert narrow.principal in (None, "svc", wide.principal)


@given(
    st.none() | st.sampled_from(["gold", "silver"]),
    st.none() | st.lists(st.sampled_from(["gold", "bronze"])).map(tuple),
)
def test_what_is_wanted_attested_is_attested(wanted: str | None, said: tuple[str, ...] | None) -> None:
    """By the session itself, also by one that was made of an attested one; without it the provider may say what it likes."""
    identity = msgspec.structs.replace(someone(), attestation=wanted)
    made = Session(scopes=("a",), attestations=said)
    wide = Session(scopes=("a", "b"), attestations=("gold", "silver"))
    for accepted in (accept(identity, ("a",), made, NOW), accept_narrower(identity, wide, ("a",), made, NOW)):
        assert isinstance(accepted, Session) is (wanted is None or wanted in (said or ()))
        if isinstance(accepted, Refused):
            assert f"does not attest {wanted!r}" in accepted.message
    assert isinstance(accept(None, ("a",), made, NOW), Session)


def test_a_level_above_the_profiles_grants_nothing() -> None:
    """What a provider says can lower the level only."""
    accepted = accept(someone(TrustLevel.Restricted), (), Session(level=TrustLevel.Autonomous), NOW)
    assert isinstance(accepted, Session)
    assert accepted.level is TrustLevel.Restricted


def test_the_provider_of_no_identity_may_answer_for_anybody_and_says_no_level() -> None:
    """Its credentials are delivered; nobody is trusted for them."""
    accepted = accept(None, (), Session(principal="robot", level=TrustLevel.Autonomous), NOW)
    assert accepted == Session(principal="robot", level=None)


def test_s100_a_narrowed_session_of_a_higher_level_is_refused() -> None:
    """A child is trusted no further than its parent."""
    wide = Session(scopes=("a", "b"), level=TrustLevel.Restricted)
    made = Session(scopes=("a",), level=TrustLevel.Supervised)
    refused = accept_narrower(someone(), wide, ("a",), made, NOW)
    assert isinstance(refused, Refused)
    assert "above Restricted" in refused.message


def test_s101_the_narrowed_session_says_who_the_child_is() -> None:
    """The principal of what was handed over is the effective one, and its lower level counts."""
    wide = Session(principal="parent", scopes=("payments", "ledger"), level=TrustLevel.Supervised)
    made = Session(principal="svc", scopes=("payments",), level=TrustLevel.Restricted)
    narrow = accept_narrower(someone(), wide, ("payments",), made, NOW)
    assert isinstance(narrow, Session)
    assert (narrow.principal, narrow.level) == ("svc", TrustLevel.Restricted)


@pytest.mark.parametrize(
    ("wide", "asked", "said"),
    [
        (Session(scopes=("a",)), (), "which scopes"),
        (Session(), ("a",), "nothing of the scopes"),
        (Session(scopes=("a",)), ("a", "b"), "scopes b"),
        (Session(scopes=("a", "b")), ("a",), None),
    ],
)
def test_narrowing_that_cannot_be_told_to_be_narrower_is_refused_beforehand(
    wide: Session, asked: tuple[str, ...], said: str | None
) -> None:
    """Nobody is asked for it."""
    refusal = narrowing_refused(wide, asked)
    assert refusal is None if said is None else said in str(refusal)


@pytest.mark.parametrize(
    "broken",
    [
        {"credentials": {"token": CANARY}},
        {"credentials": {1: Secret("x")}},
        {"credentials": {f"k{number}": Secret("x") for number in range(65)}},
        {"credentials": {"token": Secret("x" * 65_537)}},
        {"credentials": None},
        {"scopes": "admin"},
        {"scopes": ("a", 1)},
        {"principal": 1},
        {"attestations": "gold"},
        {"attestations": ["gold"]},
        {"attestations": (1,)},
        {"attestations": ("x" * 257,)},
        {"attestations": ("x",) * 65},
        {"level": "Autonomous!"},
        {"expires_at": datetime(2030, 1, 1)},  # noqa: DTZ001
        {"expires_at": "tomorrow"},
        {"lease": ""},
        {"lease": "x" * 1025},
        {"lease": {"id": 1}},
        {"credentials": {"token": Secret(CANARY)}, "lease": f"id={CANARY}"},
        {"kept": Secret(CANARY), "lease": CANARY},
    ],
)
def test_answers_of_the_wrong_shape_are_refused_without_quoting_them(broken: dict[str, object]) -> None:
    """Plug-ins are not type-checked."""
    refused = accept(someone(), (), Session(**broken), NOW)  # type: ignore[arg-type]
    assert isinstance(refused, Refused)
    assert CANARY not in refused.message


def test_a_credential_is_taken_by_its_key_or_because_it_is_alone() -> None:
    """Two and no key is a question to the person who wrote it."""
    both = Session(credentials={"user": Secret("u"), "password": Secret("p")})
    assert credential(both, "password") == Secret("p")
    alone = Session(credentials={"token": Secret("t")})
    assert credential(alone, None) == Secret("t")
    for refused in (credential(both, None), credential(both, "token"), credential(Session(), None)):
        assert isinstance(refused, Refused)
