"""The Kubernetes executor: a run is a Job of one Pod, which lives on when the controller does not.

`dispatch` calls `start` for a run that is committed, and `adopt` for one that another controller has started; the watchers tell what becomes of the Jobs, and
`execution` follows each run. Invariant: every start and every adoption ends in exactly one `on_end`, unless the run was released.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from controller.base.clock import Clock
from controller.executors.protocol import Execution, ExecutionRequest, OnEnd
from controller.executors.runlog import LogWriter
from controller.kubernetes import podspec
from controller.kubernetes.egress import WayOut
from controller.kubernetes.podhistory import History
from controller.kubernetes.podrun import Facilities, PodExecution
from controller.kubernetes.podspec import Owner
from controller.kubernetes.trial import Trial
from controller.kubernetes.watcher import Watcher, key_of
from controller.kubernetes.workloads import Workloads

Object = Mapping[str, Any]


class KubernetesExecutor:
    """Runs requests as Jobs. Everything is for the event loop's thread; `run` is for the supervisor."""

    def __init__(
        self,
        workloads: Workloads,
        clock: Clock,
        owner_of: Callable[[str, str], Owner | None],
        way_out: WayOut | None = None,
    ) -> None:
        """`owner_of` gives the ScheduledJob object of (namespace, job); None where it came from a file. Without a `way_out` no Pod reaches listed hosts."""
        self.examine = Trial(workloads).examine
        self._logs = LogWriter(asyncio.get_running_loop())
        self._history = History(workloads)
        self._facilities = Facilities(workloads, clock, self._logs, owner_of, self._history, self._listed, way_out)
        self._running: dict[tuple[str, str], PodExecution] = {}
        self._watchers = [
            watcher
            for place in workloads.places
            for watcher in (
                Watcher(workloads, "Job", place, self._job_seen, self._job_gone),
                Watcher(workloads, "Pod", place, self._pod_seen, self._pod_gone),
            )
        ]

    async def run(self) -> None:
        """Watch what becomes of the Jobs, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watcher in self._watchers:
                group.create_task(watcher.run())

    def start(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        """See `protocol.Executor`."""
        return self._begin(request, on_end, adopted=False)

    def adopt(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        """See `protocol.Executor`."""
        return self._begin(request, on_end, adopted=True)

    async def leave(self) -> None:
        """Let go of the connections; after the last run was let go."""
        await self._facilities.workloads.close()

    def close(self) -> None:
        """Let go of everything. What runs goes on."""
        for execution in list(self._running.values()):
            execution.release()
        self._logs.close()

    def _begin(self, request: ExecutionRequest, on_end: OnEnd, *, adopted: bool) -> PodExecution:
        key = (request.namespace, request.run)
        execution = PodExecution(self._facilities, request, on_end, self._forget, adopted=adopted)
        self._running[key] = execution
        return execution

    def _forget(self, execution: PodExecution) -> None:
        self._running.pop((execution.request.namespace, execution.request.run), None)

    async def _listed(self) -> None:
        for watcher in self._watchers:
            await watcher.listed.wait()

    # What the watchers tell

    def _job_seen(self, job: Object) -> None:
        self._history.seen(job)
        execution = self._running.get(key_of(job))
        if execution is not None:
            execution.job_seen(job)

    def _job_gone(self, key: tuple[str, str]) -> None:
        self._history.gone(key)
        execution = self._running.get(key)
        if execution is not None:
            execution.job_gone()

    def _pod_seen(self, pod: Object) -> None:
        run = pod["metadata"].get("labels", {}).get(podspec.RUN_LABEL, "")
        execution = self._running.get((pod["metadata"]["namespace"], run))
        if execution is not None:
            execution.pod_seen(pod)

    def _pod_gone(self, key: tuple[str, str]) -> None:
        # By its Pod: one that a list has told of is as gone as one that a watch has.
        for execution in [one for one in self._running.values() if one.pod_key == key]:
            execution.pod_gone()
