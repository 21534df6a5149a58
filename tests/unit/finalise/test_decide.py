"""The table of ends, end by end."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.job import (
    Backoff,
    ExecTarget,
    FailureReason,
    Interruption,
    JobSpec,
    Notification,
    NotificationEvent,
    Parameter,
    RetryAction,
    RetryPolicy,
    RetryRule,
    ShellTarget,
    WatchdogTarget,
)
from controller.domain.records import Ending, Job, Output, Run
from controller.domain.states import Cause, RunState
from controller.finalise import parameters, watch
from controller.finalise.decide import MOST_REPLAYS, backoff, decide
from controller.finalise.facts import EndFacts, Finalisation

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
IDS = itertools.count()


def new_id(_now: datetime) -> str:
    """Another id."""
    return f"id-{next(IDS)}"


def ended(
    spec: dict[str, Any] | None = None, run: dict[str, Any] | None = None, job: dict[str, Any] | None = None, **how: Any
) -> Finalisation:
    """What one end causes."""
    resolved = JobSpec(**{"target": ShellTarget("true"), **(spec or {})})
    facts: dict[str, Any] = {"attempt": 1, **(run or {})}
    open_run = Run(
        "job-a", 1, "uid", "default", "job", "d1", Cause.Schedule, RunState.Running, NOW, NOW, "job-a", **facts
    )
    known = Job(1, "uid", "default", "job", "src", resolved, 1, "f", "e", NOW, NOW, NOW, **(job or {}))
    return decide(EndFacts(NOW, open_run, resolved, Ending(run="job-a", finished_at=NOW, **how), known), new_id)


@pytest.mark.parametrize(
    ("how", "state", "reason", "errors", "healthy"),
    [
        ({"exit_code": 0}, "Succeeded", "Completed", 0, True),
        ({"exit_code": 3}, "Failed", "ExitCode", 3, False),
        ({"signal": "SIGSEGV"}, "Failed", "Signal", 3, False),
        ({"start_error": "no such shell"}, "Failed", "StartFailed", 3, False),
        ({"signal": "SIGTERM", "timed_out": True}, "TimedOut", "Timeout", 3, False),
        ({"exit_code": 0, "outputs_error": "too large"}, "Failed", "OutputInvalid", 3, False),
        ({"interrupted": "Interrupted"}, "Crashed", "Interrupted", 3, False),
        ({"signal": "SIGTERM", "cancelled_by": "ann"}, "Cancelled", "CancelRequested", 2, True),
    ],
)
def test_every_end_has_its_row(how: dict[str, Any], state: str, reason: str, errors: int, healthy: bool) -> None:
    """State, reason, consecutive errors and health, as the table of ends says."""
    final = ended(job={"consecutive_errors": 2, "healthy": True}, **how)
    assert (final.run.state, final.run.reason) == (state, reason)
    assert final.job is not None
    assert (final.job.consecutive_errors, final.job.healthy) == (errors, healthy)
    assert final.run.message or state == "Succeeded"


@pytest.mark.parametrize(
    "how", [{"exit_code": 1}, {"signal": "SIGKILL"}, {"start_error": "x"}, {"timed_out": True, "signal": "SIGTERM"}]
)
def test_failures_are_retried_and_nothing_else_is(how: dict[str, Any]) -> None:
    """S196: timeouts too; S133-like: a run that will be tried again says nothing about the job yet."""
    final = ended(spec={"retry": RetryPolicy(limit=1)}, **how)
    assert final.follow_up is not None
    assert (final.follow_up.cause, final.follow_up.attempt, final.follow_up.retry_of) == (Cause.Retry, 2, "job-a")
    assert final.job is not None
    assert final.job.consecutive_errors == 0
    assert final.outbox == ()
    for quiet in ({"exit_code": 0}, {"cancelled_by": "ann"}, {"interrupted": "Interrupted"}):
        assert ended(spec={"retry": RetryPolicy(limit=1)}, **quiet).follow_up is None


@given(limit=st.integers(0, 20), attempt=st.integers(1, 30), replays=st.integers(0, MOST_REPLAYS))
def test_attempts_are_bounded_whatever_came_before(limit: int, attempt: int, replays: int) -> None:
    """At most 1 + limit failures and MOST_REPLAYS interruptions: no history runs for ever."""
    attempt = max(attempt, replays + 1)
    spec = {"retry": RetryPolicy(limit=limit), "on_interruption": Interruption.Rerun}
    failed = ended(spec=spec, run={"attempt": attempt, "replays": replays}, exit_code=1)
    assert (failed.follow_up is not None) == (attempt - 1 - replays < limit)
    crashed = ended(spec=spec, run={"attempt": attempt, "replays": replays}, interrupted="Interrupted")
    assert (crashed.follow_up is not None) == (replays < MOST_REPLAYS)


def test_the_first_rule_that_matches_decides() -> None:
    """By exit code, by reason, or by both."""
    rules = (
        RetryRule(RetryAction.Fail, exit_codes=(2,)),
        RetryRule(RetryAction.Ignore, exit_codes=(2, 3)),
        RetryRule(RetryAction.Fail, reasons=(FailureReason.Timeout,)),
    )
    spec = {"retry": RetryPolicy(limit=5, rules=rules)}
    assert ended(spec=spec, exit_code=2).follow_up is None
    assert ended(spec=spec, exit_code=3).run.reason == "Ignored"
    assert ended(spec=spec, timed_out=True).follow_up is None
    assert ended(spec=spec, exit_code=4).follow_up is not None


@given(
    attempt=st.integers(1, 25),
    initial=st.timedeltas(timedelta(0), timedelta(hours=1)),
    factor=st.floats(1, 10),
    longest=st.timedeltas(timedelta(seconds=1), timedelta(days=1)),
    jitter=st.timedeltas(timedelta(0), timedelta(minutes=5)),
)
def test_backoff_is_bounded_and_repeatable(
    attempt: int, initial: timedelta, factor: float, longest: timedelta, jitter: timedelta
) -> None:
    """Never negative, never above max plus jitter, the same for the same run."""
    policy = Backoff(initial, factor, longest, jitter)
    delay = backoff(policy, attempt, "salt")
    assert timedelta(0) <= delay <= longest + jitter
    assert delay == backoff(policy, attempt, "salt")


def test_backoff_doubles_from_thirty_seconds() -> None:
    """S128."""
    assert [backoff(Backoff(), n, "x").total_seconds() for n in (1, 2, 3, 4)] == [30, 60, 120, 240]


def test_recovered_is_told_only_after_a_failure() -> None:
    """Once, with the success that ends the failures."""
    told = {"notifications": (Notification((NotificationEvent.Recovered, NotificationEvent.Succeeded), "ops"),)}
    assert [item.event for item in ended(spec=told, exit_code=0).outbox] == ["Succeeded"]
    assert [item.event for item in ended(spec=told, job={"consecutive_errors": 1}, exit_code=0).outbox] == [
        "Succeeded",
        "Recovered",
    ]


def test_two_places_of_one_target_are_both_told() -> None:
    """The same event to the same target, but to another recipient, is another notification."""
    told = tuple(Notification((NotificationEvent.Failed,), "ops", to=to) for to in ("#a", "#b", "#a"))
    items = ended(spec={"notifications": told}, exit_code=1).outbox
    assert len({item.dedupe for item in items}) == 2


def test_a_deleted_job_gets_its_end_and_nothing_else() -> None:
    """S047: no retry, no children, nothing recreated."""
    spec = JobSpec(target=ExecTarget(("true",)), retry=RetryPolicy(limit=3))
    run = Run("job-a", 1, "uid", "default", "job", "d1", Cause.Schedule, RunState.Running, NOW, NOW, "job-a")
    final = decide(EndFacts(NOW, run, spec, Ending(run="job-a", finished_at=NOW, exit_code=1), None), new_id)
    assert (final.run.state, final.job, final.follow_up, final.children) == (RunState.Failed, None, None, ())


WATCH = WatchdogTarget(check="x", started_at=NOW - timedelta(hours=2), max_duration=timedelta(hours=1))
FRESH = WatchdogTarget(check="x", started_at=NOW, max_duration=timedelta(hours=1))


@pytest.mark.parametrize(
    ("target", "code", "stdout", "reason"),
    [
        (FRESH, 0, b"", "StillRunning"),
        (FRESH, 0, b"all is well", "StillRunning"),
        (FRESH, 0, b'{"status": "running"}', "StillRunning"),
        (FRESH, 0, b'log {"terminal": true} log', "WatchEnded"),
        (FRESH, 0, b'{"status": "done", "summary": "ok"}', "WatchEnded"),
        (FRESH, 1, b"", "Stuck"),
        (FRESH, 2, b"", "Transient"),
        (FRESH, 7, b"", "WatchFailed"),
        (WATCH, 0, b"", "Stuck"),
        (WATCH, 0, b'{"terminal": true}', "WatchEnded"),
        (WATCH, 2, b"", "Stuck"),
        (WATCH, 7, b"", "Stuck"),
    ],
)
def test_a_check_means_what_the_table_says(target: WatchdogTarget, code: int, stdout: bytes, reason: str) -> None:
    """S121, S122, S124; an expired watch wins over "cannot tell" (W49)."""
    ending = Ending(run="r", finished_at=NOW, exit_code=code, output=Output(stdout=stdout))
    assert watch.read(target, ending).reason == reason


@given(st.binary(max_size=300))
def test_whatever_a_check_prints_is_read(stdout: bytes) -> None:
    """No output breaks the watchdog."""
    watch.read(FRESH, Ending(run="r", finished_at=NOW, exit_code=0, output=Output(stdout=stdout)))


def test_parameters_come_from_the_request_then_an_ancestor_then_the_default() -> None:
    """And what is missing, invalid or unknown is named."""
    declared = (
        Parameter("a", default="1"),
        Parameter("b", parent_output=("up", "k"), default="2"),
        Parameter("c", required=True),
        Parameter("d", default="x", pattern="[0-9]+"),
    )
    resolved = parameters.resolve(declared, {"a": "9", "z": "?"}, {"up": {"k": "5"}})
    assert dict(resolved.values) == {"a": "9", "b": "5"}
    assert (resolved.missing, resolved.invalid, resolved.unknown) == (("c",), ("d",), ("z",))
