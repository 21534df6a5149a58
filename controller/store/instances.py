"""Statements on controller instances and their leases.

An instance is one controller process with an owner token; runs and sources carry the token. On PostgreSQL an instance lives as long as its lease,
by the database's clock; on SQLite the file lock says that there is only one, so every other is gone.
"""

from datetime import datetime, timedelta

from sqlalchemy import bindparam, insert, select, text, update

from controller.store.schema import instances
from controller.store.statement import Statement
from controller.store.store import Tx


def database_now(tx: Tx, fallback: datetime) -> datetime:
    """The database's clock on PostgreSQL; `fallback` on SQLite, which has none of its own."""
    if tx.dialect.name != "postgresql":
        return fallback
    instant: datetime = tx.execute(text("SELECT clock_timestamp()")).scalar_one()
    return instant


def register(tx: Tx, instance: str, host: str, boot_id: str, pid: int, now: datetime, lease: timedelta) -> None:
    """Add this instance, alive for one lease."""
    tx.execute(
        insert(instances).values(
            id=instance,
            host=host,
            boot_id=boot_id,
            pid=pid,
            started_at=now,
            lease_until=database_now(tx, now) + lease,
            state="Live",
        )
    )


def renew(tx: Tx, instance: str, now: datetime, lease: timedelta) -> bool:
    """Live for another lease; False when somebody has declared this instance gone."""
    statement = update(instances).where(instances.c.id == instance, instances.c.state == "Live")
    return tx.execute(statement.values(lease_until=database_now(tx, now) + lease)).rowcount == 1


_HOLDS = Statement(
    select(instances.c.id)
    .where(instances.c.id == bindparam("instance"), instances.c.state == "Live")
    .with_for_update(read=True, key_share=True)
)


def holds(tx: Tx, instance: str) -> bool:
    """Whether this instance is alive, and stays so until the transaction ends: nobody can declare it gone meanwhile.

    Always true on SQLite, where the file lock says so.
    """
    if tx.dialect.name != "postgresql":
        return True
    return bool(_HOLDS.rows(tx, {"instance": instance}))


def retire(tx: Tx, instance: str) -> None:
    """This instance ends by itself and leaves nothing behind."""
    tx.execute(update(instances).where(instances.c.id == instance).values(state="Gone"))


def declare_gone(tx: Tx, mine: str, now: datetime) -> list[str]:
    """Instances whose lease has run out (on SQLite: all others), marked so that they cannot renew. Their runs are orphans."""
    lapsed = select(instances.c.id).where(instances.c.id != mine, instances.c.state == "Live")
    if tx.dialect.name == "postgresql":
        lapsed = lapsed.where(instances.c.lease_until < database_now(tx, now)).with_for_update(skip_locked=True)
    gone = list(tx.execute(lapsed).scalars())
    if gone:
        tx.execute(update(instances).where(instances.c.id.in_(gone)).values(state="Gone"))
    return gone


def live_count(tx: Tx) -> int:
    """How many instances are alive."""
    return len(tx.execute(select(instances.c.id).where(instances.c.state == "Live")).all())
