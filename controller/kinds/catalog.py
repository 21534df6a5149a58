"""Which kinds there are: names, scope, and what is said of those that are refused. Read by everyone; imports nothing slow.

The models of `controller.kinds.models` and this table name the same kinds; a test compares them.
"""

from collections.abc import Mapping

import msgspec

GROUP = "jobwarden.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
DEFAULT_NAMESPACE = "default"
CONFIGURATION = "ControllerConfiguration"

# What an API server adds to metadata. Documents copied out of a cluster carry them; in files they mean nothing.
SERVER_METADATA = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "selfLink",
)


class Column(msgspec.Struct, frozen=True):
    """One column of `kubectl get`: its heading, its type, where the value is, and the sentence that `explain` shows.

    A `date` is shown as the time since: kubectl calls one that is still to come `<invalid>`, so those are strings.
    """

    name: str
    type: str
    path: str
    description: str


class Kind(msgspec.Struct, frozen=True):
    """One kind as the API knows it.

    `verb` is None for kinds that people write in files, else the hint that replaces them there. `selectable` are the JSON paths that the API
    server can filter by.
    """

    name: str
    plural: str
    short: str
    summary: str
    namespaced: bool = True
    max_name: int = 63
    verb: str | None = None
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()


_READY = Column("READY", "string", ".status.ready", "Whether the document is accepted and its references are resolved.")
_AGE = Column("AGE", "date", ".metadata.creationTimestamp", "Time since the resource was created.")
_SLOTS = Column("SLOTS", "integer", ".spec.slots", "How many slots may be held at once.")
_HELD = Column("HELD", "integer", ".status.held", "How many slots are held now.")
_WAITING = Column("WAITING", "integer", ".status.waiting", "How many dispatches wait for slots.")
_LEVEL = Column("LEVEL", "string", ".spec.trustLevel", "How far the principal is trusted.")
_PRINCIPAL = Column("PRINCIPAL", "string", ".spec.subject.principal", "Who acts.")
_CHILDREN = Column("CHILDREN", "string", ".spec.children", "What runs that are triggered get.")
_REQUIRED = Column("REQUIRED", "string", ".spec.requiredTrustLevel", "The lowest level that runs may have.")
_ENFORCEMENT = Column("ENFORCEMENT", "string", ".spec.enforcement", "What happens to runs of a lower level.")
_DEFAULT = Column("DEFAULT", "string", ".spec.default", "What holds where no rule does.")
_JOB = Column("JOB", "string", ".spec.jobRef.name", "The job that is meant.")

SCHEDULED_JOB = Kind(
    name="ScheduledJob",
    plural="scheduledjobs",
    short="sjob",
    summary="One job: when it runs, what it runs, and under which limits.",
    max_name=52,  # a run is named <job>-<8 characters>, and that must fit where Kubernetes allows 63
    columns=(
        Column("SCHEDULE", "string", ".status.schedule", "When the job fires."),
        Column("TARGET", "string", ".status.target", "What the job runs: shell, exec, pod or watchdog."),
        Column("SUSPEND", "boolean", ".spec.suspend", "Whether new schedule firings are stopped."),
        _READY,
        Column("LAST", "string", ".status.lastRun.state", "How the last run ended."),
        Column("NEXT", "string", ".status.nextRunAt", "The next instant of the schedule."),
        _AGE,
    ),
    selectable=(".spec.suspend", ".status.ready", ".status.target"),
)
RUN_REQUEST = Kind(
    name="RunRequest",
    plural="runrequests",
    short="rreq",
    summary="Asks for one run of a job, with parameters, without the right to edit the job.",
    verb="A run is requested with `jobwarden trigger NAME -p key=value`; remove the document from the file",
    columns=(_JOB, Column("RUN", "string", ".status.runName", "The run that was made."), _AGE),
    selectable=(".spec.jobRef.name",),
)
APPROVAL = Kind(
    name="Approval",
    plural="approvals",
    short="appr",
    summary="One request for a decision. Made by the controller; people decide.",
    verb="Approvals are made by the controller and decided with `jobwarden approve ID` or `jobwarden reject ID`; remove the document from the file",
    columns=(
        _JOB,
        Column("STATE", "string", ".status.state", "Where the request stands."),
        Column("EXPIRES", "string", ".status.expiresAt", "When the request times out."),
        _AGE,
    ),
    selectable=(".spec.jobRef.name", ".status.state"),
)
RESOURCE_POOL = Kind(
    name="ResourcePool",
    plural="resourcepools",
    short="rpool",
    summary="How many slots jobs of this namespace may hold at once.",
    columns=(_SLOTS, _HELD, _WAITING, _READY, _AGE),
    selectable=(".status.ready",),
)
CLUSTER_RESOURCE_POOL = Kind(
    name="ClusterResourcePool",
    plural="clusterresourcepools",
    short="crpool",
    summary="How many slots jobs of the namespaces that it names may hold at once, all together.",
    namespaced=False,
    columns=(_SLOTS, _HELD, _WAITING, _READY, _AGE),
    selectable=(".status.ready",),
)
NOTIFICATION_TARGET = Kind(
    name="NotificationTarget",
    plural="notificationtargets",
    short="ntarget",
    summary="A named place that jobs of this namespace can tell things to.",
    columns=(_READY, _AGE),
    selectable=(".status.ready",),
)
CLUSTER_NOTIFICATION_TARGET = Kind(
    name="ClusterNotificationTarget",
    plural="clusternotificationtargets",
    short="cntarget",
    summary="A named place that jobs of the namespaces that it names can tell things to.",
    namespaced=False,
    columns=(_READY, _AGE),
    selectable=(".status.ready",),
)
IDENTITY_PROFILE = Kind(
    name="IdentityProfile",
    plural="identityprofiles",
    short="idprof",
    summary="A principal that runs act as, and how far it is trusted.",
    columns=(_PRINCIPAL, _LEVEL, _READY, _AGE),
    selectable=(".status.ready",),
)
CREDENTIAL_POLICY = Kind(
    name="CredentialPolicy",
    plural="credentialpolicies",
    short="credpol",
    summary="What the runs that a run triggers get of its identity.",
    columns=(_CHILDREN, _READY, _AGE),
    selectable=(".status.ready",),
)
TRUST_CONTRACT = Kind(
    name="TrustContract",
    plural="trustcontracts",
    short="trustc",
    summary="What the runs of jobs that name it must satisfy.",
    columns=(_REQUIRED, _ENFORCEMENT, _READY, _AGE),
    selectable=(".status.ready",),
)
CLUSTER_TRUST_CONTRACT = Kind(
    name="ClusterTrustContract",
    plural="clustertrustcontracts",
    short="ctrustc",
    summary="What the runs of all jobs that it matches must satisfy, whether or not they name it.",
    namespaced=False,
    columns=(_REQUIRED, _ENFORCEMENT, _READY, _AGE),
    selectable=(".status.ready",),
)
AUTHORIZATION_POLICY = Kind(
    name="AuthorizationPolicy",
    plural="authorizationpolicies",
    short="authzpol",
    summary="Rules that permit, deny or escalate the runs of jobs that name it.",
    columns=(_DEFAULT, _READY, _AGE),
    selectable=(".status.ready",),
)
CLUSTER_AUTHORIZATION_POLICY = Kind(
    name="ClusterAuthorizationPolicy",
    plural="clusterauthorizationpolicies",
    short="cauthzpol",
    summary="Rules that permit, deny or escalate the runs of all jobs that it matches, whether or not they name it.",
    namespaced=False,
    columns=(_DEFAULT, _READY, _AGE),
    selectable=(".status.ready",),
)
CREDENTIAL_PROVIDER = Kind(
    name="CredentialProvider",
    plural="credentialproviders",
    short="credprov",
    summary="Where credentials for runs of this namespace come from.",
    columns=(_READY, _AGE),
    selectable=(".status.ready",),
)
CLUSTER_CREDENTIAL_PROVIDER = Kind(
    name="ClusterCredentialProvider",
    plural="clustercredentialproviders",
    short="ccredprov",
    summary="Where credentials for runs of the namespaces that it names come from.",
    namespaced=False,
    columns=(_READY, _AGE),
    selectable=(".status.ready",),
)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        SCHEDULED_JOB,
        RUN_REQUEST,
        APPROVAL,
        RESOURCE_POOL,
        CLUSTER_RESOURCE_POOL,
        NOTIFICATION_TARGET,
        CLUSTER_NOTIFICATION_TARGET,
        IDENTITY_PROFILE,
        CREDENTIAL_POLICY,
        TRUST_CONTRACT,
        CLUSTER_TRUST_CONTRACT,
        AUTHORIZATION_POLICY,
        CLUSTER_AUTHORIZATION_POLICY,
        CREDENTIAL_PROVIDER,
        CLUSTER_CREDENTIAL_PROVIDER,
    )
}

TRUST = (
    IDENTITY_PROFILE.name,
    CREDENTIAL_POLICY.name,
    TRUST_CONTRACT.name,
    CLUSTER_TRUST_CONTRACT.name,
    AUTHORIZATION_POLICY.name,
    CLUSTER_AUTHORIZATION_POLICY.name,
    CREDENTIAL_PROVIDER.name,
    CLUSTER_CREDENTIAL_PROVIDER.name,
)
"""The kinds that say who a run is and whether it may open."""


def schema_file(kind: str) -> str:
    """The file name of a kind's JSON Schema: `ScheduledJob` → `scheduledjob.schema.json`. Pure."""
    return f"{kind.lower()}.schema.json"
