"""SubjectAccessReviews: whether the API server would let somebody do something, by whatever authorizers it has.

Answers `AccessAsked` of the gates. Invariant: only a plain yes is a Permit; one that came with an error is none.
Source: SubjectAccessReview, authorization.k8s.io/v1.
"""

from datetime import timedelta

from lightkube import AsyncClient
from lightkube.models.authorization_v1 import (
    NonResourceAttributes,
    ResourceAttributes,
    SubjectAccessReviewSpec,
    SubjectAccessReviewStatus,
)
from lightkube.resources.authorization_v1 import SubjectAccessReview

from controller.base.masking import SECRETS
from controller.domain.trust import Decision
from controller.gates.enquiries import AccessAsked, Away, Judged
from controller.kubernetes.objects import ApiFailed, answered
from controller.providers.words import fit


class AccessReviews:
    """Those of one API server."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def ask(self, asked: AccessAsked) -> Judged | Away:
        """What the server says. See `enquiring.Answerer`."""
        try:
            made = await answered(self._client.create(SubjectAccessReview(spec=_spec(asked))))
        except ApiFailed as error:
            return _failed(error)
        return _judged(made.status)


def _spec(asked: AccessAsked) -> SubjectAccessReviewSpec:
    one = asked.resource
    resource = None
    if one is not None:
        resource = ResourceAttributes(
            namespace=asked.namespace,
            verb=asked.verb,
            group=one.group,
            resource=one.resource,
            subresource=one.subresource,
            name=one.name,
        )
    path = NonResourceAttributes(path=asked.path, verb=asked.verb) if asked.path is not None else None
    return SubjectAccessReviewSpec(
        user=asked.user, groups=list(asked.groups), resourceAttributes=resource, nonResourceAttributes=path
    )


def _judged(status: SubjectAccessReviewStatus | None) -> Judged:
    """Pure."""
    if status is None:
        return Judged(Decision.Deny, "its answer has no status", understood=False)
    if status.evaluationError:
        return Judged(Decision.Deny, fit(status.evaluationError, SECRETS), understood=False)
    allowed = status.allowed is True and not status.denied
    return Judged(Decision.Permit if allowed else Decision.Deny, fit(status.reason or "", SECRETS))


def _failed(error: ApiFailed) -> Judged | Away:
    if error.passing:
        wait = timedelta(seconds=error.retry_after) if error.retry_after is not None else None
        return Away(fit(str(error), SECRETS), wait)
    if error.code in (401, 403):
        why = (
            "the controller may not ask it: give it the verb create on subjectaccessreviews of authorization.k8s.io in a ClusterRole "
            "(in the chart: authorization.subjectAccessReviews)"
        )
        return Judged(Decision.Deny, why, understood=False)
    return Judged(Decision.Deny, fit(str(error), SECRETS), understood=False)
