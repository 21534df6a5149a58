"""A schedule's problems are named with the field and what to write; one without problems can be used."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.domain.job import Schedule
from controller.schedule import check

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("schedule", "path", "said"),
    [
        (Schedule(), (), "exactly one of cron, crons, every and at"),
        (Schedule(every=HOUR, at=NOON), (), "every and at exclude each other"),
        (Schedule(crons=("0 0 * * *", "5/10 * * * *")), ("crons", 1), "write 5-59/10"),
        (Schedule(every=timedelta(milliseconds=500)), ("every",), "500ms is too short: write 1s or more"),
        (Schedule(every=HOUR, time_zone="Europe/Berln"), ("timeZone",), "did you mean Europe/Berlin"),
        (
            Schedule(every=HOUR, start_at=NOON, end_at=NOON - HOUR),
            ("endAt",),
            "endAt 2026-06-01T11:00:00Z is before startAt",
        ),
        (Schedule(at=NOON, start_at=NOON + HOUR), ("at",), "would never fire"),
        (Schedule(at=NOON, end_at=NOON - HOUR), ("at",), "would never fire"),
        (Schedule(every=HOUR, jitter=HOUR, starting_deadline=HOUR / 2), ("jitter",), "write at most 30m"),
        (Schedule(every=HOUR, jitter=-HOUR), ("jitter",), "is negative"),
    ],
)
def test_a_problem_names_the_field_and_the_way_out(schedule, path, said):
    """The path is in document spelling, below `schedule`."""
    (problem,) = check.check_schedule(schedule)
    assert problem.path == path
    assert said in str(problem)


def test_a_cron_problem_keeps_its_place_in_the_text():
    """So that file, line and column can be worked out."""
    (problem,) = check.check_schedule(Schedule(crons=("0 0 31 2 *",)))
    assert problem.offset == 4


def test_all_problems_come_at_once():
    """Nobody has to mend one to learn of the next."""
    schedule = Schedule(crons=("x * * * *", "@reboot"), time_zone="Mars", start_at=NOON, end_at=NOON - HOUR)
    assert [problem.path for problem in check.check_schedule(schedule)] == [
        ("crons", 0),
        ("crons", 1),
        ("timeZone",),
        ("endAt",),
    ]


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(crons=("0 0 * * *",), time_zone="Europe/Berlin", start_at=NOON, end_at=NOON),
        Schedule(every=timedelta(seconds=1), jitter=HOUR),
        Schedule(at=NOON, start_at=NOON, end_at=NOON),
    ],
)
def test_a_good_schedule_has_no_problems(schedule):
    """A window of one instant, and one instant at its edge, are fine."""
    assert check.check_schedule(schedule) == []
