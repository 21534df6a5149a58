"""Statements on pools: slots are a guarded counter, never more held than there are (invariant 3)."""

from collections.abc import Collection, Mapping

from sqlalchemy import delete, insert, select, tuple_, update

from controller.domain.records import Pool
from controller.store.rows import pool_of
from controller.store.schema import pool_holds, pools, runs
from controller.store.store import Tx


def get(tx: Tx, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Pool]:
    """Pools by (namespace, name); cluster pools have the namespace ''."""
    if not keys:
        return {}
    query = select(pools).where(tuple_(pools.c.namespace, pools.c.name).in_(list(keys)))
    return {(row.namespace, row.name): pool_of(row) for row in tx.execute(query)}


def hold(tx: Tx, run: str, wanted: Mapping[int, int]) -> bool:
    """Take slots (pool to count) for a run, all or none; False when one has too few."""
    taken: list[tuple[int, int]] = []
    # One order for everybody, so that two replicas cannot wait for each other.
    for pool, slots in sorted(wanted.items()):
        statement = update(pools).where(pools.c.id == pool, pools.c.held + slots <= pools.c.slots)
        if tx.execute(statement.values(held=pools.c.held + slots)).rowcount != 1:
            _give_back(tx, taken)
            return False
        taken.append((pool, slots))
    if taken:
        tx.execute(insert(pool_holds), [{"run": run, "pool": pool, "slots": slots} for pool, slots in taken])
    return True


def held_by(tx: Tx, names: Collection[str]) -> dict[str, int]:
    """How many slots of which pools these runs hold, by the key that waits use."""
    if not names:
        return {}
    query = (
        select(pool_holds.c.slots, pools.c.namespace, pools.c.name)
        .join(pools, pools.c.id == pool_holds.c.pool)
        .where(pool_holds.c.run.in_(names))
    )
    held: dict[str, int] = {}
    for row in tx.execute(query):
        key = f"pool:{row.namespace}/{row.name}"
        held[key] = held.get(key, 0) + row.slots
    return held


def release(tx: Tx, names: Collection[str]) -> None:
    """Give back what these runs hold."""
    if not names:
        return
    held = tx.execute(select(pool_holds.c.pool, pool_holds.c.slots).where(pool_holds.c.run.in_(names))).all()
    if held:
        _give_back(tx, sorted((row.pool, row.slots) for row in held))
        tx.execute(delete(pool_holds).where(pool_holds.c.run.in_(names)))


def repair(tx: Tx) -> None:
    """Recount what is held from the runs that are open: what a crash or a restore may have left is gone (start-up repair)."""
    # Locked before counting: a replica that takes slots meanwhile would be overwritten by a count that does not know of them.
    known = tx.execute(select(pools.c.id).order_by(pools.c.id).with_for_update()).all()
    if not known:
        return
    live = select(runs.c.name).where(runs.c.state == "Running")
    tx.execute(delete(pool_holds).where(pool_holds.c.run.not_in(live)))
    counted: dict[int, int] = {}
    for row in tx.execute(select(pool_holds.c.pool, pool_holds.c.slots)):
        counted[row.pool] = counted.get(row.pool, 0) + row.slots
    for pool in tx.execute(select(pools.c.id, pools.c.held)).all():
        if pool.held != counted.get(pool.id, 0):
            tx.execute(update(pools).where(pools.c.id == pool.id).values(held=counted.get(pool.id, 0)))


def _give_back(tx: Tx, taken: Collection[tuple[int, int]]) -> None:
    for pool, slots in taken:
        tx.execute(update(pools).where(pools.c.id == pool).values(held=pools.c.held - slots))
