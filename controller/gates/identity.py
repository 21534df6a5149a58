"""Gates 1 and 3: who the run is, and what the runs that triggered it leave of that. Source: spec-scheduler 6.1 and 7; cases S097, S098, S100, S103."""

from typing import NamedTuple

import msgspec

from controller.domain.reasons import Reason
from controller.domain.trust import Children, Decision, Identity, Outcome, TrustLevel
from controller.gates.facts import Parent, TrustFacts

IDENTITY, CHILDREN = "Identity", "Children"


class Resolved(NamedTuple):
    """Who the run is after a gate; None: nobody."""

    identity: Identity | None
    outcome: Outcome


def resolve(facts: TrustFacts) -> Resolved:
    """The identity that the job declares. Pure."""
    identity = facts.governed.identity
    if identity is None:
        return Resolved(None, Outcome(IDENTITY, Decision.Permit, Reason.NoIdentity, Reason.NoIdentity.sentence))
    message = f"acts as {words(identity)}, declared by {facts.governed.identity_from}"
    return Resolved(identity, Outcome(IDENTITY, Decision.Permit, Reason.IdentityResolved, message, shown(identity)))


def hand_down(facts: TrustFacts, own: Identity | None) -> Resolved | None:
    """What is left of `own` under the runs that triggered this one; None: nobody did. Pure.

    Invariant: whatever comes out has no higher level than any of those runs, over chains of any depth, as each was bound likewise.
    """
    if not facts.parents:
        return None
    lost = [parent for parent in facts.parents if not parent.known]
    if lost:
        return _denied(Reason.ParentUnknown, f"the run {lost[0].run} of {lost[0].job} is not in the history any more")
    said = {_children_of(parent) for parent in facts.parents}
    if len(said) > 1:
        different = ", ".join(f"{parent.job} says {_children_of(parent)}" for parent in facts.parents)
        return _denied(Reason.ParentsDisagree, different)
    match said.pop():
        case Children.Nothing:
            return _withheld(facts)
        case Children.Inherit:
            return _inherited(facts)
        case Children.Downscope:
            return _denied(
                Reason.DownscopeUnavailable, f"no provider stands behind the identity of {facts.parents[0].job}"
            )
        case Children.Independent:
            return _independent(facts, own)


def level_of(identity: Identity | None) -> TrustLevel:
    """Nobody is untrusted. Pure."""
    return identity.level if identity is not None else TrustLevel.Untrusted


def words(identity: Identity) -> str:
    """For people. Pure."""
    return f"{identity.subject.kind} {identity.subject.principal} ({identity.level})"


def shown(identity: Identity | None) -> dict[str, str]:
    """The facts of an identity that outcomes show. Pure."""
    if identity is None:
        return {"level": TrustLevel.Untrusted}
    shown = {"kind": identity.subject.kind, "principal": identity.subject.principal, "level": identity.level}
    return shown | ({"scopes": " ".join(identity.scopes)} if identity.scopes else {})


def _children_of(parent: Parent) -> Children:
    return parent.grant.credentials.children if parent.grant is not None else Children.Nothing


def _identity_of(parent: Parent) -> Identity | None:
    return parent.grant.identity if parent.grant is not None else None


def _withheld(facts: TrustFacts) -> Resolved:
    message = f"{_names(facts)} says credentialPolicy.children: None (the default), so the run has no identity"
    return Resolved(None, Outcome(CHILDREN, Decision.Permit, Reason.IdentityWithheld, message))


def _inherited(facts: TrustFacts) -> Resolved:
    """The identity of the parents, where they have the same; of several that differ in level alone the lowest."""
    theirs = [_identity_of(parent) for parent in facts.parents]
    principals = {one.subject if one is not None else None for one in theirs}
    if len(principals) > 1:
        return _denied(Reason.ParentsDisagree, "the runs that triggered it act as different principals")
    lowest = min(theirs, key=lambda one: level_of(one).rank)
    if lowest is None:
        return Resolved(None, Outcome(CHILDREN, Decision.Permit, Reason.NoIdentity, f"{_names(facts)} has no identity"))
    common = tuple(scope for scope in lowest.scopes if all(one is not None and scope in one.scopes for one in theirs))
    identity = msgspec.structs.replace(lowest, scopes=common)
    message = f"acts as {words(identity)}, as {_names(facts)} did"
    return Resolved(identity, Outcome(CHILDREN, Decision.Permit, Reason.IdentityInherited, message, shown(identity)))


def _independent(facts: TrustFacts, own: Identity | None) -> Resolved:
    ceiling = min((level_of(_identity_of(parent)) for parent in facts.parents), key=lambda level: level.rank)
    level = level_of(own)
    if level.rank > ceiling.rank:
        return _denied(Reason.TrustAboveParent, f"its own identity is {level}, and {_names(facts)} was {ceiling}")
    message = f"its own identity is {level}, and {_names(facts)} was {ceiling}"
    return Resolved(own, Outcome(CHILDREN, Decision.Permit, Reason.WithinCeiling, message, {"ceiling": ceiling}))


def _denied(reason: Reason, message: str) -> Resolved:
    return Resolved(None, Outcome(CHILDREN, Decision.Deny, reason, message))


def _names(facts: TrustFacts) -> str:
    return ", ".join(dict.fromkeys(parent.job for parent in facts.parents))
