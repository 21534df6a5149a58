"""The wall clock steps back and forward, runs through both ends of daylight saving, or stands still while the machine sleeps.

Decided here: an instant that has fired never fires again, however often the clock reads it; a step forward and a sleep are outages, so `catchUp` decides.
The moved clock is libfaketime's, which cannot tell the kernel's own "the clock was set"; a changed manifest wakes the controller in its place.
"""

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.accounts import Account, marking, marks
from tests.harness import Clock, Warden, instant, job

Make = Callable[..., Warden]
QUEUE = {"policy": "Queue", "maxQueued": 1000}
NEW_YORK = "America/New_York"


def at(text: str) -> timedelta:
    """How far away from now an instant is."""
    return instant(text) - datetime.now(UTC)


def nudge(warden: Warden, number: list[int]) -> None:
    """Wake the controller."""
    number[0] += 1
    warden.write("nudge", job("nudge", metadata={"annotations": {"nudge": str(number[0])}}, description=str(number[0])))


def instants(warden: Warden) -> list[datetime]:
    """The instants that ran, in order."""
    return [instant(when) for _, _, when in marks(warden.work)]


def step(warden: Warden, clock: Clock, offset: timedelta) -> None:
    """Set the clock, and have it noticed."""
    clock.step_to(offset)
    nudge(warden, [int(offset.total_seconds()) % 1000])


@pytest.mark.slow
def test_a_clock_that_steps_back_fires_nothing_again(make_warden: Make, clock: Clock) -> None:
    """The schedule waits until the clock has come to where it was, and goes on from there; runs of that time are told."""
    warden = make_warden(environment=clock.environment())
    warden.write(
        "tick",
        job("tick", marking(warden.work), schedule={"every": "1s", "catchUp": {"policy": "All"}}, concurrency=QUEUE),
    )
    warden.start()
    warden.wait_for(lambda: len(marks(warden.work)) >= 3, "some instants")
    step(warden, clock, timedelta(seconds=-8))
    before = max(instants(warden))
    warden.wait_for(lambda: len([one for one in instants(warden) if one > before]) >= 3, "it to go on", deadline=90)
    assert warden.stop() == 0
    seen = instants(warden)
    assert len(seen) == len(set(seen))
    Account(warden).check(waiting=True)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "runs"), [("None", 0), ("Latest", 1), ("All", 6)])
def test_a_clock_that_steps_forward_is_an_outage(make_warden: Make, clock: Clock, policy: str, runs: int) -> None:
    """What was stepped over is told, and made up for as `catchUp` says."""
    start = datetime(2025, 6, 1, 12, 0, 30, tzinfo=UTC)
    clock.step_to(start - datetime.now(UTC))
    warden = make_warden(environment=clock.environment())
    schedule = {"cron": "*/10 * * * *", "catchUp": {"policy": policy}}
    warden.write("job", job("tick", marking(warden.work), schedule=schedule, concurrency=QUEUE))
    warden.start(applied=("tick",))
    step(warden, clock, start + timedelta(hours=1, minutes=4) - datetime.now(UTC))
    warden.wait_for(lambda: len(warden.queue("tick", ended=True)) >= max(1, runs), "the instants to be told")
    warden.wait_for(lambda: len(marks(warden.work)) >= runs, "it to make up for them")
    warden.wait_for(lambda: not warden.queue("tick"), "the queue to be empty")
    assert warden.stop() == 0
    assert len(marks(warden.work)) == runs
    told = [one for one in warden.queue("tick", ended=True) if one["spec"]["cause"] == "Schedule"]
    assert sum(one["spec"]["count"] for one in told) == 6
    account = Account(warden)
    account.check()
    account.check_instants("tick", 600)


@pytest.mark.slow
def test_the_sleep_of_a_machine_is_an_outage(make_warden: Make, clock: Clock) -> None:
    """Frozen at one time and woken at another: the latest instant is made up for once, the others are told as one range."""
    start = datetime(2025, 6, 1, 12, 0, 30, tzinfo=UTC)
    clock.step_to(start - datetime.now(UTC))
    warden = make_warden(environment=clock.environment())
    warden.write("job", job("tick", marking(warden.work), schedule={"cron": "*/10 * * * *"}))
    warden.start(applied=("tick",))
    assert warden.process is not None
    warden.process.send_signal(signal.SIGSTOP)
    clock.step_to(start + timedelta(hours=8, minutes=4) - datetime.now(UTC))
    warden.process.send_signal(signal.SIGCONT)
    nudge(warden, [1])
    warden.wait_for(lambda: marks(warden.work), "the latest instant to be made up for")
    assert instants(warden) == [datetime(2025, 6, 1, 20, 0, tzinfo=UTC)]
    (missed,) = [one for one in warden.queue("tick", ended=True) if one["status"]["state"] == "Missed"]
    assert missed["spec"]["count"] == 47
    assert warden.stop() == 0
    Account(warden).check()


def fires_at(warden: Warden, clock: Clock, expected: str) -> None:
    """Go to shortly before an instant, so that it is none of an outage also where the machine is busy, and wait until it has run, and nothing else has run since."""
    known = len(marks(warden.work))
    step(warden, clock, at(expected) - timedelta(seconds=20))
    warden.wait_for(lambda: len(marks(warden.work)) > known, f"{expected} to run", deadline=90)
    assert instants(warden)[known:] == [instant(expected)]


def nightly(make_warden: Make, clock: Clock, start: str, cron: str) -> Warden:
    """A controller that begins at an instant, with one job at a fixed hour of New York."""
    clock.step_to(at(start))
    warden = make_warden(environment=clock.environment())
    schedule = {"cron": cron, "timeZone": NEW_YORK, "catchUp": {"policy": "None"}}
    warden.write("job", job("nightly", marking(warden.work), schedule=schedule))
    return warden.start(applied=("nightly",))


@pytest.mark.slow
def test_a_fixed_hour_that_does_not_exist_runs_at_the_end_of_the_gap(make_warden: Make, clock: Clock) -> None:
    """There is no 02:30 on 2025-03-09 in New York: it runs at 03:00, and at 02:30 on the day after."""
    warden = nightly(make_warden, clock, "2025-03-09T06:50:00Z", "30 2 * * *")
    fires_at(warden, clock, "2025-03-09T07:00:00Z")
    fires_at(warden, clock, "2025-03-10T06:30:00Z")
    assert warden.stop() == 0
    Account(warden).check()


@pytest.mark.slow
def test_a_fixed_hour_that_exists_twice_runs_the_first_time(make_warden: Make, clock: Clock) -> None:
    """01:30 comes twice on 2025-11-02 in New York: the second is passed over, and the day after has one again."""
    warden = nightly(make_warden, clock, "2025-11-02T05:20:00Z", "30 1 * * *")
    fires_at(warden, clock, "2025-11-02T05:30:00Z")
    step(warden, clock, at("2025-11-02T06:35:00Z"))
    fires_at(warden, clock, "2025-11-03T06:30:00Z")
    assert warden.stop() == 0
    Account(warden).check()


@pytest.mark.slow
def test_a_wildcard_hour_follows_real_time_through_the_hour_that_exists_twice(make_warden: Make, clock: Clock) -> None:
    """Half past every hour is an hour apart, on that day as well."""
    clock.step_to(at("2025-11-02T05:20:00Z"))
    warden = make_warden(environment=clock.environment())
    schedule = {"cron": "30 * * * *", "timeZone": NEW_YORK, "catchUp": {"policy": "None"}}
    warden.write("job", job("hourly", marking(warden.work), schedule=schedule))
    warden.start(applied=("hourly",))
    fires_at(warden, clock, "2025-11-02T05:30:00Z")
    fires_at(warden, clock, "2025-11-02T06:30:00Z")
    fires_at(warden, clock, "2025-11-02T07:30:00Z")
    assert warden.stop() == 0
    Account(warden).check()
