"""What the store gives and takes: one frozen record a row. Instants are aware UTC.

A `Job` is what the engine knows of one ScheduledJob; a `Dispatch` is one intent to run it; a `Run` is one execution or refusal. The document
that a person wrote is a `StoredResource`.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from controller.domain.job import FailureReason, JobSpec
from controller.domain.states import ApprovalState, Cause, DispatchState, OutboxState, RunState
from controller.domain.trust import Grant, Presentation, Ref


class Record(msgspec.Struct, frozen=True):
    """Base of the rows."""


class Hold(Record, frozen=True):
    """A pause by hand. `until` None means until released."""

    reason: str
    by: str
    since: datetime
    until: datetime | None = None


class LastRun(Record, frozen=True):
    """The newest ended run, as shown in status."""

    name: str
    state: RunState
    reason: str | None
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime


class Job(Record, frozen=True):
    """One runnable job. `fired_through` is the newest instant that has been accounted for; `next_fire_at` the next one, None if never."""

    id: int
    uid: str
    namespace: str
    name: str
    source: str
    spec: JobSpec
    generation: int
    fire_digest: str
    effective_digest: str
    created_at: datetime
    anchor_at: datetime
    fired_through: datetime
    next_fire_at: datetime | None = None
    last_instant: datetime | None = None
    backoff_until: datetime | None = None
    completed_at: datetime | None = None
    blocked_reason: str | None = None
    blocked_message: str | None = None
    hold: Hold | None = None
    consecutive_errors: int = 0
    last_run: LastRun | None = None
    last_success_at: datetime | None = None
    healthy: bool | None = None
    overdue_reason: str | None = None
    overdue_message: str | None = None
    overdue_since: datetime | None = None
    alert_at: datetime | None = None
    alert_episode: str | None = None
    labels: Mapping[str, str] = {}

    @property
    def key(self) -> str:
        """`namespace/name`, the identity that people use."""
        return f"{self.namespace}/{self.name}"


class Dispatch(Record, frozen=True):
    """One intent to run. `scheduled_for` never changes, `not_before` may. `root` None means that its run will be a root.

    `previous` is the instant that fired before this one, `through` and `count` belong to rows that account for a range. `presented` is where the proof is that
    came with the request.
    """

    id: str
    job_id: int
    namespace: str
    job: str
    cause: Cause
    state: DispatchState
    scheduled_for: datetime
    not_before: datetime
    created_at: datetime
    priority: int = 0
    attempt: int = 1
    reason: str | None = None
    message: str | None = None
    root: str | None = None
    retry_of: str | None = None
    parents: tuple[str, ...] = ()
    parameters: Mapping[str, str] = {}
    key: str | None = None
    approval: str | None = None
    escalation: str | None = None
    actor: str | None = None
    presented: Presentation | None = None
    run: str | None = None
    deferrals: int = 0
    replays: int = 0
    catch_up: bool = False
    previous: datetime | None = None
    through: datetime | None = None
    count: int = 1
    ended_at: datetime | None = None


class Output(Record, frozen=True):
    """Tails of what a run printed. `bytes` counts all of it, also what is kept only in the run log."""

    stdout: bytes = b""
    stderr: bytes = b""
    bytes: int = 0
    truncated: bool = False


class Handle(Record, frozen=True):
    """Where a local run lives: enough to find it again and never to mistake another process for it."""

    host: str
    boot_id: str
    pid: int
    pid_start: int


class Run(Record, frozen=True):
    """One execution or refusal. `owner` is the token of the controller instance that may finish it; `grant` is what the gates decided, None where
    nothing governs.
    """

    name: str
    job_id: int
    job_uid: str
    namespace: str
    job: str
    dispatch: str
    cause: Cause
    state: RunState
    scheduled_for: datetime
    created_at: datetime
    root: str
    attempt: int = 1
    replays: int = 0
    retry_of: str | None = None
    previous: datetime | None = None
    parents: tuple[str, ...] = ()
    parameters: Mapping[str, str] = {}
    approval: str | None = None
    escalation: str | None = None
    actor: str | None = None
    owner: str | None = None
    host: str | None = None
    handle: Handle | None = None
    reason: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    signal: str | None = None
    outputs: Mapping[str, str] = {}
    output: Output = Output()
    cancel_requested_by: str | None = None
    grant: Grant | None = None


class Ending(Record, frozen=True):
    """How an execution ended, whoever ran it: what `finalise` decides from. At most one of exit_code, signal, start_error, interrupted is set."""

    run: str
    finished_at: datetime
    started_at: datetime | None = None
    exit_code: int | None = None
    signal: str | None = None
    timed_out: bool = False
    cancelled_by: str | None = None
    start_error: str | None = None
    failure: FailureReason | None = None  # more than the exit code or start_error says
    interrupted: str | None = None  # Reason: Interrupted, Evicted or LeaseLost
    outputs: Mapping[str, str] = {}
    outputs_error: str | None = None
    output: Output = Output()
    note: str | None = None  # something a person should know: leftovers ended, run log incomplete
    watched: tuple[str, ...] | None = None  # a watchdog over a job: its runs that are in trouble


class Decision(Record, frozen=True):
    """What one person said about an approval; permanent."""

    by: str
    approved: bool
    at: datetime
    reason: str = ""


class Approval(Record, frozen=True):
    """A request for a decision about one dispatch, bound to the digest it was asked for. `policy` and `rule` asked, where the gate is Escalation."""

    name: str
    namespace: str
    job: str
    job_id: int
    dispatch: str
    gate: str
    state: ApprovalState
    digest: str
    created_at: datetime
    expires_at: datetime
    scheduled_for: datetime
    required: int = 1
    allow_self: bool = True
    approvers: tuple[str, ...] = ()
    requested_by: str | None = None
    message: str = ""
    parameters: Mapping[str, str] = {}
    decisions: tuple[Decision, ...] = ()
    on_timeout: str = "Reject"
    decided_at: datetime | None = None
    policy: str | None = None
    rule: str | None = None


class Pool(Record, frozen=True):
    """Slots that runs hold while they are open. Cluster pools have the namespace ''."""

    id: int
    namespace: str
    name: str
    slots: int
    held: int
    allowed_namespaces: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """How waits name it."""
        return f"pool:{self.namespace}/{self.name}"


class OutboxItem(Record, frozen=True):
    """One notification on its way. `dedupe` is unique: the same event is never told twice to the same place."""

    id: str
    event: str
    namespace: str
    job: str
    target: str
    target_kind: str
    dedupe: str
    payload: bytes
    state: OutboxState
    created_at: datetime
    not_before: datetime
    attempts: int = 0
    to: str | None = None
    run: str | None = None
    last_error: str | None = None


class Cleanup(Record, frozen=True):
    """What has to be undone at a provider when a run has ended. `handle` is the provider's own name for it and holds no secret.

    `not_before` counts from when the run is not open any more; what is recorded before a run is opened says until when that may take.
    """

    id: str
    run: str
    provider: Ref
    namespace: str
    handle: bytes
    created_at: datetime
    not_before: datetime
    attempts: int = 0
    last_error: str | None = None


class StoredResource(Record, frozen=True):
    """One document as last accepted. `rejection` tells what is wrong with a newer version that was not accepted."""

    id: int
    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    source: str
    document: bytes
    digest: str
    created_at: datetime
    updated_at: datetime
    path: str | None = None
    line: int | None = None
    rejection: bytes | None = None
    conditions: bytes | None = None


class AuditEntry(Record, frozen=True):
    """Who asked for what; append-only."""

    at: datetime
    actor: str
    verb: str
    namespace: str
    subject: str
    detail: str = ""
