"""What a policy asks others than its rules, and what their answers mean: a decision point, and the API server.

Part of gate 6. Invariant: pure; whoever does not answer, or does not answer with a decision, denies.
"""

from collections.abc import Iterator
from typing import Any

from controller.domain import requesters
from controller.domain.reasons import Reason
from controller.domain.trust import (
    AccessResource,
    AccessReview,
    AccessSubject,
    Authorization,
    Decision,
    External,
    Identity,
    Rule,
    TrustLevel,
)
from controller.gates.authorization import Voice
from controller.gates.enquiries import AccessAsked, DecisionAsked, Enquiry, Finding, Judged, NoAnswer
from controller.gates.facts import TrustFacts

_EXTERNAL = "external"
_ACCOUNT = "system:serviceaccount:"
_JOBS = ("jobwarden.dev", "scheduledjobs")


def asked(
    name: str, policy: Authorization, facts: TrustFacts, identity: Identity | None, values: dict[str, Any]
) -> tuple[list[Voice], list[Enquiry]]:
    """What those say whom this policy asks besides its rules, and whom of them nobody has asked yet. Pure."""
    voices: list[Voice] = []
    open_: list[Enquiry] = []
    for one in _questions(name, policy, facts, identity, values):
        if isinstance(one, Voice):
            voices.append(one)
            continue
        finding = facts.finding(one)
        if finding is None:
            open_.append(one)
        elif isinstance(one, AccessAsked):
            voices.append(_by_server(one, finding))
        elif policy.external is not None:
            voices.append(_by_point(name, policy.external, finding))
    return voices, open_


def _questions(
    name: str, policy: Authorization, facts: TrustFacts, identity: Identity | None, values: dict[str, Any]
) -> Iterator[Voice | Enquiry]:
    dispatch = facts.dispatch
    if policy.external is not None:
        yield DecisionAsked(
            of=name,
            namespace=dispatch.namespace,
            home="" if name.startswith("Cluster") else dispatch.namespace,
            external=policy.external,
            input={key: value for key, value in values.items() if key != "time"},
            time_zone=facts.time_zone,
        )
    if policy.access is not None:
        user = _user(policy.access, facts, identity)
        if isinstance(user, Voice):
            yield user
        else:
            yield _access(name, policy.access, facts, user)


# The decision point


def _by_point(name: str, external: External, finding: Finding) -> Voice:
    facts = {"decisionPoint": external.where}
    match finding:
        case Judged(decision, message, understood=True) if decision in _REASONS:
            said = f"the decision point of {name} says {decision}{f': {message}' if message else ''}"
            return Voice(decision, _REASONS[decision], said, _people(external, decision, message), facts)
        case Judged(message=message):
            said = f"the decision point of {name} gave no decision: {message}"
            return Voice(Decision.Deny, Reason.DecisionInvalid, said, facts=facts)
        case _:
            return _silent(f"the decision point of {name}", finding, facts)


_REASONS = {
    Decision.Deny: Reason.DecisionPointDenied,
    Decision.Escalate: Reason.Escalated,
    Decision.Permit: Reason.Permitted,
}


def _people(external: External, decision: Decision, why: str) -> Rule | None:
    """How they are asked; a decision point has a say in whether, not in how."""
    if decision is not Decision.Escalate:
        return None
    how = external.escalation
    return Rule(_EXTERNAL, "", decision, why, how.approvals, how.allow_self, how.timeout)


# The API server


def _user(access: AccessReview, facts: TrustFacts, identity: Identity | None) -> str | Voice:
    """Whose rights are asked about; a refusal where that is nobody whom somebody vouches for."""
    if access.subject is AccessSubject.Requester:
        requester = facts.dispatch.actor
        if requester is None or requesters.is_unknown(requester):
            return _nobody("nobody who is known asked for the run, so there are no rights to look at")
        return requester
    if identity is None or identity.level is TrustLevel.Untrusted:
        # Whoever writes a job may write any name into it.
        return _nobody("the run's identity is Untrusted: what it calls itself has no rights")
    if access.subject is AccessSubject.Principal:
        return identity.subject.principal
    return identity.subject.run_as or _nobody(
        "the run's identity says nothing in runAs, so there are no rights to look at"
    )


def _nobody(why: str) -> Voice:
    return Voice(Decision.Deny, Reason.AccessDenied, why)


def _access(name: str, access: AccessReview, facts: TrustFacts, user: str) -> AccessAsked:
    group, resource = _JOBS
    itself = AccessResource(resource, group, name=facts.dispatch.job)
    return AccessAsked(
        of=name,
        namespace=facts.dispatch.namespace,
        user=user,
        groups=_groups(user, access.groups),
        verb=access.verb,
        resource=None if access.path is not None else access.resource or itself,
        path=access.path,
    )


def _groups(user: str, declared: tuple[str, ...]) -> tuple[str, ...]:
    """Those that the API server itself would put the user in, and the declared ones. Source: Kubernetes, "Authenticating", service account tokens."""
    own = ["system:authenticated"]
    namespace, _, account = user.removeprefix(_ACCOUNT).partition(":")
    if user.startswith(_ACCOUNT) and namespace and account:
        own += ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    return tuple(dict.fromkeys([*own, *declared]))


def _by_server(asked: AccessAsked, finding: Finding) -> Voice:
    facts = {"access": asked.what, "user": asked.user}
    match finding:
        case Judged(Decision.Permit, understood=True):
            said = f"the API server says that {asked.user} may {asked.what}"
            return Voice(Decision.Permit, Reason.Permitted, said, facts=facts)
        case Judged(message=message, understood=True):
            said = f"the API server says that {asked.user} may not {asked.what}{f': {message}' if message else ''}"
            return Voice(Decision.Deny, Reason.AccessDenied, said, facts=facts)
        case Judged(message=message):
            said = f"the API server did not say whether {asked.user} may {asked.what}: {message}"
            return Voice(Decision.Deny, Reason.DecisionInvalid, said, facts=facts)
        case _:
            return _silent("the API server", finding, facts)


def _silent(who: str, finding: Finding, facts: dict[str, str]) -> Voice:
    why = finding.message if isinstance(finding, NoAnswer) else f"{type(finding).__name__} is no answer to that"
    return Voice(Decision.Deny, Reason.NoAnswer, f"{who} could not be asked: {why}", facts=facts)
