"""Words for people and JSON for programs, from the facts of one notice. Pure: the sender gives the notice and takes the text.

Invariant: one title line of at most 120 characters, a plain-text body of at most 3,000, for whatever a job printed.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from controller.domain.job import NotificationEvent
from controller.domain.notices import Notice

CLOUDEVENTS_TYPE = "application/cloudevents+json; charset=utf-8"
_LONGEST_TITLE = 120
_LONGEST_BODY = 3000
_LONGEST_OUTPUT = 1500


class Level(StrEnum):
    """How much it matters to whoever reads it."""

    Info = "info"
    Success = "success"
    Warning = "warning"
    Failure = "failure"


class Text(msgspec.Struct, frozen=True):
    """A message for people, plain text."""

    title: str
    body: str
    level: Level


_LEVELS = {
    NotificationEvent.Started: Level.Info,
    NotificationEvent.Succeeded: Level.Success,
    NotificationEvent.Failed: Level.Failure,
    NotificationEvent.TimedOut: Level.Failure,
    NotificationEvent.Missed: Level.Warning,
    NotificationEvent.Skipped: Level.Info,
    NotificationEvent.Recovered: Level.Success,
    NotificationEvent.ApprovalRequested: Level.Warning,
    NotificationEvent.Denied: Level.Failure,
    NotificationEvent.Overdue: Level.Warning,
    NotificationEvent.Alert: Level.Failure,
}
_WORDS = {
    NotificationEvent.Started: "started",
    NotificationEvent.Succeeded: "succeeded",
    NotificationEvent.Failed: "failed",
    NotificationEvent.TimedOut: "timed out",
    NotificationEvent.Missed: "was missed",
    NotificationEvent.Skipped: "was skipped",
    NotificationEvent.Recovered: "succeeds again",
    NotificationEvent.ApprovalRequested: "waits for approval",
    NotificationEvent.Denied: "was denied",
    NotificationEvent.Overdue: "is overdue",
    NotificationEvent.Alert: "needs attention",
}


def text(notice: Notice) -> Text:
    """Title and body for people. Pure."""
    key = f"{notice.namespace}/{notice.job}"
    words, level = _words(notice.event)
    title = f"{key} {words}"
    if why := _why(notice):
        title = f"{title}: {why}"
    paragraphs = [part for part in (_story(notice), _what_to_do(notice), _tail(notice.output)) if part]
    return Text(_shortened(_line(title), _LONGEST_TITLE), _shortened("\n\n".join(paragraphs), _LONGEST_BODY), level)


def cloud_event(notice: Notice, event_id: str, to: str | None = None) -> bytes:
    """The JSON body of a webhook: a CloudEvent in structured mode whose data are the facts of the notice. Pure.

    Shape: `source` names the job, `type` the event, `subject` the run where there is one. Equal arguments give equal bytes, so that a
    message that is sent again is the same message. Source: CloudEvents 1.0.2.
    """
    data: dict[str, Any] = msgspec.to_builtins(notice)
    data["text"] = text(notice).title
    if to is not None:
        data["to"] = to
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/namespaces/{notice.namespace}/jobs/{notice.job}",
        "type": f"dev.jobwarden.{notice.event[:1].lower()}{notice.event[1:]}",
        "time": _rfc3339(notice.at),
        "datacontenttype": "application/json",
        "data": data,
    }
    if notice.run is not None:
        event["subject"] = notice.run
    return msgspec.json.encode(event, order="deterministic")


def _words(event: str) -> tuple[str, Level]:
    try:
        known = NotificationEvent(event)
    except ValueError:  # written by a later version
        return event, Level.Info
    return _WORDS[known], _LEVELS[known]


def _why(notice: Notice) -> str:
    if notice.exit_code:
        return f"exit code {notice.exit_code}"
    if notice.signal:
        return f"signal {notice.signal}"
    if notice.event == NotificationEvent.Recovered and notice.failures_in_a_row:
        return f"after {_times(notice.failures_in_a_row, 'failure')}"
    return notice.message or notice.reason or "" if notice.event != NotificationEvent.Succeeded else ""


def _story(notice: Notice) -> str:
    lines = [notice.description] if notice.description else []
    if notice.message:
        lines.append(notice.message)
    rows = (
        ("Run", notice.run),
        ("Reason", notice.reason),
        ("Cause", notice.cause),
        ("Attempt", str(notice.attempt) if notice.attempt > 1 else None),
        ("Due", _due(notice)),
        ("Started", _people(notice.started_at)),
        ("Ended", _people(notice.finished_at)),
        ("Took", _took(notice.started_at, notice.finished_at)),
        ("Failures in a row", str(notice.failures_in_a_row) if notice.failures_in_a_row > 1 else None),
        ("Failing since", _people(notice.failing_since)),
        ("Asked by", notice.requested_by),
        ("Decide before", _people(notice.expires_at)),
    )
    lines.extend(f"{name}: {value}" for name, value in rows if value)
    return "\n".join(_line(line) for line in lines)


def _what_to_do(notice: Notice) -> str:
    if notice.approval:
        return f"jobwarden approve {notice.approval} -n {notice.namespace}\njobwarden reject {notice.approval} -n {notice.namespace}"
    if notice.run and _words(notice.event)[1] is Level.Failure:
        return f"jobwarden logs {notice.run} -n {notice.namespace}"
    return ""


def _tail(output: str) -> str:
    kept = output.strip("\n")
    if not kept:
        return ""
    if len(kept) > _LONGEST_OUTPUT:
        kept = "…" + kept[-_LONGEST_OUTPUT:]
    return f"Last output:\n{_printable(kept)}"


def _due(notice: Notice) -> str | None:
    if notice.scheduled_for is None:
        return None
    if notice.through is None or notice.count == 1:
        return _people(notice.scheduled_for)
    return f"{_people(notice.scheduled_for)} to {_people(notice.through)} ({notice.count} times)"


def _people(instant: datetime | None) -> str | None:
    return None if instant is None else f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _took(start: datetime | None, end: datetime | None) -> str | None:
    if start is None or end is None or end < start:
        return None
    if end - start < timedelta(minutes=1):
        return f"{(end - start).total_seconds():.1f} s"
    hours, rest = divmod(int((end - start).total_seconds()), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _line(words: str) -> str:
    return " ".join(_printable(words).split())


def _printable(words: str) -> str:
    """Without control characters: a message is read in terminals and chats."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in words)


def _shortened(words: str, longest: int) -> str:
    return words if len(words) <= longest else words[: longest - 1] + "…"
