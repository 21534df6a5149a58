"""Which controller instance reconciles which source, and what becomes of the jobs of sources that nobody serves.

A source has one owner at a time: the instance that may write what it declares; the others that know it wait to take its place (design 03, sources
and ownership).
"""

from collections.abc import Collection

from sqlalchemy import or_, select, update

from controller.domain.reasons import Reason
from controller.store.schema import instances, jobs, sources
from controller.store.statement import dialect_insert
from controller.store.store import Tx

_LIVE = select(instances.c.id).where(instances.c.state == "Live")


def claim(tx: Tx, name: str, kind: str, location: str, owner: str, *, elected: bool = False) -> bool:
    """Become, or stay, the owner of a source; False while another live instance is, unless we are `elected` by other means than this row.

    Effect: a source that was not served is again, and its jobs may run.
    """
    new = dialect_insert(tx.dialect, sources).values(name=name, kind=kind, location=location, served=True)
    tx.execute(new.on_conflict_do_nothing())
    free = or_(sources.c.owner.is_(None), sources.c.owner == owner, sources.c.owner.not_in(_LIVE))
    where = (sources.c.name == name,) if elected else (sources.c.name == name, free)
    taken = tx.execute(update(sources).where(*where).values(owner=owner, served=True)).rowcount == 1
    if taken:
        tx.execute(
            update(jobs)
            .where(jobs.c.source == name, jobs.c.blocked_reason == Reason.SourceNotServed.value)
            .values(blocked_reason=None, blocked_message=None)
        )
    return taken


def owns(tx: Tx, name: str, owner: str) -> bool:
    """Whether a source is ours, until this transaction ends: whoever else would take it waits for that."""
    ours = update(sources).where(sources.c.name == name, sources.c.owner == owner).values(owner=owner)
    return tx.execute(ours).rowcount == 1


def release(tx: Tx, owner: str) -> None:
    """Give up every source: this instance ends."""
    tx.execute(update(sources).where(sources.c.owner == owner).values(owner=None))


def disown(tx: Tx, mine: Collection[str]) -> list[str]:
    """Mark sources that no live instance owns, and that are not `mine`, as not served; give the names of those newly marked.

    Effect: their jobs do not run until somebody serves the source again.
    """
    nobody = or_(sources.c.owner.is_(None), sources.c.owner.not_in(_LIVE))
    lost = list(
        tx.execute(select(sources.c.name).where(nobody, sources.c.name.not_in(mine), sources.c.served)).scalars()
    )
    if lost:
        tx.execute(update(sources).where(sources.c.name.in_(lost)).values(served=False))
        tx.execute(
            update(jobs)
            .where(jobs.c.source.in_(lost), jobs.c.blocked_reason.is_(None))
            .values(blocked_reason=Reason.SourceNotServed.value, blocked_message=Reason.SourceNotServed.sentence)
        )
    return lost


def is_owner(tx: Tx, name: str, owner: str) -> bool:
    """Whether a source is ours at this moment; for readers, whom `owns` would make writers."""
    query = select(sources.c.name).where(sources.c.name == name, sources.c.owner == owner)
    return tx.execute(query).first() is not None
