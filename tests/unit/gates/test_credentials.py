"""What a run may be given: from whom, and for how much of what it is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.reasons import Reason
from controller.domain.trust import CredentialPolicy, Decision, Delivery, Identity, Ref
from controller.gates import credentials as gate
from controller.gates.credentials import Origin
from tests.unit.gates import world

WHO = world.identity(provider=world.ISSUER, scopes=("read", "write"))
OTHER = Ref("vault", "CredentialProvider")


def delivery(provider: Ref | None = None, *scopes: str) -> Delivery:
    """One credential."""
    return Delivery("token", provider, scopes=scopes, env="TOKEN")


@given(st.sampled_from([None, world.ISSUER, OTHER]), world.SCOPES, st.none() | world.identities, st.booleans())
def test_nothing_is_asked_for_beyond_what_the_run_is(
    provider: Ref | None, scopes: tuple[str, ...], who: Identity | None, borrowed: bool
) -> None:
    """Of the provider of its identity: only scopes that it has, and never without any where it has some. Case S205."""
    one = delivery(provider, *scopes)
    outcome = gate.allowed(CredentialPolicy(deliver=(one,)), who, borrowed=borrowed)
    assert outcome is not None
    found = gate.origin(one, who)
    if outcome.decision is Decision.Deny:
        assert outcome.reason == Reason.CredentialRefused
        return
    assert isinstance(found, Origin)
    if borrowed:
        assert found.identity == who
    if found.identity is not None:
        assert found.provider == found.identity.provider
        assert set(found.scopes) <= set(scopes or found.identity.scopes)
        if found.identity.scopes:
            assert found.scopes
            assert set(found.scopes) <= set(found.identity.scopes)


def test_a_run_without_deliveries_is_given_nothing() -> None:
    """And nothing is said about it."""
    assert gate.allowed(CredentialPolicy(), WHO, borrowed=True) is None


@pytest.mark.parametrize("provider", [None, world.ISSUER])
def test_to_name_the_provider_of_ones_identity_is_to_leave_it_out(provider: Ref | None) -> None:
    """It is no way round what the run was narrowed to."""
    narrowed = msgspec.structs.replace(WHO, scopes=("read",), narrowed_from=("read", "write"))
    assert gate.origin(delivery(provider), narrowed) == Origin(world.ISSUER, narrowed, ("read",))
    assert gate.origin(delivery(provider, "write", "read"), narrowed) == Origin(world.ISSUER, narrowed, ("read",))


@pytest.mark.parametrize(
    ("one", "who", "borrowed", "words"),
    [
        (delivery(), None, False, "has no identity"),
        (delivery(), world.identity(), False, "no provider stands behind"),
        (delivery(None, "pay"), WHO, False, "read write only"),
        (delivery(OTHER), WHO, True, "CredentialProvider vault"),
        (delivery(OTHER), world.identity(), True, "children: Independent"),
    ],
)
def test_what_a_run_must_not_have_refuses_it(one: Delivery, who: Identity | None, borrowed: bool, words: str) -> None:
    """With what to do about it."""
    outcome = gate.allowed(CredentialPolicy(deliver=(one,)), who, borrowed=borrowed)
    assert outcome is not None
    assert (outcome.decision, outcome.reason) == (Decision.Deny, Reason.CredentialRefused)
    assert words in outcome.message


def test_whoever_acts_as_itself_has_what_its_job_names() -> None:
    """Also of others than its identity's provider; its identity is then none of theirs."""
    for who in (None, world.identity(), WHO):
        assert gate.origin(delivery(OTHER, "pay"), who) == Origin(OTHER, None, ("pay",))
        outcome = gate.allowed(CredentialPolicy(deliver=(delivery(OTHER, "pay"),)), who, borrowed=False)
        assert outcome is not None
        assert outcome.decision is Decision.Permit
