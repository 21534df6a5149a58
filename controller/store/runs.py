"""Statements on runs: opened before anything starts, finished once, by whoever owns them.

A finish compares state and owner, so a replica that lost its lease cannot end a run that somebody else has ended (design 01).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, select, update

from controller.domain import job as jobspec
from controller.domain.job import ConcurrencyPolicy, Interruption, JobSpec
from controller.domain.records import Handle, Run
from controller.domain.states import RunState
from controller.domain.trust import encode_grant
from controller.store.rows import pack, run_of
from controller.store.schema import instances, runs
from controller.store.statement import Statement, among, insertion
from controller.store.store import Tx

_LIVE = runs.c.state == RunState.Running.value


class NewRun(msgspec.Struct, frozen=True):
    """A run to open, with the spec and digest that it is opened under."""

    run: Run
    spec: JobSpec
    effective_digest: str


class OpenRun(msgspec.Struct, frozen=True):
    """An open run with the spec that it was opened under."""

    run: Run
    spec: JobSpec


_OPEN = insertion(runs, unless_there=True)


def open_all(tx: Tx, new: Sequence[NewRun]) -> set[str]:
    """Open runs; give the names of those that the database accepted (an exclusive job may have one open already)."""
    if not new:
        return set()
    opened = _OPEN.run_all(tx, [_values(entry) for entry in new])
    names = {entry.run.name for entry in new}
    if opened == len(new):
        return names
    mine = select(runs.c.name, runs.c.dispatch).where(runs.c.name.in_(names), _LIVE)
    dispatches = {entry.run.name: entry.run.dispatch for entry in new}
    return {row.name for row in tx.execute(mine) if dispatches[row.name] == row.dispatch}


def _values(entry: NewRun) -> dict[str, Any]:
    run, spec = entry.run, entry.spec
    return {
        "name": run.name,
        "job_id": run.job_id,
        "job_uid": run.job_uid,
        "namespace": run.namespace,
        "job": run.job,
        "dispatch": run.dispatch,
        "cause": run.cause.value,
        "state": run.state.value,
        "exclusive": spec.concurrency.policy is not ConcurrencyPolicy.Allow,
        "rerun": spec.on_interruption is Interruption.Rerun,
        "spec": jobspec.encode(spec),
        "root": run.root,
        "attempt": run.attempt,
        "replays": run.replays,
        "retry_of": run.retry_of,
        "parents": pack(run.parents),
        "parameters": pack(run.parameters),
        "actor": run.actor,
        "approval": run.approval,
        "escalation": run.escalation,
        "scheduled_for": run.scheduled_for,
        "previous": run.previous,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "owner": run.owner,
        "host": run.host,
        "effective_digest": entry.effective_digest,
        "grant": encode_grant(run.grant),
    }


_DENY = insertion(runs, unless_there=True)


def record_denied(tx: Tx, denied: Sequence[NewRun]) -> None:
    """Write runs that were refused: ended before they began."""
    _DENY.run_all(
        tx,
        [
            {
                **_values(entry),
                "spec": None,
                "reason": entry.run.reason,
                "message": entry.run.message,
                "finished_at": entry.run.finished_at,
            }
            for entry in denied
        ],
    )


_LIVE_COUNTS = Statement(
    select(runs.c.job_id, func.count()).where(_LIVE, among(runs.c.job_id, "ids")).group_by(runs.c.job_id)
)
_LIVE_OURS = Statement(
    select(runs).where(among(runs.c.name, "names"), _LIVE, runs.c.owner == bindparam("whose")).with_for_update()
)


def live_counts(tx: Tx, job_ids: Collection[int]) -> dict[int, int]:
    """How many runs of these jobs are open; jobs without one are left out."""
    if not job_ids:
        return {}
    return {row[0]: row[1] for row in _LIVE_COUNTS.rows(tx, {"ids": job_ids})}


def live(tx: Tx, names: Collection[str], owner: str) -> dict[str, OpenRun]:
    """Those of the runs that are open and belong to `owner`, locked until the transaction ends."""
    return {row.name: _open(row) for row in _LIVE_OURS.rows(tx, {"names": names, "whose": owner})}


def live_of(tx: Tx, owner: str) -> list[OpenRun]:
    """All open runs of one controller instance."""
    return [_open(row) for row in tx.execute(select(runs).where(_LIVE, runs.c.owner == owner))]


def live_of_jobs(tx: Tx, job_ids: Collection[int]) -> list[Run]:
    """All open runs of these jobs."""
    return [run_of(row) for row in tx.execute(select(runs).where(_LIVE, runs.c.job_id.in_(job_ids)))] if job_ids else []


def attempts(tx: Tx, job_id: int, root: str) -> list[Run]:
    """The runs of one job in a chain, the last attempt last."""
    query = select(runs).where(runs.c.root == root, runs.c.job_id == job_id).order_by(runs.c.attempt)
    return [run_of(row) for row in tx.execute(query)]


def live_in_root(tx: Tx, root: str) -> list[Run]:
    """All open runs of a chain."""
    return [run_of(row) for row in tx.execute(select(runs).where(_LIVE, runs.c.root == root))]


def live_elsewhere(tx: Tx, owner: str) -> set[str]:
    """The names of all open runs of other controller instances."""
    return {row.name for row in tx.execute(select(runs.c.name).where(_LIVE, runs.c.owner != owner))}


def anything_live(tx: Tx) -> bool:
    """Whether any run is open, on any instance."""
    return tx.execute(select(runs.c.name).where(_LIVE).limit(1)).first() is not None


def _open(row: Any) -> OpenRun:
    return OpenRun(run_of(row), jobspec.decode(row.spec))


def get(tx: Tx, namespace: str, name: str) -> Run | None:
    """One run by its identity."""
    row = tx.execute(select(runs).where(runs.c.name == name, runs.c.namespace == namespace)).one_or_none()
    return run_of(row) if row is not None else None


def take_over(tx: Tx, owner: str) -> list[OpenRun]:
    """Make the open runs of everybody who is gone ours, so that we may end them; only these are given, never those that were ours before.

    Gone is whoever is not alive: its lease ran out, it left without ending them, or nobody knows it (a restored backup has such).
    """
    live = select(instances.c.id).where(instances.c.state == "Live")
    # Another replica that takes over at the same moment holds them locked, and keeps them.
    query = select(runs).where(_LIVE, runs.c.owner.not_in(live)).with_for_update(skip_locked=True)
    stranded = [_open(row) for row in tx.execute(query)]
    if stranded:
        tx.execute(_TAKE_OVER, [{"run": one.run.name, "by": owner} for one in stranded])
    return stranded


_TAKE_OVER = update(runs).where(runs.c.name == bindparam("run"), _LIVE).values(owner=bindparam("by"))

_HANDLE = (
    update(runs)
    .where(runs.c.name == bindparam("run"), _LIVE)
    .values(host=bindparam("where"), boot_id=bindparam("boot"), pid=bindparam("process"), pid_start=bindparam("ticks"))
)


def record_handles(tx: Tx, handles: Mapping[str, Handle]) -> None:
    """Where these runs live. Recovery does not depend on it: orphans are found by their environment as well."""
    if handles:
        tx.execute(
            _HANDLE,
            [
                {"run": run, "where": h.host, "boot": h.boot_id, "process": h.pid, "ticks": h.pid_start}
                for run, h in handles.items()
            ],
        )


def record_host(tx: Tx, names: Collection[str], host: str) -> None:
    """Where the logs of these runs are from now on."""
    if names:
        tx.execute(update(runs).where(runs.c.name.in_(names), _LIVE).values(host=host))


def request_cancel(tx: Tx, names: Collection[str], by: str) -> None:
    """Ask whoever owns these runs to end them."""
    if names:
        tx.execute(
            update(runs)
            .where(runs.c.name.in_(names), _LIVE, runs.c.cancel_requested_by.is_(None))
            .values(cancel_requested_by=by)
        )


def cancel_requested(tx: Tx, owner: str) -> dict[str, str]:
    """Open runs of `owner` that somebody wants to end: name to who."""
    query = select(runs.c.name, runs.c.cancel_requested_by).where(
        _LIVE, runs.c.owner == owner, runs.c.cancel_requested_by.is_not(None)
    )
    return {row.name: row.cancel_requested_by for row in tx.execute(query)}


_FINISH = Statement(
    update(runs)
    .where(runs.c.name == bindparam("run"), _LIVE)
    .values(
        state=bindparam("end"),
        reason=bindparam("why"),
        message=bindparam("words"),
        started_at=bindparam("began"),
        finished_at=bindparam("ended"),
        exit_code=bindparam("code"),
        signal=bindparam("sig"),
        outputs=bindparam("values_"),
        stdout=bindparam("out"),
        stderr=bindparam("err"),
        output_bytes=bindparam("size"),
        output_truncated=bindparam("cut"),
        spec=None,
    )
)


def finish(tx: Tx, ended: Sequence[Run]) -> None:
    """Write ends of runs that `live` gave in this transaction."""
    _FINISH.run_all(tx, [_end_values(run) for run in ended])


def _end_values(run: Run) -> dict[str, Any]:
    return {
        "run": run.name,
        "end": run.state.value,
        "why": run.reason,
        "words": run.message,
        "began": run.started_at,
        "ended": run.finished_at,
        "code": run.exit_code,
        "sig": run.signal,
        "values_": pack(run.outputs),
        "out": run.output.stdout or None,
        "err": run.output.stderr or None,
        "size": run.output.bytes,
        "cut": run.output.truncated,
    }
