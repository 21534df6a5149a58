"""Who a run is, and what is left of that under the runs that triggered it."""

from hypothesis import given
from hypothesis import strategies as st

from controller.domain.governors import Governed
from controller.domain.reasons import Reason
from controller.domain.trust import Children, Decision, Identity, TrustLevel
from controller.gates import identity as gate
from controller.gates.facts import Parent
from tests.unit.gates import world

HANDED = st.tuples(st.sampled_from(list(Children)), st.none() | world.identities)


def test_a_run_that_nobody_declares_is_nobody_and_untrusted() -> None:
    """There is no default principal."""
    resolved = gate.resolve(world.facts())
    assert resolved.identity is None
    assert resolved.outcome.reason == Reason.NoIdentity
    assert gate.level_of(resolved.identity) is TrustLevel.Untrusted


def test_a_run_acts_as_its_job_declares() -> None:
    """The words say who, how far trusted, and where that is written."""
    who = world.identity()
    resolved = gate.resolve(world.facts(Governed(identity=who, identity_from="IdentityProfile default/x")))
    assert resolved.identity == who
    assert resolved.outcome.message == "acts as Service reporter (Supervised), declared by IdentityProfile default/x"


def test_a_run_that_nothing_triggered_keeps_its_identity() -> None:
    """The gate of children has nothing to say."""
    assert gate.hand_down(world.facts(), world.identity()) is None


@given(st.lists(HANDED, min_size=1, max_size=3), st.none() | world.identities)
def test_no_run_is_trusted_further_than_what_triggered_it(
    handed: list[tuple[Children, Identity | None]], own: Identity | None
) -> None:
    """Whatever the parents say, and however many there are."""
    parents = tuple(world.parent(children, who, f"p{number}") for number, (children, who) in enumerate(handed))
    left = gate.hand_down(world.facts(parents=parents), own)
    assert left is not None
    if left.outcome.decision is not Decision.Deny:
        ceiling = min(gate.level_of(who).rank for _, who in handed)
        assert gate.level_of(left.identity).rank <= ceiling


@given(st.lists(st.tuples(st.sampled_from(list(Children)), st.none() | world.identities), min_size=1, max_size=12))
def test_a_chain_never_climbs(links: list[tuple[Children, Identity | None]]) -> None:
    """Over any number of links each run is trusted no further than the first."""
    _, first = links[0]
    children, held = links[0][0], first
    for following, own in links[1:]:
        left = gate.hand_down(world.facts(parents=(world.parent(children, held),)), own)
        assert left is not None
        if left.outcome.decision is Decision.Deny:
            return
        held, children = left.identity, following
        assert gate.level_of(held).rank <= gate.level_of(first).rank


@given(st.none() | world.identities)
def test_children_get_nothing_unless_somebody_says_so(own: Identity | None) -> None:
    """Also a child that declares an identity of its own: it could be whoever it wants otherwise. Case S097."""
    silent = Parent("p-1", "p")
    for parent in (silent, world.parent(Children.Nothing, world.identity())):
        left = gate.hand_down(world.facts(parents=(parent,)), own)
        assert left is not None
        assert left.identity is None
        assert left.outcome.reason == Reason.IdentityWithheld


def test_what_is_inherited_is_the_parents_identity_and_not_ones_own() -> None:
    """Whatever the child declares."""
    who = world.identity(principal="parent")
    left = gate.hand_down(world.facts(parents=(world.parent(Children.Inherit, who),)), world.identity(principal="own"))
    assert left is not None
    assert left.identity == who


def test_several_parents_hand_down_what_they_have_in_common() -> None:
    """The lowest level, and only the scopes that all of them have."""
    one = world.identity(TrustLevel.Autonomous, scopes=("read", "write"))
    other = world.identity(TrustLevel.Restricted, scopes=("read",))
    parents = (world.parent(Children.Inherit, one, "a"), world.parent(Children.Inherit, other, "b"))
    left = gate.hand_down(world.facts(parents=parents), None)
    assert left is not None
    assert left.identity == other


def test_parents_that_disagree_refuse() -> None:
    """About what children get, or about who they are."""
    for parents in (
        (world.parent(Children.Inherit, None, "a"), world.parent(Children.Independent, None, "b")),
        (
            world.parent(Children.Inherit, world.identity(principal="x"), "a"),
            world.parent(Children.Inherit, world.identity(principal="y"), "b"),
        ),
    ):
        left = gate.hand_down(world.facts(parents=parents), None)
        assert left is not None
        assert left.outcome.reason == Reason.ParentsDisagree


def test_an_identity_of_ones_own_may_be_as_high_as_the_parents_and_no_higher() -> None:
    """Case S103: autonomous under supervised is refused, supervised under autonomous is not."""
    for own, theirs, reason in (
        (TrustLevel.Autonomous, TrustLevel.Supervised, Reason.TrustAboveParent),
        (TrustLevel.Supervised, TrustLevel.Autonomous, Reason.WithinCeiling),
        (TrustLevel.Supervised, TrustLevel.Supervised, Reason.WithinCeiling),
    ):
        parents = (world.parent(Children.Independent, world.identity(theirs)),)
        left = gate.hand_down(world.facts(parents=parents), world.identity(own))
        assert left is not None
        assert left.outcome.reason == reason


def test_nothing_is_narrowed_where_nobody_can_narrow() -> None:
    """A refusal, never the whole identity instead of a part of it."""
    left = gate.hand_down(world.facts(parents=(world.parent(Children.Downscope, world.identity()),)), None)
    assert left is not None
    assert left.outcome.reason == Reason.DownscopeUnavailable


def test_a_parent_that_history_has_forgotten_refuses() -> None:
    """What it was granted cannot be known any more."""
    left = gate.hand_down(world.facts(parents=(Parent("gone-1", "gone", known=False),)), None)
    assert left is not None
    assert left.outcome.reason == Reason.ParentUnknown
