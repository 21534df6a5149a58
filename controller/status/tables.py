"""Lists as tables of text, one row a thing: what `get` prints on a terminal. Made beside the data, so that the command only has to align columns.

`views` picks one by name. Invariant: a cell is text, and a column whose text changes while nothing happens is marked `volatile`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from controller.domain.reasons import Reason
from controller.domain.records import Approval, Dispatch, Run
from controller.kinds.catalog import KINDS, Column
from controller.status import job_table
from controller.status.shapes import Shape
from controller.status.text import NONE, since, until
from controller.store.lines import JobLine
from controller.store.observed import PoolFacts, SourceFacts, TargetFacts


class Table(msgspec.Struct, frozen=True):
    """Column names, which of them are volatile, and rows of as many cells."""

    columns: Sequence[str]
    volatile: Sequence[str]
    rows: Sequence[Sequence[str]]
    following: str | None = None  # where the next page begins


def jobs(lines: Iterable[JobLine], now: datetime, *, namespaces: bool, wide: bool) -> Table:
    """SCHEDULE, TARGET, SUSPEND, READY, LAST, NEXT, AGE; wide adds what is wrong with a job and where it is from."""
    columns = job_table.columns(namespaces=namespaces, wide=wide)
    volatile = [name for name in job_table.VOLATILE if name in columns]
    return Table(columns, volatile, job_table.rows(lines, now, namespaces=namespaces, wide=wide))


def runs(records: Iterable[Run], now: datetime, *, namespaces: bool, wide: bool) -> Table:
    """Newest first."""
    columns = ["NAME", "JOB", "CAUSE", "STATE", "REASON", "DURATION", "AGE"]
    more = ["ATTEMPT", "EXIT", "ROOT", "HOST", "REQUESTED-BY"]
    rows = []
    for one in records:
        ended = one.finished_at or (now if one.state == "Running" else one.started_at)
        duration = since(one.started_at, ended) if ended else NONE
        row = [
            one.name,
            one.job,
            one.cause.value,
            one.state.value,
            one.reason or NONE,
            duration,
            since(one.created_at, now),
        ]
        if wide:
            end = one.signal or (NONE if one.exit_code is None else str(one.exit_code))
            row += [str(one.attempt), end, one.root, one.host or NONE, one.actor or NONE]
        rows.append([one.namespace, *row] if namespaces else row)
    return _table(columns, more, rows, ("DURATION", "AGE"), namespaces=namespaces, wide=wide)


def queue(records: Iterable[Dispatch], now: datetime, *, namespaces: bool, wide: bool) -> Table:
    """Newest first. STARTS is when it may be tried (again)."""
    columns = ["NAME", "JOB", "CAUSE", "STATE", "REASON", "STARTS", "AGE"]
    more = ["SCHEDULED-FOR", "ATTEMPT", "PRIORITY", "ROOT", "APPROVAL", "MESSAGE"]
    rows = []
    for one in records:
        starts = until(one.not_before, now) if one.ended_at is None else NONE
        row = [
            one.id,
            one.job,
            one.cause.value,
            one.state.value,
            one.reason or NONE,
            starts,
            since(one.created_at, now),
        ]
        if wide:
            instant = f"{one.scheduled_for:%Y-%m-%dT%H:%M:%SZ}"
            row += [instant, str(one.attempt), str(one.priority), one.root or NONE, one.approval or NONE]
            row.append(one.message or NONE)
        rows.append([one.namespace, *row] if namespaces else row)
    return _table(columns, more, rows, ("STARTS", "AGE"), namespaces=namespaces, wide=wide)


def approvals(records: Iterable[Approval], now: datetime, *, namespaces: bool, wide: bool) -> Table:
    """Oldest first. DECIDED counts the people who agreed so far."""
    columns = ["NAME", "JOB", "STATE", "DECIDED", "EXPIRES", "REQUESTED-BY", "AGE"]
    more = ["BY", "ON-TIMEOUT", "DISPATCH", "MESSAGE"]
    rows = []
    for one in records:
        agreed = sum(decision.approved for decision in one.decisions)
        expires = until(one.expires_at, now) if one.state == "Pending" else NONE
        requested = one.requested_by or NONE
        row = [
            one.name,
            one.job,
            one.state.value,
            f"{agreed}/{one.required}",
            expires,
            requested,
            since(one.created_at, now),
        ]
        if wide:
            by = ",".join(decision.by for decision in one.decisions)
            row += [by or NONE, one.on_timeout, one.dispatch, one.message or NONE]
        rows.append([one.namespace, *row] if namespaces else row)
    return _table(columns, more, rows, ("EXPIRES", "AGE"), namespaces=namespaces, wide=wide)


def pools(facts: Iterable[PoolFacts], now: datetime, *, namespaces: bool, wide: bool) -> Table:
    """Slots in all, held, and how many dispatches wait for one."""
    columns = ["NAME", "KIND", "SLOTS", "HELD", "WAITING", "AGE"]
    rows = []
    for one in facts:
        pool, resource = one.pool, one.resource
        row = [
            pool.name,
            resource.kind,
            str(pool.slots),
            str(pool.held),
            str(one.waiting),
            since(resource.created_at, now),
        ]
        if wide:
            row += [",".join(holder.run for holder in one.holders) or NONE, resource.source]
        rows.append([pool.namespace or NONE, *row] if namespaces else row)
    return _table(columns, ["HOLDERS", "SOURCE"], rows, ("AGE",), namespaces=namespaces, wide=wide)


def targets(facts: Iterable[TargetFacts], now: datetime, *, namespaces: bool, wide: bool) -> Table:
    """PENDING counts messages on their way, FAILING those that were refused at least once."""
    columns = ["NAME", "KIND", "READY", "PENDING", "FAILING", "AGE"]
    rows = []
    for one in facts:
        resource = one.resource
        ready = str(resource.rejection is None)
        row = [resource.name, resource.kind, ready, str(one.waiting), str(one.failing), since(resource.created_at, now)]
        if wide:
            row += [one.last_error or NONE, resource.source]
        rows.append([resource.namespace or NONE, *row] if namespaces else row)
    return _table(columns, ["LAST-ERROR", "SOURCE"], rows, ("AGE",), namespaces=namespaces, wide=wide)


def sources(facts: Iterable[SourceFacts], now: datetime, *, wide: bool) -> Table:
    """APPLIED is when the revision was."""
    columns = ["NAME", "KIND", "READY", "REVISION", "RESOURCES", "APPLIED"]
    rows = []
    for one in facts:
        ready = str(one.served and one.reason is None)
        row = [
            one.name,
            one.kind,
            ready,
            _short(one.revision),
            str(one.resources),
            since(one.applied_at, now),
        ]
        if wide:
            reason = one.reason or ("" if one.served else Reason.SourceNotServed.value)
            row += [one.location, one.host or NONE, reason or NONE, one.message or NONE]
        rows.append(row)
    return _table(columns, ["LOCATION", "HOST", "REASON", "MESSAGE"], rows, ("APPLIED",), namespaces=False, wide=wide)


def documents(shapes: Iterable[Shape], now: datetime, *, namespaces: bool, wide: bool) -> Table:
    """Resources by the columns that `kubectl get` shows of their kinds; KIND where a list holds several."""
    listed = list(shapes)
    kinds = [KINDS[kind] for kind in dict.fromkeys(one["kind"] for one in listed)]
    columns = list(dict.fromkeys(column for kind in kinds for column in kind.columns))
    several = len(kinds) > 1
    rows = []
    for one in listed:
        own = KINDS[one["kind"]].columns
        row = [one["metadata"]["name"], *([one["kind"]] if several else [])]
        row += [_cell(one, column, now) if column in own else NONE for column in columns]
        rows.append([one["metadata"].get("namespace") or NONE, *row] if namespaces else row)
    heading = ["NAME", *(["KIND"] if several else []), *(column.name for column in columns)]
    return _table(heading, [], rows, ("AGE",), namespaces=namespaces, wide=wide)


def _cell(shape: Shape, column: Column, now: datetime) -> str:
    value: Any = shape
    for key in column.path.strip(".").split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return NONE
    return since(datetime.fromisoformat(value), now) if column.type == "date" else str(value)


def _table(
    columns: list[str],
    more: list[str],
    rows: list[list[str]],
    volatile: tuple[str, ...],
    *,
    namespaces: bool,
    wide: bool,
) -> Table:
    named = [*(["NAMESPACE"] if namespaces else []), *columns, *(more if wide else [])]
    return Table(named, [name for name in volatile if name in named], rows)


def _short(revision: str | None) -> str:
    if revision is None:
        return NONE
    branch, colon, digest = revision.rpartition(":")
    text = digest if colon else revision
    return f"{branch}{colon}{text[:12]}"
