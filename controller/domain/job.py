"""The resolved job: what the engine reads of a ScheduledJob, with every default applied.

`kinds` makes it from a valid document, the store keeps it as JSON bytes beside the job, and every later stage reads only this. Durations are
timedeltas, instants aware UTC, sizes bytes. `encode`/`decode` are exact inverses.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from controller.domain.trust import JobTrust


class CatchUp(StrEnum):
    """What happens to instants that passed while nobody was there to fire them."""

    Nothing = "None"
    Latest = "Latest"
    All = "All"


class Join(StrEnum):
    """Whether one parent is enough, or all of them in the same root run."""

    Any = "Any"
    All = "All"


class When(StrEnum):
    """Which end of a parent triggers a child."""

    Succeeded = "Succeeded"
    Failed = "Failed"
    Finished = "Finished"


class ConcurrencyPolicy(StrEnum):
    """What a dispatch does when the job already runs or an earlier dispatch waits."""

    Forbid = "Forbid"
    Allow = "Allow"
    Replace = "Replace"
    Queue = "Queue"


class Interruption(StrEnum):
    """What happens to a run whose controller, host or node died under it."""

    Fail = "Fail"
    Rerun = "Rerun"


class RetryAction(StrEnum):
    """What a retry rule does with a failure that it matches."""

    Retry = "Retry"
    Fail = "Fail"
    Ignore = "Ignore"


class FailureReason(StrEnum):
    """Failure classes that retry rules can name."""

    ExitCode = "ExitCode"
    Signal = "Signal"
    OOMKilled = "OOMKilled"
    ImagePull = "ImagePull"
    Unschedulable = "Unschedulable"
    StartFailed = "StartFailed"
    Timeout = "Timeout"


class Gate(StrEnum):
    """Which dispatches an approval is asked for."""

    Always = "Always"
    Chain = "Chain"


class OnTimeout(StrEnum):
    """What an approval becomes when nobody decides in time."""

    Reject = "Reject"
    Approve = "Approve"


class ExecutorKind(StrEnum):
    """Where a run happens: as a process beside the controller, or as a Pod."""

    Local = "Local"
    Kubernetes = "Kubernetes"


class DeletionPolicy(StrEnum):
    """What happens to running work when the resource goes."""

    Cancel = "Cancel"
    Orphan = "Orphan"


class NotificationEvent(StrEnum):
    """What people can be told about."""

    Started = "Started"
    Succeeded = "Succeeded"
    Failed = "Failed"
    TimedOut = "TimedOut"
    Missed = "Missed"
    Skipped = "Skipped"
    Recovered = "Recovered"
    ApprovalRequested = "ApprovalRequested"
    Denied = "Denied"
    Overdue = "Overdue"
    Alert = "Alert"


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of the parts of a spec: immutable, and silent about defaults when encoded."""


class Schedule(Struct, frozen=True, omit_defaults=True):
    """When the job fires by time. Exactly one of crons, every, at is set."""

    crons: tuple[str, ...] = ()
    every: timedelta | None = None
    at: datetime | None = None
    time_zone: str = "UTC"
    jitter: timedelta = timedelta(0)
    start_at: datetime | None = None
    end_at: datetime | None = None
    starting_deadline: timedelta | None = None
    catch_up: CatchUp = CatchUp.Latest
    catch_up_limit: int = 100


class Parent(Struct, frozen=True, omit_defaults=True):
    """One parent of a chained job, by name in the same namespace."""

    job: str
    when: When = When.Succeeded


class Trigger(Struct, frozen=True, omit_defaults=True):
    """When the job runs because others ended. `condition` is the CEL text of `if`."""

    after: tuple[Parent, ...]
    join: Join = Join.Any
    delay: timedelta = timedelta(0)
    condition: str | None = None


class Parameter(Struct, frozen=True, omit_defaults=True):
    """A named input. `parent_output` is (job, key) of an ancestor in the same root run."""

    name: str
    default: str | None = None
    required: bool = False
    pattern: str | None = None
    parent_output: tuple[str, str] | None = None


class ShellTarget(Struct, frozen=True, omit_defaults=True, tag="shell", tag_field="type"):
    """A script for a shell."""

    script: str
    shell: str = "/bin/sh"


class ExecTarget(Struct, frozen=True, omit_defaults=True, tag="exec", tag_field="type"):
    """An argument vector, no shell."""

    command: tuple[str, ...]
    args: tuple[str, ...] = ()


class PodTarget(Struct, frozen=True, omit_defaults=True, tag="pod", tag_field="type"):
    """A PodTemplateSpec as its author wrote it. `container` None: the first."""

    template: dict[str, Any]
    container: str | None = None


class WatchdogTarget(Struct, frozen=True, omit_defaults=True, tag="watchdog", tag_field="type"):
    """Watches either the runs of a job or an outside task through a check script. Exactly one of job, check is set."""

    job: str | None = None
    check: str | None = None
    shell: str = "/bin/sh"
    started_at: datetime | None = None
    max_duration: timedelta | None = None
    no_output_for: timedelta | None = None


Target = ShellTarget | ExecTarget | PodTarget | WatchdogTarget


def word(target: Target) -> str:
    """Which target it is, as its field in a manifest is called. Pure."""
    return str(target.__struct_config__.tag)


class KeyRef(Struct, frozen=True, omit_defaults=True):
    """A key of a Secret or ConfigMap in the job's namespace."""

    name: str
    key: str
    optional: bool = False


class EnvFrom(Struct, frozen=True, omit_defaults=True):
    """All keys of one object as variables. Exactly one of secret, config_map is set."""

    prefix: str = ""
    secret: str | None = None
    config_map: str | None = None
    optional: bool = False


class EnvVar(Struct, frozen=True, omit_defaults=True):
    """One variable for the run; exactly one of what follows the name is set. File and env references are resolved at start, never stored; keys of
    Secrets and ConfigMaps are resolved by Kubernetes.
    """

    name: str
    value: str | None = None
    file_ref: str | None = None
    env_ref: str | None = None
    field_ref: str | None = None
    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None


class PoolRef(Struct, frozen=True, omit_defaults=True):
    """Slots of a pool that a run needs; `kind` is ResourcePool (same namespace) or ClusterResourcePool."""

    name: str
    kind: str = "ResourcePool"
    slots: int = 1


class Concurrency(Struct, frozen=True, omit_defaults=True):
    """Overlap policy, backlog bound, pools."""

    policy: ConcurrencyPolicy = ConcurrencyPolicy.Forbid
    max_queued: int = 25
    pools: tuple[PoolRef, ...] = ()


class Backoff(Struct, frozen=True, omit_defaults=True):
    """Delay before attempt n+1: initial·factorⁿ⁻¹, at most max, stretched by up to jitter."""

    initial: timedelta = timedelta(seconds=30)
    factor: float = 2.0
    max: timedelta = timedelta(hours=1)
    jitter: timedelta = timedelta(0)


class RetryRule(Struct, frozen=True, omit_defaults=True):
    """First rule that matches decides. Empty lists match everything."""

    action: RetryAction
    exit_codes: tuple[int, ...] = ()
    reasons: tuple[FailureReason, ...] = ()


class RetryPolicy(Struct, frozen=True, omit_defaults=True):
    """How often a failure is tried again, and which."""

    limit: int = 0
    backoff: Backoff = Backoff()
    rules: tuple[RetryRule, ...] = ()


class ErrorBackoff(Struct, frozen=True, omit_defaults=True):
    """Stretches the schedule while the job keeps failing."""

    enabled: bool = False
    max: timedelta = timedelta(hours=1)


class ApprovalPolicy(Struct, frozen=True, omit_defaults=True):
    """Whether and how people must agree before a run opens."""

    required: bool = False
    gate: Gate = Gate.Always
    approvals: int = 1
    allow_self: bool = True
    timeout: timedelta = timedelta(hours=24)
    on_timeout: OnTimeout = OnTimeout.Reject
    max_pending: int = 10
    message: str = ""
    approvers: tuple[str, ...] = ()


class Notification(Struct, frozen=True, omit_defaults=True):
    """Tells `target` about `events`; failures only from the `after_failures`-th in a row on."""

    events: tuple[NotificationEvent, ...]
    target: str
    target_kind: str = "NotificationTarget"
    after_failures: int = 1
    to: str | None = None


class Alerts(Struct, frozen=True, omit_defaults=True):
    """Bounds whose crossing makes the job Overdue. `finish_by` is a wall time HH:MM in the schedule's zone."""

    no_success_for: timedelta | None = None
    max_duration: timedelta | None = None
    finish_by: str | None = None


class History(Struct, frozen=True, omit_defaults=True):
    """How many ended runs are kept, and for how long."""

    succeeded: int = 20
    failed: int = 50
    max_age: timedelta = timedelta(days=30)


class JobSpec(Struct, frozen=True, omit_defaults=True):
    """One resolved ScheduledJob. At most one of schedule and trigger is set."""

    target: Target
    description: str = ""
    suspend: bool = False
    priority: int = 0
    schedule: Schedule | None = None
    trigger: Trigger | None = None
    parameters: tuple[Parameter, ...] = ()
    executor: ExecutorKind = ExecutorKind.Local
    image: str | None = None
    resources: dict[str, dict[str, str]] = {}
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    working_dir: str | None = None
    timeout: timedelta = timedelta(hours=1)
    start_timeout: timedelta = timedelta(minutes=10)
    termination_grace_period: timedelta = timedelta(seconds=10)
    concurrency: Concurrency = Concurrency()
    retry: RetryPolicy = RetryPolicy()
    error_backoff: ErrorBackoff = ErrorBackoff()
    on_interruption: Interruption = Interruption.Fail
    approval: ApprovalPolicy = ApprovalPolicy()
    notifications: tuple[Notification, ...] = ()
    alerts: Alerts = Alerts()
    history: History = History()
    output_keep: int = 65536
    deletion_policy: DeletionPolicy = DeletionPolicy.Cancel
    trust: JobTrust = JobTrust()


_decoder = msgspec.json.Decoder(JobSpec)
_encoder = msgspec.json.Encoder(order="deterministic")


def encode(spec: JobSpec) -> bytes:
    """JSON bytes of the spec; equal specs give equal bytes. Pure."""
    return _encoder.encode(spec)


def decode(data: bytes) -> JobSpec:
    """The spec that `encode` was given. Pure. Errors: msgspec.ValidationError means a damaged row."""
    return _decoder.decode(data)
