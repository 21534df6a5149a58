"""The finished Jobs of each job: only so many are kept, as of its runs in the database.

The executor tells what it sees and what ends. Invariant: the Job of a run that goes on is never deleted here. Jobs whose controller is gone, and tombstones, go by their `ttlSecondsAfterFinished`.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from controller.domain.job import History as Limits
from controller.kubernetes import podspec, podstate
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.watcher import key_of
from controller.kubernetes.workloads import Workloads

Object = Mapping[str, Any]


class _Finished(msgspec.Struct, frozen=True):
    """One finished Job. `order` sorts by the end."""

    order: str
    run: str
    good: bool


class History:
    """What there is of finished Jobs, and the end of those that are too many."""

    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads
        self._finished: dict[tuple[str, str], dict[str, _Finished]] = {}
        self._jobs: dict[tuple[str, str], str] = {}
        self._deleting: set[asyncio.Task[None]] = set()

    def seen(self, job: Object) -> None:
        """A Job as it is now."""
        # The name that a tombstone has is not to be had again soon.
        if podspec.is_tombstone(job) or not podstate.finished(job):
            return
        namespace, run = key_of(job)
        name = job["metadata"].get("labels", {}).get(podspec.JOB_LABEL, "")
        self._jobs[namespace, run] = name
        found = _Finished(podstate.finished_order(job), run, not podstate.failed(job))
        self._finished.setdefault((namespace, name), {})[run] = found

    def gone(self, key: tuple[str, str]) -> None:
        """A Job that is no more."""
        namespace, run = key
        name = self._jobs.pop(key, None)
        if name is None:
            return
        kept = self._finished[namespace, name]
        kept.pop(run, None)
        if not kept:
            del self._finished[namespace, name]

    def ended(self, namespace: str, job: str, run: str, limits: Limits, *, good: bool) -> None:
        """A run has ended, and is one of those that are kept: delete those of its kind that are too many by now."""
        limit = limits.succeeded if good else limits.failed
        kept = self._finished.get((namespace, job), {}).values()
        alike = sorted((one.order, one.run) for one in kept if one.good is good and one.run != run)
        for _, old in alike[: max(0, len(alike) - limit + 1)]:
            task = asyncio.get_running_loop().create_task(self._delete(namespace, old))
            self._deleting.add(task)
            task.add_done_callback(self._deleting.discard)

    async def _delete(self, namespace: str, run: str) -> None:
        # One that stays is tried again at the next end, and goes by its time to live at last.
        with contextlib.suppress(ApiFailed):
            await self._workloads.delete_job(namespace, run)
