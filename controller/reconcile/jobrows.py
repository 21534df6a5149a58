"""A job's columns: how it is shown, and how its schedule begins.

`apply` writes them. `next_fire_at` is the nominal instant at which the dispatcher has to look at the job; jitter delays the dispatch that it makes then
(`dispatches.not_before`). Invariant: pure; a schedule that has ended for its fireDigest begins completed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from controller.base import durations
from controller.domain import job as jobspec
from controller.domain.job import Alerts, JobSpec, word
from controller.reconcile.records import Document
from controller.schedule import plan as schedules
from controller.store.rows import pack

_LONGEST_TEXT = 512


class Start(msgspec.Struct, frozen=True):
    """Where a new schedule begins. `ended`: it has no instant at all any more, and did not have a tombstone yet."""

    fired_through: datetime
    next_fire_at: datetime | None
    completed_at: datetime | None
    ended: bool = False


def start(spec: JobSpec, key: str, now: datetime, buried: datetime | None, *, resting: bool) -> Start:
    """How a schedule that is first seen at `now` begins. Pure.

    Nothing of the past is owed, except an `at`, so that a past one still fires unless it is later than startingDeadline. `buried` is when this
    fireDigest completed, if it ever did; `resting` jobs (suspended, held) have nothing due.
    """
    schedule = spec.schedule
    if schedule is None:
        return Start(now, None, None)
    through = schedules.starting_point(schedule, now)
    if buried is not None:
        return Start(max(through, now), None, buried)
    following = schedules.next_fire(schedule, key, through, now)
    if following is None:
        return Start(through, None, now, ended=True)
    return Start(through, None if resting else following, None)


def defining(document: Document, spec: JobSpec, now: datetime) -> dict[str, Any]:
    """The columns that follow from the document alone. Pure."""
    return {
        "source": document.entry.source,
        "spec": jobspec.encode(spec),
        "labels": pack(document.labels),
        "schedule_text": schedule_text(spec),
        "target": word(spec.target),
        "suspend": spec.suspend,
        "fire_digest": document.fire_digest,
        "effective_digest": document.effective_digest,
        # Looked at once; the loop of alerts finds out when next.
        "alert_at": now if spec.alerts != Alerts() else None,
    }


def schedule_text(spec: JobSpec) -> str:
    """When the job runs, for a column. Pure."""
    text = "on request"
    if spec.trigger is not None:
        text = "after " + ", ".join(parent.job for parent in spec.trigger.after)
    elif (schedule := spec.schedule) is not None:
        if schedule.crons:
            zone = "" if schedule.time_zone == "UTC" else f" {schedule.time_zone}"
            text = "; ".join(schedule.crons) + zone
        elif schedule.every is not None:
            text = f"every {durations.format(schedule.every)}"
        elif schedule.at is not None:
            text = f"at {schedule.at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def trigger_rows(document: Document, job: int, spec: JobSpec) -> list[tuple[int, str, str, str]]:
    """(child, namespace, parent, when) for each parent. Pure."""
    after = spec.trigger.after if spec.trigger is not None else ()
    return [(job, document.entry.key.namespace, parent.job, parent.when.value) for parent in after]


def resource_values(document: Document, references: bytes) -> Mapping[str, Any]:
    """The columns of a version of a resource. Pure."""
    entry = document.entry
    return {
        "source": entry.source,
        "path": entry.path,
        "line": entry.line,
        "document": document.body,
        "digest": entry.digest,
        "references": references,
    }
