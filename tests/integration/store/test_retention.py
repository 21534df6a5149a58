"""What is forgotten, and what never is."""

from datetime import timedelta

from controller.domain.job import Concurrency, ConcurrencyPolicy, History, Schedule
from controller.domain.states import Cause, DispatchState
from controller.store import backup, retention
from tests.integration.dispatch.world import World

MINUTE = timedelta(minutes=1)


def forget(world: World) -> list[str]:
    """Everything that has aged; names of runs that went."""
    gone = []
    while forgotten := world.write(lambda tx: retention.prune_runs(tx, world.now)):
        gone += [entry.run for entry in forgotten]
    while world.write(lambda tx: retention.prune_rest(tx, world.now)):
        pass
    return gone


def test_each_job_keeps_as_many_ends_as_it_says(world: World) -> None:
    """Successes and failures are counted apart; the newest stay."""
    world.add("job", schedule=Schedule(every=MINUTE), history=History(succeeded=3, failed=1))
    for n in range(10):
        world.wait(MINUTE)
        (opened,) = world.turn().opened
        world.end(opened.run, n % 2)
    names = [run.name for run in world.runs()]
    forget(world)
    kept = world.runs()
    assert [run.exit_code for run in kept] == [0, 0, 0, 1]
    assert [run.name for run in kept] == [names[4], names[6], names[8], names[9]]
    assert {d.run for d in world.dispatches()} == {run.name for run in kept}


def test_age_forgets_as_well(world: World) -> None:
    """history.maxAge."""
    world.add("job", schedule=Schedule(every=MINUTE), history=History(max_age=timedelta(hours=1)))
    world.wait(MINUTE)
    (opened,) = world.turn().opened
    world.end(opened.run)
    assert forget(world) == []
    world.wait(timedelta(hours=2))
    assert forget(world) == [opened.run.name]


def test_open_and_waiting_work_is_never_forgotten(world: World) -> None:
    """W58: whatever its age and number."""
    queue = Concurrency(policy=ConcurrencyPolicy.Queue)
    world.add("job", schedule=Schedule(every=MINUTE), concurrency=queue, history=History(succeeded=0, failed=0))
    for _ in range(4):
        world.wait(MINUTE)
        world.turn()
    waiting = [d.id for d in world.dispatches() if d.state is DispatchState.Pending]
    world.wait(timedelta(days=400))
    forget(world)
    assert len(world.live()) == 1
    assert [d.id for d in world.dispatches() if d.state is DispatchState.Pending] == waiting
    assert backup.check(world.store) == []


def test_forgetting_fires_nothing_again(world: World) -> None:
    """Invariant 2 across retention: what was accounted for stays so when its row is gone."""
    world.add("job", schedule=Schedule(every=MINUTE), history=History(succeeded=0))
    world.wait(MINUTE)
    (opened,) = world.turn().opened
    world.end(opened.run)
    assert forget(world) == [opened.run.name]
    world.wait(-timedelta(seconds=30))
    assert world.turns() == []
    world.wait(timedelta(seconds=30))
    assert world.turns() == []


def test_a_job_that_skips_every_second_leaves_a_bounded_trail(world: World) -> None:
    """Ended dispatches without a run are kept in a number that explains, and no more."""
    world.add("job", schedule=Schedule(every=timedelta(seconds=1)))
    world.wait(1)
    world.turn()
    for _ in range(250):
        world.wait(1)
        world.turn()
    forget(world)
    skipped = [d for d in world.dispatches() if d.cause is Cause.Schedule and d.state is DispatchState.Skipped]
    assert len(skipped) == 200
    assert skipped[-1].scheduled_for == world.now
