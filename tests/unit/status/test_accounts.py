"""Explanations, trees and rejections: what happened, in words and as one thing."""

from datetime import timedelta

import msgspec
import pytest

from controller.domain.job import JobSpec, Parent, Schedule, ShellTarget, Trigger
from controller.domain.reasons import Reason
from controller.domain.states import Cause, DispatchState, RunState
from controller.status import explain, rejection, shapes, tree
from tests.unit.status.builders import EARLIER, HOLD, NOW, dispatch, job, run

HOURLY = JobSpec(target=ShellTarget(script="true"), schedule=Schedule(crons=("0 * * * *",)))


@pytest.mark.parametrize("state", list(DispatchState))
@pytest.mark.parametrize("cause", list(Cause))
def test_every_end_of_every_cause_has_a_sentence(state: DispatchState, cause: Cause) -> None:
    """`explain` has no empty places."""
    one = dispatch("d", state=state, cause=cause, run="r" if state is DispatchState.Done else None, retry_of="r0")
    assert explain.why(one, RunState.Succeeded if one.run else None).endswith((".", "d"))


@pytest.mark.parametrize("reason", list(Reason))
def test_a_skipped_instant_is_explained_by_the_sentence_of_its_reason(reason: Reason) -> None:
    """The words are those of the reason, unless the row says more."""
    skipped = dispatch("d", state=DispatchState.Skipped, reason=reason.value)
    assert explain.why(skipped, None) == reason.sentence
    assert explain.why(msgspec.structs.replace(skipped, message="because"), None) == "because"


def test_a_row_that_stands_for_a_range_shows_its_bounds_and_its_count() -> None:
    """A long outage is one entry."""
    missed = dispatch("d", state=DispatchState.Missed, reason="NotCaughtUp", through=NOW, count=61)
    found = explain.explanation(job(spec=HOURLY), [(missed, None)], NOW)["status"]["recent"][0]
    assert (found["scheduledFor"], found["through"], found["count"]) == (
        shapes.rfc3339(EARLIER),
        shapes.rfc3339(NOW),
        61,
    )
    assert (found["state"], found["reason"]) == ("Missed", "NotCaughtUp")


def test_the_next_instants_are_those_of_the_schedule_after_now() -> None:
    """An instant that is over is not upcoming, however long ago anybody looked."""
    found = explain.upcoming(job(spec=HOURLY, fired_through=EARLIER, next_fire_at=NOW + timedelta(hours=1)), NOW)
    assert found == [NOW + timedelta(hours=hours) for hours in range(1, 6)]
    assert explain.upcoming(job(spec=HOURLY, completed_at=NOW), NOW) == []
    assert explain.upcoming(job(), NOW) == []


def test_what_stands_in_the_way_of_the_next_instants_is_said() -> None:
    """Held, chained, on request, completed, blocked."""
    chained = JobSpec(target=ShellTarget(script="true"), trigger=Trigger(after=(Parent("first"),)))
    assert "ann" in explain.note(job(spec=HOURLY, hold=HOLD), NOW)
    assert "first (Succeeded)" in explain.note(job(spec=chained), NOW)
    assert "on request" in explain.note(job(), NOW)
    assert explain.note(job(spec=HOURLY, completed_at=NOW), NOW) == Reason.ScheduleEnded.sentence
    assert explain.note(job(spec=HOURLY, blocked_reason="PoolNotFound"), NOW) == Reason.PoolNotFound.sentence
    assert explain.note(job(spec=HOURLY), NOW) == ""


def test_a_chain_is_one_tree_with_every_row_exactly_once() -> None:
    """Children below their parent, attempts below what they try again, and a row whose parent is pruned at the top."""
    runs = [
        run("root"),
        run("child", root="root", parents=("root",), state=RunState.Failed),
        run("again", root="root", parents=("root",), retry_of="child", attempt=2),
        run("lost", root="root", parents=("pruned",)),
    ]
    waiting = dispatch("d", root="root", parents=("again",), cause=Cause.Chain)
    found = tree.tree("root", "default", runs, [waiting])
    top = found["status"]["nodes"]
    assert [node["name"] for node in top] == ["root", "lost"]
    child = top[0]["children"][0]
    assert (child["name"], child["children"][0]["name"]) == ("child", "again")
    assert child["children"][0]["children"][0]["name"] == "d"
    assert found["status"]["state"] == "Running"


def test_a_chain_ends_as_its_worst_last_attempt() -> None:
    """A failure that a retry made good is no failure of the chain."""
    mended = [run("a", state=RunState.Failed), run("b", root="a", retry_of="a")]
    assert tree.state_of(mended, []) == "Succeeded"
    assert tree.state_of([*mended, run("c", root="a", state=RunState.TimedOut)], []) == "TimedOut"
    skipped = dispatch("d", state=DispatchState.Skipped)
    assert tree.state_of(mended, [skipped]) == "Succeeded"


def test_a_rejection_is_told_by_its_first_error_and_how_many_more_there_are() -> None:
    """The reason of a condition is Invalid, or the one that says who else declares it."""
    errors = [
        {
            "file": "a.yaml",
            "line": 1,
            "column": 2,
            "reason": "UnknownField",
            "message": "no such field",
            "hint": "drop it",
        }
    ]
    assert rejection.summary(msgspec.json.encode(errors)) == ("Invalid", "a.yaml:1:2: no such field (drop it)")
    assert rejection.summary(msgspec.json.encode(errors * 3))[1].endswith("(and 2 more)")
    conflict = {"reason": "OwnershipConflict", "message": "two sources"}
    assert rejection.summary(msgspec.json.encode(conflict)) == ("OwnershipConflict", "two sources")


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{", b"7", b'"words"', b'{"line": "x"}'])
def test_a_rejection_that_cannot_be_read_is_still_one(data: bytes) -> None:
    """It never turns into an acceptance or a crash."""
    reason, message = rejection.summary(data)
    assert reason == "Invalid"
    assert message


def test_a_run_has_every_field_that_scripts_rely_on() -> None:
    """The shape is fixed; what has no value is null."""
    shape = shapes.run(run("a"))
    assert set(shape["spec"]) >= {
        "job",
        "cause",
        "scheduledFor",
        "attempt",
        "root",
        "retryOf",
        "triggeredBy",
        "parameters",
    }
    assert set(shape["status"]) >= {
        "state", "reason", "message", "startedAt", "finishedAt", "exitCode", "signal", "outputs", "output",
    }  # fmt: skip
    assert set(shape["status"]["output"]) == {"stdout", "stderr", "bytes", "truncated"}
    assert set(shape["metadata"]) == {"name", "namespace", "creationTimestamp"}
