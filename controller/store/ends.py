"""The finishing transaction: gathers what a batch of ends is decided from, and carries the decisions out in the same commit (step 12).

Invariant: only runs that are open and belong to the caller are finished, and each at most once.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from controller.domain.job import Join, When
from controller.domain.records import Dispatch, Ending, Job, Run
from controller.domain.states import WAITING, Cause, RunState
from controller.finalise.facts import ChildFacts, EndFacts, Finalisation, ParentEnd
from controller.guards.chain import job_key
from controller.store import dispatches, jobs, outbox, pools, runs
from controller.store.rows import mapping
from controller.store.schema import dispatches as dispatch_table
from controller.store.schema import jobs as job_table
from controller.store.schema import runs as run_table
from controller.store.schema import triggers
from controller.store.statement import Statement, among
from controller.store.store import Tx

_LINKS = Statement(select(triggers).where(among(triggers.c.parent, "names")))
_LOCK = Statement(
    select(job_table.c.id).where(among(job_table.c.id, "ids")).order_by(job_table.c.id).with_for_update(key_share=True)
)
_WAITING = tuple(state.value for state in WAITING)


def gather(tx: Tx, endings: Sequence[Ending], owner: str, now: datetime) -> tuple[list[EndFacts], list[Ending]]:
    """What is to be decided, for those of the endings whose run is still ours; and the endings that have to wait for that decision.

    Of two ends in one chain the second waits, so that it sees the first: a join of both parents fires once, and fires.
    """
    live = runs.live(tx, {ending.run for ending in endings}, owner)
    links = _links(tx, {(entry.run.namespace, entry.run.job) for entry in live.values()})
    parents = {entry.run.job_id for entry in live.values()}
    _lock(tx, parents | {row.child_id for row in links})
    found = jobs.by_id(tx, parents)
    children = _children(tx, found.values(), links)
    facts: list[EndFacts] = []
    later: list[Ending] = []
    roots: set[str] = set()
    for ending in endings:
        entry = live.get(ending.run)
        if entry is None:
            continue
        if entry.run.root in roots:
            later.append(ending)
            continue
        roots.add(entry.run.root)
        kids = children.get(entry.run.job_id, ())
        job = found.get(entry.run.job_id)
        child_facts = _child_facts(tx, entry.run, kids) if kids else ()
        facts.append(EndFacts(now, entry.run, entry.spec, ending, job, child_facts))
    return facts, later


def apply(tx: Tx, decided: Sequence[Finalisation], now: datetime, pooled: Collection[str]) -> None:
    """Carry decisions out: runs, jobs, follow-ups, children, outbox, slots, and whoever waited for them.

    `pooled` names the runs whose job asks for pools.
    """
    ended = [decision.run for decision in decided]
    runs.finish(tx, ended)
    jobs.ended(tx, [(decision.run.job_id, decision.job) for decision in decided if decision.job is not None])
    new: list[Dispatch] = []
    for decision in decided:
        new += decision.children
        if decision.follow_up is not None:
            new.append(decision.follow_up)
    dispatches.insert_all(tx, new)
    outbox.enqueue(tx, [item for decision in decided for item in decision.outbox])
    freed = pools.held_by(tx, pooled)
    freed.update((job_key(run.job_id), 1) for run in ended)
    # Dispatches before pools, as whoever judges locks them: the other way round two replicas could wait for each other.
    dispatches.wake(tx, freed, now)
    pools.release(tx, pooled)


def _links(tx: Tx, parents: Collection[tuple[str, str]]) -> list[Any]:
    """Rows of triggers that name these (namespace, name) as parents."""
    if not parents:
        return []
    rows = _LINKS.rows(tx, {"names": {name for _, name in parents}})
    return [row for row in rows if (row.namespace, row.parent) in parents]


def _lock(tx: Tx, ids: Collection[int]) -> None:
    """Lock jobs in one order, for replicas that end runs of them at the same moment: counts of errors add up, and the ends of two parents
    see each other (join All fires once, and fires).
    """
    if ids and tx.dialect.name == "postgresql":
        _LOCK.rows(tx, {"ids": ids})


def _children(tx: Tx, parents: Iterable[Job], links: Sequence[Any]) -> dict[int, list[tuple[Job, When]]]:
    """Jobs that name these as parents, by parent."""
    by_name = {(job.namespace, job.name): job.id for job in parents}
    links = [row for row in links if (row.namespace, row.parent) in by_name]
    if not links:
        return {}
    kids = jobs.by_id(tx, {row.child_id for row in links})
    found: dict[int, list[tuple[Job, When]]] = {}
    for row in sorted(links, key=lambda link: link.child_id):
        if row.child_id in kids:
            found.setdefault(by_name[row.namespace, row.parent], []).append((kids[row.child_id], When(row.when)))
    return found


def _child_facts(tx: Tx, ended: Run, kids: Sequence[tuple[Job, When]]) -> tuple[ChildFacts, ...]:
    """What the children need to know of the chain so far; read only where one of them asks."""
    curious = any(_looks_back(job) for job, _ in kids)
    others = _ends_in_root(tx, ended) if curious else {}
    return tuple(
        ChildFacts(
            job=job,
            when=when,
            others=others,
            fired=_joins_all(job) and _fired(tx, job, ended.root),
            waiting=dispatches.backlog(tx, job.id),
        )
        for job, when in kids
    )


def _joins_all(job: Job) -> bool:
    return job.spec.trigger is not None and job.spec.trigger.join is Join.All


def _looks_back(job: Job) -> bool:
    trigger = job.spec.trigger
    if trigger is None:
        return False
    return (
        trigger.join is Join.All or trigger.condition is not None or any(p.parent_output for p in job.spec.parameters)
    )


def _ends_in_root(tx: Tx, ended: Run) -> Mapping[str, ParentEnd]:
    """The newest final end of every job in this chain; a job that runs, or will be tried again, has none."""
    query = (
        select(run_table)
        .where(run_table.c.root == ended.root, run_table.c.namespace == ended.namespace, run_table.c.name != ended.name)
        .order_by(run_table.c.created_at, run_table.c.name)
    )
    ends: dict[str, ParentEnd] = {}
    for row in tx.execute(query):
        if row.state == RunState.Running.value:
            ends.pop(row.job, None)
            continue
        ends[row.job] = ParentEnd(
            row.job, row.name, RunState(row.state), row.reason, row.exit_code, row.stdout or b"", mapping(row.outputs)
        )
    again = select(dispatch_table.c.job).where(
        dispatch_table.c.root == ended.root,
        dispatch_table.c.state.in_(_WAITING),
        dispatch_table.c.cause.in_((Cause.Retry.value, Cause.Replay.value)),
    )
    for job in tx.execute(again).scalars():
        ends.pop(job, None)
    return ends


def _fired(tx: Tx, job: Job, root: str) -> bool:
    query = select(dispatch_table.c.id).where(
        dispatch_table.c.root == root, dispatch_table.c.job_id == job.id, dispatch_table.c.cause == Cause.Chain.value
    )
    return tx.execute(query.limit(1)).first() is not None
