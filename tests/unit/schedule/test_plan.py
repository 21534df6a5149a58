"""What a schedule owes: instants, windows, catch-up, clocks that step, jitter, back-off."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from controller.domain.job import CatchUp, Schedule
from controller.schedule import check, cron, plan
from tests.unit.schedule.expressions import cron_expressions

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
KEY = "team/report"


def minutely(**fields):
    return Schedule(crons=("* * * * *",), **fields)


def due(schedule, fired_through, now, **options):
    return plan.due(schedule, KEY, fired_through, now, NOON - 10 * DAY, **options)


def instants_between(schedule, after, until, anchor, limit):
    """Every instant in (after, until], one after the other, or None when they are more than `limit`."""
    found = []
    while (
        instant := plan.next_fire(schedule, KEY, found[-1] if found else after, anchor)
    ) is not None and instant <= until:
        if len(found) == limit:
            return None
        found.append(instant)
    return found


@st.composite
def schedules(draw):
    """Any schedule whose instants are minutes to years apart, with any policy and window."""
    at = NOON + draw(st.timedeltas(timedelta(days=-3), timedelta(days=3)))
    kind = draw(st.sampled_from(["crons", "every", "at"]))
    times = {
        "crons": {"crons": tuple(draw(st.lists(cron_expressions(), min_size=1, max_size=3)))},
        "every": {"every": timedelta(seconds=draw(st.integers(1, 200_000)))},
        "at": {"at": at},
    }[kind]
    window = {}
    if draw(st.booleans()):
        window["start_at"] = NOON + draw(st.timedeltas(timedelta(days=-3), timedelta(days=3)))
    if draw(st.booleans()):
        window["end_at"] = NOON + draw(st.timedeltas(timedelta(days=-3), timedelta(days=3)))
    schedule = Schedule(
        **times,
        **window,
        time_zone=draw(st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe"])),
        starting_deadline=draw(st.none() | st.timedeltas(timedelta(0), timedelta(days=1))),
        catch_up=draw(st.sampled_from(CatchUp)),
        catch_up_limit=draw(st.integers(1, 100)),
    )
    assume(not check.check_schedule(schedule))
    return schedule


@settings(max_examples=150, deadline=None)
@given(
    schedules(),
    st.lists(st.timedeltas(timedelta(days=-1), timedelta(days=2)), min_size=1, max_size=5),
    st.timedeltas(timedelta(0), timedelta(minutes=2)),
)
@example(minutely(), [DAY, -DAY, DAY], timedelta(seconds=5))
@example(Schedule(at=NOON - DAY, catch_up=CatchUp.Nothing), [DAY], timedelta(seconds=5))
def test_every_instant_is_fired_or_missed_exactly_once(schedule, steps, on_time):
    """However the clock moves, nothing fires twice, nothing is forgotten, and the story is in order."""
    now = fired_through = NOON - 2 * DAY
    anchor = now
    told = []
    for step in steps:
        now += step
        owed = plan.due(schedule, KEY, fired_through, now, anchor, on_time=on_time)
        expected = instants_between(schedule, fired_through, now, anchor, 5000) if now > fired_through else []
        assume(expected is not None)
        fired = list(owed.fire)
        missed = expected[: len(expected) - len(fired)]
        assert fired == expected[len(missed) :]
        assert (owed.missed is None) == (not missed)
        if owed.missed is not None:
            assert (owed.missed.first, owed.missed.last) == (missed[0], missed[-1])
            assert owed.missed.count == (len(missed) if owed.missed.exact else min(len(missed), 100))
        check_policy(schedule, missed, fired, now, on_time)
        assert owed.next == plan.next_fire(schedule, KEY, max(now, fired_through), anchor)
        told += fired
        fired_through = max(fired_through, now)
    assert all(earlier < later for earlier, later in pairwise(told))


def check_policy(schedule, missed, fired, now, on_time):
    """Which of the instants fire is what catchUp and startingDeadline say."""
    deadline = schedule.starting_deadline

    def late(instant):
        return deadline is not None and now - instant > deadline

    assert not any(map(late, fired))
    fresh = [instant for instant in missed + fired if now - instant <= on_time and not late(instant)]
    if len(fresh) > 100:
        return
    assert set(fresh) <= set(fired)
    old = [instant for instant in fired if instant not in fresh]
    could = [instant for instant in missed + fired if not late(instant)]
    match schedule.catch_up:
        case CatchUp.Nothing:
            assert not old
        case CatchUp.Latest:
            assert old == ([] if fresh else could[-1:])
        case CatchUp.All:
            assert fired == could[-max(schedule.catch_up_limit, len(fresh)) :]


def test_in_normal_operation_exactly_one_instant_fires():
    """The dispatcher wakes a moment after noon and fires noon."""
    owed = due(minutely(), NOON - MINUTE, NOON + timedelta(milliseconds=2))
    assert owed == plan.Due((NOON,), None, NOON + MINUTE)


def test_nothing_is_owed_between_two_instants():
    """Looking early or again changes nothing."""
    assert due(minutely(), NOON, NOON + timedelta(seconds=59)) == plan.Due((), None, NOON + MINUTE)


@pytest.mark.parametrize(
    ("policy", "fire", "missed"),
    [
        (CatchUp.Nothing, [], (1, 60)),
        (CatchUp.Latest, [60], (1, 59)),
        (CatchUp.All, list(range(1, 61)), None),
    ],
)
def test_after_an_hour_away_catch_up_decides(policy, fire, missed):
    """None fires nothing, Latest the last, All all; what does not fire is one range."""
    owed = due(minutely(catch_up=policy), NOON, NOON + HOUR + timedelta(seconds=30))
    assert owed.fire == tuple(NOON + number * MINUTE for number in fire)
    expected = missed and plan.Missed(
        NOON + missed[0] * MINUTE, NOON + missed[1] * MINUTE, missed[1] - missed[0] + 1, exact=True
    )
    assert owed.missed == expected


def test_the_limit_of_all_keeps_the_newest():
    """With limit 3 the last three of sixty fire, ascending."""
    owed = due(minutely(catch_up=CatchUp.All, catch_up_limit=3), NOON, NOON + HOUR + timedelta(seconds=30))
    assert owed.fire == tuple(NOON + number * MINUTE for number in (58, 59, 60))
    assert owed.missed.count == 57


def test_nothing_older_than_the_starting_deadline_fires():
    """An hour away, a deadline of ten minutes: the last ten fire under All, and exactly at the deadline is in time."""
    schedule = minutely(catch_up=CatchUp.All, starting_deadline=10 * MINUTE)
    owed = due(schedule, NOON, NOON + HOUR)
    assert owed.fire[0] == NOON + 50 * MINUTE
    assert len(owed.fire) == 11
    assert due(minutely(starting_deadline=timedelta(seconds=30)), NOON, NOON + MINUTE * 1.5).fire == (NOON + MINUTE,)
    assert due(minutely(starting_deadline=timedelta(seconds=20)), NOON, NOON + HOUR + timedelta(seconds=30)).fire == ()


@pytest.mark.parametrize("policy", CatchUp)
def test_a_short_stall_is_no_absence(policy):
    """A loop held up for three seconds fires each second's instant, whatever catchUp and its limit say."""
    schedule = Schedule(crons=("* * * * * *",), catch_up=policy, catch_up_limit=1)
    owed = due(schedule, NOON, NOON + timedelta(seconds=3.2))
    assert owed.fire == tuple(NOON + timedelta(seconds=number) for number in (1, 2, 3))
    assert owed.missed is None


def test_an_instant_as_old_as_allowed_is_on_time():
    """And a microsecond more is late: one of several, and one alone."""
    second, old = timedelta(seconds=1), timedelta(seconds=5)
    every_second = Schedule(crons=("* * * * * *",), catch_up=CatchUp.Nothing)
    assert due(every_second, NOON, NOON + 10 * second, on_time=old).fire[0] == NOON + 5 * second
    assert (
        due(every_second, NOON, NOON + 10 * second, on_time=old - timedelta(microseconds=1)).fire[0]
        == NOON + 6 * second
    )
    alone = minutely(catch_up=CatchUp.Nothing)
    assert due(alone, NOON, NOON + MINUTE + old, on_time=old).fire == (NOON + MINUTE,)
    assert due(alone, NOON, NOON + MINUTE + old + timedelta(microseconds=1), on_time=old).fire == ()


def test_a_clock_that_steps_back_fires_nothing_and_waits():
    """What was fired stays fired; the next instant is one that was not."""
    owed = due(minutely(), NOON, NOON - HOUR)
    assert owed == plan.Due((), None, NOON + MINUTE)


@pytest.mark.parametrize("policy", CatchUp)
@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(crons=("* * * * * *",)),
        Schedule(every=timedelta(seconds=1)),
        Schedule(crons=("* * * * * *", "0 0 29 2 *", "*/7 * * * *")),
    ],
)
def test_years_away_cost_bounded_work(schedule, policy, monkeypatch):
    """A schedule of every second after ten years: hundreds of questions to cron, not hundreds of millions."""
    asked = []
    real = cron.Cron.next_after
    monkeypatch.setattr(cron.Cron, "next_after", lambda self, instant: asked.append(instant) or real(self, instant))
    schedule = Schedule(crons=schedule.crons, every=schedule.every, catch_up=policy)
    owed = plan.due(schedule, KEY, NOON - 3650 * DAY, NOON, NOON - 3650 * DAY)
    assert len(asked) < 5000
    assert owed.next == NOON + timedelta(seconds=1)
    assert owed.missed.first == NOON - 3650 * DAY + timedelta(seconds=1)
    assert owed.fire[-1] == NOON
    assert owed.missed.count >= 100
    assert owed.missed.exact == (schedule.every is not None)


def test_a_burst_in_the_distance_is_found():
    """Every second of one hour of one day of the year: the last instant of the burst, from months later."""
    schedule = Schedule(crons=("* 3 1 1 * *",), starting_deadline=None)
    owed = due(schedule, NOON - 400 * DAY, NOON)
    assert owed.fire == (datetime(2026, 1, 1, 3, 59, 59, tzinfo=UTC),)


def test_what_passed_in_a_pause_is_one_range():
    """Suspended or held, the instants are accounted for and none fires."""
    paused = plan.passed(minutely(), KEY, NOON, NOON + HOUR, NOON)
    assert paused == plan.Missed(NOON + MINUTE, NOON + HOUR, 60, exact=True)
    assert plan.passed(minutely(), KEY, NOON, NOON + MINUTE / 2, NOON) is None
    assert plan.passed(minutely(), KEY, NOON, NOON - HOUR, NOON) is None
    assert not plan.passed(minutely(), KEY, NOON - 10 * DAY, NOON, NOON).exact


def test_a_past_at_fires_when_first_seen_unless_too_late():
    """Without a deadline never too late; with one it is missed, and there is no next."""
    for deadline, fires in ((None, True), (2 * HOUR, True), (HOUR / 2, False)):
        schedule = Schedule(at=NOON - HOUR, starting_deadline=deadline)
        owed = due(schedule, plan.starting_point(schedule, NOON), NOON)
        assert owed.fire == ((NOON - HOUR,) if fires else ())
        assert owed.missed == (None if fires else plan.Missed(NOON - HOUR, NOON - HOUR, 1, exact=True))
        assert owed.next is None


def test_a_new_schedule_starts_at_now():
    """Only an `at` reaches into the past; crons and every owe nothing from before they were seen."""
    for schedule in (minutely(), Schedule(every=MINUTE), Schedule(at=NOON + HOUR)):
        assert plan.starting_point(schedule, NOON) == NOON


def test_every_counts_from_its_anchor():
    """With startAt the first instant is startAt; without, one period after the job was first seen."""
    seen = NOON - timedelta(seconds=90)
    assert plan.preview(Schedule(every=HOUR), KEY, seen, seen, 2) == [seen + HOUR, seen + 2 * HOUR]
    start = Schedule(every=HOUR, start_at=NOON + MINUTE)
    assert plan.preview(start, KEY, seen, seen, 2) == [NOON + MINUTE, NOON + MINUTE + HOUR]
    assert plan.next_fire(start, KEY, NOON + 10 * HOUR, seen) == NOON + 10 * HOUR + MINUTE


def test_a_period_does_not_know_of_time_zones():
    """24h is 24 hours through a change of the clock."""
    before = datetime(2026, 3, 7, 17, tzinfo=UTC)
    schedule = Schedule(every=DAY, time_zone="America/New_York")
    assert plan.preview(schedule, KEY, before, before, 2) == [before + DAY, before + 2 * DAY]


def test_both_ends_of_the_window_belong_to_it():
    """startAt and endAt are instants at which the job may fire."""
    schedule = minutely(start_at=NOON, end_at=NOON + 2 * MINUTE)
    assert plan.preview(schedule, KEY, NOON - DAY, NOON, 9) == [NOON, NOON + MINUTE, NOON + 2 * MINUTE]
    ending = Schedule(every=MINUTE, start_at=NOON, end_at=NOON + MINUTE)
    assert plan.preview(ending, KEY, NOON - DAY, NOON, 9) == [NOON, NOON + MINUTE]
    assert due(ending, NOON - DAY, NOON + DAY).missed.count == 1


def test_a_schedule_that_can_never_fire_again_has_no_next():
    """S041: accepted, next is None, never due."""
    for schedule in (minutely(end_at=NOON), Schedule(every=HOUR, end_at=NOON), Schedule(at=NOON)):
        assert check.check_schedule(schedule) == []
        assert plan.next_fire(schedule, KEY, NOON, NOON - DAY) is None
        assert due(schedule, NOON, NOON + DAY) == plan.Due((), None, None)


def test_several_crons_fire_as_one():
    """The earliest of all counts, and an instant that two of them name is one."""
    schedule = Schedule(crons=("0 * * * *", "*/30 * * * *", "15 12 * * *"))
    assert plan.preview(schedule, KEY, NOON, NOON, 4) == [NOON + number * MINUTE for number in (15, 30, 60, 90)]


def test_the_far_future_ends_quietly():
    """Past the calendar there is no next instant and no error."""
    end = datetime.max.replace(tzinfo=UTC)
    for schedule in (minutely(), Schedule(every=DAY), Schedule(at=NOON)):
        assert plan.next_fire(schedule, KEY, end - MINUTE, NOON) is None
        assert plan.due(schedule, KEY, end - MINUTE, end, NOON).next is None


@given(st.text(), st.datetimes(), st.timedeltas(timedelta(0), timedelta(days=2)))
def test_jitter_is_stable_and_below_its_bound(uid, instant, jitter):
    """The same job and instant wait the same; never as long as the bound itself."""
    schedule = minutely(jitter=jitter)
    instant = instant.replace(tzinfo=UTC)
    drawn = plan.jitter_of(schedule, uid, instant)
    assert drawn == plan.jitter_of(schedule, uid, instant)
    assert timedelta(0) <= drawn < max(jitter, timedelta(milliseconds=1))


def test_jitter_spreads_jobs_and_instants():
    """A hundred jobs at one instant, and one job at a hundred instants, use the whole span."""
    schedule = minutely(jitter=HOUR)
    across_jobs = [plan.jitter_of(schedule, f"uid-{n}", NOON) for n in range(100)]
    across_instants = [plan.jitter_of(schedule, "uid", NOON + n * MINUTE) for n in range(100)]
    for drawn in (across_jobs, across_instants):
        assert len(set(drawn)) > 90
        assert min(drawn) < HOUR / 5
        assert max(drawn) > HOUR * 4 / 5


@pytest.mark.parametrize(
    ("errors", "seconds"), [(-1, 30), (0, 30), (1, 30), (2, 60), (3, 300), (4, 900), (5, 3600), (99, 3600)]
)
def test_error_backoff_climbs_its_ladder(errors, seconds):
    """S043."""
    assert plan.error_backoff(errors) == timedelta(seconds=seconds)
    assert plan.error_backoff(errors, 2 * MINUTE) == min(timedelta(seconds=seconds), 2 * MINUTE)


def test_of_schedule_and_backoff_the_later_wins():
    """S044."""
    assert plan.not_before(minutely(), "uid", NOON + HOUR, NOON + 5 * MINUTE) == NOON + HOUR
    assert plan.not_before(minutely(), "uid", NOON, NOON + 5 * MINUTE) == NOON + 5 * MINUTE
    assert plan.not_before(minutely(), "uid", NOON) == NOON


@pytest.mark.parametrize(
    ("text", "zone", "now", "expected"),
    [
        ("06:00", "Europe/Berlin", datetime(2026, 6, 1, 12, tzinfo=UTC), datetime(2026, 6, 1, 4, tzinfo=UTC)),
        ("06:00", "Europe/Berlin", datetime(2026, 6, 1, 4, tzinfo=UTC), datetime(2026, 6, 1, 4, tzinfo=UTC)),
        ("06:00", "Europe/Berlin", datetime(2026, 6, 1, 3, 59, 59, tzinfo=UTC), datetime(2026, 5, 31, 4, tzinfo=UTC)),
        ("23:30", "America/New_York", datetime(2026, 6, 2, 1, tzinfo=UTC), datetime(2026, 6, 1, 3, 30, tzinfo=UTC)),
        ("02:30", "America/New_York", datetime(2026, 3, 8, 12, tzinfo=UTC), datetime(2026, 3, 8, 7, tzinfo=UTC)),
        ("01:30", "America/New_York", datetime(2026, 11, 1, 12, tzinfo=UTC), datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
        (
            "00:00",
            "America/St_Johns",
            datetime(2010, 11, 7, 3, 0, tzinfo=UTC),
            datetime(2010, 11, 7, 2, 30, tzinfo=UTC),
        ),
        ("12:00", "Pacific/Apia", datetime(2011, 12, 30, 21, tzinfo=UTC), datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ],
)
def test_finish_by_is_the_last_time_that_the_clock_came_there(text, zone, now, expected):
    """In the schedule's zone, through changes of the clock."""
    assert plan.finish_by(text, zone, now) == expected


@pytest.mark.parametrize("text", ["24:00", "6:00", "06:60", "0600", "", "06:00:00", "\u0660\u0666:00"])
def test_finish_by_says_what_a_time_of_day_is(text):
    """Anything but HH:MM is refused with the shape to write."""
    with pytest.raises(ValueError, match="HH:MM"):
        plan.finish_by(text, "UTC", NOON)


def test_an_unusable_schedule_is_a_value_error_that_says_what_to_write():
    """Whoever skipped the check still gets the hint."""
    with pytest.raises(ValueError, match="did you mean Europe/Berlin"):
        plan.next_fire(minutely(time_zone="europe/berlin"), KEY, NOON, NOON)
    with pytest.raises(ValueError, match="write 5-59/10"):
        plan.next_fire(Schedule(crons=("5/10 * * * *",)), KEY, NOON, NOON)
