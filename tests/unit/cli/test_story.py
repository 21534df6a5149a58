"""The live story: one line for each piece of news."""

import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.cli.story import line, teller
from controller.domain.story import StoryEvent, StoryKind

AT = datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)


def event(kind: StoryKind = StoryKind.RunFinished, **fields: Any) -> StoryEvent:
    return StoryEvent(at=AT, kind=kind, **fields)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, *events: StoryEvent) -> str:
    tell = teller(stream)
    for one in events:
        tell(one)
    return stream.getvalue()


def test_a_failed_run_is_told_with_its_exit_code_and_time() -> None:
    """What a person needs to decide whether to look closer."""
    found = line(event(run="backup-1", state="Failed", reason="ExitCode", exit_code=3, seconds=1.24), AT)
    assert found == "12:00:01  finished   backup-1  Failed  ExitCode 3  1.2s"


def test_a_success_is_told_without_a_reason_that_says_the_same() -> None:
    """Quiet is what a story should be."""
    assert line(event(run="backup-1", state="Succeeded", reason="Completed", seconds=0.1), AT).endswith(
        "Succeeded  100ms"
    )


def test_a_start_says_when_it_was_due_only_if_it_is_late() -> None:
    """What is as expected needs no words; nor is an exit code told twice."""
    assert line(event(StoryKind.RunStarted, run="a-1", cause="Schedule", due=AT), AT).endswith("a-1  Schedule")
    assert "due" in line(event(StoryKind.RunStarted, run="a-1", cause="Schedule", due=AT - timedelta(minutes=1)), AT)
    assert line(event(run="a-1", state="Failed", exit_code=3, message="exit code 3"), AT).endswith("Failed  3")


def test_an_instant_of_another_day_is_told_with_its_day() -> None:
    """A one-shot of last year is not due at midnight."""
    late = line(event(StoryKind.RunStarted, run="a-1", cause="Schedule", due=AT - timedelta(days=60)), AT)
    assert re.search(r"due 2025-12-3\d \d\d:\d\d:01$", late)
    asked = line(event(StoryKind.ApprovalRequested, job="deploy", due=AT + timedelta(minutes=10)), AT)
    assert re.search(r"deploy  until (\S+ )?\d\d:\d\d:01$", asked)


def test_a_rejected_document_is_told_with_its_place() -> None:
    """Whoever broke it finds the line."""
    found = line(event(StoryKind.Rejected, job="a", subject="a.yaml:3:5", reason="WrongType", message="no"), AT)
    assert found.endswith("a  a.yaml:3:5  WrongType  no")


def test_what_needs_a_person_ends_with_what_to_do() -> None:
    """The hint is the last thing on the line."""
    asked = event(StoryKind.ApprovalRequested, job="deploy", hint="jobwarden approve deploy-a4k2")
    assert line(asked, AT).endswith("→ jobwarden approve deploy-a4k2")


def test_namespaces_are_shown_where_they_tell_something() -> None:
    """`default` is left out."""
    assert "team/a" in line(event(job="a", namespace="team"), AT)
    assert "default" not in line(event(job="a", namespace="default"), AT)


@given(st.sampled_from(list(StoryKind)), st.text(), st.text(), st.text())
def test_every_event_is_one_line_that_cannot_harm_a_terminal(
    kind: StoryKind, job: str, reason: str, message: str
) -> None:
    """Whatever a job, a path or an error message holds."""
    found = line(event(kind, job=job, reason=reason, message=message), AT)
    assert found.isprintable()
    assert len(found) <= 300


def test_colours_are_for_terminals_only_and_not_when_somebody_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR wins over a terminal; the words are the same."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[31m" in told(Terminal(), event(state="Failed"))
    assert "\x1b" not in told(io.StringIO(), event(state="Failed"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in told(Terminal(), event(state="Failed"))


def test_a_terminal_that_has_gone_stops_nobody() -> None:
    """The engine tells and never fails by it."""
    stream = io.StringIO()
    tell = teller(stream)
    stream.close()
    tell(event())
