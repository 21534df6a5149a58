"""Gate 2: whether the credentials that a run is to be given may be given to it. It stands after gate 3, as what it looks at is who the run is in the end.

A run that acts as itself is given what its job names. One that acts as the runs that triggered it has what the provider of that identity gives, within its scopes, and nothing from elsewhere:
that would be a way round what they left it. Source: spec-scheduler 7, case S205.
"""

from typing import NamedTuple

from controller.domain.reasons import Reason
from controller.domain.trust import CredentialPolicy, Decision, Delivery, Identity, Outcome, Ref

GATE = "Credentials"


class Origin(NamedTuple):
    """Where one credential comes from. `identity` is set where its provider is that of the run's identity, whose answer then has to fit."""

    provider: Ref
    identity: Identity | None
    scopes: tuple[str, ...]


def allowed(policy: CredentialPolicy, identity: Identity | None, *, borrowed: bool) -> Outcome | None:
    """Whether everything may be given; None: there is nothing to give. Pure.

    Shape: `borrowed` where the run acts as those that triggered it.
    """
    if not policy.deliver:
        return None
    for delivery in policy.deliver:
        found = origin(delivery, identity)
        if isinstance(found, str):
            return Outcome(GATE, Decision.Deny, Reason.CredentialRefused, found)
        if borrowed and found.identity is None:
            message = (
                f"the credential {delivery.name} comes from {found.provider.kind} {found.provider.name}, and who acts as the run that triggered it has credentials "
                "of that identity's provider alone: remove providerRef, or let the job that triggers it say children: Independent"
            )
            return Outcome(GATE, Decision.Deny, Reason.CredentialRefused, message)
    names = ", ".join(one.name for one in policy.deliver)
    return Outcome(GATE, Decision.Permit, Reason.CredentialsAllowed, f"it may be given {names}")


def origin(delivery: Delivery, identity: Identity | None) -> Origin | str:
    """Where a credential comes from and with which scopes, or why there is no such place. Pure.

    Whoever names the identity's provider himself gets no more than whoever leaves it out.
    """
    behind = identity.provider if identity is not None else None
    provider = delivery.provider or behind
    if provider is None:
        who = "has no identity" if identity is None else "has an identity that no provider stands behind"
        return f"the credential {delivery.name} comes from the provider of the run's identity, and the run {who}: name one in providerRef"
    if identity is None or provider != behind:
        return Origin(provider, None, delivery.scopes)
    if not (identity.scopes and delivery.scopes):
        return Origin(provider, identity, identity.scopes or delivery.scopes)
    left = tuple(scope for scope in delivery.scopes if scope in identity.scopes)
    if not left:
        return f"the credential {delivery.name} is to be good for {' '.join(delivery.scopes)}, and the run has {' '.join(identity.scopes)} only"
    return Origin(provider, identity, left)
