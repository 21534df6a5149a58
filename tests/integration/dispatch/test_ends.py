"""Ends that meet: two of one job in one turn, an interruption after a cancel, a value that does not fit, an alert on a long day."""

from datetime import UTC, datetime, timedelta
from typing import Any

from controller.dispatch import recover, requests, sweep
from controller.domain.job import (
    Alerts,
    Concurrency,
    ConcurrencyPolicy,
    Interruption,
    Parameter,
    Parent,
    Schedule,
    Trigger,
)
from controller.domain.records import Dispatch, Ending
from controller.domain.states import DispatchState, RunState
from controller.store import instances
from tests.integration.dispatch.world import World, replaced


def ask(world: World, job: str) -> Dispatch:
    """Trigger a job."""
    asked: Dispatch = world.write(
        lambda tx: requests.trigger(tx, world.now, "default", job, {}, None, "ann", new_id=world.new_id)
    )
    return asked


def test_failures_that_end_in_one_turn_are_all_counted(world: World) -> None:
    """Three runs of a job fail at once: three consecutive errors, not one."""
    world.add("job", concurrency=Concurrency(policy=ConcurrencyPolicy.Allow))
    for _ in range(3):
        ask(world, "job")
    world.turns()
    world.turn(*(Ending(run=run.name, finished_at=world.now, exit_code=1) for run in world.live()))
    assert world.job("job").consecutive_errors == 3


def test_a_run_that_was_to_be_cancelled_does_not_come_back_after_a_crash(world: World) -> None:
    """Somebody asked for its end; the controller died before it could see to that; a Rerun job is not run again."""
    world.add("job", on_interruption=Interruption.Rerun)
    ask(world, "job")
    world.turns()
    (run,) = world.live()
    world.write(lambda tx: requests.cancel_run(tx, world.now, "default", run.name, "ann"))
    world.write(lambda tx: instances.retire(tx, world.owner))
    world.owner = "next"
    taken = world.write(lambda tx: recover.start_up(tx, "next", "here", "b", 1, world.now, timedelta(hours=1)))
    world.turn(*recover.endings(taken.runs, world.now))
    (run,) = world.runs()
    assert (run.state, run.message) == (RunState.Cancelled, "cancelled by ann")
    assert len(world.dispatches()) == 1


def test_a_parents_output_that_does_not_fit_is_not_replaced_by_the_default(world: World) -> None:
    """A value that the pattern refuses stops the child; it never runs with another value in its place."""
    world.add("parent")
    parameter: Any = Parameter("size", pattern="[0-9]+", default="1", parent_output=("parent", "size"))
    world.add("child", trigger=Trigger((Parent("parent"),)), parameters=(parameter,))
    ask(world, "parent")
    world.turns()
    world.end(world.live()[0], outputs={"size": "; rm -rf"})
    (child,) = world.dispatches("child")
    assert (child.state, child.reason) == (DispatchState.Skipped, "ParameterInvalid")


def test_an_alert_at_a_time_of_day_is_looked_at_again_later_on_a_long_day(world: World) -> None:
    """Where the clock is set back the next time of day is 25 hours away; the next look is never at this very instant."""
    name = "job"
    world.add(
        name, schedule=Schedule(crons=("0 0 * * *",), time_zone="Europe/Berlin"), alerts=Alerts(finish_by="09:00")
    )
    instant = datetime(2026, 10, 24, 7, 0, tzinfo=UTC)
    job = replaced(world.job(name), created_at=instant - timedelta(days=9))
    crossed, look = sweep.overdue(job, [], instant)
    assert crossed is not None
    assert look == datetime(2026, 10, 25, 8, 0, tzinfo=UTC)
