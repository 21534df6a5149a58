"""Orphans: open runs whose controller instance is gone. Made ours, their processes ended, and each resolved by its `onInterruption`.

    declare_gone → take_over → end the processes → endings (Interrupted) → the dispatcher's next turn finishes them

Every step may be repeated: a crash in between leaves runs that the next start takes over again (invariant 4). `resolve` runs before anything is
opened, so that a replay never meets its own orphan.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from controller.domain.job import ExecutorKind
from controller.domain.reasons import Reason
from controller.domain.records import Ending
from controller.store import dispatches, instances, outbox, pools, runs
from controller.store.runs import OpenRun
from controller.store.store import Tx


class TakenOver(msgspec.Struct, frozen=True):
    """What instances that are gone have left to us."""

    instances: tuple[str, ...]
    runs: tuple[OpenRun, ...]


def take_over(tx: Tx, owner: str, now: datetime) -> TakenOver:
    """Fence instances whose lease has run out, and make the open runs of all that are gone, and their half-sent notifications, ours."""
    gone = instances.declare_gone(tx, owner, now)
    if gone:
        outbox.release(tx, now, owners=gone)
    return TakenOver(tuple(gone), tuple(runs.take_over(tx, owner)))


def start_up(tx: Tx, owner: str, host: str, boot_id: str, pid: int, now: datetime, lease: timedelta) -> TakenOver:
    """Register this instance, take over what others left, and repair what a crash or a restore may have left inconsistent.

    Shape: also runs of instances that nobody knows any more (a restored backup names instances of another life).
    """
    instances.register(tx, owner, host, boot_id, pid, now, lease)
    taken = take_over(tx, owner, now)
    pools.repair(tx)
    dispatches.release_claims(tx)
    return taken


def endings(orphans: Sequence[OpenRun], now: datetime, left: Collection[str] = ()) -> list[Ending]:
    """How orphans end: interrupted. `left` names those of which processes were found and ended. Pure."""
    return [
        Ending(
            run=orphan.run.name,
            started_at=orphan.run.started_at,
            finished_at=now,
            interrupted=Reason.Interrupted,
            note=_note(orphan, left),
        )
        for orphan in orphans
    ]


def _note(orphan: OpenRun, left: Collection[str]) -> str | None:
    if orphan.spec.executor is ExecutorKind.Kubernetes:
        # Where there is somebody who can, it was taken up again and is not here.
        delete = f"kubectl delete job {orphan.run.name} -n {orphan.run.namespace}"
        return f"this controller runs no Pods, so its Job was left to itself; `{delete}` ends it"
    return "processes that it had left behind were ended" if orphan.run.name in left else None
