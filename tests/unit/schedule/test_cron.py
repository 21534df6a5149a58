"""Cron expressions fire when two other readings of them say so, through every kind of jump of a wall clock."""

# ruff: noqa: DTZ001 - hypothesis takes its bounds without a zone

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSimError
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from controller.schedule import cron, grammar
from tests.unit.schedule.expressions import CHANGES, ZONES, cron_expressions, cronsim_instants, watched

MINUTE = timedelta(minutes=1)


def fires(expression, zone, after, count, key="ns/job"):
    """The next `count` instants, as UTC, from a reader that remembers nothing yet."""
    ready = cron.Cron(expression, zone, key)
    found = []
    while len(found) < count and (following := ready.next_after(found[-1] if found else after)) is not None:
        found.append(following)
    return found


def local(expression, zone, after, count, key="ns/job"):
    """The next `count` instants as the wall clock shows them, with the offset."""
    found = fires(expression, zone, after, count, key)
    return [instant.astimezone(ZoneInfo(zone)).strftime("%d %H:%M %z") for instant in found]


def accepted(expression):
    return not grammar.check(expression)


@settings(max_examples=150, deadline=None)
@given(cron_expressions(), st.sampled_from(ZONES), st.datetimes(datetime(1975, 1, 1), datetime(2090, 1, 1)))
@example("30 1 29 2 *", "America/New_York", datetime(2026, 11, 1))
@example("*/7 * L * L5", "Europe/Berlin", datetime(2026, 3, 1, 0, 0, 30))
def test_the_next_instants_are_those_of_cronsim(expression, zone, after):
    """Two programs that share no code agree on any expression, zone and start."""
    after = after.replace(tzinfo=UTC)
    try:
        expected = cronsim_instants(expression, zone, after, 3)
    except CronSimError:
        # It refuses days that never occur; so must we.
        assert not accepted(expression)
        return
    assume(accepted(expression))
    # cronsim loses its way where a jump is no whole hour, a whole day, or within an hour; the watched clock judges those.
    assume(
        zone not in {"Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns"}
        or not (expression.startswith("*") or " *" in expression[:12])
    )
    assert fires(expression, zone, after, 3) == expected


@pytest.mark.parametrize("change", CHANGES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_around_a_change_of_the_clock_every_instant_is_one_that_a_watcher_sees(change, data):
    """From half a day before to half a day after, whatever the expression, nothing is lost, added or doubled."""
    assert_as_watched(*CHANGES[change], data.draw(cron_expressions().filter(accepted)))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("expression", ["0,15,30,45 0-23 * * *", "*/15 * * * *", "7-59/20 0,1,2,23 * * *"])
def test_a_busy_schedule_asked_anywhere_around_a_change_is_as_a_watcher_sees(change, expression):
    """Many instants at and around the jump, and a start at every few minutes, also between two showings of one time."""
    zone, at = CHANGES[change]
    expected = assert_as_watched(zone, at, expression)
    for minutes in range(-125, 126, 10):
        probe = at + minutes * MINUTE
        following = next((instant for instant in expected if instant > probe), None)
        assert following is None or fires(expression, zone, probe, 1) == [following]


def assert_as_watched(zone, at, expression):
    """Compare with the watched clock; gives its instants."""
    start, end = at - timedelta(hours=12), at + timedelta(hours=12)
    expected = watched(expression, zone, start, end, MINUTE)
    found = fires(expression, zone, start, len(expected) + 1)
    assert [instant for instant in found if instant <= end] == expected
    return expected


@pytest.mark.parametrize("change", ["New York forward", "New York back", "Lord Howe back"])
@pytest.mark.parametrize("expression", ["30 1,2 * * * */20", "* 2 * * * 7", "5-10 0-2 * * * 0,59", "59 1 * * * *"])
def test_seconds_follow_the_same_rule(change, expression):
    """A sixth field changes nothing about jumps of the clock."""
    zone, at = CHANGES[change]
    start, end = at - timedelta(hours=3), at + timedelta(hours=3)
    expected = watched(expression, zone, start, end, timedelta(seconds=1))
    assert fires(expression, zone, start, len(expected) + 1)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (
            "30 2 * * *",
            ["07 02:30 -0500", "08 03:00 -0400", "09 02:30 -0400"],
        ),  # S037, changed: the first instant after the gap
        ("0 2 * * *", ["07 02:00 -0500", "08 03:00 -0400", "09 02:00 -0400"]),
        ("0 2,3 * * *", ["07 02:00 -0500", "07 03:00 -0500", "08 03:00 -0400", "09 02:00 -0400"]),
        ("0-59 2 8 * *", ["08 03:00 -0400", "08 02:00 -0400"]),
    ],
)
def test_in_new_york_in_spring_a_missing_time_fires_once_after_the_gap(expression, expected):
    """02:30 does not exist on 8 March 2026; the job runs at 03:00, once, and as usual the next day."""
    assert local(expression, "America/New_York", datetime(2026, 3, 7, 5, 0, tzinfo=UTC), len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 * * * *", ["08 01:00 -0500", "08 03:00 -0400", "08 04:00 -0400"]),
        ("*/30 * * * *", ["08 01:00 -0500", "08 01:30 -0500", "08 03:00 -0400", "08 03:30 -0400"]),
        ("*/30 2 * * *", ["09 02:00 -0400", "09 02:30 -0400"]),
    ],
)
def test_in_new_york_in_spring_a_wildcard_follows_real_time(expression, expected):
    """Nothing is lost and nothing is added: the hour that does not exist has no instants."""
    assert local(expression, "America/New_York", datetime(2026, 3, 8, 5, 45, tzinfo=UTC), len(expected)) == expected


def test_in_new_york_in_autumn_a_fixed_time_fires_at_its_first_showing_only():
    """S038: 01:30 exists twice on 1 November 2026 and the job runs at the first."""
    after = datetime(2026, 10, 31, 12, tzinfo=UTC)
    assert local("30 1 * * *", "America/New_York", after, 2) == ["01 01:30 -0400", "02 01:30 -0500"]
    assert local("0 0-5 * * *", "America/New_York", after, 4)[1:] == [
        "01 01:00 -0400",
        "01 02:00 -0500",
        "01 03:00 -0500",
    ]


def test_asked_between_the_two_showings_a_fixed_time_waits_for_the_next_day():
    """A restart at 01:15 of the second showing does not fire 01:30 again."""
    second_showing = datetime(2026, 11, 1, 6, 15, tzinfo=UTC)
    assert local("30 1 * * *", "America/New_York", second_showing, 1) == ["02 01:30 -0500"]


def test_in_new_york_in_autumn_a_wildcard_fires_through_both_showings():
    """Every hour of real time has its instant."""
    after = datetime(2026, 11, 1, 4, 30, tzinfo=UTC)
    assert local("0 * * * *", "America/New_York", after, 3) == ["01 01:00 -0400", "01 01:00 -0500", "01 02:00 -0500"]


def test_lord_howe_moves_by_half_an_hour():
    """The same rules where a change is no whole hour."""
    forward = datetime(2026, 10, 3, 14, tzinfo=UTC)
    assert local("15 2 * * *", "Australia/Lord_Howe", forward, 2) == ["04 02:30 +1100", "05 02:15 +1100"]
    back = datetime(2026, 4, 4, 12, tzinfo=UTC)
    assert local("45 1 * * *", "Australia/Lord_Howe", back, 2) == ["05 01:45 +1100", "06 01:45 +1030"]
    assert local("*/15 1 5 4 *", "Australia/Lord_Howe", back, 6)[2:] == [
        "05 01:30 +1100",
        "05 01:45 +1100",
        "05 01:30 +1030",
        "05 01:45 +1030",
    ]


def test_a_midnight_that_does_not_exist_is_one_oclock():
    """Cairo and Sao Paulo set their clocks at midnight; a daily job still runs every day."""
    assert local("0 0 * * *", "Africa/Cairo", datetime(2026, 4, 22, 23, tzinfo=UTC), 2) == [
        "24 01:00 +0300",
        "25 00:00 +0300",
    ]
    before = datetime(2018, 11, 3, 12, tzinfo=UTC)
    assert local("0 0 * * *", "America/Sao_Paulo", before, 2) == ["04 01:00 -0200", "05 00:00 -0200"]


def test_hours_before_midnight_that_repeat_belong_to_one_day():
    """Sao Paulo showed 23:00 to 24:00 twice on 17 February 2018."""
    before = datetime(2018, 2, 18, 0, tzinfo=UTC)
    assert local("30 23 * * *", "America/Sao_Paulo", before, 2) == ["17 23:30 -0200", "18 23:30 -0300"]
    assert local("30 23 17 2 *", "America/Sao_Paulo", before, 1) == ["17 23:30 -0200"]
    assert local("30 * 17 2 *", "America/Sao_Paulo", datetime(2018, 2, 18, 1, 45, tzinfo=UTC), 1) == ["17 23:30 -0300"]


def test_a_day_that_does_not_exist_fires_when_the_next_begins():
    """Apia went from 29 to 31 December 2011."""
    after = datetime(2011, 12, 29, 23, tzinfo=UTC)
    assert local("0 12 * * *", "Pacific/Apia", after, 3) == ["31 00:00 +1400", "31 12:00 +1400", "01 12:00 +1400"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 L * *", ["31 00:00 +0000", "30 00:00 +0000", "31 00:00 +0000"]),  # S040
        ("0 0 * * 5#2", ["13 00:00 +0000", "10 00:00 +0000", "08 00:00 +0000"]),  # S040
        ("0 0 * * L5", ["27 00:00 +0000", "24 00:00 +0000", "29 00:00 +0000"]),
        ("0 0 15,L * *", ["15 00:00 +0000", "31 00:00 +0000", "15 00:00 +0000"]),
        ("0 0 13 * 5#2", ["13 00:00 +0000", "10 00:00 +0000", "13 00:00 +0000"]),
        ("0 0 1 * MON", ["02 00:00 +0000", "09 00:00 +0000", "16 00:00 +0000"]),
        ("0 0 1-31 * MON", ["02 00:00 +0000", "03 00:00 +0000", "04 00:00 +0000"]),
        ("0 12 * * SAT-SUN", ["01 12:00 +0000", "07 12:00 +0000", "08 12:00 +0000"]),
        ("0 0 ? * 7", ["08 00:00 +0000", "15 00:00 +0000", "22 00:00 +0000"]),
        ("59 23 31 12 * 59", ["31 23:59 +0000", "31 23:59 +0000", "31 23:59 +0000"]),
        ("@weekly", ["08 00:00 +0000", "15 00:00 +0000", "22 00:00 +0000"]),
    ],
)
def test_days_are_found(expression, expected):
    """Month ends, second and last Fridays, unions and macros."""
    assert local(expression, "UTC", datetime(2026, 3, 1, tzinfo=UTC), 3) == expected


@pytest.mark.parametrize("change", ["New York forward", "New York back", "Lord Howe back", "Apia skips a day"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_answer_does_not_depend_on_where_one_asks_from(change, data):
    """next_after is a step function: asked anywhere before an instant and after the one before, it names that instant."""
    zone, at = CHANGES[change]
    expression = data.draw(cron_expressions())
    assume(accepted(expression))
    start = at + data.draw(st.timedeltas(timedelta(hours=-4), timedelta(hours=4)))
    first = cron.Cron(expression, zone, "").next_after(start)
    assume(first is not None and first - start < timedelta(days=400))
    between = start + (first - start) * data.draw(st.floats(0, 1, exclude_max=True))
    fresh = cron.Cron(expression, zone, "")
    assert start < first
    assert fresh.next_after(min(between, first - timedelta(microseconds=1))) == first
    assert fresh.next_after(first) > first


def test_h_spreads_jobs_and_stays_the_same_for_each():
    """The minute follows from namespace/name; many jobs do not share one."""
    after = datetime(2026, 3, 1, tzinfo=UTC)
    chosen = {key: fires("H H * * *", "UTC", after, 1, key)[0] for key in (f"team/job-{n}" for n in range(50))}
    assert len(set(chosen.values())) > 40
    assert chosen == {key: fires("H H * * *", "UTC", after, 1, key)[0] for key in chosen}


@pytest.mark.parametrize("key", ["a/b", "team/report", "x/y", "default/long-name"])
def test_a_monthly_h_fires_every_month(key):
    """Days that some months lack are never drawn."""
    found = fires("H H H * *", "UTC", datetime(2026, 1, 1, tzinfo=UTC), 12, key)
    assert [instant.month for instant in found] == list(range(1, 13))


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [("H(10-20) * * * *", range(10, 21)), ("H/15 * * * *", range(60)), ("H(0-29)/10 * * * *", range(30))],
)
def test_h_keeps_to_its_range_and_step(expression, minutes):
    """Ranges bound the draw, steps repeat it."""
    found = fires(expression, "UTC", datetime(2026, 1, 1, tzinfo=UTC), 12)
    assert {instant.minute for instant in found} <= set(minutes)
    if "/" in expression:
        step = int(expression.partition("/")[2].split()[0])
        assert all((later - earlier) % timedelta(minutes=step) == timedelta(0) for earlier, later in pairwise(found))


def test_only_expressions_with_an_h_care_who_asks():
    """Ten thousand jobs with one expression share one parsed form."""
    assert cron.compiled("0 3 * * *", "UTC", "a/b") is cron.compiled("0 3 * * *", "UTC", "c/d")
    assert cron.compiled("H 3 * * *", "UTC", "a/b") is not cron.compiled("H 3 * * *", "UTC", "c/d")


def test_rare_days_are_found_and_the_end_of_time_is_none():
    """29 February on a Friday is decades away; past the calendar there is nothing, and no error."""
    assert fires("0 0 * 2 5#5", "UTC", datetime(2064, 3, 1, tzinfo=UTC), 1) == [datetime(2092, 2, 29, tzinfo=UTC)]
    assert fires("0 0 29 2 *", "Europe/Berlin", datetime(2096, 3, 1, tzinfo=UTC), 1) == [
        datetime(2104, 2, 28, 23, tzinfo=UTC)
    ]
    for zone in ("UTC", "America/New_York", "Pacific/Apia"):
        assert fires("* * * * *", zone, datetime.max.replace(tzinfo=UTC), 1) == []
        assert fires("0 0 1 1 *", zone, datetime.max.replace(tzinfo=UTC), 1) == []


def test_any_early_start_means_from_the_beginning():
    """Nothing is due before 1970, and a start at the beginning of the calendar is no error."""
    for zone in ("UTC", "America/New_York", "Asia/Kathmandu"):
        (first,) = fires("0 12 * * *", zone, datetime.min.replace(tzinfo=UTC), 1)
        assert first.date() == datetime(1970, 1, 1, tzinfo=UTC).date()


def test_instants_are_whole_seconds_after_any_fraction():
    """A start between two seconds neither repeats nor skips."""
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for expression in ("0 12 * * *", "0 12 * * * 0"):
        assert fires(expression, "UTC", at - timedelta(microseconds=1), 1) == [at]
        assert fires(expression, "UTC", at + timedelta(microseconds=1), 1) == [at + timedelta(days=1)]
        assert fires(expression, "UTC", at, 1) == [at + timedelta(days=1)]
