"""Turns of the dispatcher against both databases: schedules, guards, ends, chains, approvals, pauses."""

from datetime import timedelta

import pytest

from controller.base.errors import Conflict, InvalidInput, NotFound
from controller.dispatch import recover, requests
from controller.domain.job import (
    Alerts,
    ApprovalPolicy,
    Backoff,
    CatchUp,
    Concurrency,
    ConcurrencyPolicy,
    ErrorBackoff,
    Gate,
    Interruption,
    Join,
    Notification,
    NotificationEvent,
    OnTimeout,
    Parameter,
    Parent,
    PoolRef,
    RetryAction,
    RetryPolicy,
    RetryRule,
    Schedule,
    Trigger,
    WatchdogTarget,
    When,
)
from controller.domain.records import Ending, Output
from controller.domain.states import Cause, DispatchState, RunState
from controller.domain.story import StoryKind
from controller.store import jobs
from tests.integration.dispatch.world import START, World, at

MINUTE = timedelta(minutes=1)
EVERY_MINUTE = Schedule(crons=("* * * * *",))


def after(*parents: str, when: When = When.Succeeded, **more: object) -> Trigger:
    """A trigger."""
    return Trigger(after=tuple(Parent(parent, when) for parent in parents), **more)  # type: ignore[arg-type]


def states(world: World, job: str) -> list[tuple[str, str | None]]:
    """State and reason of a job's dispatches."""
    return [(str(d.state), d.reason) for d in world.dispatches(job)]


class TestSchedules:
    def test_an_instant_that_has_come_opens_one_run(self, world: World) -> None:
        """A scheduled instant becomes exactly one dispatch and one run, and the job moves on."""
        world.add("tick", schedule=EVERY_MINUTE)
        assert world.turn().opened == ()
        world.wait(MINUTE)
        (opened,) = world.turn().opened
        assert opened.run.scheduled_for == START + MINUTE
        assert opened.run.cause is Cause.Schedule
        assert world.turn().opened == ()
        assert world.job("tick").next_fire_at == START + 2 * MINUTE

    def test_a_one_shot_completes_and_never_fires_again(self, world: World) -> None:
        """`at` fires once; its tombstone stays."""
        world.add("once", schedule=at(START + MINUTE))
        world.wait(2 * MINUTE)
        assert world.turns() == ["once"]
        job = world.job("once")
        assert job.completed_at is not None
        assert job.next_fire_at is None
        world.wait(timedelta(days=1))
        assert world.turns() == []

    def test_a_clock_that_steps_back_fires_nothing_again(self, world: World) -> None:
        """What was accounted for stays accounted for."""
        world.add("tick", schedule=EVERY_MINUTE, concurrency=Concurrency(policy=ConcurrencyPolicy.Allow))
        world.wait(5 * MINUTE)
        world.turns()
        fired = len(world.runs())
        world.wait(-3 * MINUTE)
        assert world.turns() == []
        world.wait(3 * MINUTE)
        assert world.turns() == []
        assert len(world.runs()) == fired

    def test_an_outage_is_one_missed_row_and_one_late_run(self, world: World) -> None:
        """catchUp Latest, the default: the newest instant runs late, the others are one Missed row that names the range."""
        world.add("tick", schedule=EVERY_MINUTE)
        world.wait(10 * MINUTE + timedelta(seconds=30))
        (opened,) = world.turn().opened
        assert opened.run.scheduled_for == START + 10 * MINUTE
        missed, done = world.dispatches("tick")
        assert (missed.state, missed.reason, missed.count) == (DispatchState.Missed, "NotCaughtUp", 9)
        assert (missed.scheduled_for, missed.through) == (START + MINUTE, START + 9 * MINUTE)
        assert done.state is DispatchState.Done

    def test_catch_up_all_runs_every_instant_one_at_a_time(self, world: World) -> None:
        """catchUp All under Forbid: each missed instant runs, in order, never two at once."""
        world.add("tick", schedule=Schedule(crons=("* * * * *",), catch_up=CatchUp.All))
        world.wait(3 * MINUTE + timedelta(seconds=30))
        seen = []
        turned = world.turn()
        while turned.opened:
            (opened,) = turned.opened
            seen.append(opened.run.scheduled_for)
            turned = world.end(opened.run)
        assert seen == [START + MINUTE, START + 2 * MINUTE, START + 3 * MINUTE]

    def test_catch_up_none_leaves_missed_rows_only(self, world: World) -> None:
        """catchUp None: what is late is Missed, and the job is unhealthy until its next success."""
        world.add("tick", schedule=Schedule(crons=("*/10 * * * *",), catch_up=CatchUp.Nothing))
        world.wait(25 * MINUTE)
        assert world.turns() == []
        assert states(world, "tick") == [("Missed", "NotCaughtUp")]
        assert world.job("tick").healthy is False

    def test_past_the_starting_deadline_it_is_missed(self, world: World) -> None:
        """A dispatch that waits beyond startingDeadline ends Missed, exactly then."""
        world.pool("db", 1)
        need = Concurrency(pools=(PoolRef("db"),))
        world.add("holder", schedule=at(START), concurrency=need)
        assert world.turns() == ["holder"]
        world.add("late", schedule=at(START + MINUTE, starting_deadline=timedelta(seconds=30)), concurrency=need)
        world.wait(MINUTE)
        turned = world.turn()
        assert turned.opened == ()
        assert turned.wakes is not None
        assert turned.wakes.at is not None
        assert turned.wakes.at <= START + MINUTE + timedelta(seconds=31)
        world.wait(timedelta(seconds=31))
        world.turn()
        assert states(world, "late") == [("Missed", "DeadlineExceeded")]

    def test_priority_orders_what_is_due_together(self, world: World) -> None:
        """Higher priority first, then the older instant."""
        for name, priority in (("low", -5), ("high", 10), ("plain", 0)):
            world.add(name, schedule=at(START + MINUTE), priority=priority)
        world.wait(MINUTE)
        order = []
        for _ in range(3):
            order += [entry.run.job for entry in world.turn(slots=1).opened]
        assert order == ["high", "plain", "low"]

    def test_error_backoff_stretches_the_schedule(self, world: World) -> None:
        """A failing job with errorBackoff waits at least 30 s, then a minute; the instants between are Skipped, ErrorBackoff."""
        world.add("flaky", schedule=Schedule(every=timedelta(seconds=10)), error_backoff=ErrorBackoff(enabled=True))
        world.wait(10)
        (opened,) = world.turn().opened
        world.end(opened.run, 1)
        assert world.job("flaky").next_fire_at == START + timedelta(seconds=40)
        world.wait(20)
        assert world.turns() == []
        world.wait(10)
        (opened,) = world.turn().opened
        assert opened.run.scheduled_for == START + timedelta(seconds=40)
        skipped = [d for d in world.dispatches("flaky") if d.state is DispatchState.Skipped]
        assert [(d.reason, d.count) for d in skipped] == [("ErrorBackoff", 2)]
        world.end(opened.run, 1)
        assert world.job("flaky").next_fire_at == START + timedelta(seconds=100)

    def test_a_full_backlog_skips_new_instants(self, world: World) -> None:
        """concurrency.maxQueued bounds waiting dispatches; the next instants are Skipped, QueueFull."""
        queue = Concurrency(policy=ConcurrencyPolicy.Queue, max_queued=2)
        world.add("tick", schedule=EVERY_MINUTE, concurrency=queue)
        for _ in range(5):
            world.wait(MINUTE)
            world.turn()
        assert states(world, "tick")[-1] == ("Skipped", "QueueFull")
        assert len([d for d in world.dispatches("tick") if d.state is DispatchState.Pending]) == 2


class TestOverlap:
    def test_forbid_skips_while_a_run_is_open(self, world: World) -> None:
        """S065: the second dispatch of a Forbid job ends Skipped."""
        world.add("job", schedule=EVERY_MINUTE)
        world.wait(MINUTE)
        world.turn()
        world.wait(MINUTE)
        assert world.turns() == []
        assert states(world, "job")[-1] == ("Skipped", "Forbid")

    def test_allow_runs_side_by_side(self, world: World) -> None:
        """S067: Allow opens a second run."""
        world.add("job", schedule=EVERY_MINUTE, concurrency=Concurrency(policy=ConcurrencyPolicy.Allow))
        world.wait(MINUTE)
        world.turn()
        world.wait(MINUTE)
        assert world.turns() == ["job"]
        assert len(world.live("job")) == 2

    def test_queue_keeps_order_and_runs_one_at_a_time(self, world: World) -> None:
        """Queued dispatches run in the order of their instants, each woken by the end before it."""
        world.add("job", schedule=EVERY_MINUTE, concurrency=Concurrency(policy=ConcurrencyPolicy.Queue))
        seen = []
        for _ in range(4):
            world.wait(MINUTE)
            world.turn()
        while live := world.live("job"):
            assert len(live) == 1
            seen.append(live[0].scheduled_for)
            world.end(live[0])
        assert seen == [START + n * MINUTE for n in range(1, 5)]

    def test_replace_cancels_the_open_run_and_then_runs(self, world: World) -> None:
        """Replace asks the open run to end, waits for it, and takes its place."""
        world.add("job", schedule=EVERY_MINUTE, concurrency=Concurrency(policy=ConcurrencyPolicy.Replace))
        world.wait(MINUTE)
        (first,) = world.turn().opened
        world.wait(MINUTE)
        turned = world.turn()
        assert turned.opened == ()
        assert turned.cancels
        assert world.live("job")[0].cancel_requested_by is not None
        turned = world.end(first.run, cancelled_by="concurrency.policy Replace")
        assert [entry.run.scheduled_for for entry in turned.opened] == [START + 2 * MINUTE]

    def test_replace_keeps_only_the_newest_waiting_dispatch(self, world: World) -> None:
        """An older dispatch that waits to replace is itself replaced."""
        world.add("job", schedule=EVERY_MINUTE, concurrency=Concurrency(policy=ConcurrencyPolicy.Replace))
        world.wait(MINUTE)
        (first,) = world.turn().opened
        for _ in range(2):
            world.wait(MINUTE)
            world.turn()
        assert ("Cancelled", "Replaced") in states(world, "job")
        turned = world.end(first.run, cancelled_by="x")
        assert [entry.run.scheduled_for for entry in turned.opened] == [START + 3 * MINUTE]


class TestPools:
    def test_a_pool_never_exceeds_its_slots(self, world: World) -> None:
        """Five jobs, two slots: two run, the rest follow as slots free."""
        world.pool("db", 2)
        for n in range(5):
            world.add(f"job-{n}", schedule=at(START), concurrency=Concurrency(pools=(PoolRef("db"),)))
        done = 0
        world.turn()
        while live := world.live():
            assert len(live) <= 2
            assert world.held("db") == len(live)
            world.end(live[0])
            done += 1
        assert done == 5
        assert world.held("db") == 0

    def test_a_large_request_is_not_overtaken_by_small_ones(self, world: World) -> None:
        """Who waits for two slots keeps its place before later ones that need one."""
        world.pool("db", 2)
        world.add("first", schedule=at(START), concurrency=Concurrency(pools=(PoolRef("db"),)))
        world.turn()
        world.wait(1)
        world.add(
            "large", schedule=at(START + timedelta(seconds=1)), concurrency=Concurrency(pools=(PoolRef("db", slots=2),))
        )
        world.turn()
        world.wait(1)
        world.add("small", schedule=at(START + timedelta(seconds=2)), concurrency=Concurrency(pools=(PoolRef("db"),)))
        assert world.turns() == []
        assert world.turns() == []
        (turned,) = [world.end(run) for run in world.live("first")]
        assert [entry.run.job for entry in turned.opened] == ["large"]
        turned = world.end(world.live("large")[0])
        assert [entry.run.job for entry in turned.opened] == ["small"]

    def test_cancelling_the_first_in_line_lets_the_next_go(self, world: World) -> None:
        """A waiting dispatch that ends frees its place at once."""
        world.pool("db", 2)
        world.add("first", schedule=at(START), concurrency=Concurrency(pools=(PoolRef("db"),)))
        world.add("large", schedule=at(START), concurrency=Concurrency(pools=(PoolRef("db", slots=2),)))
        world.add("small", schedule=at(START), concurrency=Concurrency(pools=(PoolRef("db"),)))
        world.turn()
        (waiting,) = world.dispatches("large")
        world.write(lambda tx: requests.cancel_dispatch(tx, world.now, "default", waiting.id, "ann"))
        assert world.turns() == ["small"]

    def test_all_freed_slots_are_taken_at_once(self, world: World) -> None:
        """Two runs that end together let two others in, in the same turn."""
        world.pool("db", 2)
        for name in ("a", "b", "c", "d"):
            world.add(name, schedule=at(START), concurrency=Concurrency(pools=(PoolRef("db"),)))
        first = world.turn().opened
        assert len(first) == 2
        ends = [Ending(run=entry.run.name, finished_at=world.now, exit_code=0) for entry in first]
        assert [entry.run.job for entry in world.turn(*ends).opened] == ["c", "d"]

    def test_a_missing_pool_defers(self, world: World) -> None:
        """A pool that does not exist is not a failure of the run."""
        world.add("job", schedule=at(START), concurrency=Concurrency(pools=(PoolRef("nowhere"),)))
        assert world.turns() == []
        assert states(world, "job") == [("Pending", "PoolNotFound")]


class TestEnds:
    def test_success_makes_the_job_healthy(self, world: World) -> None:
        """A run that ends with 0 is Succeeded and resets the errors."""
        world.add("job", schedule=at(START))
        (opened,) = world.turn().opened
        world.end(opened.run)
        job = world.job("job")
        assert (world.runs()[0].state, job.healthy, job.consecutive_errors) == (RunState.Succeeded, True, 0)
        assert job.last_run is not None
        assert job.last_run.name == opened.run.name

    def test_an_end_is_written_once(self, world: World) -> None:
        """A second ending of the same run changes nothing."""
        world.add("job", schedule=at(START))
        (opened,) = world.turn().opened
        world.end(opened.run, 3)
        assert world.end(opened.run, 0).finished == ()
        assert world.runs()[0].exit_code == 3

    def test_somebody_elses_run_cannot_be_ended(self, world: World) -> None:
        """A finish compares the owner: a replica that lost its lease changes nothing."""
        world.add("job", schedule=at(START))
        (opened,) = world.turn(owner="other").opened
        assert world.end(opened.run).finished == ()
        assert world.runs()[0].state is RunState.Running

    def test_retries_follow_the_ladder_and_keep_root_and_instant(self, world: World) -> None:
        """S128: 30, 60, 120 s; the fourth failure is final."""
        world.add("job", schedule=at(START), retry=RetryPolicy(limit=3, backoff=Backoff()))
        turned = world.turn()
        waits = []
        for _ in range(3):
            (opened,) = turned.opened
            turned = world.end(opened.run, 1)
            assert turned.opened == ()
            pending = world.dispatches("job")[-1]
            waits.append((pending.not_before - world.now).total_seconds())
            assert (pending.cause, pending.root, pending.scheduled_for) == (Cause.Retry, world.runs()[0].name, START)
            world.wait(pending.not_before - world.now)
            turned = world.turn()
        world.end(turned.opened[0].run, 1)
        assert waits == [30, 60, 120]
        assert [run.attempt for run in world.runs()] == [1, 2, 3, 4]
        assert world.job("job").consecutive_errors == 1
        assert all(d.state is DispatchState.Done for d in world.dispatches("job"))

    def test_a_retry_rule_can_fail_at_once_or_ignore(self, world: World) -> None:
        """Fail: no retry in spite of the limit. Ignore: Succeeded, Ignored."""
        rules = (RetryRule(RetryAction.Fail, exit_codes=(2,)), RetryRule(RetryAction.Ignore, exit_codes=(3,)))
        world.add("fail", schedule=at(START), retry=RetryPolicy(limit=3, rules=rules))
        world.add("ignore", schedule=at(START), retry=RetryPolicy(limit=3, rules=rules))
        world.turn()
        world.end(world.live("fail")[0], 2)
        world.end(world.live("ignore")[0], 3)
        assert [(r.state, r.reason) for r in world.runs("fail")] == [(RunState.Failed, "ExitCode")]
        assert [(r.state, r.reason) for r in world.runs("ignore")] == [(RunState.Succeeded, "Ignored")]

    def test_timeouts_are_retried(self, world: World) -> None:
        """S196: a timeout is a failure like any other."""
        world.add("job", schedule=at(START), retry=RetryPolicy(limit=1))
        (opened,) = world.turn().opened
        world.end(opened.run, signal="SIGTERM", timed_out=True)
        assert world.runs()[0].state is RunState.TimedOut
        assert world.dispatches("job")[-1].cause is Cause.Retry

    def test_a_cancelled_run_triggers_nothing_and_blames_nobody(self, world: World) -> None:
        """Cancelled: no retry, no children, health as before."""
        world.add("job", schedule=at(START), retry=RetryPolicy(limit=3))
        world.add("child", trigger=after("job", when=When.Finished))
        (opened,) = world.turn().opened
        turned = world.end(opened.run, cancelled_by="ann")
        assert turned.opened == ()
        assert world.dispatches("child") == []
        assert world.job("job").healthy is None

    def test_an_ended_run_gives_its_slot_of_the_pool_back_whatever_the_end(self, world: World) -> None:
        """Also a crash gives slots back."""
        world.pool("db", 1)
        world.add("job", schedule=at(START), concurrency=Concurrency(pools=(PoolRef("db"),)))
        (opened,) = world.turn().opened
        world.end(opened.run, interrupted="Interrupted")
        assert world.held("db") == 0


class TestRecovery:
    @pytest.mark.parametrize(("policy", "again"), [(Interruption.Fail, []), (Interruption.Rerun, ["job"])])
    def test_an_orphan_is_resolved_by_its_policy(self, world: World, policy: Interruption, again: list[str]) -> None:
        """S155: Rerun replays once, Fail does not; either way the orphan is Crashed."""
        world.add("job", schedule=at(START), on_interruption=policy)
        world.write(lambda tx: recover.start_up(tx, "old", "h", "b", 1, world.now, MINUTE))
        world.turn(owner="old")
        world.wait(MINUTE * 2)
        taken = world.write(lambda tx: recover.start_up(tx, "me", "h", "b", 2, world.now + timedelta(days=1), MINUTE))
        if world.store.dialect == "postgresql":
            assert taken.runs == ()  # the lease of the other instance, by the database's clock, still runs
            return
        turned = world.turn(*recover.endings(taken.runs, world.now))
        assert world.runs()[0].state is RunState.Crashed
        assert [entry.run.job for entry in turned.opened] == again
        if again:
            assert turned.opened[0].run.cause is Cause.Replay
            assert turned.opened[0].run.name != world.runs()[0].name

    def test_a_run_that_keeps_killing_its_controller_is_given_up(self, world: World) -> None:
        """Replays are bounded (W09)."""
        world.add("job", schedule=at(START), on_interruption=Interruption.Rerun)
        turned = world.turn()
        count = 0
        while turned.opened:
            count += 1
            turned = world.end(turned.opened[0].run, interrupted="Interrupted")
        assert count == 6
        assert world.job("job").consecutive_errors == 1

    def test_a_replay_does_not_use_up_a_retry(self, world: World) -> None:
        """Attempts that were interrupted are not failures."""
        world.add("job", schedule=at(START), on_interruption=Interruption.Rerun, retry=RetryPolicy(limit=1))
        turned = world.turn()
        turned = world.end(turned.opened[0].run, interrupted="Interrupted")
        world.end(turned.opened[0].run, 1)
        assert world.dispatches("job")[-1].cause is Cause.Retry


class TestChains:
    def test_a_child_runs_after_the_last_attempt_only(self, world: World) -> None:
        """S130: the failure child runs once, linked to the run that ended the ladder."""
        world.add("job", schedule=at(START), retry=RetryPolicy(limit=1, backoff=Backoff(initial=timedelta(seconds=1))))
        world.add("child", trigger=after("job", when=When.Failed))
        (opened,) = world.turn().opened
        assert world.end(opened.run, 1).opened == ()
        world.wait(1)
        (second,) = world.turn().opened
        (child,) = world.end(second.run, 1).opened
        assert child.run.parents == (second.run.name,)
        assert child.run.root == opened.run.name

    def test_success_children_do_not_run_after_failures(self, world: World) -> None:
        """`when` selects."""
        world.add("job", schedule=at(START))
        world.add("good", trigger=after("job"))
        world.add("bad", trigger=after("job", when=When.Failed))
        world.add("any", trigger=after("job", when=When.Finished))
        (opened,) = world.turn().opened
        assert sorted(entry.run.job for entry in world.end(opened.run).opened) == ["any", "good"]

    def test_all_parents_join_once_per_root(self, world: World) -> None:
        """A diamond: D runs once, after both B and C, and knows both as parents."""
        world.add("a", schedule=at(START))
        world.add("b", trigger=after("a"))
        world.add("c", trigger=after("a"))
        world.add("d", trigger=after("b", "c", join=Join.All))
        (a,) = world.turn().opened
        b, c = world.end(a.run).opened
        assert world.end(b.run).opened == ()
        (d,) = world.end(c.run).opened
        assert d.run.job == "d"
        assert set(d.run.parents) == {b.run.name, c.run.name}
        world.end(d.run)
        assert len(world.runs("d")) == 1

    def test_both_parents_ending_in_one_turn_join_once(self, world: World) -> None:
        """Ends that are decided together see each other."""
        world.add("a", schedule=at(START))
        world.add("b", trigger=after("a"))
        world.add("c", trigger=after("a"))
        world.add("d", trigger=after("b", "c", join=Join.All))
        (a,) = world.turn().opened
        b, c = world.end(a.run).opened
        ends = [Ending(run=entry.run.name, finished_at=world.now, exit_code=0) for entry in (b, c)]
        assert [entry.run.job for entry in world.turn(*ends).opened] == ["d"]

    def test_a_false_condition_is_recorded_as_skipped(self, world: World) -> None:
        """`if` is looked at with the parents' outputs; what it refuses can be explained."""
        world.add("job", schedule=at(START))
        world.add("yes", trigger=after("job", condition="outputs['job'].stdout.contains('ALERT')"))
        world.add("no", trigger=after("job", condition="outputs['job'].stdout.contains('alert')"))
        world.add("broken", trigger=after("job", condition="outputs['nobody'].stdout == ''"))
        (opened,) = world.turn().opened
        turned = world.end(opened.run, output=Output(stdout=b"an ALERT here\n"))
        assert [entry.run.job for entry in turned.opened] == ["yes"]
        assert states(world, "no") == [("Skipped", "ConditionFalse")]
        assert states(world, "broken") == [("Skipped", "ConditionFailed")]

    def test_outputs_of_ancestors_become_parameters(self, world: World) -> None:
        """parentOutput reaches back to any succeeded ancestor of the root run; without a value the child is Skipped."""
        wanted = (Parameter("version", parent_output=("a", "version")),)
        world.add("a", schedule=at(START))
        world.add("b", trigger=after("a"))
        world.add("c", trigger=after("b"), parameters=wanted)
        world.add("d", trigger=after("b"), parameters=(Parameter("x", parent_output=("a", "nothing")),))
        (a,) = world.turn().opened
        (b,) = world.end(a.run, outputs={"version": "1.2"}).opened
        (c,) = world.end(b.run).opened
        assert (c.run.job, dict(c.run.parameters)) == ("c", {"version": "1.2"})
        assert states(world, "d") == [("Skipped", "ParameterMissing")]

    def test_a_delay_postpones_the_child(self, world: World) -> None:
        """S137: the chain dispatch is due a minute later."""
        world.add("job", schedule=at(START))
        world.add("child", trigger=after("job", delay=MINUTE))
        (opened,) = world.turn().opened
        assert world.end(opened.run).opened == ()
        world.wait(MINUTE)
        assert world.turns() == ["child"]


class TestRequests:
    def test_a_trigger_runs_now_and_leaves_the_schedule_alone(self, world: World) -> None:
        """S058: a manual run beside the schedule."""
        world.add("job", schedule=Schedule(crons=("0 0 * * *",)))
        before = world.job("job").next_fire_at
        world.write(lambda tx: requests.trigger(tx, world.now, "default", "job", {}, None, "ann", new_id=world.new_id))
        (opened,) = world.turn().opened
        assert (opened.run.cause, opened.run.actor) == (Cause.Manual, "ann")
        world.end(opened.run)
        assert world.job("job").next_fire_at == before

    def test_a_repeated_key_is_recorded_and_not_run(self, world: World) -> None:
        """DuplicateKey: the second request names the run of the first."""
        world.add("job")
        first = world.write(
            lambda tx: requests.trigger(tx, world.now, "default", "job", {}, "k1", "ann", new_id=world.new_id)
        )
        assert first.state is DispatchState.Pending
        world.turns()
        again = world.write(
            lambda tx: requests.trigger(tx, world.now, "default", "job", {}, "k1", "bob", new_id=world.new_id)
        )
        assert (again.state, again.reason, again.run) == (DispatchState.Skipped, "DuplicateKey", world.runs()[0].name)
        assert world.turns() == []
        world.wait(timedelta(days=8))
        world.end(world.runs()[0])
        world.write(lambda tx: requests.trigger(tx, world.now, "default", "job", {}, "k1", "bob", new_id=world.new_id))
        assert world.turns() == ["job"]

    def test_parameters_are_checked(self, world: World) -> None:
        """Unknown, missing and ill-formed values are refused with words."""
        world.add("job", parameters=(Parameter("env", required=True, pattern="[a-z]+"),))
        for given, words in (
            ({}, "needs a value"),
            ({"env": "X"}, "pattern"),
            ({"env": "a", "b": "c"}, "no parameter b"),
        ):
            with pytest.raises(InvalidInput, match=words):
                world.write(
                    lambda tx, given=given: requests.trigger(tx, world.now, "default", "job", given, None, "ann")
                )

    def test_unknown_names_come_with_a_suggestion(self, world: World) -> None:
        """NotFound names the nearest job."""
        world.add("nightly-report")
        with pytest.raises(NotFound, match="nightly-report"):
            world.write(lambda tx: requests.trigger(tx, world.now, "default", "nightly-reprot", {}, None, "ann"))

    def test_a_full_backlog_refuses_requests(self, world: World) -> None:
        """S059."""
        world.add("job", concurrency=Concurrency(policy=ConcurrencyPolicy.Queue, max_queued=1))
        ask = lambda tx: requests.trigger(tx, world.now, "default", "job", {}, None, "ann", new_id=world.new_id)  # noqa: E731
        world.write(ask)
        with pytest.raises(Conflict, match="backlog"):
            world.write(ask)

    def test_instants_of_a_stop_are_an_outage_and_no_backlog(self, world: World) -> None:
        """A controller that drains leaves what becomes due alone; the next one makes up for the latest instant and accounts for the others."""
        world.add("job", schedule=EVERY_MINUTE)
        world.turn()
        for _ in range(3):
            world.wait(MINUTE)
            turned = world.turn(slots=0, fire=False)
            assert turned.wakes is not None
            assert turned.wakes.at is None
        assert world.runs("job") == []
        world.wait(timedelta(seconds=30))
        assert world.turns() == ["job"]

    def test_a_hold_stops_everything_and_a_release_starts_at_now(self, world: World) -> None:
        """Held: no instant fires, waiting dispatches are deferred; what passed is one Skipped row, and nothing is caught up."""
        world.add("tick", schedule=EVERY_MINUTE)
        world.write(lambda tx: requests.hold(tx, world.now, "default", "tick", "migration", None, "ann"))
        world.write(lambda tx: requests.trigger(tx, world.now, "default", "tick", {}, None, "ann", new_id=world.new_id))
        world.wait(10 * MINUTE + timedelta(seconds=1))
        assert world.turns() == []
        assert ("Pending", "Held") in states(world, "tick")
        world.write(lambda tx: requests.release(tx, world.now, "default", "tick", "ann", new_id=world.new_id))
        (opened,) = world.turn().opened
        assert opened.run.cause is Cause.Manual
        skipped = [d for d in world.dispatches("tick") if d.state is DispatchState.Skipped]
        assert [(d.reason, d.count) for d in skipped] == [("Held", 10)]
        assert world.job("tick").next_fire_at == START + 11 * MINUTE

    def test_a_hold_runs_out_by_itself(self, world: World) -> None:
        """`until` releases without anybody."""
        world.add("tick", schedule=EVERY_MINUTE)
        until = START + timedelta(minutes=2, seconds=30)
        world.write(lambda tx: requests.hold(tx, world.now, "default", "tick", "lunch", until, "ann"))
        wakes = world.turn().wakes
        assert wakes is not None
        assert (wakes.at, wakes.look_at) == (until, until)
        world.wait(timedelta(minutes=2, seconds=31))
        assert world.turns() == []
        world.wait(MINUTE)
        assert world.turns() == ["tick"]


class TestApprovals:
    def ask(self, world: World, **policy: object) -> None:
        """A job that asks, and its question."""
        world.add("deploy", schedule=at(START), approval=ApprovalPolicy(required=True, **policy))  # type: ignore[arg-type]
        assert world.turns() == []

    def test_nothing_runs_before_somebody_approves(self, world: World) -> None:
        """S149: the dispatch waits, holding nothing; approved it runs."""
        self.ask(world)
        (approval,) = world.approvals()
        assert states(world, "deploy") == [("AwaitingApproval", "AwaitingApproval")]
        world.write(lambda tx: requests.approve(tx, world.now, "default", approval.name, "ann"))
        assert world.turns() == ["deploy"]

    def test_a_jobs_name_stands_for_its_only_question(self, world: World) -> None:
        """`approve JOB` works while there is exactly one."""
        self.ask(world)
        world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann"))
        assert world.turns() == ["deploy"]
        with pytest.raises(NotFound):
            world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann"))

    def test_rejection_ends_the_dispatch(self, world: World) -> None:
        """W27: a rejected dispatch is Cancelled, not stranded."""
        self.ask(world)
        world.write(lambda tx: requests.reject(tx, world.now, "default", "deploy", "ann", "not today"))
        assert world.turns() == []
        assert states(world, "deploy") == [("Cancelled", "ApprovalRejected")]

    def test_several_people_have_to_agree(self, world: World) -> None:
        """`approvals: 2` takes two different people."""
        self.ask(world, approvals=2)
        world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann"))
        with pytest.raises(Conflict, match="already"):
            world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann"))
        assert world.turns() == []
        world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "bob"))
        assert world.turns() == ["deploy"]

    def test_only_approvers_may_decide(self, world: World) -> None:
        """Users and %groups of approval.approvers."""
        self.ask(world, approvers=("ann", "%ops"))
        with pytest.raises(Conflict, match="not among the approvers"):
            world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "mallory"))
        world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "bob", groups=("ops",)))
        assert world.turns() == ["deploy"]

    def test_who_asked_may_be_forbidden_to_approve(self, world: World) -> None:
        """allowSelf false."""
        world.add("deploy", approval=ApprovalPolicy(required=True, allow_self=False))
        world.write(
            lambda tx: requests.trigger(tx, world.now, "default", "deploy", {}, None, "ann", new_id=world.new_id)
        )
        world.turns()
        with pytest.raises(Conflict, match="allowSelf"):
            world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann"))

    @pytest.mark.parametrize("actor", ["annotation", "unverified", "unverified:bob"])
    def test_nobody_approves_what_anybody_may_have_asked_for(self, world: World, actor: str) -> None:
        """allowSelf false, and a requester that nobody has checked: it may be rejected only."""
        world.add("deploy", approval=ApprovalPolicy(required=True, allow_self=False))
        world.write(
            lambda tx: requests.trigger(tx, world.now, "default", "deploy", {}, None, actor, new_id=world.new_id)
        )
        world.turns()
        with pytest.raises(Conflict, match="is not known"):
            world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann", authorized=True))
        world.write(lambda tx: requests.reject(tx, world.now, "default", "deploy", "ann"))
        assert states(world, "deploy") == [("Cancelled", "ApprovalRejected")]

    def test_what_the_schedule_asks_for_nobody_has_asked_for(self, world: World) -> None:
        """allowSelf false does not apply; `authorized` stands in for the list of approvers."""
        self.ask(world, allow_self=False, approvers=("somebody",))
        with pytest.raises(Conflict, match="not among the approvers"):
            world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann"))
        world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann", authorized=True))
        assert world.turns() == ["deploy"]

    @pytest.mark.parametrize(
        ("on_timeout", "runs", "state"),
        [(OnTimeout.Reject, [], ("Cancelled", "ApprovalTimedOut")), (OnTimeout.Approve, ["deploy"], ("Done", None))],
    )
    def test_time_decides_when_nobody_does(
        self, world: World, on_timeout: OnTimeout, runs: list[str], state: tuple[str, str | None]
    ) -> None:
        """S151, S152: once, whatever is swept how often."""
        self.ask(world, timeout=MINUTE, on_timeout=on_timeout)
        world.wait(MINUTE)
        assert world.turns() == runs
        assert world.turns() == []
        assert states(world, "deploy") == [state]

    def test_an_approval_outlives_a_full_pool(self, world: World) -> None:
        """S197: what was approved does not ask again when it has to wait."""
        world.pool("db", 1)
        need = Concurrency(pools=(PoolRef("db"),))
        world.add("holder", schedule=at(START), concurrency=need)
        (holder,) = world.turn().opened
        world.add("deploy", schedule=at(START), concurrency=need, approval=ApprovalPolicy(required=True))
        world.turn()
        world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann"))
        assert world.turns() == []
        assert [entry.run.job for entry in world.end(holder.run).opened] == ["deploy"]
        assert len(world.approvals()) == 1

    def test_retries_do_not_ask_again(self, world: World) -> None:
        """An approval answers for the attempts that follow."""
        world.add("deploy", schedule=at(START), approval=ApprovalPolicy(required=True), retry=RetryPolicy(limit=1))
        world.turn()
        world.write(lambda tx: requests.approve(tx, world.now, "default", "deploy", "ann"))
        (opened,) = world.turn().opened
        world.end(opened.run, 1)
        world.wait(timedelta(seconds=30))
        assert world.turns() == ["deploy"]

    def test_the_chain_gate_asks_only_for_chained_dispatches(self, world: World) -> None:
        """gate Chain."""
        world.add("deploy", schedule=at(START), approval=ApprovalPolicy(required=True, gate=Gate.Chain))
        assert world.turns() == ["deploy"]

    def test_too_many_questions_skip(self, world: World) -> None:
        """S076: maxPending bounds open approvals."""
        world.add("deploy", approval=ApprovalPolicy(required=True, max_pending=1))
        for _ in range(2):
            world.write(
                lambda tx: requests.trigger(tx, world.now, "default", "deploy", {}, None, "ann", new_id=world.new_id)
            )
        world.turns()
        assert states(world, "deploy") == [("AwaitingApproval", "AwaitingApproval"), ("Skipped", "ApprovalBacklogFull")]


class TestTelling:
    EVENTS = (
        NotificationEvent.Failed,
        NotificationEvent.Succeeded,
        NotificationEvent.Recovered,
        NotificationEvent.Missed,
        NotificationEvent.Overdue,
        NotificationEvent.Alert,
    )

    def test_failures_are_told_from_the_nth_on_and_recovery_once(self, world: World) -> None:
        """afterFailures 2, then Recovered."""
        told = (Notification((NotificationEvent.Failed, NotificationEvent.Recovered), "ops", after_failures=2),)
        world.add("job", schedule=EVERY_MINUTE, notifications=told)
        for code in (1, 1, 0, 0):
            world.wait(MINUTE)
            (opened,) = world.turn().opened
            world.end(opened.run, code)
        assert [event for event, _, _ in world.outbox()] == ["Failed", "Recovered"]

    def test_a_recovery_from_failures_that_nobody_heard_of_is_not_told(self, world: World) -> None:
        """afterFailures 2: one failure is silent, and so is its end."""
        told = (Notification((NotificationEvent.Failed, NotificationEvent.Recovered), "ops", after_failures=2),)
        world.add("job", schedule=EVERY_MINUTE, notifications=told)
        for code in (1, 0):
            world.wait(MINUTE)
            (opened,) = world.turn().opened
            world.end(opened.run, code)
        assert world.outbox() == []

    def test_an_overdue_job_is_told_once(self, world: World) -> None:
        """alerts.noSuccessFor: Overdue is set when crossed, told once, and cleared by a success."""
        told = (Notification((NotificationEvent.Overdue,), "ops"),)
        world.add("job", schedule=EVERY_MINUTE, alerts=Alerts(no_success_for=timedelta(minutes=5)), notifications=told)
        world.write(lambda tx: jobs.look_again(tx, [1], world.now))
        for _ in range(8):
            world.wait(MINUTE)
            for entry in world.turn().opened:
                world.end(entry.run, 1)
        assert [event for event, _, _ in world.outbox()] == ["Overdue"]
        assert world.job("job").overdue_reason == "NoSuccess"
        world.wait(MINUTE)
        (opened,) = world.turn().opened
        world.end(opened.run, 0)
        world.turn()
        assert world.job("job").overdue_reason is None

    def test_a_run_that_takes_too_long_is_noticed_while_it_runs(self, world: World) -> None:
        """alerts.maxDuration: looked at once the bound of a run that was opened has come, and Overdue ends with the run."""
        world.add("job", schedule=EVERY_MINUTE, alerts=Alerts(max_duration=timedelta(seconds=20)))
        world.turn()
        world.wait(MINUTE)
        (opened,) = world.turn().opened
        world.wait(timedelta(seconds=20))
        world.turn()
        assert world.job("job").overdue_reason == "RunsTooLong"
        world.end(opened.run, 0)
        world.turn()
        assert world.job("job").overdue_reason is None

    def test_a_watchdog_alerts_once_an_episode(self, world: World) -> None:
        """S124: exit 1 alerts, a second time only after it was well in between; its run Succeeded all the while."""
        told = (Notification((NotificationEvent.Alert,), "ops"),)
        world.add("dog", target=WatchdogTarget(check="x"), schedule=EVERY_MINUTE, notifications=told)
        news = []
        for code in (0, 1, 1, 0, 1):
            world.wait(MINUTE)
            (opened,) = world.turn().opened
            news += world.end(opened.run, code).news
        assert [event for event, _, _ in world.outbox()] == ["Alert", "Alert"]
        assert sum(one.kind is StoryKind.Alert for one in news) == 2
        assert {run.state for run in world.runs("dog")} == {RunState.Succeeded}

    def test_a_watchdog_completes_when_the_work_has_ended(self, world: World) -> None:
        """S122: a terminal report ends the watch."""
        world.add("dog", target=WatchdogTarget(check="x"), schedule=EVERY_MINUTE)
        world.wait(MINUTE)
        (opened,) = world.turn().opened
        world.end(
            opened.run, output=Output(stdout=b'noise {"terminal": true, "status": "done", "summary": "all good"} noise')
        )
        assert world.job("dog").completed_at is not None
        assert "all good" in (world.runs("dog")[0].message or "")
        world.wait(5 * MINUTE)
        assert world.turns() == []
