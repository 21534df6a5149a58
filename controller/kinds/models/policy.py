"""How a job behaves around its runs: overlap, retry, approval, notifications, alerts, what is kept."""

from typing import Annotated, Literal

from pydantic import Field

from controller.kinds.models.base import (
    Actor,
    Duration,
    DurationOrZero,
    Model,
    Name,
    Quantity,
    WallTime,
    list_of,
)
from controller.kinds.models.meta import TargetRef

NotificationEvent = Literal[
    "Started",
    "Succeeded",
    "Failed",
    "TimedOut",
    "Missed",
    "Skipped",
    "Recovered",
    "ApprovalRequested",
    "Denied",
    "Overdue",
    "Alert",
]


class PoolRef(Model):
    """Slots of a pool that each run needs."""

    name: Name = Field(description="Name of the pool.")
    kind: Literal["ResourcePool", "ClusterResourcePool"] = Field(
        "ResourcePool",
        description="`ResourcePool` is looked up in the job's own namespace, `ClusterResourcePool` for all namespaces that it allows.",
    )
    slots: int = Field(1, ge=1, le=10000, description="How many slots a run holds.")


class Concurrency(Model):
    """What happens when the job is due while it runs or waits, and which pools it shares."""

    policy: Literal["Forbid", "Allow", "Replace", "Queue"] = Field(
        "Forbid",
        description="`Forbid` skips the new run, `Allow` runs both, `Replace` ends the old one first, `Queue` runs them one after the other.",
    )
    max_queued: int = Field(
        25,
        ge=1,
        le=1000,
        description="How many dispatches of the job may wait, under every policy; beyond, they are skipped.",
    )
    pools: list[PoolRef] = Field(
        default=[],
        max_length=8,
        description="Pools whose slots a run needs; it gets all of them at once or waits.",
        json_schema_extra=list_of("kind name"),
    )


class Backoff(Model):
    """How long to wait before the next attempt."""

    initial: DurationOrZero = Field("30s", description="Before the second attempt.")
    factor: float = Field(2, ge=1, le=100, description="Each further wait is the last one times this.")
    max: Duration = Field("1h", description="No wait is longer than this.")
    jitter: DurationOrZero = Field("0s", description="Each wait is stretched by up to this much.")


class RetryRule(Model):
    """What to do with some failures."""

    exit_codes: list[Annotated[int, Field(ge=1, le=255)]] = Field(
        default=[], max_length=64, description="Matches these exit codes; empty: any.", json_schema_extra=list_of("")
    )
    reasons: list[
        Literal["ExitCode", "Signal", "OOMKilled", "ImagePull", "Unschedulable", "StartFailed", "Timeout"]
    ] = Field(
        default=[],
        max_length=7,
        description="Matches these kinds of failure; empty: any.",
        json_schema_extra=list_of(""),
    )
    action: Literal["Retry", "Fail", "Ignore"] = Field(
        description="`Retry` tries again within `limit`, `Fail` does not, `Ignore` counts the run as Succeeded."
    )


class Retry(Model):
    """How often a failed run is tried again, and which failures."""

    limit: int = Field(0, ge=0, le=20, description="How many more attempts there are after the first.")
    backoff: Backoff | None = Field(None, description="How long to wait between attempts.")
    rules: list[RetryRule] = Field(
        default=[],
        max_length=16,
        description="The first rule that matches a failure decides; without a match it is retried.",
    )


class ErrorBackoff(Model):
    """Stretches the schedule while the job keeps failing."""

    enabled: bool = Field(
        default=False, description="Skip firings for a while after consecutive failures, longer each time."
    )
    max: Duration = Field("1h", description="The longest time between firings that this leads to.")


class Approval(Model):
    """Whether people must agree before a run opens."""

    required: bool = Field(default=False, description="Runs wait until people have approved them.")
    gate: Literal["Always", "Chain"] = Field(
        "Always", description="`Always` asks for every run, `Chain` only for runs that another job caused."
    )
    approvals: int = Field(1, ge=1, le=5, description="How many different people must approve. One rejection rejects.")
    allow_self: bool = Field(default=True, description="Whether the person who asked for a run may approve it.")
    timeout: Duration = Field("24h", description="How long to wait for a decision.")
    on_timeout: Literal["Reject", "Approve"] = Field("Reject", description="What happens when nobody decides in time.")
    max_pending: int = Field(
        10,
        ge=1,
        le=1000,
        description="How many requests of this job may wait for a decision; beyond, dispatches are skipped.",
    )
    message: str = Field("", max_length=1024, description="Shown to those who decide.")
    approvers: list[Actor] = Field(
        default=[],
        max_length=32,
        description="Users, and groups written as %group, who may decide; empty: everyone who may use the controller. "
        "In a cluster RBAC decides instead.",
        json_schema_extra=list_of(""),
    )


class Notification(Model):
    """Tells one target about some events."""

    events: list[NotificationEvent] = Field(
        min_length=1, max_length=11, description="What to tell about.", json_schema_extra=list_of("")
    )
    target_ref: TargetRef = Field(description="Where to tell it.")
    after_failures: int = Field(
        1,
        ge=1,
        le=1000,
        description="Failed and TimedOut are told only from this many failures in a row on, Recovered only after as many.",
    )
    to: str | None = Field(
        None, min_length=1, max_length=256, description="A recipient within the target, where its service knows such."
    )


class Alerts(Model):
    """Bounds whose crossing sets the condition Overdue."""

    no_success_for: Duration | None = Field(
        None, description="Time since the last success, or since the job was created."
    )
    max_duration: Duration | None = Field(
        None, description="Time that a run takes. The run goes on; `timeout` would end it."
    )
    finish_by: WallTime | None = Field(
        None,
        description="Wall time HH:MM in the schedule's zone by which the day's run must have succeeded. Only with `schedule`.",
    )


class History(Model):
    """Which ended runs are kept in the database."""

    succeeded: int = Field(20, ge=0, le=10000, description="How many successful runs.")
    failed: int = Field(50, ge=0, le=10000, description="How many runs that ended otherwise.")
    max_age: Duration = Field("30d", description="None older than this.")


class Output(Model):
    """How much output is kept in the database."""

    keep: Quantity = Field(
        "64Ki",
        description="The last bytes of each stream, at most 16Mi. All of it is in the run log, up to the controller's limit.",
    )
