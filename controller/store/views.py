"""What people look at: the read statements behind `get`, `history`, `tree` and `explain`.

`status` calls them on a reader's transaction and gives the records their public shape. Invariant: nothing here writes, and the list of jobs is one
statement whatever their number.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, literal, null, select, text, tuple_

from controller.domain.records import Approval, Dispatch, Run
from controller.domain.states import WAITING, DispatchState, RunState
from controller.store import lines, rows
from controller.store.lines import JobLine
from controller.store.observed import scoped
from controller.store.schema import approvals, audit, dispatches, jobs, runs
from controller.store.store import Tx

_CHUNK = 200


class Page(NamedTuple):
    """Where a list goes on: after the row with this instant and key, at most so many rows (0: all)."""

    limit: int = 0
    after: tuple[datetime, str] | None = None


_ALL = Page()


def job_lines(tx: Tx, namespace: str, name: str | None = None, *, labels: bool = False) -> list[JobLine]:
    """Jobs as a list shows them, by namespace and name; "" is every namespace. One statement."""
    sql, parameters = lines.statement(namespace, name, labels=labels)
    return [lines.line(row) for row in tx.execute(text(sql), parameters)]


def job_names(tx: Tx, namespace: str) -> list[str]:
    """The names of the jobs of a namespace ("": of all), sorted."""
    statement = select(jobs.c.name).where(*scoped(jobs, namespace)).order_by(jobs.c.name)
    return list(tx.execute(statement).scalars())


def run_names(tx: Tx, namespace: str, job: str | None = None, limit: int = 100) -> list[str]:
    """The names of the newest runs of a namespace ("": of all)."""
    statement = select(runs.c.name).where(*scoped(runs, namespace)).order_by(runs.c.created_at.desc()).limit(limit)
    if job is not None:
        statement = statement.where(runs.c.job == job)
    return list(tx.execute(statement).scalars())


def run_list(
    tx: Tx, namespace: str, *, name: str | None = None, job: str | None = None, output: bool = True, page: Page = _ALL
) -> list[Run]:
    """Runs, newest first. Without `output` the tails are left out."""
    columns = [
        null().label(column.name) if not output and column.name in ("stdout", "stderr", "spec") else column
        for column in runs.c
    ]
    statement = select(*columns).where(*scoped(runs, namespace, name))
    if job is not None:
        statement = statement.where(runs.c.job == job)
    statement = _paged(statement, runs.c.created_at, runs.c.name, page)
    return [rows.run_of(row) for row in tx.execute(statement)]


def dispatch_list(
    tx: Tx,
    namespace: str,
    *,
    name: str | None = None,
    job: str | None = None,
    states: Collection[DispatchState] = WAITING,
    page: Page = _ALL,
) -> list[Dispatch]:
    """Dispatches in some of `states`, newest first."""
    statement = select(dispatches).where(*scoped(dispatches, namespace))
    if name is not None:
        statement = statement.where(dispatches.c.id == name)
    else:
        statement = statement.where(dispatches.c.state.in_([state.value for state in states]))
    if job is not None:
        statement = statement.where(dispatches.c.job == job)
    statement = _paged(statement, dispatches.c.created_at, dispatches.c.id, page)
    return [rows.dispatch_of(row) for row in tx.execute(statement)]


def account(tx: Tx, namespace: str, job: str, limit: int) -> list[tuple[Dispatch, RunState | None]]:
    """The newest dispatches of a job by their instant, each with the state of its run: what `explain` reads."""
    statement = (
        select(dispatches, runs.c.state.label("run_state"))
        .outerjoin(runs, runs.c.name == dispatches.c.run)
        .where(dispatches.c.namespace == namespace, dispatches.c.job == job)
        .order_by(dispatches.c.scheduled_for.desc(), dispatches.c.id.desc())
        .limit(limit)
    )
    return [
        (rows.dispatch_of(row), RunState(row.run_state) if row.run_state else None) for row in tx.execute(statement)
    ]


def chain(tx: Tx, namespace: str, root: str) -> tuple[list[Run], list[Dispatch]]:
    """Every run and every dispatch without one that goes back to one root run, oldest first; the tails of outputs are left out."""
    columns = [null().label(one.name) if one.name in ("stdout", "stderr", "spec") else one for one in runs.c]
    found = (
        select(*columns).where(runs.c.root == root, *scoped(runs, namespace)).order_by(runs.c.created_at, runs.c.name)
    )
    waiting = (
        select(dispatches)
        .where(dispatches.c.root == root, dispatches.c.run.is_(None), *scoped(dispatches, namespace))
        .order_by(dispatches.c.created_at, dispatches.c.id)
    )
    return [rows.run_of(row) for row in tx.execute(found)], [rows.dispatch_of(row) for row in tx.execute(waiting)]


def followers(tx: Tx, run: Run) -> tuple[Run | None, Dispatch | None]:
    """What tries a run again: the run that did, or the dispatch that will; (None, None) when nobody does."""
    again = tx.execute(select(runs).where(runs.c.root == run.root, runs.c.retry_of == run.name).limit(1)).first()
    if again is not None:
        return rows.run_of(again), None
    waiting = select(dispatches).where(dispatches.c.root == run.root, dispatches.c.retry_of == run.name).limit(1)
    row = tx.execute(waiting).first()
    return None, rows.dispatch_of(row) if row is not None else None


def approval_list(tx: Tx, namespace: str, *, name: str | None = None, job: str | None = None) -> list[Approval]:
    """Approvals, oldest first."""
    statement = select(approvals).where(*scoped(approvals, namespace, name))
    if job is not None:
        statement = statement.where(approvals.c.job == job)
    statement = statement.order_by(approvals.c.created_at, approvals.c.name)
    return [rows.approval_of(row) for row in tx.execute(statement)]


def labels_of_jobs(tx: Tx, ids: Collection[int]) -> dict[int, Mapping[str, str]]:
    """The labels of jobs that have any."""
    found: dict[int, Mapping[str, str]] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        for row in tx.execute(select(jobs.c.id, jobs.c.labels).where(jobs.c.id.in_(chunk), jobs.c.labels.is_not(None))):
            found[row.id] = rows.mapping(row.labels)
    return found


def audit_of(tx: Tx, namespace: str, subject: str, limit: int) -> list[tuple[datetime, str, str, str]]:
    """Who asked for what about one subject: instant, actor, verb, detail; newest first."""
    statement = (
        select(audit)
        .where(audit.c.namespace == namespace, audit.c.subject == subject)
        .order_by(audit.c.id.desc())
        .limit(limit)
    )
    return [(row.at, row.actor, row.verb, row.detail) for row in tx.execute(statement)]


def _paged(statement: Select[Any], instant: Any, key: Any, page: Page) -> Select[Any]:
    if page.after is not None:
        # Bound as the column's own type: text would be larger than every number, and each page the first.
        position = tuple_(
            *(literal(value, column.type) for value, column in zip(page.after, (instant, key), strict=True))
        )
        statement = statement.where(tuple_(instant, key) < position)
    statement = statement.order_by(instant.desc(), key.desc())
    return statement.limit(page.limit) if page.limit else statement
