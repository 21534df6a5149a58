"""Backup, restore, check: on both databases, and from one to the other."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, text, update

from controller.base.errors import Conflict, InvalidInput
from controller.dispatch import recover
from controller.domain.job import (
    ApprovalPolicy,
    Concurrency,
    ConcurrencyPolicy,
    Interruption,
    PoolRef,
    RetryPolicy,
    Schedule,
)
from controller.domain.states import DispatchState, RunState
from controller.store import backup, instances, schema
from controller.store.database import open_store
from tests.integration.dispatch.world import START, World, at

MINUTE = timedelta(minutes=1)


def busy(world: World) -> None:
    """A database in the middle of everything."""
    world.pool("pool", 1)
    world.add(
        "running",
        schedule=at(START),
        concurrency=Concurrency(pools=(PoolRef("pool"),)),
        on_interruption=Interruption.Rerun,
    )
    world.add("waiting", schedule=at(START), concurrency=Concurrency(pools=(PoolRef("pool"),)))
    world.add("asking", schedule=at(START), approval=ApprovalPolicy(required=True))
    world.add("retrying", schedule=at(START), retry=RetryPolicy(limit=3))
    world.add("soon", schedule=at(START + 5 * MINUTE))
    world.add("tick", schedule=Schedule(every=MINUTE), concurrency=Concurrency(policy=ConcurrencyPolicy.Allow))
    world.turn()
    world.end(world.live("retrying")[0], 1)


def restored_by_hand(world: World, copy: Path, *, hold: bool) -> backup.Restored:
    """The controller signs off, somebody restores, and a controller starts again."""
    world.write(lambda tx: instances.retire(tx, world.owner))
    restored = backup.restore(world.store, copy, world.now, hold=hold, actor="ann")
    world.owner = "the next one"
    lease = timedelta(hours=1)
    world.write(lambda tx: recover.start_up(tx, world.owner, "host", "boot", 43, world.now, lease))
    return restored


def test_a_restored_backup_fires_nothing_of_the_past(world: World, tmp_path: Path) -> None:
    """Open runs end, waiting dispatches end, past one-shots are completed, schedules start at now; nothing runs twice."""
    busy(world)
    size = backup.backup(world.store, tmp_path / "copy.db")
    assert size == (tmp_path / "copy.db").stat().st_size
    world.wait(10 * MINUTE)
    restored = restored_by_hand(world, tmp_path / "copy.db", hold=False)
    assert (restored.jobs, restored.ended_runs, restored.cancelled_dispatches) == (6, 1, 3)
    assert world.turns() == []
    assert {run.state for run in world.runs()} <= {RunState.Crashed, RunState.Failed}
    assert world.job("soon").completed_at is not None
    assert backup.check(world.store) == []
    world.wait(MINUTE)
    assert world.turns() == ["tick"]
    assert all(d.state is not DispatchState.Pending for d in world.dispatches() if d.job != "tick")


def test_a_restore_with_hold_starts_with_everything_held(world: World, tmp_path: Path) -> None:
    """Nothing fires until somebody has looked around."""
    busy(world)
    backup.backup(world.store, tmp_path / "copy.db")
    restored_by_hand(world, tmp_path / "copy.db", hold=True)
    world.wait(10 * MINUTE)
    assert world.turns() == []
    hold = world.job("tick").hold
    assert hold is not None
    assert hold.by == "ann"


def test_a_backup_moves_between_databases(world: World, tmp_path: Path) -> None:
    """What was saved from one database can be restored into the other kind."""
    busy(world)
    backup.backup(world.store, tmp_path / "copy.db")
    other = open_store(f"sqlite:///{tmp_path}/other.db")
    restored = backup.restore(other, tmp_path / "copy.db", world.now, hold=False, actor="ann")
    assert restored.jobs == 6
    assert backup.check(other) == []
    row = {"kind": "ResourcePool", "namespace": "n", "name": "new", "uid": "u", "generation": 1, "source": "s"}
    new = insert(schema.resources).values(**row, document=b"{}", digest="d", created_at=START, updated_at=START)
    number = other.submit(lambda tx: tx.execute(new).inserted_primary_key[0]).result(10)
    assert number > 6  # ids go on behind what was restored
    other.close()


def test_a_backup_overwrites_nothing(world: World, tmp_path: Path) -> None:
    """An existing file and a missing folder are refused."""
    (tmp_path / "there").write_text("mine")
    with pytest.raises(InvalidInput, match="exists"):
        backup.backup(world.store, tmp_path / "there")
    with pytest.raises(InvalidInput, match="folder"):
        backup.backup(world.store, tmp_path / "no" / "folder.db")
    assert (tmp_path / "there").read_text() == "mine"
    assert not list(tmp_path.glob(".*.part"))


def test_something_else_is_not_restored(world: World, tmp_path: Path) -> None:
    """A file that is no backup changes nothing."""
    busy(world)
    (tmp_path / "text").write_text("no database")
    with pytest.raises(InvalidInput, match="not a backup"):
        backup.restore(world.store, tmp_path / "text", world.now, hold=False, actor="ann")
    assert len(world.live()) == 1


def test_a_restore_is_refused_while_a_controller_lives(world: World, tmp_path: Path) -> None:
    """On PostgreSQL the lease says so; on SQLite the caller holds the file lock."""
    backup.backup(world.store, tmp_path / "copy.db")
    world.write(lambda tx: recover.start_up(tx, "live", "host", "boot", 42, world.now, timedelta(hours=1)))
    if world.store.dialect == "postgresql":
        with pytest.raises(Conflict, match="process 42"):
            backup.restore(world.store, tmp_path / "copy.db", world.now, hold=False, actor="ann")
    else:
        backup.restore(world.store, tmp_path / "copy.db", world.now, hold=False, actor="ann")


def test_check_tells_what_is_wrong(world: World) -> None:
    """Counters that do not add up, and dispatches that lead nowhere."""
    busy(world)
    assert backup.check(world.store) == []
    world.write(lambda tx: tx.execute(update(schema.pools).values(held=5)))
    world.write(lambda tx: tx.execute(text("UPDATE dispatches SET run = NULL WHERE state = 'Done'")))
    problems = "\n".join(backup.check(world.store))
    assert "pool pool" in problems
    assert "names no run" in problems
