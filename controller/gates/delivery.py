"""Gate 2: what the job takes of its credential policy is there, and can be handed to what it runs. Source: spec-scheduler 8, step 2."""

from controller.domain.job import JobSpec, WatchdogTarget
from controller.domain.reasons import Reason
from controller.domain.trust import CredentialPolicy, Decision, Outcome

GATE = "Delivery"


def possible(policy: CredentialPolicy, spec: JobSpec) -> Outcome | None:
    """Whether there is somebody who can be given credentials, and whether every one that a variable names is delivered. None: nothing is to be said. Pure."""
    if policy.deliver and isinstance(spec.target, WatchdogTarget) and spec.target.job is not None:
        return Outcome(GATE, Decision.Deny, Reason.CredentialRefused, _NOBODY)
    wanted = {one.credential_ref for one in spec.env if one.credential_ref is not None}
    if not wanted:
        return None
    known = {one.name for one in policy.deliver}
    if missing := sorted(wanted - known):
        return Outcome(GATE, Decision.Deny, Reason.CredentialNotDelivered, _missing(missing, sorted(known)))
    message = f"its policy delivers what its variables take: {', '.join(sorted(wanted))}"
    return Outcome(GATE, Decision.Permit, Reason.CredentialDelivered, message)


_NOBODY = (
    "a watchdog over a job starts nothing that could be given a credential, and its policy delivers some: remove credentialPolicyRef or credentialPolicy, or watch with a "
    "check, which is a script"
)


def _missing(missing: list[str], known: list[str]) -> str:
    said = f"its policy delivers {', '.join(known)}" if known else "no policy delivers any"
    which = "the credential" if len(missing) == 1 else "the credentials"
    return (
        f"spec.env takes {which} {', '.join(missing)} by credentialRef, and {said}: correct the name, or add a delivery"
    )
