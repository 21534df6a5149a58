"""The dispatcher when what it leans on breaks: executors that raise, disks that hang, commits that nobody confirms, stops at a bad moment."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.base.clock import SystemClock
from controller.base.errors import StoreUnavailable
from controller.dispatch import requests
from controller.domain.job import EnvVar, Interruption, JobSpec, WatchdogTarget
from controller.domain.records import Run
from controller.executors.protocol import ExecutionRequest, ExecutionResult, OnEnd
from controller.loops.dispatcher import Dispatcher, Identity, Limits
from controller.store import runs
from controller.store.database import open_store
from controller.store.store import Store
from tests.integration.dispatch.world import World, at

_CLOCK = SystemClock()
_SLOW: dict[str, Any] = {"env": (EnvVar("SECRET", file_ref="/dev/null"),)}


class Execution:
    """A process that lives until somebody ends it."""

    handle = None
    last_output_at = None
    output_bytes = 0

    def __init__(self, request: ExecutionRequest, on_end: OnEnd, *, outlives: bool = False) -> None:
        self.request = request
        self.outlives = outlives
        self.released = False
        self.started_at = _CLOCK.now()
        self._on_end = on_end
        self._ended = False

    def end(self, **how: Any) -> None:
        """End by itself."""
        if not self._ended:
            self._ended = True
            how = how or {"exit_code": 0}
            now = _CLOCK.now()
            self._on_end(ExecutionResult(run=self.request.run, started_at=self.started_at, finished_at=now, **how))

    def release(self) -> None:
        """Nobody looks after it any more."""
        self.released = True

    def stop(self, reason: str, grace: timedelta | None = None) -> None:
        """End because we say so."""
        asyncio.get_running_loop().call_soon(lambda: self.end(signal="SIGTERM", cancelled=True, stop_reason=reason))


class Executor:
    """Counts starts; breaks when told to."""

    def __init__(self) -> None:
        self.started: list[Execution] = []
        self.adopted: list[Execution] = []
        self.error: Exception | None = None
        self.outlives = False

    def start(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        if self.error is not None:
            raise self.error
        self.started.append(Execution(request, on_end, outlives=self.outlives))
        return self.started[-1]

    def adopt(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        self.adopted.append(Execution(request, on_end, outlives=True))
        return self.adopted[-1]

    def close(self) -> None: ...


class Launcher:
    """Prepares at once, hangs while its gate is closed, or breaks."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = 0
        self.error: Exception | None = None

    def prepare(self, run: Run, spec: JobSpec) -> ExecutionRequest:
        self.waiting += 1
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return ExecutionRequest(
            run=run.name, namespace=run.namespace, job=run.job, argv=("true",), env={}, timeout=spec.timeout
        )

    def prepare_adoption(self, run: Run, spec: JobSpec) -> ExecutionRequest:
        return self.prepare(run, spec)


class Doubtful:
    """A store whose next commit, or whose reads, may seem to have failed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.unconfirmed = 0
        self.deaf = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, function: Callable[[Any], Any]) -> Any:
        result = await self._store.write(function)
        if self.unconfirmed:
            self.unconfirmed -= 1
            raise StoreUnavailable("the connection broke after the commit")
        return result

    async def read(self, function: Callable[[Any], Any]) -> Any:
        if self.deaf:
            raise StoreUnavailable("nobody answers")
        return await self._store.read(function)


class Stage:
    """A dispatcher that runs, with everything around it in the test's hands."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.world = World(store)
        self.world.now = _CLOCK.now()
        self.store = Doubtful(store)
        self.executor = Executor()
        self.launcher = Launcher()
        self.task: asyncio.Task[None] | None = None
        self.dispatcher = Dispatcher(
            self.store,  # type: ignore[arg-type]
            self.executor,
            self.launcher,  # type: ignore[arg-type]
            Identity("me", "here", "boot"),
            _CLOCK,
            limits=limits,
        )

    def trigger(self, job: str) -> None:
        """Ask for a run, as a person would."""
        self.world.write(lambda tx: requests.trigger(tx, _CLOCK.now(), "default", job, {}, None, "ann"))
        self.dispatcher.wake()

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for it."""
        for _ in range(3000):
            if condition():
                return
            assert self.task is None or not self.task.done(), "the dispatcher has broken"
            await asyncio.sleep(0.02)
        raise AssertionError(f"never: {what}")

    async def loop(self) -> None:
        """What the supervisor does with the dispatcher."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self.dispatcher.run()
            await asyncio.sleep(0.01)

    async def turned(self) -> None:
        """Have it look, and wait until it has nothing more to do."""
        before = self.dispatcher.turned_at
        self.dispatcher.wake()
        await self.until(lambda: self.dispatcher.turned_at > before and self.dispatcher.asleep, "it has looked")

    def begin(self) -> None:
        """Let it run."""
        self.task = asyncio.create_task(self.loop())

    async def close(self) -> None:
        """End what runs, then the dispatcher."""
        self.launcher.gate.set()
        for execution in self.executor.started:
            execution.end()
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self.task

    def states(self) -> list[tuple[str, str | None]]:
        """How all runs stand."""
        return [(run.state, run.reason) for run in self.world.runs()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database of its own."""
    opened = open_store(f"sqlite:///{tmp_path}/world.db")
    yield opened
    opened.close()


@pytest.fixture
async def stage(store: Store) -> AsyncIterator[Stage]:
    """A running dispatcher."""
    made = Stage(store, Limits())
    made.begin()
    yield made
    await made.close()


async def test_an_executor_that_raises_ends_the_run_and_not_the_dispatcher(stage: Stage) -> None:
    """What promised words and raised an exception costs one run."""
    stage.world.add("job")
    stage.executor.error = OSError(24, "too many open files")
    stage.trigger("job")
    await stage.until(lambda: stage.states() == [("Failed", "StartFailed")], "the run has failed")
    assert "too many open files" in (stage.world.runs()[0].message or "")
    stage.executor.error = None
    stage.trigger("job")
    await stage.until(lambda: stage.executor.started, "the next run has started")


@pytest.mark.parametrize("spec", [{}, _SLOW], ids=["at once", "beside the turns"])
async def test_a_launcher_that_raises_ends_the_run(stage: Stage, spec: dict[str, Any]) -> None:
    """An open run never stays open because its request could not be made."""
    stage.world.add("job", **spec)
    stage.launcher.error = RuntimeError("nobody foresaw this")
    stage.trigger("job")
    await stage.until(lambda: stage.states() == [("Failed", "StartFailed")], "the run has failed")
    assert "nobody foresaw this" in (stage.world.runs()[0].message or "")


async def test_a_watchdog_looks_again_when_the_store_does_not_answer(stage: Stage) -> None:
    """Its run ends once the store does."""
    stage.world.add("watched")
    stage.world.add("watchdog", target=WatchdogTarget(job="watched", max_duration=timedelta(minutes=1)))
    stage.store.deaf = True
    stage.trigger("watchdog")
    await stage.until(lambda: stage.states() == [("Running", None)], "the run is open")
    stage.store.deaf = False
    await stage.until(lambda: stage.states() == [("Succeeded", "StillRunning")], "the run has ended")


async def test_a_run_whose_commit_was_not_confirmed_is_started_once(stage: Stage) -> None:
    """Opened, and the answer lost: it starts when the store answers again."""
    stage.world.add("job")
    await stage.until(lambda: stage.dispatcher.asleep, "nothing is to be done")
    stage.store.unconfirmed = 1
    stage.trigger("job")
    await stage.until(lambda: stage.executor.started, "it has been started")
    stage.store.unconfirmed = 1
    stage.dispatcher.wake()
    await stage.until(lambda: not stage.store.unconfirmed and stage.dispatcher.asleep, "the trouble is over")
    assert len(stage.executor.started) == 1


async def test_a_run_that_is_being_started_is_not_started_again_after_trouble_with_the_store(stage: Stage) -> None:
    """What waits for a disk is not what was forgotten."""
    stage.world.add("slow", **_SLOW)
    stage.launcher.gate.clear()
    stage.trigger("slow")
    await stage.until(lambda: stage.launcher.waiting == 1, "the start waits for its disk")
    stage.store.unconfirmed = 1
    stage.dispatcher.wake()
    await stage.until(lambda: not stage.store.unconfirmed and stage.dispatcher.asleep, "the trouble is over")
    stage.launcher.gate.set()
    await stage.until(lambda: stage.executor.started, "it has been started")
    assert (stage.launcher.waiting, len(stage.executor.started)) == (1, 1)


async def test_a_run_that_was_taken_over_is_not_started_after_trouble_with_the_store(stage: Stage) -> None:
    """It is ours to end, never to start: its first execution belonged to somebody else."""
    stage.world.add("orphan")
    stage.world.add("mine")
    await stage.until(lambda: stage.dispatcher.asleep, "nothing is to be done")
    stage.world.write(
        lambda tx: requests.trigger(
            tx, stage.world.now, "default", "orphan", {}, None, "ann", new_id=stage.world.new_id
        )
    )
    stage.world.turn(owner="me")
    stage.store.unconfirmed = 1
    stage.trigger("mine")
    await stage.until(lambda: not stage.store.unconfirmed and stage.dispatcher.asleep, "the trouble is over")
    assert [execution.request.job for execution in stage.executor.started] == ["mine"]


async def test_a_cancel_during_a_slow_start_is_obeyed_once_it_has_started(stage: Stage) -> None:
    """There was nothing to end when it was asked for."""
    stage.world.add("slow", **_SLOW)
    stage.launcher.gate.clear()
    stage.trigger("slow")
    await stage.until(lambda: stage.launcher.waiting == 1, "the start waits for its disk")
    name = stage.world.runs()[0].name
    stage.world.write(lambda tx: requests.cancel_run(tx, _CLOCK.now(), "default", name, "ann"))
    await stage.turned()
    stage.launcher.gate.set()
    await stage.until(lambda: stage.states() == [("Cancelled", "CancelRequested")], "it was cancelled")


@pytest.mark.parametrize("rerun", [False, True])
async def test_a_start_that_comes_after_everything_was_interrupted_does_not_happen(
    stage: Stage, *, rerun: bool
) -> None:
    """A draining controller waits for slow starts, and what comes too late is an interruption, not a process nobody ends."""
    stage.world.add("slow", on_interruption=Interruption.Rerun if rerun else Interruption.Fail, **_SLOW)
    stage.launcher.gate.clear()
    stage.trigger("slow")
    await stage.until(lambda: stage.launcher.waiting == 1, "the start waits for its disk")
    drained = asyncio.create_task(stage.dispatcher.drain(timedelta(milliseconds=50)))
    await stage.until(lambda: stage.dispatcher.interrupted, "patience is over")
    stage.launcher.gate.set()
    await asyncio.wait_for(drained, 60)
    assert stage.executor.started == []
    assert stage.states() == [("Crashed", "Interrupted")]
    assert sum(one.cause == "Replay" for one in stage.world.dispatches()) == rerun


async def test_what_outlives_us_is_let_go_at_a_stop_and_can_be_taken_up_again(stage: Stage) -> None:
    """It is neither waited for nor ended; whoever owns its row next hears of its end, once."""
    stage.executor.outlives = True
    stage.world.add("pod")
    stage.trigger("pod")
    await stage.until(lambda: stage.executor.started, "the run is started")
    (execution,) = stage.executor.started
    await stage.dispatcher.drain(timedelta(seconds=30))
    assert execution.released
    assert stage.dispatcher.live == 0
    (left,) = stage.world.read(lambda tx: runs.live_of(tx, "me"))
    stage.dispatcher.adopt([left])
    stage.executor.adopted[0].end(exit_code=0)
    await stage.until(lambda: stage.states() == [("Succeeded", "Completed")], "its end is written")
    assert len(stage.executor.started) == 1


async def test_what_comes_to_outlive_us_during_a_stop_is_let_go_then(stage: Stage) -> None:
    """A Pod that was about to be made when the stop began must not hold it up for as long as it runs."""
    stage.world.add("pod")
    stage.trigger("pod")
    await stage.until(lambda: stage.executor.started, "the run is started")
    (execution,) = stage.executor.started
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        draining = group.create_task(stage.dispatcher.drain(timedelta(hours=1)))
        await asyncio.sleep(0)
        assert not draining.done()
        execution.outlives = True
    assert execution.released
    assert stage.states()[0][0] == "Running"


async def test_an_interruption_leaves_alone_what_outlives_us(stage: Stage) -> None:
    """A lease that could not be renewed for a while: should it be ours again, the run still is."""
    stage.executor.outlives = True
    stage.world.add("pod")
    stage.trigger("pod")
    await stage.until(lambda: stage.executor.started, "the run is started")
    (execution,) = stage.executor.started
    stage.dispatcher.fence(fenced=True)
    stage.dispatcher.interrupt()
    stage.dispatcher.fence(fenced=False)
    assert not execution.released
    execution.end(exit_code=0)
    await stage.until(lambda: stage.states() == [("Succeeded", "Completed")], "its end is written")


async def test_slow_starts_count_as_open_runs(store: Store) -> None:
    """A disk that hangs does not make the controller open runs without end."""
    stage = Stage(store, Limits(running=3, starts=2))
    for number in range(6):
        stage.world.add(f"slow-{number}", **_SLOW)
        stage.trigger(f"slow-{number}")
    stage.launcher.gate.clear()
    stage.begin()
    try:
        await stage.until(lambda: len(stage.world.live()) == 3, "as many as may run are open")
        await stage.turned()
        assert len(stage.world.live()) == 3
    finally:
        await stage.close()


async def test_instants_fire_although_no_slot_is_free(store: Store) -> None:
    """More jobs than one turn fires are all accounted for while everything is busy."""
    stage = Stage(store, Limits(running=1, starts=1))
    stage.world.add("busy")
    stage.trigger("busy")
    stage.begin()
    try:
        await stage.until(lambda: stage.executor.started, "the only slot is taken")
        for number in range(300):
            stage.world.add(f"job-{number}", schedule=at(stage.world.now))
        await stage.turned()
        assert sum(one.cause == "Schedule" for one in stage.world.dispatches()) == 300
    finally:
        await stage.close()
