"""What is wrong with a Schedule beyond its shape: meaning of expressions, zones, window and their fit.

`reconcile.check` calls it for every document (class B) and knows file and line. Invariant: a schedule without problems never makes
`plan` raise.
"""

from datetime import datetime, timedelta

import msgspec

from controller.base import durations
from controller.domain.job import Schedule
from controller.schedule import grammar, zones


class ScheduleProblem(msgspec.Struct, frozen=True):
    """`path` leads from `schedule` to the value, in document spelling (`("crons", 1)`); `offset` counts characters inside it."""

    path: tuple[str | int, ...]
    message: str
    hint: str
    offset: int | None = None

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


def check_schedule(schedule: Schedule) -> list[ScheduleProblem]:
    """Every problem, in the order of the record's fields; none when the schedule can be used. Pure."""
    return [
        *_kind(schedule),
        *_crons(schedule),
        *_every(schedule),
        *_zone(schedule),
        *_window(schedule),
        *_jitter(schedule),
    ]


def _kind(schedule: Schedule) -> list[ScheduleProblem]:
    named = [
        name for name, there in (("crons", schedule.crons), ("every", schedule.every), ("at", schedule.at)) if there
    ]
    if len(named) == 1:
        return []
    message = f"{' and '.join(named)} exclude each other" if named else "the schedule says no time"
    return [ScheduleProblem((), message, "give exactly one of cron, crons, every and at")]


def _crons(schedule: Schedule) -> list[ScheduleProblem]:
    return [
        ScheduleProblem(("crons", index), problem.message, problem.hint, problem.offset)
        for index, expression in enumerate(schedule.crons)
        for problem in grammar.check(expression)
    ]


def _every(schedule: Schedule) -> list[ScheduleProblem]:
    if schedule.every is None or schedule.every >= timedelta(seconds=1):
        return []
    return [ScheduleProblem(("every",), f"{durations.format(schedule.every)} is too short", "write 1s or more")]


def _zone(schedule: Schedule) -> list[ScheduleProblem]:
    try:
        zones.find(schedule.time_zone)
    except zones.UnknownZoneError as error:
        message, _, hint = str(error).partition(": ")
        return [ScheduleProblem(("timeZone",), message, hint)]
    return []


def _window(schedule: Schedule) -> list[ScheduleProblem]:
    start, end, at = schedule.start_at, schedule.end_at, schedule.at
    if start is not None and end is not None and end < start:
        return [
            ScheduleProblem(
                ("endAt",), f"endAt {_show(end)} is before startAt {_show(start)}", "swap them, or leave one out"
            )
        ]
    if at is not None and ((start is not None and at < start) or (end is not None and at > end)):
        return [
            ScheduleProblem(
                ("at",), f"at {_show(at)} is outside startAt and endAt", "it would never fire; leave the window out"
            )
        ]
    return []


def _jitter(schedule: Schedule) -> list[ScheduleProblem]:
    if schedule.jitter < timedelta(0):
        return [ScheduleProblem(("jitter",), f"{durations.format(schedule.jitter)} is negative", "write 0s or more")]
    deadline = schedule.starting_deadline
    if deadline is not None and schedule.jitter > deadline:
        message = f"a jitter of {durations.format(schedule.jitter)} reaches beyond the startingDeadline"
        hint = f"write at most {durations.format(deadline)}, or starts that come later are always missed"
        return [ScheduleProblem(("jitter",), message, hint)]
    return []


def _show(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
