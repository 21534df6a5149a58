"""The alarm is heard when the wall clock gets there, and when somebody sets the clock."""

import asyncio
import errno
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.base import timers
from controller.base.timers import Alarm

LONG = 30.0
"""Seconds that a loaded machine may need; nothing here waits that long when it works."""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="timerfd is Linux's")


class Heard:
    """Collects what the alarm says, and when by the wall clock."""

    def __init__(self):
        self.said = []
        self.queue = asyncio.Queue()

    def __call__(self, stepped):
        self.said.append(stepped)
        self.queue.put_nowait((stepped, datetime.now(UTC)))

    async def next(self):
        return await asyncio.wait_for(self.queue.get(), LONG)


@pytest.fixture(params=["timerfd", "polling"])
def make_alarm(request, monkeypatch):
    """Makes alarms of either kind."""
    if request.param == "timerfd" and not sys.platform.startswith("linux"):
        pytest.skip("timerfd is Linux's")
    if request.param == "polling":
        monkeypatch.setattr(timers, "_TimerFd", unavailable)
    made = []

    def make(heard):
        made.append(Alarm(asyncio.get_running_loop(), heard))
        return made[-1]

    yield make
    for alarm in made:
        alarm.close()


def unavailable(loop, callback):
    raise NotImplementedError("no timerfd")


async def test_an_alarm_is_heard_at_its_instant_and_not_before(make_alarm):
    """Once, with stepped False."""
    heard = Heard()
    at = datetime.now(UTC) + timedelta(seconds=0.2)
    make_alarm(heard).set(at)
    stepped, when = await heard.next()
    assert not stepped
    assert when >= at
    await asyncio.sleep(0.05)
    assert heard.said == [False]


async def test_the_last_setting_counts(make_alarm):
    """Setting again replaces; None takes back."""
    heard = Heard()
    alarm = make_alarm(heard)
    alarm.set(datetime.now(UTC) + timedelta(seconds=0.05))
    alarm.set(datetime.now(UTC) + timedelta(days=1))
    alarm.set(datetime.now(UTC) + timedelta(seconds=0.05))
    alarm.set(None)
    await asyncio.sleep(0.2)
    assert heard.said == []
    alarm.set(datetime.now(UTC))
    assert (await heard.next())[0] is False


@pytest.mark.parametrize(
    "at", [datetime(1900, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)]
)
async def test_an_instant_that_has_passed_is_heard_at_once(make_alarm, at):
    """Also one before 1970, which no timer can name."""
    heard = Heard()
    make_alarm(heard).set(at)
    assert (await heard.next())[0] is False


async def test_the_far_future_can_be_set(make_alarm):
    """The end of the calendar is no error and no wake-up."""
    heard = Heard()
    make_alarm(heard).set(datetime.max.replace(tzinfo=UTC))
    await asyncio.sleep(0.1)
    assert heard.said == []


async def test_an_alarm_can_be_set_inside_its_own_callback(make_alarm):
    """Three in a row, as the dispatcher does."""
    heard = Heard()

    def again(stepped):
        heard(stepped)
        if len(heard.said) < 3:
            alarm.set(datetime.now(UTC) + timedelta(milliseconds=20))

    alarm = make_alarm(again)
    alarm.set(datetime.now(UTC))
    for _ in range(3):
        await heard.next()
    assert heard.said == [False, False, False]


async def test_a_closed_alarm_is_silent(make_alarm):
    """Closing twice is fine, and nothing is left open."""
    heard = Heard()
    alarm = make_alarm(heard)
    alarm.set(datetime.now(UTC) + timedelta(milliseconds=50))
    alarm.close()
    alarm.close()
    await asyncio.sleep(0.2)
    assert heard.said == []


@linux
async def test_the_kernel_reports_a_step_and_the_alarm_stays_set(monkeypatch):
    """ECANCELED on read is told as True; the instant is still heard."""
    heard = Heard()
    alarm = Alarm(asyncio.get_running_loop(), heard)
    waker = alarm._waker
    cancelled = [OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))]
    real = waker._read

    def read():
        if cancelled:
            wanted, waker._at = waker._at, None
            waker._arm()  # a kernel that forgets the timer along with the step
            waker._at = wanted
            raise cancelled.pop()
        return real()

    monkeypatch.setattr(waker, "_read", read)
    alarm.set(datetime.now(UTC) + timedelta(seconds=0.3))
    waker._readable()
    assert heard.said == [True]
    await heard.next()
    assert (await heard.next())[0] is False
    alarm.close()


@linux
async def test_a_step_while_nothing_is_set_is_not_told(monkeypatch):
    """There is nothing to look at again."""
    heard = Heard()
    alarm = Alarm(asyncio.get_running_loop(), heard)
    alarm.set(None)
    alarm._waker._stepped()
    assert heard.said == []
    alarm.close()


@linux
async def test_a_step_that_setting_discovers_is_told_on_the_loop(monkeypatch):
    """settime says ECANCELED when the clock was set before; the timer is armed all the same."""
    heard = Heard()
    alarm = Alarm(asyncio.get_running_loop(), heard)

    class Libc:
        def timerfd_settime(self, *arguments):
            timers.ctypes.set_errno(errno.ECANCELED)
            return -1

    monkeypatch.setattr(alarm._waker, "_libc", Libc())
    alarm.set(datetime.now(UTC) + timedelta(days=1))
    assert heard.said == []
    assert (await heard.next())[0] is True
    alarm.close()


@pytest.mark.parametrize("step", [timedelta(hours=2), timedelta(hours=-2)])
async def test_without_timerfd_a_step_shows_within_a_second(step, monkeypatch):
    """The wall clock is compared with the monotonic one; a step beyond the instant is simply the instant."""
    monkeypatch.setattr(timers, "_CHUNK", 0.05)
    heard = Heard()
    offset = [0]

    def wall():
        return timers.time.time_ns() + offset[0]

    waker = timers._Polling(asyncio.get_running_loop(), heard, wall)
    waker.set(wall() + 3600 * 10**9)
    await asyncio.sleep(0.1)
    assert heard.said == []
    offset[0] = int(step.total_seconds() * 1e9)
    stepped, _ = await heard.next()
    assert stepped == (step < timedelta(0))
    waker.close()


@linux
async def test_alarms_leak_no_descriptors():
    """A thousand alarms later as many are open as before."""
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for _ in range(1000):
        alarm = Alarm(asyncio.get_running_loop(), lambda stepped: None)
        alarm.set(datetime.now(UTC) + timedelta(hours=1))
        alarm.close()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) <= before + 2
