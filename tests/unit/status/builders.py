"""Facts to project, with as little said as possible."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from controller.domain.job import JobSpec, ShellTarget
from controller.domain.records import Dispatch, Hold, Job, LastRun, Run
from controller.domain.states import Cause, DispatchState, RunState
from controller.store.observed import ActiveRun, JobFacts, ResourceFacts

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
LONG = "x" * 52
HOLD = Hold("a closer look", "ann", EARLIER)
REJECTION = msgspec.json.encode(
    [
        {
            "file": "jobs/a.yaml",
            "line": 7,
            "column": 3,
            "reason": "WrongType",
            "message": "no number",
            "pointer": "/spec/priority",
        }
    ]
)


def resource(**changes: Any) -> ResourceFacts:
    """The stored document of a job."""
    document = {
        "apiVersion": "jobwarden.dev/v1alpha1",
        "kind": "ScheduledJob",
        "metadata": {"name": LONG},
        "spec": {"shell": {"script": "true"}},
    }
    base = ResourceFacts(
        id=1,
        kind="ScheduledJob",
        namespace="default",
        name=LONG,
        uid="uid",
        generation=3,
        source="manifests",
        document=msgspec.json.encode(document),
        created_at=EARLIER,
        updated_at=EARLIER,
        served=True,
    )
    return msgspec.structs.replace(base, **changes)


def job(**changes: Any) -> Job:
    """A job that has done nothing yet."""
    base = Job(
        id=1,
        uid="uid",
        namespace="default",
        name=LONG,
        source="manifests",
        spec=JobSpec(target=ShellTarget(script="true")),
        generation=3,
        fire_digest="f",
        effective_digest="e",
        created_at=EARLIER,
        anchor_at=EARLIER,
        fired_through=EARLIER,
    )
    return msgspec.structs.replace(base, **changes)


def facts(**changes: Any) -> JobFacts:
    """The facts of that job."""
    return msgspec.structs.replace(JobFacts(job(), resource(), "on request"), **changes)


def last(state: RunState, number: int = 0, **changes: Any) -> LastRun:
    """An ended run."""
    base = LastRun(f"{LONG}-{number:08}", state, None, None, EARLIER, EARLIER + timedelta(minutes=number))
    return msgspec.structs.replace(base, **changes)


def active(count: int) -> tuple[ActiveRun, ...]:
    """Open runs, as many as a status shows."""
    return tuple(ActiveRun(f"{LONG}-{number:08}", EARLIER) for number in range(min(count, 20)))


def run(name: str, **changes: Any) -> Run:
    """A run that succeeded and is its own root."""
    base = Run(
        name=name,
        job_id=1,
        job_uid="uid",
        namespace="default",
        job="work",
        dispatch=f"d-{name}",
        cause=Cause.Schedule,
        state=RunState.Succeeded,
        scheduled_for=EARLIER,
        created_at=EARLIER,
        root=name,
        started_at=EARLIER,
        finished_at=NOW,
    )
    return msgspec.structs.replace(base, **changes)


def dispatch(identity: str, **changes: Any) -> Dispatch:
    """A dispatch that waits."""
    base = Dispatch(
        id=identity,
        job_id=1,
        namespace="default",
        job="work",
        cause=Cause.Schedule,
        state=DispatchState.Pending,
        scheduled_for=EARLIER,
        not_before=EARLIER,
        created_at=EARLIER,
    )
    return msgspec.structs.replace(base, **changes)
