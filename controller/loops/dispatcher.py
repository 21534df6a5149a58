"""The dispatcher: turns of `dispatch.cycle` whenever something ended, became due or was asked for; starts what a turn opened.

    end of a process ─┐
    alarm ────────────┼─→ wake → turn (one transaction) → start what was opened → sleep until the alarm
    verb, sync, NOTIFY┘

It sleeps until the next due instant, never on a tick, and keeps nothing that the store does not know, except the executions themselves.
Invariant: a run is started only after its turn's transaction is durable, and an ending is forgotten only after it is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from controller.base import ids
from controller.base.clock import Clock
from controller.base.errors import StoreUnavailable
from controller.base.logs import event
from controller.base.metrics import Metrics
from controller.base.tasks import Wake
from controller.base.timers import Alarm
from controller.dispatch import launch, watching
from controller.dispatch.cycle import Turn, Turned, turn
from controller.dispatch.knowledge import Asked, Knowledge
from controller.domain.job import JobSpec, WatchdogTarget
from controller.domain.reasons import Reason
from controller.domain.records import Ending, Handle, Run
from controller.domain.states import DispatchState, RunState
from controller.domain.story import StoryEvent, StoryKind, Tell
from controller.executors.credentials import Refreshing
from controller.executors.protocol import Execution, ExecutionRequest, ExecutionResult, Executor, masked
from controller.loops.obtaining import Held, Obtained
from controller.store import dispatches, jobs, runs
from controller.store.runs import OpenRun
from controller.store.store import Store, Tx

_log = logging.getLogger(__name__)

_YOUNG_S = 0.05
"""How long a start holds a start slot if the process does not end sooner: short jobs are paced, long ones are not."""
_SETTLED_S = 1.0
"""A run that lives that long gets its process recorded; shorter ones are found by their environment if need be."""
_SWEEP = timedelta(seconds=30)
"""Look at everything at least that often, in case a wake-up was lost."""
_WRITE_ENDS = timedelta(seconds=30)
"""How long a stopping controller goes on trying to write how its runs ended."""
_INTERRUPTED = "the controller stops"
_ENDED_DISPATCHES = (StoryKind.Skipped, StoryKind.Missed, StoryKind.Cancelled)
"""News of dispatches that ended without a run; the words are those of their states."""
_YIELD_EVERY = 4
_MANY = 12
"""That many runs at once make it worth a moment to write their ends together."""
_LINGER_S = 0.002
_LINGERS = 2
_BUSY = timedelta(seconds=1)
"""While there is more to do than there are slots: how long what time alone changes may have to wait for a look."""
_LOOK_AGAIN_S = 1.0
"""Between two tries of a watchdog to read what the store does not give."""


Obtain = Callable[[Run, JobSpec], Awaitable[Obtained | str]]
"""What a run is given, or why it cannot be started."""
Keep = Callable[[Run, Sequence[Held], Refreshing], Coroutine[Any, Any, None]]
"""Sees to it that what a run was given does not end under it, until that is cancelled."""


class Limits(msgspec.Struct, frozen=True):
    """`running`: open runs at once; `starts`: of those, started within the last moment."""

    running: int = 512
    starts: int = 32


class Identity(msgspec.Struct, frozen=True):
    """Who this controller instance is: the owner token of its runs, and where it runs."""

    owner: str
    host: str
    boot_id: str


class Dispatcher:
    """`run` for the supervisor; `wake` for whoever changed something; `drain` when stopping."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        launcher: launch.Launcher,
        identity: Identity,
        clock: Clock,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        metrics: Metrics | None = None,
        tell: Tell = lambda _event: None,
        on_change: Callable[[Sequence[int]], None] = lambda _jobs: None,
        obtain: Obtain | None = None,
        keep: Keep | None = None,
        knowledge: Knowledge | None = None,
        enquire: Callable[[Sequence[Asked]], None] = lambda _asked: None,
    ) -> None:
        """`on_change` is told which jobs a turn changed; `obtain` gives what a run's grant says that it is given, and `keep` renews it; `knowledge` is what this controller knows
        beside the database, and `enquire` finds out what the gates want to know.
        """
        self._store = store
        self._executor = executor
        self._launcher = launcher
        self._identity = identity
        self._clock = clock
        self._limits = limits
        self._metrics = metrics or Metrics()
        self._tell = tell
        self._on_change = on_change
        self._obtain = obtain or _nobody_gives
        self._keep = keep
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._knowledge = knowledge or Knowledge()
        self._enquire = enquire
        self._wake = Wake()
        self._look = True
        self._look_at: datetime | None = None
        self._turning = False
        self._draining = False
        self._fenced = False
        self._interrupted = False
        self._unsure: list[list[OpenRun]] = []
        self._executions: dict[str, Execution] = {}
        self._young: dict[str, asyncio.TimerHandle] = {}
        self._unrecorded: set[str] = set()
        self._recording: asyncio.TimerHandle | None = None
        self._endings: list[Ending] = []
        self._beside: dict[str, asyncio.Task[None]] = {}
        self._unwanted: dict[str, str] = {}  # of those the runs whose end somebody has asked for, and who
        self.turned_at = clock.monotonic()
        self.asleep = False

    @property
    def live(self) -> int:
        """How many runs this instance has open."""
        return len(self._executions)

    def wake(self) -> None:
        """Something changed that the dispatcher should look at. From the loop's thread."""
        self._look = True
        self._wake.set()

    def last_output_at(self, run: str) -> datetime | None:
        """When a run of this instance last printed something, or was started."""
        execution = self._executions.get(run)
        return None if execution is None else execution.last_output_at or execution.started_at

    async def run(self) -> None:
        """Turn for ever. Errors: StoreUnavailable; entered again it starts what was opened and not started, and loses no ending."""
        alarm = Alarm(asyncio.get_running_loop(), self._alarmed)
        try:
            if self._unsure:
                await self._start_forgotten()
            while True:
                self._turning = True
                try:
                    turned = await self._turn()
                finally:
                    self._turning = False
                await self._linger()
                if self._endings or turned.unfired or (turned.more and self._slots() > 0):
                    continue
                self._look_at = turned.wakes.look_at if turned.wakes is not None else None
                # Nobody has asked when to wake while more could be done than there are slots.
                alarm.set(turned.wakes.at if turned.wakes is not None else self._clock.now() + _BUSY)
                self.asleep = True
                woken = await self._wake.wait(_SWEEP.total_seconds())
                self.asleep = False
                self._look = self._look or not woken
        finally:
            self.asleep = False
            alarm.close()

    async def _turn(self) -> Turned:
        """One turn, and everything that follows from it."""
        endings, self._endings = self._endings, []
        look, self._look = self._look, False
        given = Turn(
            now=self._clock.now(),
            owner=self._identity.owner,
            host=self._identity.host,
            slots=self._slots(),
            endings=endings,
            look=look,
            # What becomes due while we stop is the next controller's: an outage, not a backlog.
            fire=not self._draining,
        )
        opening: list[OpenRun] = []
        try:
            turned = await self._store.write(partial(_turned, given=given, opening=opening, knowledge=self._knowledge))
        except BaseException:
            # Whether it was committed is not known: endings are tried again (they are idempotent), openings are looked for.
            self._endings = endings + self._endings
            self._look = True
            self._unsure.append(opening)
            self.turned_at = (
                self._clock.monotonic()
            )  # the dispatcher moves; that the store does not answer is another question
            raise
        self.turned_at = self._clock.monotonic()
        self._forget(turned, endings)
        self._report(turned)
        for count, opened in enumerate(turned.opened):
            self._start(opened)
            if count % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
        if turned.asked:
            self._enquire(turned.asked)
        if turned.cancels:
            await self._cancel_requested()
        return turned

    async def _linger(self) -> None:
        """While many short runs are under way, let a few more end, so that their ends share a transaction. A lone run waits for nobody."""
        for _ in range(_LINGERS):
            if self._look or len(self._young) < _MANY or len(self._endings) >= _MANY:
                break
            await asyncio.sleep(_LINGER_S)
        else:
            return
        await asyncio.sleep(0)

    def _slots(self) -> int:
        if self._draining or self._fenced:
            return 0
        running = len(self._executions) + len(self._beside)
        return max(0, min(self._limits.running - running, self._limits.starts - len(self._young)))

    def _start(self, opened: OpenRun) -> None:
        """Start one committed run; whatever prevents it is an ending of that run."""
        run, spec = opened.run, opened.spec
        self._tell(
            StoryEvent(
                at=run.started_at or run.created_at,
                kind=StoryKind.RunStarted,
                namespace=run.namespace,
                job=run.job,
                run=run.name,
                cause=run.cause,
                attempt=run.attempt,
                due=run.scheduled_for,
            )
        )
        if isinstance(spec.target, WatchdogTarget) and spec.target.job is not None:
            self._begin(run, self._watch(opened))
            return
        if run.grant is not None and run.grant.credentials.deliver:
            self._begin(run, self._start_with_credentials(opened))
            return
        if launch.blocks(run, spec):
            self._begin(run, self._start_slowly(opened))
            return
        try:
            prepared = self._launcher.prepare(run, spec)
        except Exception as error:  # noqa: BLE001 - the run is open and has to end
            self._not_started(run, error)
            return
        self._execute(run, prepared)

    async def _start_slowly(self, opened: OpenRun) -> None:
        """Start a run that reads or looks at files first: a slow disk holds up nobody else."""
        self._execute(opened.run, await asyncio.to_thread(self._launcher.prepare, opened.run, opened.spec))

    async def _start_with_credentials(self, opened: OpenRun) -> None:
        """Start a run that is given something: whoever has to be asked for it holds up nobody else."""
        run, spec = opened.run, opened.spec
        obtained = await self._obtain(run, spec)
        if isinstance(obtained, str):
            self._execute(run, obtained)
        else:
            prepare = partial(self._launcher.prepare, run, spec, obtained.given, obtained.tokens)
            self._execute(run, await asyncio.to_thread(prepare) if launch.blocks(run, spec) else prepare())
            self._keep_fresh(run, obtained.held)

    def _keep_fresh(self, run: Run, held: Sequence[Held]) -> None:
        """Have what a run holds renewed for as long as it runs, where what runs can be given something anew."""
        execution: object = self._executions.get(run.name)
        ends = any(one.session.expires_at is not None for one in held)
        if self._keep is not None and ends and isinstance(execution, Refreshing):
            self._keeping[run.name] = asyncio.get_running_loop().create_task(self._keep(run, held, execution))

    def _begin(self, run: Run, work: Coroutine[Any, Any, None]) -> None:
        """Do something for an open run beside the turns; what breaks it is an ending of the run."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - the run is open and has to end
                self._not_started(run, error)
            finally:
                self._beside.pop(run.name, None)
                self._unwanted.pop(run.name, None)
                self._wake.set()

        self._beside[run.name] = asyncio.get_running_loop().create_task(guarded())

    def _execute(self, run: Run, prepared: ExecutionRequest | str) -> None:
        """Hand a request to the executor; words instead of a request are an ending."""
        if self._stopped:
            self._end(self._interruption(run))
            return
        if isinstance(prepared, str):
            now = self._clock.now()
            self._end(Ending(run=run.name, started_at=None, finished_at=now, start_error=prepared))
            return
        try:
            execution = self._executor.start(prepared, self._on_end)
        except Exception as error:  # noqa: BLE001 - the run is open and has to end
            self._not_started(run, error, prepared)
            return
        self._executions[run.name] = execution
        self._young[run.name] = asyncio.get_running_loop().call_later(_YOUNG_S, self._grown, run.name)
        self._remember_handle(run.name)
        self._metrics.run_started(run.namespace, run.job, lateness=execution.started_at - run.scheduled_for)
        by = self._unwanted.get(run.name)
        if by is not None:
            execution.stop(by)

    async def _watch(self, opened: OpenRun) -> None:
        """A watchdog over a job starts nothing: it compares that job's open runs with its bounds."""
        while not self._stopped:
            read = partial(watching.look, opened=opened, now=self._clock.now(), last_output_at=self.last_output_at)
            try:
                self._end(await self._store.read(read))
            except StoreUnavailable:
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                return
        self._end(self._interruption(opened.run))

    @property
    def _stopped(self) -> bool:
        """Whether everything that runs here was told to end: what comes late is not started any more."""
        return self._fenced or (self._draining and self._interrupted)

    def _interruption(self, run: Run) -> Ending:
        """The end of an open run that will not be started here."""
        return Ending(run=run.name, finished_at=self._clock.now(), interrupted=Reason.Interrupted)

    def _not_started(self, run: Run, error: Exception, request: ExecutionRequest | None = None) -> None:
        """Something broke that promised not to; the run ends, and the controller goes on."""
        words = f"{type(error).__name__}: {error}"
        if request is not None and request.needles is not None:
            # A traceback ends with the words of the error.
            words = masked(request, words)
            event(_log, "a run could not be started", logging.ERROR, run=run.name, job=run.job, problem=words)
        else:
            event(_log, "a run could not be started", logging.ERROR, error=error, run=run.name, job=run.job)
        why = f"it could not be started: {words}"
        self._end(Ending(run=run.name, finished_at=self._clock.now(), start_error=why))

    def _on_end(self, result: ExecutionResult) -> None:
        self._executions.pop(result.run, None)
        self._unrecorded.discard(result.run)
        keeping = self._keeping.pop(result.run, None)
        if keeping is not None:
            keeping.cancel()
        timer = self._young.pop(result.run, None)
        if timer is not None:
            timer.cancel()
        ending = launch.ending_of(result)
        if ending.cancelled_by == _INTERRUPTED:
            ending = msgspec.structs.replace(
                ending, cancelled_by=None, interrupted=Reason.Interrupted, exit_code=None, signal=None
            )
        self._end(ending)

    def _end(self, ending: Ending) -> None:
        self._endings.append(ending)
        self._wake.set()

    def _grown(self, run: str) -> None:
        """A run has lived long enough to free its start slot."""
        self._young.pop(run, None)
        self._wake.set()

    def _alarmed(self, stepped: bool) -> None:  # noqa: FBT001 - the alarm's signature
        if stepped:
            event(_log, "the wall clock was set", logging.WARNING)
        self._look = self._look or stepped or (self._look_at is not None and self._look_at <= self._clock.now())
        self._wake.set()

    def _forget(self, turned: Turned, endings: list[Ending]) -> None:
        """Endings of runs that were not ours any more are told, not repeated."""
        known = {decision.run.name for decision in turned.finished}
        for ending in endings:
            if ending.run not in known:
                event(_log, "a run had been ended by somebody else", logging.WARNING, run=ending.run)

    def _report(self, turned: Turned) -> None:
        for opened in turned.opened:
            self._metrics.dispatch_ended(cause=opened.run.cause, state=DispatchState.Done, reason=None)
        for news in turned.news:
            self._tell(news)
            if news.kind is StoryKind.Waiting:
                self._metrics.dispatch_deferred(reason=news.reason or "")
            elif news.kind in _ENDED_DISPATCHES:
                self._metrics.dispatch_ended(cause=news.cause or "", state=news.kind, reason=news.reason)
        for decision in turned.finished:
            run = decision.run
            took = (
                run.finished_at - run.started_at if run.finished_at is not None and run.started_at is not None else None
            )
            self._metrics.run_finished(
                run.namespace,
                run.job,
                state=run.state,
                cause=run.cause,
                duration=took if run.state is not RunState.Crashed else None,
                at=run.finished_at or self._clock.now(),
            )
        if turned.touched:
            self._on_change(turned.touched)
        self._metrics.live_runs(len(self._executions))

    def _remember_handle(self, run: str) -> None:
        """Have the process recorded, if it lives long enough to be worth a write."""
        self._unrecorded.add(run)
        if self._recording is None:
            self._recording = asyncio.get_running_loop().call_later(_SETTLED_S, self._record_handles)

    def _record_handles(self) -> None:
        self._recording = None
        handles: dict[str, Handle] = {}
        for run in self._unrecorded:
            handle = self._executions[run].handle if run in self._executions else None
            if handle is not None:
                handles[run] = Handle(handle.host, handle.boot_id, handle.pid, handle.pid_start)
        self._unrecorded.clear()
        if handles:
            # A lost record costs nothing: recovery searches by environment as well.
            self._store.submit(partial(runs.record_handles, handles=handles))

    async def _cancel_requested(self) -> None:
        try:
            wanted = await self._store.read(partial(runs.cancel_requested, owner=self._identity.owner))
        except BaseException:
            self._look = True
            raise
        for run, by in wanted.items():
            execution = self._executions.get(run)
            if execution is not None:
                execution.stop(by)
            elif run in self._beside:
                self._unwanted[run] = by

    async def _start_forgotten(self) -> None:
        """Start what was opened in turns whose commit was not confirmed, if it was committed: nobody has started it.

        Only those: what else is ours was taken over from others, or is being started beside the turns.
        """
        mine = await self._store.read(partial(runs.live_of, owner=self._identity.owner))
        opened_here = {opened.run.name for opening in self._unsure for opened in opening}
        self._unsure.clear()
        for opened in mine:
            if opened.run.name in opened_here:
                self._start(opened)

    async def idle(self) -> bool:
        """Whether nothing runs, waits or will ever be due."""
        if self._executions or self._endings or self._beside or not self.asleep:
            return False
        return await self._store.read(_nothing_left)

    async def drain(self, patience: timedelta) -> None:
        """Open nothing more, wait for what runs, interrupt what takes longer, and write every end."""
        self._draining = True
        self._let_go()
        if self._executions:
            self._tell(
                StoryEvent(
                    at=self._clock.now(), kind=StoryKind.Draining, message=f"waiting for {len(self._executions)} runs"
                )
            )
        await self._wait_for(self._rest_ended, patience)
        self.interrupt()
        # Every execution ends within its grace; a database that stays away must not keep us for ever.
        await self._wait_for(self._executions_ended, None)
        await self._wait_for(self._nothing_open, _WRITE_ENDS)

    def _nothing_open(self) -> bool:
        # A turn in progress may be writing ends, or be about to start what it has opened.
        return not self._turning and not self._executions and not self._beside and not self._endings

    def _rest_ended(self) -> bool:
        return self._executions_ended() and self._nothing_open()

    def _executions_ended(self) -> bool:
        # What a turn in progress opens may outlive us too, as soon as it is made.
        self._let_go()
        return not self._executions

    def interrupt(self, grace: timedelta | None = None) -> None:
        """End everything that runs here, as interruptions: `onInterruption` decides what follows. `grace` bounds that of the jobs."""
        self._interrupted = True
        for execution in list(self._executions.values()):
            # What outlives us needs no end: should we be wrong about ourselves, we go on; should somebody else have it, our word on it does not count.
            if not execution.outlives:
                execution.stop(_INTERRUPTED, grace)

    def _let_go(self) -> None:
        """What outlives us is taken up by the next controller, or by another replica."""
        for run, execution in list(self._executions.items()):
            if execution.outlives:
                execution.release()
                del self._executions[run]

    @property
    def interrupted(self) -> bool:
        """Whether what runs was told to end."""
        return self._interrupted

    def resolve(self, endings: Sequence[Ending]) -> None:
        """Finish runs that were taken over; before anything new is opened if called before `run`."""
        self._endings += endings
        self._wake.set()

    def adopt(self, orphans: Sequence[OpenRun]) -> None:
        """Go on with runs that were taken over and that have outlived whoever started them."""
        for orphan in orphans:
            run = orphan.run
            try:
                request = self._launcher.prepare_adoption(run, orphan.spec)
                self._executions[run.name] = self._executor.adopt(request, self._on_end)
            except Exception as error:  # noqa: BLE001 - the run is open and has to end
                self._not_started(run, error)
        names = [orphan.run.name for orphan in orphans]
        self._store.submit(partial(runs.record_host, names=names, host=self._identity.host))
        # Somebody may have asked for their end while nobody could hear.
        self.wake()

    def fence(self, *, fenced: bool) -> None:
        """While fenced nothing is opened: this instance cannot prove that it lives."""
        self._fenced = fenced
        self.wake()

    @property
    def unwritten(self) -> int:
        """How many ends could not be written."""
        return len(self._endings)

    async def _wait_for(self, condition: Callable[[], bool], span: timedelta | None) -> None:
        """Until it holds, or the time is up."""
        deadline = None if span is None else self._clock.monotonic() + span.total_seconds()
        while not condition():
            if deadline is not None and self._clock.monotonic() >= deadline:
                return
            await asyncio.sleep(0.02)


async def _nobody_gives(_run: Run, _spec: JobSpec) -> Obtained | str:
    return "this controller obtains no credentials"


def _turned(tx: Tx, given: Turn, opening: list[OpenRun], knowledge: Knowledge) -> Turned:
    """A turn that leaves behind what it wants to open, for whoever never learns whether it was committed."""
    turned = turn(tx, given, ids.new_id, knowledge)
    opening += turned.opened
    return turned


def _nothing_left(tx: Tx) -> bool:
    return not runs.anything_live(tx) and not dispatches.anything_waits(tx) and jobs.next_fire_at(tx) is None
