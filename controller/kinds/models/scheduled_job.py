"""ScheduledJob: one job."""

from typing import ClassVar, Literal

from pydantic import Field

from controller.kinds.models.base import (
    AbsolutePath,
    Duration,
    DurationOrZero,
    Instant,
    Model,
    Rule,
    at_most_one,
    exactly_one,
    list_of,
)
from controller.kinds.models.meta import Status
from controller.kinds.models.policy import (
    Alerts,
    Approval,
    Concurrency,
    ErrorBackoff,
    History,
    Notification,
    Output,
    Retry,
)
from controller.kinds.models.schedule import Parameter, Schedule, Trigger
from controller.kinds.models.target import (
    EnvFromSource,
    EnvVar,
    ExecTarget,
    Image,
    PodTarget,
    ResourceRequirements,
    ShellTarget,
    WatchdogTarget,
)
from controller.kinds.models.trust import Trusting, TrustLevel


class ScheduledJobSpec(Trusting):
    """When the job runs, what it runs, and under which limits."""

    unions: ClassVar[tuple[Rule, ...]] = (
        exactly_one("shell", "exec", "pod", "watchdog"),
        at_most_one("schedule", "trigger"),
        *Trusting.unions,
    )

    description: str = Field("", max_length=1024, description="What the job is for, in your words.")
    suspend: bool = Field(
        default=False, description="Stops new firings of the schedule. Instants that pass meanwhile are not caught up."
    )
    priority: int = Field(0, ge=-1000, le=1000, description="Among what is due and waiting, higher goes first.")
    schedule: Schedule | None = Field(
        None, description="When the job fires by time. With neither `schedule` nor `trigger` it runs on request only."
    )
    trigger: Trigger | None = Field(None, description="Runs the job after other jobs.")
    parameters: list[Parameter] = Field(
        default=[],
        max_length=32,
        description="Named inputs. They reach the run as environment only.",
        json_schema_extra=list_of("name"),
    )
    shell: ShellTarget | None = Field(None, description="Runs a script in a shell.")
    exec_: ExecTarget | None = Field(None, alias="exec", description="Runs a program with arguments.")
    pod: PodTarget | None = Field(None, description="Runs a Pod. Only with the executor Kubernetes.")
    watchdog: WatchdogTarget | None = Field(None, description="Watches other work.")
    executor: Literal["Local", "Kubernetes"] | None = Field(
        None,
        description="Where the run happens: `Local` is a process beside the controller, `Kubernetes` a Pod. Default: as the controller's settings say.",
    )
    image: Image | None = Field(
        None,
        description="Container image that `shell` and `exec` run in, with the executor Kubernetes. Default: as the controller's settings say.",
    )
    resources: ResourceRequirements | None = Field(
        None, description="Requests and limits of the container of `shell` and `exec`, with the executor Kubernetes."
    )
    working_dir: AbsolutePath | None = Field(
        None,
        description="Absolute path of the folder that `shell` and `exec` start in. Default: that of the controller.",
    )
    env: list[EnvVar] = Field(
        default=[],
        max_length=128,
        description="Environment variables of the run, besides PATH, HOME and the like and JOBWARDEN_….",
        json_schema_extra=list_of("name"),
    )
    env_from: list[EnvFromSource] = Field(
        default=[],
        max_length=16,
        description="Variables from whole Secrets and ConfigMaps, with the executor Kubernetes; `env` wins over them.",
    )
    timeout: Duration = Field(
        "1h", description="How long a run may take; then all of its processes are ended. Waiting does not count."
    )
    start_timeout: Duration = Field(
        "10m", description="How long a Pod may take to start. Waiting for pools and approvals does not count."
    )
    termination_grace_period: DurationOrZero = Field(
        "10s", description="How long processes have between TERM and KILL."
    )
    concurrency: Concurrency | None = Field(None, description="Overlap, waiting and pools.")
    retry: Retry | None = Field(None, description="How often a failed run is tried again.")
    error_backoff: ErrorBackoff | None = Field(None, description="Stretches the schedule while the job keeps failing.")
    on_interruption: Literal["Fail", "Rerun"] = Field(
        "Fail",
        description="When controller or host die under a run: `Fail` never runs it again (at most once), `Rerun` does (at least once).",
    )
    approval: Approval | None = Field(None, description="Whether people must agree before a run opens.")
    notifications: list[Notification] = Field(
        default=[],
        max_length=16,
        description="Who is told what. The controller's settings may add a target for Failed and Missed.",
    )
    alerts: Alerts | None = Field(None, description="Bounds whose crossing makes the job Overdue.")
    history: History | None = Field(None, description="Which ended runs are kept.")
    output: Output | None = Field(None, description="How much output is kept.")
    deletion_policy: Literal["Cancel", "Orphan"] = Field(
        "Cancel", description="What happens to running work when the job is deleted."
    )


class RunSummary(Model):
    """One run in short."""

    name: str = Field(max_length=63, description="Name of the run.")
    state: Literal["Running", "Succeeded", "Failed", "TimedOut", "Cancelled", "Crashed", "Denied"] = Field(
        description="Where the run stands."
    )
    reason: str | None = Field(None, max_length=128, description="One CamelCase word that says why.")
    exit_code: int | None = Field(None, description="Exit code, where there is one.")
    started_at: Instant | None = Field(None, description="When it started.")
    finished_at: Instant | None = Field(None, description="When it ended.")


class LastHandled(Model):
    """The request annotations that were taken note of last: each new value is obeyed once, and what came with the object never."""

    run_requested_at: str | None = Field(None, max_length=256, description="Value of jobwarden.dev/run-requested-at.")
    cancel_requested_at: str | None = Field(
        None, max_length=256, description="Value of jobwarden.dev/cancel-requested-at."
    )
    reconcile_requested_at: str | None = Field(
        None, max_length=256, description="Value of jobwarden.dev/reconcile-requested-at."
    )


class TrustSummary(Model):
    """What the gates of trust said of the run that ended last; `jobwarden trust explain RUN` tells all of it."""

    decision: Literal["Permit", "Warn", "Deny"] = Field(description="The verdict.")
    reason: str | None = Field(
        None, max_length=128, description="One CamelCase word: why it was refused, or warned of."
    )
    principal: str | None = Field(None, max_length=512, description="Who the run was; absent: nobody.")
    trust_level: TrustLevel = Field(description="How far it was trusted.")


class ScheduledJobStatus(Status):
    """How the job stands."""

    schedule: str | None = Field(None, max_length=512, description="The schedule in short, for columns.")
    target: str | None = Field(None, max_length=32, description="What the job runs, for columns and field selectors.")
    next_run_at: Instant | None = Field(None, description="The next instant of the schedule.")
    last_run: RunSummary | None = Field(None, description="The run that ended last, or else the one that runs.")
    last_success_at: Instant | None = Field(None, description="When a run last succeeded.")
    recent_runs: list[RunSummary] | None = Field(
        None, max_length=10, description="The runs that ended last, newest first."
    )
    active_runs: list[RunSummary] | None = Field(None, max_length=20, description="The runs that are going on.")
    queued: int | None = Field(None, ge=0, description="How many dispatches wait.")
    consecutive_errors: int | None = Field(None, ge=0, description="How many runs in a row failed.")
    pending_approval: str | None = Field(None, max_length=63, description="The approval that a dispatch waits for.")
    trust: TrustSummary | None = Field(None, description="What was decided about the run that ended last.")
    last_handled: LastHandled | None = Field(None, description="The request annotations that were taken note of last.")
