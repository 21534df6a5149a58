"""What a document must fulfil beyond its shape, as far as the document alone can tell: fields that exclude or need each other, doubles, sizes.

`parse` asks after the schema has said yes, so types are right here. What needs cron, CEL, a time zone or another document is not here but in
`reconcile.check`. Each module holds the rules of one kind; each rule is a generator of findings. Pure.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from controller.kinds.findings import Finding
from controller.kinds.rules import metadata, notification_target, scheduled_job, trust

Rules = Callable[[Mapping[str, Any]], Iterator[Finding]]

_RULES: Mapping[str, Rules] = {
    "ScheduledJob": scheduled_job.check,
    "NotificationTarget": notification_target.check,
    "ClusterNotificationTarget": notification_target.check,
    "IdentityProfile": trust.identity,
    "CredentialPolicy": trust.credentials,
    "CredentialProvider": trust.provider,
    "ClusterCredentialProvider": trust.provider,
    "TrustContract": trust.contract,
    "ClusterTrustContract": trust.contract,
    "AuthorizationPolicy": trust.policy,
    "ClusterAuthorizationPolicy": trust.policy,
}


def check(kind: str, document: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Everything that is wrong with a document whose shape is right. Pure."""
    own = _RULES.get(kind)
    return tuple(chain(metadata.check(document), own(document) if own else ()))
