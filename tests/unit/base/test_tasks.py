"""Supervision: what a broken loop does to the controller, how bad weather passes, how it stops, how threads wake it."""

import asyncio
import logging
import threading
from datetime import timedelta

import pytest

from controller.base.errors import LoopFailed, SourceUnavailable, StoreUnavailable
from controller.base.tasks import Backoff, Supervisor, Wake

QUICK = Backoff(initial=timedelta(milliseconds=1), most=timedelta(milliseconds=5), settled=timedelta(milliseconds=50))
DEADLINE = 30


async def forever() -> None:
    await asyncio.Event().wait()


async def until(condition) -> None:
    """Wait for a condition, at most until the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


async def run(supervisor: Supervisor) -> None:
    async with asyncio.timeout(DEADLINE):
        await supervisor.run()


async def test_a_loop_that_raises_what_nobody_foresaw_stops_the_controller(caplog: pytest.LogCaptureFixture):
    """LoopFailed names the loop, chains its exception, and the log has the traceback."""
    supervisor = Supervisor()

    async def broken() -> None:
        raise KeyError("surprise")

    supervisor.add("due", broken)
    supervisor.add("other", forever)
    with pytest.raises(LoopFailed, match="'due' broke: KeyError") as caught:
        await run(supervisor)
    assert isinstance(caught.value.__cause__, KeyError)
    assert [record.exc_info[0] for record in caplog.records if record.levelno == logging.ERROR] == [KeyError]


async def test_a_loop_that_ends_is_an_error():
    """A loop that nobody asked to stop and that returns has failed."""
    supervisor = Supervisor()

    async def short() -> None:
        return

    supervisor.add("due", short)
    with pytest.raises(LoopFailed, match="the loop 'due' ended"):
        await run(supervisor)


@pytest.mark.parametrize("error", [StoreUnavailable, SourceUnavailable])
async def test_an_outage_is_weathered_and_told_once_per_outage(error, caplog: pytest.LogCaptureFixture):
    """Several loops on one dead outside are one warning at the start and one at the end."""
    caplog.set_level(logging.INFO)
    restarted: list[str] = []
    supervisor = Supervisor(on_restart=restarted.append)
    entered = {"a": 0, "b": 0}

    def loop(name: str):
        async def body() -> None:
            entered[name] += 1
            if entered[name] <= 3:
                raise error("the outside is gone")
            await forever()

        return body

    for name in entered:
        supervisor.add(name, loop(name), backoff=QUICK)
    running = asyncio.create_task(run(supervisor))
    await until(lambda: any(record.message == "recovered" for record in caplog.records))
    supervisor.stop()
    await running
    assert entered == {"a": 4, "b": 4}
    assert sorted(restarted) == ["a"] * 3 + ["b"] * 3
    told = [record.message for record in caplog.records if record.levelno >= logging.INFO]
    assert told == ["the outside is gone", "recovered"]


async def test_a_restartable_loop_survives_anything():
    """Even a defect, even ending, does not stop the controller when the loop was declared restartable."""
    supervisor = Supervisor()
    entered = 0

    async def flaky() -> None:
        nonlocal entered
        entered += 1
        if entered == 1:
            raise ValueError("a defect")
        if entered == 2:
            return
        supervisor.stop()

    supervisor.add("flaky", flaky, restartable=True, backoff=QUICK)
    await run(supervisor)
    assert entered == 3


async def test_stop_drains_in_order_before_loops_are_cancelled():
    """Hooks run while loops still live; a hook that breaks stops no other."""
    supervisor = Supervisor()
    story: list[str] = []

    async def loop() -> None:
        try:
            story.append("loop")
            await forever()
        finally:
            story.append("loop cancelled")

    async def broken() -> None:
        story.append("first hook")
        raise RuntimeError("cannot drain")

    async def second() -> None:
        story.append("second hook")

    supervisor.add("loop", loop)
    supervisor.on_stop("first", broken)
    supervisor.on_stop("second", second)
    running = asyncio.create_task(run(supervisor))
    await until(lambda: story)
    supervisor.stop()
    await running
    assert story == ["loop", "first hook", "second hook", "loop cancelled"]


async def test_hooks_run_also_when_a_loop_was_lost():
    """What runs is brought to an end in order even when a part of the controller is gone."""
    supervisor = Supervisor()
    drained = asyncio.Event()

    async def broken() -> None:
        raise ValueError

    async def hook() -> None:
        drained.set()

    supervisor.add("broken", broken)
    supervisor.on_stop("hook", hook)
    with pytest.raises(LoopFailed):
        await run(supervisor)
    assert drained.is_set()


async def test_a_second_stop_does_not_wait_for_hooks():
    """Whoever asks twice is in a hurry: hooks are cancelled, later ones are not begun."""
    supervisor = Supervisor()
    begun = asyncio.Event()
    late: list[str] = []

    async def endless() -> None:
        begun.set()
        await forever()

    async def never() -> None:
        late.append("begun")

    supervisor.add("loop", forever)
    supervisor.on_stop("endless", endless)
    supervisor.on_stop("never", never)
    running = asyncio.create_task(run(supervisor))
    await asyncio.sleep(0)
    supervisor.stop()
    async with asyncio.timeout(DEADLINE):
        await begun.wait()
    supervisor.stop()
    await running
    assert late == []


async def test_work_that_ends_is_fine_and_work_that_breaks_stops_the_controller():
    """One-off work is supervised as loops are, but may end."""
    supervisor = Supervisor()

    async def fine() -> None:
        return

    async def broken() -> None:
        raise ZeroDivisionError

    supervisor.add("loop", forever)
    supervisor.start("fine", fine())
    running = asyncio.create_task(run(supervisor))
    await asyncio.sleep(0.01)
    assert not running.done()
    supervisor.start("broken", broken())
    with pytest.raises(LoopFailed, match="'broken' broke"):
        await running


async def test_loops_may_be_added_while_running():
    """A source that is added later gets its loop."""
    supervisor = Supervisor()
    entered = asyncio.Event()

    async def late() -> None:
        entered.set()
        await forever()

    running = asyncio.create_task(run(supervisor))
    await asyncio.sleep(0)
    supervisor.add("late", late)
    async with asyncio.timeout(DEADLINE):
        await entered.wait()
    supervisor.stop()
    await running


async def test_delays_grow_up_to_their_bound():
    """200 ms, doubled, at most 15 s, for however many failures."""
    backoff = Backoff()
    assert [backoff.delay(n) for n in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert backoff.delay(10_000) == 15.0


async def test_a_wake_from_another_thread_is_seen():
    """The waiter wakes although it sleeps in its loop."""
    wake = Wake()
    threading.Timer(0.01, wake.set).start()
    assert await wake.wait(DEADLINE)


async def test_wakes_before_waiting_are_kept_and_coalesced():
    """Three signals that nobody saw are one."""
    wake = Wake()
    for _ in range(3):
        wake.set()
    assert await wake.wait(0)
    assert not await wake.wait(0)


async def test_a_wait_without_a_signal_times_out():
    """False says that the time ran out."""
    assert not await Wake().wait(0.001)


async def test_a_cancelled_wait_leaves_the_wake_usable():
    """A loop that is restarted may wait again."""
    wake = Wake()
    waiting = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    wake.set()
    assert await wake.wait(0)


async def test_a_signal_survives_a_cancelled_wait():
    """The loop that is entered again sees what the cancelled one did not."""
    wake = Wake()
    waiting = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)
    wake.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await wake.wait(0)


async def test_a_late_callback_of_a_consumed_signal_wakes_nobody():
    """A signal of another thread may be consumed by a wait whose time ran out before its callback runs."""
    wake = Wake()
    waiting = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)
    wake._release()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    wake.set()
    assert await waiting


async def test_no_signal_is_lost_among_many_threads():
    """After the last set, a wait returns: whoever looks afterwards sees everything that was written before it."""
    wake = Wake()
    written = 0
    lock = threading.Lock()

    def write() -> None:
        nonlocal written
        for _ in range(500):
            with lock:
                written += 1
            wake.set()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    async with asyncio.timeout(DEADLINE):
        while written < 2000:
            assert await wake.wait()
    for thread in threads:
        thread.join()


async def test_setting_a_wake_after_its_loop_closed_is_harmless():
    """A thread that outlives the loop may still signal."""
    wake = Wake()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(wake.wait())
    await asyncio.to_thread(loop.run_until_complete, _one_turn())
    waiting.cancel()
    await asyncio.to_thread(loop.run_until_complete, asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    wake.set()


async def _one_turn() -> None:
    await asyncio.sleep(0)
