"""Words and JSON of notifications: what people need, bounded, whatever a job printed."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain import notices
from controller.domain.job import NotificationEvent
from controller.domain.notices import Notice
from controller.notifications import render

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def failed(**more: object) -> Notice:
    facts = {
        "event": "Failed",
        "at": AT,
        "namespace": "ops",
        "job": "backup",
        "run": "backup-abcd2345",
        "reason": "ExitCode",
    }
    return Notice(**(facts | {"exit_code": 3, "state": "Failed"} | more))


def test_a_failure_says_what_why_and_where_to_look():
    """Title with the exit code; run, times, streak, last output and the command for more."""
    text = render.text(
        failed(
            attempt=2,
            scheduled_for=AT,
            started_at=AT,
            finished_at=AT + timedelta(minutes=2, seconds=5),
            failures_in_a_row=4,
            output="disk full\n",
        )
    )
    assert text.title == "ops/backup failed: exit code 3"
    assert text.level == render.Level.Failure
    assert "Run: backup-abcd2345" in text.body
    assert "Took: 2 min 5 s" in text.body
    assert "Attempt: 2" in text.body
    assert "Failures in a row: 4" in text.body
    assert "jobwarden logs backup-abcd2345 -n ops" in text.body
    assert text.body.endswith("Last output:\ndisk full")


def test_an_approval_says_how_to_decide():
    """Both commands, ready to copy."""
    text = render.text(
        Notice(
            event="ApprovalRequested",
            at=AT,
            namespace="ops",
            job="wipe",
            approval="wipe-1",
            message="Really?",
            expires_at=AT,
        )
    )
    assert text.title == "ops/wipe waits for approval: Really?"
    assert "jobwarden approve wipe-1 -n ops" in text.body
    assert "jobwarden reject wipe-1 -n ops" in text.body
    assert "Decide before: 2026-01-02 03:04:05 UTC" in text.body


def test_a_range_of_missed_instants_is_one_line():
    """An outage of a day is not a thousand lines."""
    text = render.text(
        Notice(
            event="Missed", at=AT, namespace="n", job="j", scheduled_for=AT, through=AT + timedelta(hours=1), count=61
        )
    )
    assert "Due: 2026-01-02 03:04:05 UTC to 2026-01-02 04:04:05 UTC (61 times)" in text.body


@pytest.mark.parametrize("event", list(NotificationEvent))
def test_every_event_has_words(event: NotificationEvent):
    """No event is told by its enum value alone."""
    title = render.text(Notice(event=event, at=AT, namespace="n", job="j")).title
    assert title.startswith("n/j ")
    assert event.value not in title


def test_an_event_of_a_later_version_is_still_told():
    """A rolled-back controller sends what a newer one enqueued."""
    assert render.text(Notice(event="Paused", at=AT, namespace="n", job="j")).title == "n/j Paused"


@given(output=st.text(), message=st.text(), description=st.text())
def test_texts_are_bounded_and_printable(output: str, message: str, description: str):
    """One title line of 120 characters, a body of 3,000, no control characters."""
    text = render.text(failed(output=output * 50, message=message * 20, description=description, exit_code=None))
    assert len(text.title) <= 120
    assert len(text.body) <= 3000
    assert "\n" not in text.title
    assert all(character.isprintable() or character in "\n\t" for character in text.title + text.body)


def test_the_webhook_body_is_a_cloud_event():
    """Required attributes of CloudEvents 1.0, our facts in data, in camelCase."""
    event = json.loads(render.cloud_event(failed(failures_in_a_row=2, cause="Schedule"), "id-1", to="team"))
    assert {
        name: event[name] for name in ("specversion", "id", "source", "type", "subject", "time", "datacontenttype")
    } == {
        "specversion": "1.0",
        "id": "id-1",
        "source": "/namespaces/ops/jobs/backup",
        "type": "dev.jobwarden.failed",
        "subject": "backup-abcd2345",
        "time": "2026-01-02T03:04:05Z",
        "datacontenttype": "application/json",
    }
    assert event["data"]["exitCode"] == 3
    assert event["data"]["failuresInARow"] == 2
    assert event["data"]["to"] == "team"
    assert all("_" not in name for name in event["data"])


def test_the_same_item_makes_the_same_bytes():
    """A message that is sent again is byte for byte the message that was sent before."""
    assert render.cloud_event(failed(), "id-1") == render.cloud_event(notices.decode(notices.encode(failed())), "id-1")
