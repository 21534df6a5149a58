"""Gates 1 and 3: who the run is, and what the runs that triggered it leave of that. Source: spec-scheduler 6.1 and 7; cases S079, S080, S097, S098, S100, S101, S103.

Where a provider stands behind an identity, it is asked for every run that is to act as it, also for one that inherits it. Invariant: what comes out has
no level and no scope that was not declared, or not the parents', whatever the provider answers, and nothing unattested that is to be attested.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from controller.domain.reasons import Reason
from controller.domain.trust import Children, Decision, Identity, Outcome, TrustLevel
from controller.gates.enquiries import Finding, NoAnswer, NotVouched, Vouched, Vouching
from controller.gates.facts import Parent, TrustFacts

IDENTITY, CHILDREN = "Identity", "Children"


class Resolved(NamedTuple):
    """Who the run is after a gate; None: nobody. `borrowed`: somebody whom its parents were before it."""

    identity: Identity | None
    outcome: Outcome
    borrowed: bool = False


class _No(NamedTuple):
    """Why an identity is not had."""

    reason: Reason
    message: str


def resolve(facts: TrustFacts) -> Resolved | Vouching:
    """The identity that the job declares, or what has to be asked about it first. Pure.

    Who is not going to act as it is not asked for it: what its parents say counts then.
    """
    identity = facts.governed.identity
    if identity is None:
        return Resolved(None, Outcome(IDENTITY, Decision.Permit, Reason.NoIdentity, Reason.NoIdentity.sentence))
    source = facts.governed.identity_from
    if identity.provider is None:
        return _permitted(identity, IDENTITY, Reason.IdentityResolved, f"declared by {source}")
    if facts.parents and not all(_children_of(parent) is Children.Independent for parent in facts.parents):
        message = f"{source} declares {words(identity)}; its provider is not asked, as other runs say who this one is"
        return Resolved(identity, Outcome(IDENTITY, Decision.Permit, Reason.IdentityResolved, message, shown(identity)))
    held = _vouched(facts, identity)
    match held:
        case Vouching():
            return held
        case _No():
            return _denied(held.reason, held.message, IDENTITY)
        case Identity():
            how = f"declared by {source}, vouched for by {_vouching(facts, held)}"
            return _permitted(held, IDENTITY, Reason.IdentityResolved, how)


def hand_down(facts: TrustFacts, own: Identity | None) -> Resolved | Vouching | None:
    """What is left of `own` under the runs that triggered this one, or what has to be asked first; None: nobody did. Pure.

    Invariant: whatever comes out has no higher level than any of those runs, and what acts as them has no scope that one of them had not; over chains of any
    depth, as each was bound likewise.
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
            return _narrowed(facts)
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
    attested = {"attestation": identity.attestation} if identity.attestation is not None else {}
    return shown | ({"scopes": " ".join(identity.scopes)} if identity.scopes else {}) | attested


def provider_of(facts: TrustFacts, identity: Identity) -> str:
    """Who stands behind an identity, in the words of messages. Pure."""
    ref = identity.provider
    if ref is None:
        return "nobody"
    return (
        f"{ref.kind} {ref.name}"
        if ref.kind.startswith("Cluster")
        else f"{ref.kind} {facts.dispatch.namespace}/{ref.name}"
    )


def _vouching(facts: TrustFacts, identity: Identity) -> str:
    """The same, with what it attests."""
    attests = f", which attests {identity.attestation}" if identity.attestation is not None else ""
    return f"{provider_of(facts, identity)}{attests}"


# Who stands behind it


def _vouched(facts: TrustFacts, identity: Identity) -> Identity | Vouching | _No:
    """The identity as far as its provider vouches for it; one without a provider as it is."""
    if identity.provider is None:
        return identity
    enquiry = Vouching(
        of=provider_of(facts, identity),
        namespace=facts.dispatch.namespace,
        job=facts.dispatch.job,
        identity=identity,
    )
    finding = facts.finding(enquiry)
    return enquiry if finding is None else _believed(identity, finding)


def _believed(identity: Identity, finding: Finding) -> Identity | _No:
    """What of an answer counts: nobody else, no higher level, no other scope; and of what was narrowed a higher level is a lie."""
    match finding:
        case Vouched(principal, level, scopes, attestations):
            pass
        case NoAnswer(message):
            return _No(Reason.NoAnswer, message)
        case NotVouched(message):
            return _No(Reason.IdentityRefused, message)
        case _:
            return _No(Reason.IdentityRefused, "its provider answered something else than what it was asked")
    if principal is not None and principal != identity.subject.principal:
        return _No(
            Reason.IdentityRefused, f"its provider vouches for {principal}, and not for {identity.subject.principal}"
        )
    if identity.attestation is not None and identity.attestation not in (attestations or ()):
        return _No(
            Reason.IdentityRefused,
            f"its provider does not attest {identity.attestation}, which the identity wants attested",
        )
    if identity.narrowed_from and level is not None and level.rank > identity.level.rank:
        return _No(
            Reason.TrustAboveParent, f"its provider says {level}, and what it was narrowed from was {identity.level}"
        )
    granted = _granted(identity, scopes)
    if isinstance(granted, _No):
        return granted
    lower = identity.level if level is None else min(identity.level, level, key=lambda one: one.rank)
    return msgspec.structs.replace(identity, level=lower, scopes=granted)


def _granted(identity: Identity, scopes: tuple[str, ...] | None) -> tuple[str, ...] | _No:
    """Those of the identity's scopes that were granted. None of them would read as if nothing was said about scopes, so that is a refusal."""
    asked = identity.scopes
    if not asked:
        return ()
    if scopes is None:
        return _No(Reason.IdentityRefused, f"its provider does not say which of {' '.join(asked)} it grants")
    if beyond := set(scopes) - set(asked):
        return _No(Reason.IdentityRefused, f"its provider grants {' '.join(sorted(beyond))}, which nobody asked for")
    left = tuple(scope for scope in asked if scope in scopes)
    return left or _No(Reason.ScopesEmpty, f"its provider grants none of {' '.join(asked)}")


# What children get


def _children_of(parent: Parent) -> Children:
    return parent.grant.credentials.children if parent.grant is not None else Children.Nothing


def _identity_of(parent: Parent) -> Identity | None:
    return parent.grant.identity if parent.grant is not None else None


def _withheld(facts: TrustFacts) -> Resolved:
    message = f"{_names(facts)} says credentialPolicy.children: None (the default), so the run has no identity"
    return Resolved(None, Outcome(CHILDREN, Decision.Permit, Reason.IdentityWithheld, message))


def _inherited(facts: TrustFacts) -> Resolved | Vouching:
    """The identity of the parents, where they have the same."""
    shared = _shared(facts)
    if shared is None:
        return Resolved(None, Outcome(CHILDREN, Decision.Permit, Reason.NoIdentity, f"{_names(facts)} has no identity"))
    return _handed(facts, shared, Reason.IdentityInherited, f"as {_names(facts)} did")


def _narrowed(facts: TrustFacts) -> Resolved | Vouching:
    """What is left of the parents' scopes; their provider has to make it, and nobody else is asked instead."""
    shared = _shared(facts)
    if shared is None:
        return _denied(Reason.DownscopeUnavailable, f"{_names(facts)} has no identity")
    if isinstance(shared, Identity):
        if shared.provider is None:
            return _denied(
                Reason.DownscopeUnavailable, f"no provider stands behind the identity of {facts.parents[0].job}"
            )
        left = tuple(scope for scope in shared.scopes if all(scope in _child_scopes(one) for one in facts.parents))
        if not left:
            had = " ".join(shared.scopes) or "none"
            return _denied(
                Reason.ScopesEmpty, f"the childScopes of {_names(facts)} leave nothing of the scopes that it had: {had}"
            )
        shared = msgspec.structs.replace(shared, scopes=left, narrowed_from=shared.scopes)
    return _handed(facts, shared, Reason.IdentityNarrowed, f"narrowed from what {_names(facts)} had")


def _child_scopes(parent: Parent) -> tuple[str, ...]:
    return parent.grant.credentials.child_scopes if parent.grant is not None else ()


def _handed(facts: TrustFacts, shared: Identity | _No, reason: Reason, how: str) -> Resolved | Vouching:
    """What the parents hand down, if its provider vouches for it now."""
    held = shared if isinstance(shared, _No) else _vouched(facts, shared)
    match held:
        case Vouching():
            return held
        case _No():
            return _denied(held.reason, held.message)
        case Identity():
            if held.narrowed_from:
                how = f"with {' '.join(held.scopes)}, {how}"
            if held.provider is not None:
                how = f"{how}, vouched for by {_vouching(facts, held)}"
            return _permitted(held, CHILDREN, reason, how, borrowed=True)


def _shared(facts: TrustFacts) -> Identity | _No | None:
    """The identity that all parents have: of several that differ in level the lowest, with the scopes that all of them have, and attested as any of them is.

    None: they have none.
    """
    theirs = [_identity_of(parent) for parent in facts.parents]
    known = [one for one in theirs if one is not None]
    if not known:
        return None
    if len(known) < len(theirs) or len({(one.subject, one.provider) for one in known}) > 1:
        return _No(Reason.ParentsDisagree, "the runs that triggered it act as different principals")
    attestations = {one.attestation for one in known} - {None}
    if len(attestations) > 1:
        # Nobody is asked for two.
        return _No(
            Reason.ParentsDisagree, "the runs that triggered it want different things attested of their principal"
        )
    lowest = min(known, key=lambda one: one.level.rank)
    scopes = _in_all([one.scopes for one in known])
    if lowest.provider is not None and not scopes and any(one.scopes for one in known):
        # To a provider no scopes mean that nobody has limited them.
        return _No(Reason.ScopesEmpty, "the runs that triggered it have no scope in common")
    narrowed = any(one.narrowed_from for one in known)
    return msgspec.structs.replace(
        lowest,
        scopes=scopes,
        attestation=next(iter(attestations), None),
        narrowed_from=_in_all([one.narrowed_from or one.scopes for one in known]) if narrowed else (),
    )


def _in_all(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(one for one in lists[0] if all(one in others for others in lists))


def _independent(facts: TrustFacts, own: Identity | None) -> Resolved:
    ceiling = min((level_of(_identity_of(parent)) for parent in facts.parents), key=lambda level: level.rank)
    level = level_of(own)
    if level.rank > ceiling.rank:
        return _denied(Reason.TrustAboveParent, f"its own identity is {level}, and {_names(facts)} was {ceiling}")
    message = f"its own identity is {level}, and {_names(facts)} was {ceiling}"
    return Resolved(own, Outcome(CHILDREN, Decision.Permit, Reason.WithinCeiling, message, {"ceiling": ceiling}))


def _permitted(identity: Identity, gate: str, reason: Reason, how: str, *, borrowed: bool = False) -> Resolved:
    message = f"acts as {words(identity)}, {how}"
    return Resolved(identity, Outcome(gate, Decision.Permit, reason, message, shown(identity)), borrowed)


def _denied(reason: Reason, message: str, gate: str = CHILDREN) -> Resolved:
    return Resolved(None, Outcome(gate, Decision.Deny, reason, message))


def _names(facts: TrustFacts) -> str:
    return ", ".join(dict.fromkeys(parent.job for parent in facts.parents))
