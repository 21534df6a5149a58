"""Documents to job specs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.domain import job as jobs
from controller.domain.resolve import Defaults, job_spec
from controller.kinds import rules, schemas
from controller.kinds.models import MODELS
from tests.builders import Document, bare, child, job, spec_of
from tests.unit.kinds.strategies import valid

SCHEMA = schemas.load("scheduledjob.schema.json")["properties"]["spec"]


def test_a_minimal_job_has_every_default_of_the_design() -> None:
    """What page 02 promises for fields that are not written."""
    assert spec_of(job("a")) == jobs.JobSpec(target=jobs.ShellTarget(script="true"))


def test_a_schedule_is_parsed() -> None:
    """Durations, instants in UTC, one cron or several."""
    spec = spec_of(
        job(
            "a",
            schedule={
                "crons": ["@daily", "0 5 * * *"],
                "timeZone": "Europe/Berlin",
                "jitter": "30s",
                "startAt": "2026-01-01T00:00:00+02:00",
                "endAt": "2027-01-01T00:00:00Z",
                "startingDeadline": "1d",
                "catchUp": {"policy": "None", "limit": 3},
            },
        )
    )
    assert spec.schedule == jobs.Schedule(
        crons=("@daily", "0 5 * * *"),
        time_zone="Europe/Berlin",
        jitter=timedelta(seconds=30),
        start_at=datetime(2025, 12, 31, 22, tzinfo=UTC),
        end_at=datetime(2027, 1, 1, tzinfo=UTC),
        starting_deadline=timedelta(days=1),
        catch_up=jobs.CatchUp.Nothing,
        catch_up_limit=3,
    )
    assert spec_of(job("a", schedule={"cron": "@daily"})).schedule == jobs.Schedule(crons=("@daily",))
    assert spec_of(job("a", schedule={"every": "1h30m"})).schedule == jobs.Schedule(every=timedelta(minutes=90))


def test_a_chained_job_with_parameters_is_resolved() -> None:
    """Parents, join, delay, condition, outputs of ancestors."""
    spec = spec_of(
        child(
            "b",
            "a",
            when="Finished",
            trigger={"join": "All", "delay": "5m", "if": "true"},
            parameters=[
                {"name": "rows", "valueFrom": {"parentOutput": {"job": "a", "key": "n"}}},
                {"name": "p", "default": "", "pattern": ".*"},
            ],
        )
    )
    assert spec.trigger == jobs.Trigger(
        (jobs.Parent("a", jobs.When.Finished),), jobs.Join.All, timedelta(minutes=5), "true"
    )
    assert spec.parameters == (
        jobs.Parameter("rows", parent_output=("a", "n")),
        jobs.Parameter("p", default="", pattern=".*"),
    )


@pytest.mark.parametrize(
    ("document", "target"),
    [
        (bare("a", shell={"script": "x", "shell": "/bin/bash"}), jobs.ShellTarget("x", "/bin/bash")),
        (bare("a", exec={"command": ["x"], "args": ["y"]}), jobs.ExecTarget(("x",), ("y",))),
        (
            bare(
                "a",
                executor="Kubernetes",
                pod={"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}, "container": "main"},
            ),
            jobs.PodTarget({"spec": {"containers": [{"name": "main", "image": "busybox"}]}}, "main"),
        ),
        (
            bare("a", watchdog={"job": "b", "noOutputFor": "5m"}),
            jobs.WatchdogTarget(job="b", no_output_for=timedelta(minutes=5)),
        ),
        (
            bare("a", watchdog={"check": {"script": "x", "shell": "/bin/bash"}, "startedAt": "2026-01-01T00:00:00Z"}),
            jobs.WatchdogTarget(check="x", shell="/bin/bash", started_at=datetime(2026, 1, 1, tzinfo=UTC)),
        ),
    ],
)
def test_each_target_is_resolved(document: Document, target: jobs.Target) -> None:
    """Shell, exec, Pod, watchdog over a job, watchdog over a check; and each is called what its field is called."""
    assert spec_of(document).target == target
    assert jobs.word(target) in document["spec"]


def test_the_rest_of_a_job_is_resolved() -> None:
    """Environment, concurrency, retry, approval, alerts, history, output."""
    spec = spec_of(
        job(
            "a",
            metadata={"labels": {"t": "x"}},
            description="d",
            suspend=True,
            priority=-3,
            workingDir="/srv",
            env=[
                {"name": "A", "value": ""},
                {"name": "B", "valueFrom": {"fileRef": {"path": "/f"}}},
                {"name": "C", "valueFrom": {"envRef": {"name": "X"}}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['t']"}}},
            ],
            concurrency={
                "policy": "Queue",
                "maxQueued": 2,
                "pools": [{"name": "p"}, {"name": "q", "kind": "ClusterResourcePool", "slots": 3}],
            },
            retry={
                "limit": 2,
                "backoff": {"initial": "1s", "factor": 3, "max": "5s", "jitter": "1s"},
                "rules": [{"exitCodes": [1], "reasons": ["ExitCode"], "action": "Retry"}],
            },
            errorBackoff={"max": "2h"},
            onInterruption="Rerun",
            approval={
                "required": True,
                "approvals": 2,
                "allowSelf": False,
                "timeout": "1h",
                "onTimeout": "Approve",
                "maxPending": 1,
                "gate": "Chain",
                "approvers": ["a", "%g"],
            },
            alerts={"noSuccessFor": "1d", "maxDuration": "1h"},
            history={"succeeded": 1, "failed": 2, "maxAge": "1d"},
            output={"keep": "1Mi"},
            timeout="1m",
            startTimeout="2m",
            terminationGracePeriod="0s",
            deletionPolicy="Orphan",
        )
    )
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    assert spec == jobs.JobSpec(
        target=jobs.ShellTarget("true"),
        description="d",
        suspend=True,
        priority=-3,
        working_dir="/srv",
        env=(
            jobs.EnvVar("A", value=""),
            jobs.EnvVar("B", file_ref="/f"),
            jobs.EnvVar("C", env_ref="X"),
            jobs.EnvVar("D", field_ref="metadata.labels['t']"),
        ),
        concurrency=jobs.Concurrency(
            jobs.ConcurrencyPolicy.Queue, 2, (jobs.PoolRef("p"), jobs.PoolRef("q", "ClusterResourcePool", 3))
        ),
        retry=jobs.RetryPolicy(
            2,
            jobs.Backoff(timedelta(seconds=1), 3.0, timedelta(seconds=5), timedelta(seconds=1)),
            (jobs.RetryRule(jobs.RetryAction.Retry, (1,), (jobs.FailureReason.ExitCode,)),),
        ),
        error_backoff=jobs.ErrorBackoff(max=2 * hour),
        on_interruption=jobs.Interruption.Rerun,
        approval=jobs.ApprovalPolicy(True, jobs.Gate.Chain, 2, False, hour, jobs.OnTimeout.Approve, 1, "", ("a", "%g")),
        alerts=jobs.Alerts(24 * hour, hour),
        history=jobs.History(1, 2, 24 * hour),
        output_keep=1 << 20,
        timeout=minute,
        start_timeout=2 * minute,
        termination_grace_period=timedelta(0),
        deletion_policy=jobs.DeletionPolicy.Orphan,
    )


def notifies(*events: str, **more: Any) -> Document:
    return {"events": list(events), "targetRef": {"name": "own"}, **more}


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ([], [("ops", "Failed Missed")]),
        ([notifies("ApprovalRequested")], [("own", "ApprovalRequested"), ("ops", "Failed Missed")]),
        ([notifies("Failed", afterFailures=3)], [("own", "Failed"), ("ops", "Missed")]),
        ([notifies("Failed"), notifies("Missed")], [("own", "Failed"), ("own", "Missed")]),
    ],
)
def test_the_default_target_hears_of_failures_that_the_job_tells_nobody_about(
    own: list[Document], told: list[tuple[str, str]]
) -> None:
    """The controller's settings add what is missing and take nothing away."""
    spec = spec_of(job("a", notifications=own), Defaults("ops", "ClusterNotificationTarget"))
    assert [(found.target, " ".join(found.events)) for found in spec.notifications] == told
    assert {found.target_kind for found in spec.notifications if found.target == "ops"} <= {"ClusterNotificationTarget"}


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_valid_document_resolves_and_defaults_written_out_change_nothing(data: st.DataObject) -> None:
    """The defaults of `JobSpec` are those of the schema, and encoding loses nothing."""
    spec = data.draw(valid(SCHEMA))
    document = {"metadata": {"name": "a"}, "spec": spec}
    if rules.check("ScheduledJob", document):
        return
    resolved = job_spec(spec)
    model, _ = MODELS["ScheduledJob"]
    written_out = model.model_validate(spec).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert job_spec(written_out) == resolved
    assert jobs.decode(jobs.encode(resolved)) == resolved
