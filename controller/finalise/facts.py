"""What a decision is made from, and what it is. Gathered by `store.ends`, decided by `finalise.decide`, applied by `store.ends`."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from controller.domain.job import JobSpec, When
from controller.domain.records import Dispatch, Ending, Job, LastRun, OutboxItem, Run
from controller.domain.states import RunState


class ParentEnd(msgspec.Struct, frozen=True):
    """The final run of one job within a root run: what conditions and `parentOutput` see."""

    job: str
    run: str
    state: RunState
    reason: str | None = None
    exit_code: int | None = None
    stdout: bytes = b""
    outputs: Mapping[str, str] = {}


class ChildFacts(msgspec.Struct, frozen=True):
    """One job that names the ended job as parent.

    `others` are final ends of jobs in the same root run (by name), newest each; `fired` says that an `All` join already fired in this root;
    `waiting` counts the child's waiting dispatches.
    """

    job: Job
    when: When
    others: Mapping[str, ParentEnd] = {}
    fired: bool = False
    waiting: int = 0


class EndFacts(msgspec.Struct, frozen=True):
    """One ended execution. `job` is None when it was deleted meanwhile; `spec` is what the run was opened with."""

    now: datetime
    run: Run
    spec: JobSpec
    ending: Ending
    job: Job | None = None
    children: tuple[ChildFacts, ...] = ()


class JobChange(msgspec.Struct, frozen=True):
    """What becomes of the job's own state. `completed` ends its schedule."""

    last_run: LastRun
    consecutive_errors: int
    healthy: bool | None
    last_success_at: datetime | None
    alert_episode: str | None
    completed: bool = False


class Finalisation(msgspec.Struct, frozen=True):
    """Everything that one end causes; applied in one commit, or not at all."""

    run: Run
    job: JobChange | None = None
    follow_up: Dispatch | None = None  # the retry or replay
    children: tuple[Dispatch, ...] = ()  # also those whose condition was false, as Skipped
    outbox: tuple[OutboxItem, ...] = ()
