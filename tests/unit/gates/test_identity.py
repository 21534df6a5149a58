"""Who a run is, and what is left of that under the runs that triggered it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.governors import Governed
from controller.domain.reasons import Reason
from controller.domain.trust import Children, Decision, Identity, TrustLevel
from controller.gates import identity as gate
from controller.gates.enquiries import Finding, NoAnswer, NotVouched, Vouched, Vouching
from controller.gates.facts import Parent, TrustFacts
from tests.unit.gates import world

LINKS = st.tuples(st.sampled_from(list(Children)), world.SCOPES)


def settled(
    facts: TrustFacts, own: Identity | None, answer: Finding | None = None
) -> tuple[gate.Resolved | None, Vouching | None]:
    """What the gate of children says once whoever it wants to ask has answered, and what was asked."""
    left = gate.hand_down(facts, own)
    if not isinstance(left, Vouching):
        return left, None
    assert answer is not None, "somebody is to be asked, and nobody is there"
    again = gate.hand_down(msgspec.structs.replace(facts, found={left.key: answer}), own)
    assert not isinstance(again, Vouching), "an answer is not asked for again"
    return again, left


def handed(*parents: Parent, own: Identity | None = None, answer: Finding | None = None) -> gate.Resolved:
    """The same for a run that these have triggered."""
    left, _ = settled(world.facts(parents=parents), own, answer)
    assert left is not None
    return left


def resolved(facts: TrustFacts, answer: Finding | None = None) -> gate.Resolved:
    """What the first gate says once whoever it wants to ask has answered."""
    found = gate.resolve(facts)
    if isinstance(found, Vouching):
        assert answer is not None
        found = gate.resolve(msgspec.structs.replace(facts, found={found.key: answer}))
    assert isinstance(found, gate.Resolved)
    return found


def test_a_run_that_nobody_declares_is_nobody_and_untrusted() -> None:
    """There is no default principal."""
    found = resolved(world.facts())
    assert found.identity is None
    assert found.outcome.reason == Reason.NoIdentity
    assert gate.level_of(found.identity) is TrustLevel.Untrusted


def test_a_run_acts_as_its_job_declares() -> None:
    """The words say who, how far trusted, and where that is written."""
    who = world.identity()
    found = resolved(world.facts(Governed(identity=who, identity_from="IdentityProfile default/x")))
    assert found.identity == who
    assert found.outcome.message == "acts as Service reporter (Supervised), declared by IdentityProfile default/x"


def test_a_run_that_nothing_triggered_keeps_its_identity() -> None:
    """The gate of children has nothing to say."""
    assert gate.hand_down(world.facts(), world.identity()) is None


# Providers

VOUCHED = world.identity(provider=world.ISSUER, scopes=("read", "write"))


def declared(identity: Identity, **fields: Any) -> TrustFacts:
    """A job that declares this identity."""
    return world.facts(Governed(identity=identity, identity_from="IdentityProfile default/x"), **fields)


def test_a_provider_is_asked_for_exactly_what_is_declared() -> None:
    """For this job; nobody is let in before it has answered."""
    asked = gate.resolve(declared(VOUCHED))
    assert isinstance(asked, Vouching)
    assert (asked.of, asked.job, asked.identity) == ("CredentialProvider default/issuer", "job", VOUCHED)


@given(world.identities, world.findings)
def test_a_provider_adds_nothing_to_what_is_declared(who: Identity, answer: Finding) -> None:
    """No level, no scope, no other principal, and never a yes of its silence."""
    found = resolved(declared(who), answer)
    if who.provider is None:
        assert found.identity == who
    elif not isinstance(answer, Vouched):
        assert found.outcome.decision is Decision.Deny
    elif found.identity is not None:
        levels = [who.level, *([answer.level] if answer.level is not None else [])]
        assert found.identity.level is min(levels, key=lambda one: one.rank)
        assert set(found.identity.scopes) <= set(who.scopes)
        assert bool(found.identity.scopes) is bool(who.scopes)
        assert found.identity.subject == who.subject
        assert answer.principal in (None, who.subject.principal)
        assert who.attestation is None or who.attestation in (answer.attestations or ())
        assert found.identity.attestation == who.attestation
    else:
        assert found.outcome.decision is Decision.Deny


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (NotVouched("Vault timeout"), Reason.IdentityRefused, "Vault timeout"),
        (NoAnswer("connection refused"), Reason.NoAnswer, "connection refused"),
        (Vouched(principal="somebody"), Reason.IdentityRefused, "somebody"),
        (Vouched(scopes=None), Reason.IdentityRefused, "which of read write"),
        (Vouched(scopes=("read", "admin")), Reason.IdentityRefused, "admin"),
        (Vouched(scopes=()), Reason.ScopesEmpty, "none of read write"),
        (Finding(), Reason.IdentityRefused, "something else"),
    ],
)
def test_a_provider_that_does_not_vouch_refuses(answer: Finding, reason: Reason, words: str) -> None:
    """In its own words, or with what is wrong with its answer. Case S080."""
    found = resolved(declared(VOUCHED), answer)
    assert (found.identity, found.outcome.decision, found.outcome.reason) == (None, Decision.Deny, reason)
    assert words in found.outcome.message


@pytest.mark.parametrize("children", [one for one in Children if one is not Children.Independent])
def test_a_provider_is_not_asked_about_somebody_whom_the_run_will_not_be(children: Children) -> None:
    """The parents say who it is: an outage of the child's own provider is none of theirs."""
    assert isinstance(gate.resolve(declared(VOUCHED, parents=(world.parent(children),))), gate.Resolved)
    assert isinstance(gate.resolve(declared(VOUCHED, parents=(world.parent(Children.Independent),))), Vouching)


# Children


ATTESTED = msgspec.structs.replace(VOUCHED, attestation="urn:example:gold")


@pytest.mark.parametrize("said", [None, (), ("urn:example:silver", "urn:example:GOLD", "urn:example:gold ")])
def test_what_is_to_be_attested_and_is_not_refuses(said: tuple[str, ...] | None) -> None:
    """Silence is no attestation, and nothing like the word is the word; the refusal names what was wanted."""
    found = resolved(declared(ATTESTED), Vouched(scopes=("read", "write"), attestations=said))
    assert (found.identity, found.outcome.reason) == (None, Reason.IdentityRefused)
    assert "urn:example:gold" in found.outcome.message
    attested = resolved(declared(ATTESTED), Vouched(scopes=("read", "write"), attestations=("x", "urn:example:gold")))
    assert attested.identity == ATTESTED
    assert "which attests urn:example:gold" in attested.outcome.message
    assert attested.outcome.facts["attestation"] == "urn:example:gold"


@pytest.mark.parametrize("children", [Children.Inherit, Children.Downscope])
def test_whoever_acts_as_its_parent_is_attested_as_well(children: Children) -> None:
    """Anew, by the answer for the child; the requirement goes on to its own children."""
    parent = world.parent(children, ATTESTED, child_scopes=("read",))
    assert handed(parent, answer=Vouched(scopes=("read",))).outcome.reason == Reason.IdentityRefused
    left = handed(parent, answer=Vouched(scopes=("read",), attestations=("urn:example:gold",)))
    assert left.identity is not None
    assert left.identity.attestation == "urn:example:gold"


def test_several_parents_want_what_any_of_them_wants_attested() -> None:
    """Two different things are wanted of nobody."""
    silver = msgspec.structs.replace(ATTESTED, attestation="silver", level=TrustLevel.Autonomous)
    parents = (world.parent(Children.Inherit, VOUCHED, "a"), world.parent(Children.Inherit, silver, "b"))
    assert handed(*parents, answer=Vouched(scopes=("read", "write"))).outcome.reason == Reason.IdentityRefused
    left = handed(*parents, answer=Vouched(scopes=("read", "write"), attestations=("silver",)))
    assert left.identity is not None
    assert left.identity.attestation == "silver"
    both = (world.parent(Children.Inherit, ATTESTED, "a"), world.parent(Children.Inherit, silver, "b"))
    assert handed(*both).outcome.reason == Reason.ParentsDisagree


class Family:
    """Runs that triggered one another, with a provider that answers as hypothesis likes."""

    def __init__(self, data: st.DataObject) -> None:
        self._draw = data.draw
        self.runs: list[Parent] = []

    def root(self) -> None:
        """A run that nothing triggered."""
        self._keep(self._draw(st.none() | world.identities))

    def child(self) -> None:
        """A run that one to three of the others triggered; one that is refused triggers nothing."""
        parents = tuple(self._draw(st.lists(st.sampled_from(self.runs), min_size=1, max_size=3)))
        own = self._draw(st.none() | world.identities)
        left, _ = settled(world.facts(parents=parents), own, self._draw(world.findings))
        assert left is not None
        if left.outcome.decision is Decision.Deny:
            assert left.identity is None
            return
        self._check(parents, left)
        self._keep(left.identity)

    def _keep(self, who: Identity | None) -> None:
        children, child_scopes = self._draw(LINKS)
        self.runs.append(world.parent(children, who, f"run-{len(self.runs)}", child_scopes))

    def _check(self, parents: tuple[Parent, ...], left: gate.Resolved) -> None:
        for parent in parents:
            assert parent.grant is not None
            above = parent.grant.identity
            assert gate.level_of(left.identity).rank <= gate.level_of(above).rank
            if not left.borrowed:
                continue
            assert above is not None
            assert left.identity is not None
            assert left.identity.subject == above.subject
            assert left.identity.provider == above.provider
            assert above.attestation in (None, left.identity.attestation)
            assert set(left.identity.scopes) <= set(above.scopes)
            if above.provider is not None and above.scopes:
                assert left.identity.scopes, "no scopes would mean that nobody has limited them"
            if parent.grant.credentials.children is Children.Downscope:
                assert left.identity.scopes
                assert set(left.identity.scopes) <= set(parent.grant.credentials.child_scopes)
                assert set(left.identity.scopes) <= set(left.identity.narrowed_from) <= set(above.scopes)


@given(st.data())
def test_no_child_is_above_its_parents(data: st.DataObject) -> None:
    """In level, and in scopes where it acts as them: whatever they declare, whoever triggers whom, whatever the provider answers."""
    family = Family(data)
    family.root()
    for _ in range(data.draw(st.integers(1, 8))):
        family.child() if data.draw(st.integers(0, 4)) else family.root()


NARROW = world.parent(Children.Downscope, VOUCHED, child_scopes=("read", "pay"))


def test_a_child_is_narrowed_to_what_its_parent_had_and_leaves_it() -> None:
    """Never to a scope that the parent had not; the provider is asked for the rest, out of what the parent had. Case S101."""
    answer = Vouched("reporter", TrustLevel.Restricted, ("read",))
    left, asked = settled(world.facts(parents=(NARROW,)), world.identity(principal="own"), answer)
    assert left is not None
    assert asked is not None
    assert (asked.identity.scopes, asked.identity.narrowed_from) == (("read",), ("read", "write"))
    assert left.identity == msgspec.structs.replace(asked.identity, level=TrustLevel.Restricted)
    assert left.identity.subject.principal == "reporter"
    assert left.outcome.reason == Reason.IdentityNarrowed


def test_a_narrowed_child_narrows_again() -> None:
    """Out of what it has itself; and whoever inherits from it is narrowed as it was."""
    half = msgspec.structs.replace(VOUCHED, scopes=("read",), narrowed_from=("read", "write"))
    for children, scopes, narrowed_from in (
        (Children.Downscope, ("read",), ("read",)),
        (Children.Inherit, ("read",), ("read", "write")),
    ):
        left = handed(world.parent(children, half, child_scopes=("read", "write")), answer=Vouched(scopes=("read",)))
        assert left.identity is not None
        assert (left.identity.scopes, left.identity.narrowed_from) == (scopes, narrowed_from)


@pytest.mark.parametrize(
    ("parent", "reason"),
    [
        (world.parent(Children.Downscope, world.identity(scopes=("read",)), "p", ("read",)), "DownscopeUnavailable"),
        (world.parent(Children.Downscope, None, "p", ("read",)), "DownscopeUnavailable"),
        (world.parent(Children.Downscope, VOUCHED, "p", ("pay",)), "ScopesEmpty"),
        (world.parent(Children.Downscope, VOUCHED, "p"), "ScopesEmpty"),
        (
            world.parent(Children.Downscope, world.identity(provider=world.ISSUER), "p", ("read",)),
            "ScopesEmpty",
        ),
    ],
)
def test_nothing_is_narrowed_where_nobody_can_or_nothing_is_left(parent: Parent, reason: str) -> None:
    """A refusal without asking anybody, never the whole identity instead of a part of it."""
    left = handed(parent, own=world.identity())
    assert (left.identity, left.outcome.reason) == (None, reason)


def test_what_is_narrowed_is_no_more_than_it_was_made_from() -> None:
    """A provider that says a higher level lies. Case S100."""
    left = handed(NARROW, answer=Vouched(level=TrustLevel.Autonomous, scopes=("read",)))
    assert (left.identity, left.outcome.reason) == (None, Reason.TrustAboveParent)


def test_several_parents_leave_what_all_of_them_leave() -> None:
    """Of what all of them had, at the lowest of their levels; nothing in common is nothing."""
    other = msgspec.structs.replace(VOUCHED, level=TrustLevel.Restricted, scopes=("write", "read", "pay"))
    parents = (
        world.parent(Children.Downscope, VOUCHED, "a", ("read", "write")),
        world.parent(Children.Downscope, other, "b", ("read", "pay")),
    )
    left = handed(*parents, answer=Vouched(scopes=("read",)))
    assert left.identity is not None
    assert (left.identity.scopes, left.identity.level) == (("read",), TrustLevel.Restricted)
    strangers = (
        world.parent(Children.Inherit, msgspec.structs.replace(VOUCHED, scopes=("pay",)), "a"),
        world.parent(Children.Inherit, VOUCHED, "b"),
    )
    assert handed(*strangers).outcome.reason == Reason.ScopesEmpty


def test_whoever_inherits_is_vouched_for_as_well() -> None:
    """What a provider has taken back since the parent ran is taken back from the child."""
    parent = world.parent(Children.Inherit, VOUCHED)
    assert handed(parent, answer=NotVouched("revoked")).outcome.reason == Reason.IdentityRefused
    left = handed(parent, answer=Vouched(scopes=("read", "write")))
    assert left.identity == VOUCHED
    assert left.borrowed


@given(st.none() | world.identities)
def test_children_get_nothing_unless_somebody_says_so(own: Identity | None) -> None:
    """Also a child that declares an identity of its own: it could be whoever it wants otherwise. Case S097."""
    silent = Parent("p-1", "p")
    for parent in (silent, world.parent(Children.Nothing, world.identity())):
        left = handed(parent, own=own)
        assert left.identity is None
        assert left.outcome.reason == Reason.IdentityWithheld


def test_what_is_inherited_is_the_parents_identity_and_not_ones_own() -> None:
    """Whatever the child declares."""
    who = world.identity(principal="parent")
    assert handed(world.parent(Children.Inherit, who), own=world.identity(principal="own")).identity == who


def test_several_parents_hand_down_what_they_have_in_common() -> None:
    """The lowest level, and only the scopes that all of them have."""
    one = world.identity(TrustLevel.Autonomous, scopes=("read", "write"))
    other = world.identity(TrustLevel.Restricted, scopes=("read",))
    parents = (world.parent(Children.Inherit, one, "a"), world.parent(Children.Inherit, other, "b"))
    assert handed(*parents).identity == other


def test_parents_that_disagree_refuse() -> None:
    """About what children get, or about who they are."""
    for parents in (
        (world.parent(Children.Inherit, None, "a"), world.parent(Children.Independent, None, "b")),
        (
            world.parent(Children.Inherit, world.identity(principal="x"), "a"),
            world.parent(Children.Inherit, world.identity(principal="y"), "b"),
        ),
    ):
        assert handed(*parents).outcome.reason == Reason.ParentsDisagree


def test_an_identity_of_ones_own_may_be_as_high_as_the_parents_and_no_higher() -> None:
    """Case S103: autonomous under supervised is refused, supervised under autonomous is not."""
    for own, theirs, reason in (
        (TrustLevel.Autonomous, TrustLevel.Supervised, Reason.TrustAboveParent),
        (TrustLevel.Supervised, TrustLevel.Autonomous, Reason.WithinCeiling),
        (TrustLevel.Supervised, TrustLevel.Supervised, Reason.WithinCeiling),
    ):
        parent = world.parent(Children.Independent, world.identity(theirs))
        assert handed(parent, own=world.identity(own)).outcome.reason == reason


def test_a_parent_that_history_has_forgotten_refuses() -> None:
    """What it was granted cannot be known any more."""
    assert handed(Parent("gone-1", "gone", known=False)).outcome.reason == Reason.ParentUnknown
