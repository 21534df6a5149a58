"""The invariants of design 03 under random histories: whatever people, clocks and crashes do in whatever order."""

import contextlib
import tempfile
from collections import Counter
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controller.base.errors import JobwardenError
from controller.dispatch import recover, requests
from controller.domain.job import (
    ApprovalPolicy,
    Backoff,
    CatchUp,
    Concurrency,
    ConcurrencyPolicy,
    Interruption,
    Join,
    Parent,
    PoolRef,
    RetryPolicy,
    Schedule,
    Trigger,
    When,
)
from controller.domain.states import Cause, DispatchState, RunState
from controller.store import backup
from controller.store.database import open_store
from tests.integration.dispatch.world import World

_SLOTS = 2
_EVERY = st.sampled_from([5, 10, 30])


class Histories(RuleBasedStateMachine):
    """One installation with a handful of jobs; after every step everything that must hold is looked at."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="jw-histories-")
        self.store = open_store(f"sqlite:///{self.folder.name}/world.db")
        self.world = World(self.store)
        self.count = 0
        self.names: list[str] = []
        self.opened_for: Counter[str] = Counter()
        self.world.pool("pool", _SLOTS)
        self._boot()

    def teardown(self) -> None:
        with contextlib.suppress(AttributeError):
            self.store.close()
            self.folder.cleanup()

    def _boot(self) -> None:
        self.world.owner = f"controller-{self.count}"
        self.count += 1
        lease = timedelta(minutes=1)
        taken = self.world.write(
            lambda tx: recover.start_up(tx, self.world.owner, "h", "b", self.count, self.world.now, lease)
        )
        self._turn(*recover.endings(taken.runs, self.world.now))

    def _turn(self, *endings: object) -> None:
        turned = self.world.turn(*endings, slots=5)  # type: ignore[arg-type]
        for entry in turned.opened:
            self.opened_for[entry.run.dispatch] += 1

    @rule(
        every=st.none() | _EVERY,
        policy=st.sampled_from(ConcurrencyPolicy),
        slots=st.sampled_from([0, 0, 1, 2]),
        retries=st.sampled_from([0, 0, 2]),
        rerun=st.booleans(),
        gated=st.sampled_from([False, False, True]),
        catch_up=st.sampled_from(CatchUp),
        parents=st.lists(st.integers(0, 5), max_size=2, unique=True),
        join=st.sampled_from(Join),
        when=st.sampled_from(When),
    )
    def add(
        self,
        every: int | None,
        policy: ConcurrencyPolicy,
        slots: int,
        retries: int,
        rerun: bool,
        gated: bool,
        catch_up: CatchUp,
        parents: list[int],
        join: Join,
        when: When,
    ) -> None:
        if len(self.names) >= 6:
            return
        name = f"job-{len(self.names)}"
        named = [self.names[index] for index in parents if index < len(self.names)]
        trigger = (
            Trigger(tuple(Parent(parent, when) for parent in named), join=join) if every is None and named else None
        )
        self.world.add(
            name,
            schedule=Schedule(every=timedelta(seconds=every), catch_up=catch_up) if every is not None else None,
            trigger=trigger,
            concurrency=Concurrency(
                policy=policy, max_queued=4, pools=(PoolRef("pool", slots=slots),) if slots else ()
            ),
            retry=RetryPolicy(limit=retries, backoff=Backoff(initial=timedelta(seconds=3))),
            on_interruption=Interruption.Rerun if rerun else Interruption.Fail,
            approval=ApprovalPolicy(required=gated, timeout=timedelta(seconds=60)),
        )
        self.names.append(name)

    @rule(seconds=st.sampled_from([0.5, 1, 5, 30, 120]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)
        self._turn()

    @rule(seconds=st.sampled_from([10, 60]))
    def step_back(self, seconds: float) -> None:
        self.world.wait(-seconds)
        self._turn()

    @precondition(lambda self: self.names)
    @rule(data=st.data(), key=st.none() | st.sampled_from(["a", "b"]))
    def trigger(self, data: st.DataObject, key: str | None) -> None:
        name = data.draw(st.sampled_from(self.names))
        self._ask(
            lambda tx: requests.trigger(tx, self.world.now, "default", name, {}, key, "ann", new_id=self.world.new_id)
        )

    @precondition(lambda self: self.world.live())
    @rule(data=st.data(), code=st.sampled_from([0, 0, 1]))
    def end(self, data: st.DataObject, code: int) -> None:
        run = data.draw(st.sampled_from(self.world.live()))
        before = self._opened()
        self.world.end(run, code)
        self._count_new(before)

    @precondition(lambda self: self.world.live())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.world.live()))
        self._ask(lambda tx: requests.cancel_run(tx, self.world.now, "default", run.name, "ann"))
        before = self._opened()
        self.world.end(run, cancelled_by="ann")
        self._count_new(before)

    @precondition(lambda self: self.names)
    @rule(data=st.data(), on=st.booleans())
    def hold_or_release(self, data: st.DataObject, on: bool) -> None:
        name = data.draw(st.sampled_from(self.names))
        if on:
            self._ask(lambda tx: requests.hold(tx, self.world.now, "default", name, "why", None, "ann"))
        else:
            self._ask(lambda tx: requests.release(tx, self.world.now, "default", name, "ann", new_id=self.world.new_id))

    @rule(data=st.data(), yes=st.booleans())
    def decide(self, data: st.DataObject, yes: bool) -> None:
        open_questions = [approval for approval in self.world.approvals() if approval.state == "Pending"]
        if open_questions:
            name = data.draw(st.sampled_from(open_questions)).name
            verb = requests.approve if yes else requests.reject
            self._ask(lambda tx: verb(tx, self.world.now, "default", name, "ann"))

    @rule()
    def crash(self) -> None:
        self._boot()

    def _ask(self, request: object) -> None:
        with contextlib.suppress(JobwardenError):
            self.world.write(request)  # type: ignore[arg-type]
        self._turn()

    def _opened(self) -> set[str]:
        return {run.name for run in self.world.runs()}

    def _count_new(self, before: set[str]) -> None:
        for run in self.world.runs():
            if run.name not in before:
                self.opened_for[run.dispatch] += 1

    @invariant()
    def the_database_is_sound(self) -> None:
        if hasattr(self, "store"):
            assert backup.check(self.store) == []

    @invariant()
    def a_pool_never_exceeds_its_slots(self) -> None:
        if hasattr(self, "store"):
            assert 0 <= self.world.held("pool") <= _SLOTS

    @invariant()
    def exclusive_jobs_never_overlap(self) -> None:
        if hasattr(self, "store"):
            live = Counter(run.job for run in self.world.live())
            for name, count in live.items():
                assert count <= 1 or self.world.job(name).spec.concurrency.policy is ConcurrencyPolicy.Allow

    @invariant()
    def every_dispatch_opens_at_most_one_run(self) -> None:
        if hasattr(self, "store"):
            assert all(count == 1 for count in self.opened_for.values())
            runs = Counter(run.dispatch for run in self.world.runs())
            done = {d.id for d in self.world.dispatches() if d.state is DispatchState.Done}
            assert set(runs) == done

    @invariant()
    def an_instant_is_accounted_for_at_most_once(self) -> None:
        if hasattr(self, "store"):
            instants = Counter((d.job, d.scheduled_for) for d in self.world.dispatches() if d.cause is Cause.Schedule)
            assert all(count == 1 for count in instants.values())

    @invariant()
    def everything_that_ended_says_why(self) -> None:
        if hasattr(self, "store"):
            for run in self.world.runs():
                assert run.state is RunState.Running or run.reason
            for dispatch in self.world.dispatches():
                ended = dispatch.state in {DispatchState.Skipped, DispatchState.Missed, DispatchState.Cancelled}
                assert not ended or (dispatch.reason and dispatch.message and dispatch.ended_at)

    @invariant()
    def nothing_waits_that_could_run(self) -> None:
        """Once a turn finds nothing more to do, whoever is due waits for something that exists."""
        if not hasattr(self, "store"):
            return
        for dispatch in self.world.dispatches():
            if dispatch.state is DispatchState.Pending and dispatch.not_before <= self.world.now:
                turned = self.world.turn(slots=5)
                for entry in turned.opened:
                    self.opened_for[entry.run.dispatch] += 1


Histories.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestHistories = Histories.TestCase
