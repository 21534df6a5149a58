"""The models: the one source of truth for schemas, CRDs and defaults. Pydantic lives here and nowhere else.

Only `generate` and tests import this package; at run time the generated JSON Schemas stand for it, because importing pydantic takes longer than
`jobwarden get`.
"""

from collections.abc import Mapping

from controller.kinds.models.approval import ApprovalSpec, ApprovalStatus
from controller.kinds.models.base import Model
from controller.kinds.models.credential_provider import (
    ClusterCredentialProviderSpec,
    CredentialProviderSpec,
    CredentialProviderStatus,
)
from controller.kinds.models.meta import Status
from controller.kinds.models.notification_target import (
    ClusterNotificationTargetSpec,
    NotificationTargetSpec,
    NotificationTargetStatus,
)
from controller.kinds.models.resource_pool import ClusterResourcePoolSpec, ResourcePoolSpec, ResourcePoolStatus
from controller.kinds.models.run_request import RunRequestSpec, RunRequestStatus
from controller.kinds.models.scheduled_job import ScheduledJobSpec, ScheduledJobStatus
from controller.kinds.models.trust import (
    AuthorizationPolicySpec,
    ClusterAuthorizationPolicySpec,
    ClusterTrustContractSpec,
    CredentialPolicySpec,
    IdentityProfileSpec,
    TrustContractSpec,
    TrustStatus,
)

MODELS: Mapping[str, tuple[type[Model], type[Status]]] = {
    "ScheduledJob": (ScheduledJobSpec, ScheduledJobStatus),
    "RunRequest": (RunRequestSpec, RunRequestStatus),
    "Approval": (ApprovalSpec, ApprovalStatus),
    "ResourcePool": (ResourcePoolSpec, ResourcePoolStatus),
    "ClusterResourcePool": (ClusterResourcePoolSpec, ResourcePoolStatus),
    "NotificationTarget": (NotificationTargetSpec, NotificationTargetStatus),
    "ClusterNotificationTarget": (ClusterNotificationTargetSpec, NotificationTargetStatus),
    "IdentityProfile": (IdentityProfileSpec, TrustStatus),
    "CredentialPolicy": (CredentialPolicySpec, TrustStatus),
    "TrustContract": (TrustContractSpec, TrustStatus),
    "ClusterTrustContract": (ClusterTrustContractSpec, TrustStatus),
    "AuthorizationPolicy": (AuthorizationPolicySpec, TrustStatus),
    "ClusterAuthorizationPolicy": (ClusterAuthorizationPolicySpec, TrustStatus),
    "CredentialProvider": (CredentialProviderSpec, CredentialProviderStatus),
    "ClusterCredentialProvider": (ClusterCredentialProviderSpec, CredentialProviderStatus),
}
