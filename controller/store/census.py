"""What the store holds, counted for `/metrics` when somebody scrapes."""

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import func, select, tuple_

from controller.domain.states import WAITING
from controller.store import evidence, instances
from controller.store.schema import dispatches, jobs
from controller.store.store import Tx


class Census(msgspec.Struct, frozen=True):
    """`waiting`: dispatches by state. `known`: of the jobs that were asked about, those that exist, with whether an alert bound is crossed.
    `unsigned`: what is on record and waits for its signature.
    """

    jobs: int
    waiting: Mapping[str, int]
    replicas: int
    known: Mapping[tuple[str, str], bool]
    unsigned: int = 0


def take(tx: Tx, asked: Collection[tuple[str, str]]) -> Census:
    """Count; `asked` are (namespace, name) of at most some hundreds of jobs. Errors: StoreUnavailable."""
    waiting = (
        select(dispatches.c.state, func.count())
        .where(dispatches.c.state.in_([state.value for state in WAITING]))
        .group_by(dispatches.c.state)
    )
    known = select(jobs.c.namespace, jobs.c.name, jobs.c.overdue_reason).where(
        tuple_(jobs.c.namespace, jobs.c.name).in_(list(asked))
    )
    overdue = select(jobs.c.namespace, jobs.c.name, jobs.c.overdue_reason).where(jobs.c.overdue_reason.is_not(None))
    rows = [*tx.execute(overdue), *(tx.execute(known) if asked else ())]
    return Census(
        jobs=tx.execute(select(func.count()).select_from(jobs)).scalar_one(),
        waiting=dict(tx.execute(waiting).tuples().all()),
        replicas=instances.live_count(tx),
        unsigned=evidence.waiting(tx),
        known={(row.namespace, row.name): row.overdue_reason is not None for row in rows},
    )
