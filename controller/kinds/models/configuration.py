"""ControllerConfiguration: what `jobwarden.yaml` may say. Command-line options win over it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.kinds.models.base import (
    Duration,
    EnvName,
    Model,
    Name,
    Quantity,
    Rule,
    Url,
    at_most_one,
    exactly_one,
    list_of,
)
from controller.kinds.models.meta import LabelKey, LabelValue, TargetRef
from controller.kinds.models.target import Image, ObjectName

Path = Annotated[str, Field(min_length=1, max_length=4096)]
_LEASE = r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
GitName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s~^:?*\[\\-][^\s~^:?*\[\\]*$")]


class DirectorySource(Model):
    """A folder of manifests that is watched."""

    path: Path = Field(description="The folder; a relative one counts from the folder of this configuration file.")
    rescan_interval: Duration = Field("1m", description="How often the folder is read even if nothing was noticed.")


class GitSource(Model):
    """A Git repository that is pulled."""

    unions: ClassVar[tuple[Rule, ...]] = (at_most_one("branch", "tag", "commit"),)

    url: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^[^\s-][^\s]*$")] = Field(
        description="Anything that `git clone` takes. Credentials belong to git's own means: SSH agent, credential helper."
    )
    branch: GitName | None = Field(None, description="The branch to follow. Default: the one that the remote names.")
    tag: GitName | None = Field(None, description="The tag to use.")
    commit: Annotated[str, Field(max_length=64, pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")] | None = Field(
        None, description="The commit to use, in full."
    )
    path: Annotated[str, Field(max_length=4096, pattern=r"^([^/].*)?$")] = Field(
        "", description="Folder inside the repository."
    )
    interval: Duration = Field("1m", description="How often the remote is asked.")
    timeout: Duration = Field("1m", description="How long one fetch may take.")
    verify_commit: bool = Field(
        default=False, description="Use only commits whose signature `git verify-commit` accepts."
    )


class KubernetesSource(Model):
    """Custom resources of a cluster."""

    context: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None,
        description="Context of the kubeconfig. Default: the service account of the Pod, or kubectl's current context.",
    )
    namespaces: list[Name] = Field(
        default=[],
        max_length=256,
        description="Only these namespaces are watched. Default: all, and the cluster's own kinds.",
        json_schema_extra=list_of(""),
    )
    lease: Annotated[str, Field(min_length=1, max_length=317, pattern=_LEASE)] = Field(
        "jobwarden",
        description="The Lease that replicas agree by: its name, or namespace/name. Default: in the namespace of the context or Pod.",
    )


KindName = Literal[
    "ScheduledJob", "ResourcePool", "ClusterResourcePool", "NotificationTarget", "ClusterNotificationTarget"
]


class Source(Model):
    """One place that documents come from."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("directory", "git", "kubernetes"),)

    name: Name = Field(description="Unique among the sources; what it applies is owned under this name.")
    directory: DirectorySource | None = Field(None, description="A folder.")
    git: GitSource | None = Field(None, description="A Git repository.")
    kubernetes: KubernetesSource | None = Field(None, description="A cluster; one source at most is one.")
    namespace: Name | None = Field(
        None, description="Every namespaced resource of the source is put into this namespace, whatever it says."
    )
    allowed_kinds: list[KindName] | None = Field(
        None,
        min_length=1,
        max_length=5,
        description="Only these kinds may come from the source. Default: all.",
        json_schema_extra=list_of(""),
    )


class Limits(Model):
    """How much happens at once."""

    starts: int = Field(32, ge=1, le=256, description="How many runs are being started at once.")
    running: int = Field(256, ge=1, le=100000, description="How many runs go on at once.")


class RunLog(Model):
    """The full output of each run, in files."""

    limit: Quantity = Field("64Mi", description="How much of a run's output is kept; the rest is counted and dropped.")


class EvidenceKept(Model):
    """What is on record about runs."""

    max_age: Duration = Field(
        "365d", description="How long it is kept; nothing goes that waits for its signature. A signed checkpoint stays."
    )


class PodsAllow(Model):
    """What the Pods of jobs may have beyond what every Pod may."""

    privileged: bool = Field(
        default=False,
        description="Privileged containers, capabilities other than NET_BIND_SERVICE, unsafe sysctls, and doing without seccomp, AppArmor or SELinux.",
    )
    host_namespaces: bool = Field(
        default=False,
        description="The network, process and IPC namespaces of the node, its ports, and probes of other hosts.",
    )
    host_paths: bool = Field(default=False, description="Folders of the node as volumes.")
    service_accounts: list[ObjectName] = Field(
        default=[],
        max_length=64,
        description="Service accounts that a template may name; their token is mounted then. `default` also allows its token in a volume. "
        "Credentials of the type `serviceAccountToken` that are delivered as files come from the node for these accounts.",
        json_schema_extra=list_of(""),
    )


class EgressProxy(Model):
    """`jobwarden egress-proxy`, as the controller and the Pods of jobs find it."""

    host: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$")] = (
        Field(
            description="Name of its Service, as the controller resolves it (Pods whose network is limited resolve no names), or its address."
        )
    )
    port: int = Field(3128, ge=1, le=65535, description="The port of its Service, and of its Pods.")
    namespace: Name = Field(description="The namespace of its Pods.")
    pod_labels: dict[LabelKey, LabelValue] = Field(
        min_length=1,
        max_length=16,
        description="Labels of its Pods, which no other Pod of that namespace has: NetworkPolicies let runs talk to these.",
    )
    key_file: Path = Field(
        description="What passes of runs are signed with, also known to the proxy: 32 characters or more. Of several lines the first signs."
    )


class Pods(Model):
    """The Pods of jobs."""

    allow: PodsAllow | None = Field(None, description="What they may have beyond what every Pod may.")
    network_policies_enforced: bool = Field(
        default=False,
        description="The network plug-in (CNI) of the cluster enforces NetworkPolicies, which nobody can ask it: without this word a contract that limits the network of Pods is not enforced, but refused.",
    )
    fence_check_image: Image | None = Field(
        None,
        description="Image of jobwarden: a Pod whose network is limited begins with it, sees that the NetworkPolicy holds, and does not go on otherwise. Default: none, and the plug-in is trusted.",
    )
    egress_proxy: EgressProxy | None = Field(
        None,
        description="The proxy through which Pods reach the hosts that their contract lists. Default: none, and such contracts are refused for Pods.",
    )


class ControllerSettings(Model):
    """What jobs may reach, and what they get without asking."""

    allow_env: list[EnvName] = Field(
        default=[],
        max_length=256,
        description="Variables of the controller's environment that `envRef` may read.",
        json_schema_extra=list_of(""),
    )
    allow_files: list[Annotated[str, Field(pattern=r"^/", max_length=4096)]] = Field(
        default=[],
        max_length=256,
        description="Folders, and single files, that `fileRef` may read.",
        json_schema_extra=list_of(""),
    )
    default_notification_target: TargetRef | None = Field(
        None, description="Told about Failed and Missed of every job that does not say itself whom to tell about them."
    )
    run_log: RunLog | None = Field(None, description="The full output of each run.")
    evidence: EvidenceKept | None = Field(None, description="What is on record about runs.")
    executors: list[Literal["Local", "Kubernetes"]] = Field(
        default=[],
        max_length=2,
        description="Where jobs may run; the first is meant where a job does not say. Default: Local, but with a source in a cluster it has to be said.",
        json_schema_extra=list_of(""),
    )
    image: Image | None = Field(
        None, description="Container image of `shell` and `exec` jobs that name none, with the executor Kubernetes."
    )
    pods: Pods | None = Field(None, description="The Pods of jobs.")


class ControllerConfiguration(Model):
    """How one controller runs."""

    sources: list[Source] = Field(
        default=[], max_length=64, description="Where documents come from.", json_schema_extra=list_of("name")
    )
    db: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^(sqlite|postgresql):")] | None = Field(
        None, description="URL of the database: sqlite:///… or postgresql://…. Default: SQLite in the state folder."
    )
    state_dir: Path | None = Field(
        None, description="Folder for the database and the controller's own files. Default: $XDG_STATE_HOME/jobwarden."
    )
    log_dir: Path | None = Field(None, description="Folder for run logs. Default: in the state folder.")
    status_dir: Path | None = Field(
        None, description="Folder that the status of every resource is written to. Default: none."
    )
    metrics_addr: (
        Annotated[str, Field(max_length=261, pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]*):[0-9]{1,5}$")] | None
    ) = Field(None, description="HOST:PORT for /metrics, /healthz and /readyz. Default: none.")
    history_addr: (
        Annotated[str, Field(max_length=261, pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]*):[0-9]{1,5}$")] | None
    ) = Field(
        None,
        description="HOST:PORT where verbs that come through an API server read history and logs; needs `historyTokenFile`. Default: none.",
    )
    history_token_file: Path | None = Field(
        None, description="File with the token that they have to know, of 16 characters or more."
    )
    heartbeat_url: Url | None = Field(
        None, alias="heartbeatURL", description="URL that is asked regularly, but only while the controller works."
    )
    limits: Limits | None = Field(None, description="How much happens at once.")
    settings: ControllerSettings | None = Field(
        None, description="What jobs may reach, and what they get without asking."
    )
