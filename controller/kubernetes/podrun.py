"""One run as a Pod: from the Job that is made, or found, to its result.

`executor` makes a `PodExecution` for each start and adoption, and tells it what the watchers see. Its task reads top down: make the Job, wait until the container has begun,
stream what it prints, wait until it ends. Invariant: a run's Job is made at most once, as its name is the run's, and not at all after the run was given up, as its name is
taken then; a run ends with what Kubernetes said last.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec

from controller.base.clock import Clock
from controller.base.logs import event
from controller.domain.reasons import Reason
from controller.executors import outputs
from controller.executors.protocol import ExecutionRequest, ExecutionResult, Handle, OnEnd, masked
from controller.executors.runlog import LogWriter
from controller.kubernetes import fence, podspec, podstate
from controller.kubernetes.egress import WayOut
from controller.kubernetes.fence import Fence
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.podhistory import History
from controller.kubernetes.podlog import PodLog
from controller.kubernetes.podspec import Owner
from controller.kubernetes.watcher import key_of
from controller.kubernetes.workloads import Workloads

_log = logging.getLogger(__name__)

T = TypeVar("T")
Object = Mapping[str, Any]

_FORBIDDEN = 403
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_VANISHED_S = 5.0
"""How far news of a Pod may be behind that of its Job."""
_FORBIDDEN_S = 20.0
"""An API server that has just begun forbids what it will allow as soon as it has read its roles."""
_GONE_AFTER_S = 30.0
"""Beyond its grace: how long a Pod that was told to end is waited for. Also how long an API server is waited for that has to remove something."""


class Facilities(msgspec.Struct, frozen=True):
    """What the runs of an executor share. `listed` gives back once the watchers know what there is."""

    workloads: Workloads
    clock: Clock
    logs: LogWriter
    owner_of: Callable[[str, str], Owner | None]
    history: History
    listed: Callable[[], Awaitable[None]]
    way_out: WayOut | None = None


class _Over(Exception):
    """The run is over, with these fields of its result."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        self.fields = fields


class PodExecution:
    """See `protocol.Execution`. Everything is for the event loop's thread."""

    def __init__(
        self,
        facilities: Facilities,
        request: ExecutionRequest,
        on_end: OnEnd,
        forget: "Callable[[PodExecution], None]",
        *,
        adopted: bool,
    ) -> None:
        assert request.pod is not None
        self.request = request
        self.started_at = facilities.clock.now()
        self._with, self._workloads = facilities, facilities.workloads
        self._spec = request.pod.spec
        # Whoever takes a run up does not know whether it has one.
        self._hides = adopted or podspec.hides(request)
        self._box = request.pod.box
        self._notes = [self._box.note] if self._box.note else []
        self._on_end, self._forget = on_end, forget
        self._adopted = adopted
        self._uid: str | None = None  # of the Job that is ours, once it is known
        self._early: dict[str, Object] = {}  # Pods that were seen before it was
        self._let_go = adopted
        self._container = podspec.container_of(request)
        self._manifest: Object = {}
        self._job: Object | None = None
        self._pod: Object | None = None
        self._job_gone = self._pod_gone = False
        self._lost_since: float | None = None
        self._news, self._stopping = asyncio.Event(), asyncio.Event()
        self._stop_reason: str | None = None
        self._released = False
        self._log = PodLog(
            facilities.logs,
            facilities.clock,
            path=request.log_path,
            limit=request.log_limit,
            keep=request.keep_bytes,
            needles=request.needles,
        )
        self._reading: asyncio.Task[None] | None = None
        self._task = asyncio.get_running_loop().create_task(self._live(), name=f"run {request.run}")

    @property
    def handle(self) -> Handle | None:
        """No process of this host."""
        return None

    @property
    def outlives(self) -> bool:
        """A Pod does, once nothing is left to be made for it."""
        return self._let_go

    @property
    def last_output_at(self) -> datetime | None:
        """See `protocol.Execution`."""
        return self._log.last_output_at

    @property
    def output_bytes(self) -> int:
        """See `protocol.Execution`."""
        return self._log.tail.total

    @property
    def pod_key(self) -> tuple[str, str] | None:
        """Namespace and name of its Pod, once it has been seen."""
        return key_of(self._pod) if self._pod is not None else None

    def stop(self, reason: str, grace: timedelta | None = None) -> None:  # noqa: ARG002 - of the protocol
        """Delete the Job. Its Pod gets the grace of its template, which a shorter one cannot replace any more."""
        if self._stop_reason is None:
            self._stop_reason = reason
            self._stopping.set()
            self._news.set()

    def release(self) -> None:
        """See `protocol.Execution`."""
        self._released = True
        self._task.cancel()
        self._stop_reading()
        self._forget(self)

    # What the watchers tell

    def job_seen(self, job: Object) -> None:
        """A Job of this name, as it is now; it is ours if it has the uid of the one that was made or found."""
        if self._uid in (None, job["metadata"]["uid"]):
            self._job, self._job_gone = job, False
            self._news.set()

    def job_gone(self) -> None:
        """Somebody has deleted the Job."""
        self._job_gone = True
        self._news.set()

    def pod_seen(self, pod: Object) -> None:
        """A Pod that is called this run's, as it is now. Labels anybody can write: it is ours if it is our Job's."""
        if self._uid is None:
            self._early[pod["metadata"]["name"]] = pod
        elif podstate.controller_of(pod) == self._uid:
            self._pod, self._pod_gone = pod, False
            self._news.set()

    def pod_gone(self) -> None:
        """The Pod is no more; what was seen of it last stays."""
        self._pod_gone = True
        self._news.set()

    # The story

    async def _live(self) -> None:
        try:
            result = await self._tell()
            await self._clean_up(result)
        except asyncio.CancelledError:
            if self._released:
                return
            raise
        except Exception as error:  # noqa: BLE001 - every accepted run ends
            event(_log, "a run could not be followed", logging.ERROR, error=error, run=self.request.run)
            result = self._result(start_error=f"it could not be followed: {type(error).__name__}: {error}")
            with contextlib.suppress(Exception):
                await self._remove()
        self._stop_reading()
        self._forget(self)
        log = self._log.log
        if log is None or not self._log.tail.total:
            self._on_end(result)
        else:
            log.close(partial(self._deliver, result))

    async def _tell(self) -> ExecutionResult:
        """From the Job to the result."""
        try:
            await (self._find() if self._adopted else self._make())
            await self._until_started()
            self._reading = asyncio.get_running_loop().create_task(self._read())
            ended = await self._until_ended()
        except _Over as over:
            ended = over.fields
        if self._reading is not None:
            await self._log.finish()
        return self._result(**ended)

    async def _make(self) -> None:
        """Make the Job; one whose Pod needs a Secret is let go when that is there. Errors: _Over."""
        namespace, run = self.request.namespace, self.request.run
        deadline = self._time() + self._spec.start_timeout.total_seconds()
        try:
            request, around = await self._equipped(deadline), self._fence()
            network = around.label if around is not None else None
            owner = self._with.owner_of(namespace, request.job)
            self._manifest = manifest = podspec.job(request, owner, network)
            if around is not None:
                await self._put_up(around, manifest["spec"]["template"]["metadata"]["labels"], deadline)
            made = await self._patiently(partial(self._create, manifest), deadline, stoppable=True)
            self._is(made)
            if manifest["spec"]["suspend"]:
                secret = podspec.secret(request, made)
                await self._patiently(partial(self._create_secret, secret), deadline, stoppable=True)
                await self._patiently(partial(self._workloads.resume, namespace, run), deadline, stoppable=True)
        except ApiFailed as error:
            # A request whose answer is missing may have been obeyed: what must not run any more is removed.
            if self._uid is not None or error.passing:
                await self._remove()
            if self._stop_reason is not None:
                raise _Over(cancelled=True) from error
            raise _Over(start_error=f"its Job could not be made: {error}") from error
        self._let_go = True

    async def _equipped(self, deadline: float) -> ExecutionRequest:
        """The request with what its Pod shows to the egress proxy, if its box has hosts: good for as long as a Job may live that is let go in the last moment. Errors: ApiFailed."""
        if not self._box.hosts:
            return self.request
        way_out = self._way_out()
        left = timedelta(seconds=max(deadline - self._time(), 0.0))
        expires = self._with.clock.now() + left + podspec.longest(self._spec)
        found = await self._patiently(partial(asyncio.to_thread, way_out.look), deadline, stoppable=True)
        return way_out.equip(self.request, found, expires)

    def _way_out(self) -> WayOut:
        """Errors: _Over; who has asked for it has other settings than we."""
        if self._with.way_out is None:
            raise _Over(
                start_error="the controller knows of no egress proxy: set settings.pods.egressProxy of the controller"
            )
        return self._with.way_out

    def _fence(self) -> Fence | None:
        if self._box.shut:
            return fence.SHUT
        return fence.proxied(self._way_out()) if self._box.hosts else None

    async def _put_up(self, around: Fence, labels: Mapping[str, str], deadline: float) -> None:
        """Put up the fence that keeps the Pod from every network, or from all but the proxy's. Errors: _Over where it does not hold, or somebody wants the run to end; ApiFailed."""
        namespace = self.request.namespace
        ask = partial(fence.put_up, self._workloads, around, namespace, self._with.clock.now())
        policies, wait = await self._patiently(ask, deadline, stoppable=True)
        if wait:
            await self._pause(self._time() + wait.total_seconds(), stoppable=True)
            again = partial(self._workloads.network_policies, namespace)
            policies = await self._patiently(again, deadline, stoppable=True)
        if self._stop_reason is not None:
            raise _Over(cancelled=True)
        why = fence.trouble(around, policies, namespace, labels)
        if why is not None and self._box.insists:
            raise _Over(start_error=why)
        if why is not None:
            self._notes.append(f"not enforced: {why}")

    def _is(self, job: Object) -> None:
        """This Job is ours, and so are its Pods."""
        self._uid = uid = job["metadata"]["uid"]
        if self._job is not None and self._job["metadata"]["uid"] != uid:
            self._job = None
        early, self._early = self._early, {}
        for pod in early.values():
            self.pod_seen(pod)

    async def _create(self, manifest: Object) -> Object:
        """The Job that was made now, or by a try whose answer was lost."""
        there = await self._create_or_get(manifest)
        if not podspec.is_made_of(there, manifest):
            raise ApiFailed(f"a Job {self.request.run} that was not made for this run is in the way; delete it", 422)
        return there

    async def _create_or_get(self, manifest: Object) -> Object:
        """The Job that was made now, or the one that has its name."""
        try:
            return await self._workloads.create_job(manifest)
        except ApiFailed as error:
            if error.code != 409:
                raise
        there = await self._workloads.job(self.request.namespace, self.request.run)
        if there is None:
            raise ApiFailed(f"there was a Job {self.request.run}, and now there is none")
        return there

    async def _create_secret(self, secret: Object) -> None:
        try:
            await self._workloads.create_secret(secret)
        except ApiFailed as error:
            if error.code != 409:
                raise

    async def _find(self) -> None:
        """The Job that somebody else has made. Errors: _Over for one that is not there, or was not let go yet; it does not come any more then."""
        namespace, run = self.request.namespace, self.request.run
        await self._with.listed()
        # The watchers listed before there was anybody to tell.
        there = await self._patiently(partial(self._workloads.job, namespace, run)) or await self._take_name()
        if there is None or podspec.is_tombstone(there):
            raise _Over(interrupted=Reason.Interrupted, note="there is no Job of it")
        self._job = there
        self._is(there)
        if there["spec"].get("suspend"):
            await self._delete()
            await self._take_name()
            raise _Over(interrupted=Reason.Interrupted, note="its Job had not been let go yet")
        for pod in await self._patiently(partial(self._workloads.pods, namespace, f"{podspec.RUN_LABEL}={run}")):
            if self._pod is None:
                self.pod_seen(pod)
        self._log.begin_again()

    async def _take_name(self) -> Object | None:
        """The Job of the run's name: a tombstone, unless somebody was quicker. None where none can be made, which is told.

        A request of whoever started the run may still be under way, however long ago it was sent. Its Job would start beside the replay of this run, or after
        we have said that it did not; a name that is taken it cannot have.
        """
        namespace, run = self.request.namespace, self.request.run
        manifest = podspec.tombstone(self.request, self._with.owner_of(namespace, self.request.job))
        ask = partial(self._create_or_get, manifest)
        try:
            return await self._patiently(ask, self._time() + self._life_s(), stoppable=True)
        except ApiFailed as error:
            event(_log, "the name of a Job could not be taken", logging.WARNING, run=run, problem=str(error))
            return None

    async def _until_started(self) -> None:
        """Errors: _Over when it does not start, or is told to end first."""
        deadline = self._time() + self._spec.start_timeout.total_seconds()
        while self._pod is None or (began := podstate.started_at(self._pod, self._container)) is None:
            if self._stop_reason is not None:
                await self._delete()
                raise _Over(cancelled=True)
            if self._pod is not None and (ended := podstate.ended(self._pod, self._container)) is not None:
                raise _Over(**msgspec.structs.asdict(ended))
            await self._check_lost()
            stuck = podstate.stuck(self._pod, self._container)
            if stuck.final or self._time() >= deadline:
                if await self._anything_new():
                    continue
                why = await self._why(stuck)
                await self._delete()
                raise _Over(failure=stuck.failure, start_error=why)
            await self._wait(deadline)
        self.started_at = began

    async def _why(self, stuck: podstate.Stuck) -> str:
        """What keeps it from starting, in the words of whoever knows best."""
        if self._pod is not None:
            return stuck.message
        said = await self._workloads.troubles(self.request.namespace, self.request.run)
        return f"{stuck.message}: {said[-1]}" if said else stuck.message

    async def _until_ended(self) -> dict[str, Any]:
        """How it ended. A stop and a timeout delete the Job; then the Pod's end is waited for, though not for ever."""
        # The node has a clock of its own, which may be ahead of ours.
        ran = max(self._with.clock.now() - self.started_at, timedelta(0)) if self._adopted else timedelta(0)
        deadline = self._time() + (self._spec.timeout - ran).total_seconds()
        while (ended := self._end_of_pod()) is None:
            wish = self._wish(deadline)
            if wish is not None:
                if self._stop_reason is None and await self._anything_new() and self._end_of_pod() is not None:
                    continue
                await self._delete()
                await self._until_gone()
                return wish
            await self._check_lost()
            await self._wait(deadline)
        return msgspec.structs.asdict(ended)

    def _wish(self, deadline: float) -> dict[str, Any] | None:
        if self._stop_reason is not None:
            return {"cancelled": True}
        timed_out = self._time() >= deadline or podstate.deadline_exceeded(self._job)
        return {"timed_out": True} if timed_out else None

    async def _until_gone(self) -> None:
        deadline = self._time() + self.request.grace.total_seconds() + _GONE_AFTER_S
        while self._end_of_pod() is None and not self._pod_gone and self._time() < deadline:
            await self._wait(deadline)

    def _end_of_pod(self) -> podstate.Ended | None:
        return podstate.ended(self._pod, self._container) if self._pod is not None else None

    async def _anything_new(self) -> bool:
        """Whether the Pod looks different from what the watch has told, which may be late, or deaf with an API server that was away."""
        before, place = self._pod, f"{podspec.RUN_LABEL}={self.request.run}"
        ask = partial(self._workloads.pods, self.request.namespace, place)
        with contextlib.suppress(ApiFailed):
            for pod in await self._patiently(ask, self._time() + self._life_s(), stoppable=True):
                self.pod_seen(pod)
        return self._version(self._pod) != self._version(before)

    @staticmethod
    def _version(pod: Object | None) -> str | None:
        return pod["metadata"].get("resourceVersion") if pod is not None else None

    def _life_s(self) -> float:
        """How long a Job lives at most, whoever looks after it: `activeDeadlineSeconds`."""
        return podspec.longest(self._spec).total_seconds() + _GONE_AFTER_S

    async def _check_lost(self) -> None:
        """Errors: _Over when nothing is left that could tell more, for as long as news may be late."""
        fields = self._lost()
        if fields is None:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = self._time()
        elif self._time() - self._lost_since >= _VANISHED_S:
            if self._pod is None and await self._anything_new():
                return
            raise _Over(**fields)

    def _lost(self) -> dict[str, Any] | None:
        if self._pod is not None and not self._pod_gone:
            return None
        if self._job_gone:
            self._stop_reason = self._stop_reason or "whoever deleted its Job"
            return {"cancelled": True}
        if podstate.deadline_exceeded(self._job):
            return {"timed_out": True}
        if self._pod is not None:
            return {"interrupted": Reason.Evicted, "note": "its Pod was deleted before it could tell how it ended"}
        if self._job is not None and podstate.finished(self._job):
            if podstate.failed(self._job):
                # Deleted with its node, by an eviction or by hand, while nobody looked: what became of it nobody knows.
                return {
                    "interrupted": Reason.Evicted,
                    "note": "its Job failed, and its Pod was gone before it could tell why",
                }
            return {"exit_code": 0, "note": "its Job is Complete, and its Pod is gone"}
        return None

    async def _remove(self) -> None:
        """Delete what may have been made of the Job, as far as it can be told that it is ours. Errors: none of the API server's."""
        # Whoever takes it up from here finds what there is, and decides from that.
        self._let_go = True
        if self._uid is None:
            ask = partial(self._workloads.job, self.request.namespace, self.request.run)
            with contextlib.suppress(ApiFailed):
                there = await self._patiently(ask, self._time() + _GONE_AFTER_S)
                if there is not None and podspec.is_made_of(there, self._manifest):
                    self._is(there)
        if self._uid is not None:
            await self._delete()

    async def _delete(self) -> None:
        """Until it is gone a Pod may go on, so an API server that is away is waited for, up to when Kubernetes has ended the Job by its own deadline."""
        ask = partial(self._workloads.delete_job, self.request.namespace, self.request.run, self._uid)
        try:
            await self._patiently(ask, self._time() + self._life_s())
        except ApiFailed as error:
            event(_log, "a Job could not be deleted", logging.WARNING, run=self.request.run, problem=str(error))

    async def _read(self) -> None:
        assert self._pod is not None
        name = self._pod["metadata"]["name"]
        await self._log.follow(self._workloads, self.request.namespace, name, self._container)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _clean_up(self, result: ExecutionResult) -> None:
        """What only a run that goes on may have goes at its end; old Jobs go when there are enough."""
        namespace, run = self.request.namespace, self.request.run
        job = self._manifest or self._job
        if job and self._hides:
            ask = partial(self._workloads.delete_secret, namespace, podspec.secret_name(job))
            with contextlib.suppress(ApiFailed):
                await self._patiently(ask, self._time() + _GONE_AFTER_S)
        good = result.exit_code == 0
        self._with.history.ended(namespace, self.request.job, run, self._spec.history, good=good)

    def _deliver(self, result: ExecutionResult) -> None:
        log = self._log.log
        assert log is not None
        error = log.error or result.log_error
        whole = msgspec.structs.replace(result, log_bytes=log.size, log_truncated=log.truncated, log_error=error)
        self._on_end(whole)

    def _result(self, *, words: str = "", **fields: Any) -> ExecutionResult:
        tail = self._log.tail
        fields["note"] = "; ".join(filter(None, (*self._notes, fields.get("note")))) or None
        began = fields.pop("started_at", None) or self.started_at
        finished = max(fields.pop("finished_at", None) or self._with.clock.now(), began)
        asked = words and fields.get("exit_code") == 0
        taken = outputs.parse(words.encode(), self.request.needles) if asked else outputs.NONE
        for said in ("start_error", "note"):
            if fields.get(said):
                fields[said] = masked(self.request, fields[said])
        return ExecutionResult(
            run=self.request.run,
            started_at=began,
            finished_at=finished,
            duration=finished - began,
            stop_reason=self._stop_reason,
            stdout=tail.data,
            stdout_bytes=tail.total,
            truncated=tail.truncated,
            outputs=taken.values,
            outputs_error=taken.error,
            log_error=self._log.error,
            **fields,
        )

    # Waiting

    def _time(self) -> float:
        return asyncio.get_running_loop().time()

    async def _wait(self, deadline: float) -> None:
        """Until there is news, or it is time to look."""
        if self._lost_since is not None:
            deadline = min(deadline, self._lost_since + _VANISHED_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
        self._news.clear()

    async def _patiently(
        self, ask: Callable[[], Awaitable[T]], deadline: float | None = None, *, stoppable: bool = False
    ) -> T:
        """What the API server gives, asked again while it may yet give it. Errors: ApiFailed, when it will not, the time is up, or somebody wants the run to end."""
        pause, began = _FIRST_PAUSE_S, self._time()
        while True:
            try:
                return await ask()
            except ApiFailed as error:
                warming_up = error.code == _FORBIDDEN and (deadline is None or self._time() - began < _FORBIDDEN_S)
                over = (deadline is not None and self._time() >= deadline) or (stoppable and self._stopping.is_set())
                if over or not (error.passing or warming_up):
                    raise
                wait = max(error.retry_after or 0.0, pause * random.uniform(0.5, 1.0))  # noqa: S311
                until = self._time() + wait if deadline is None else min(self._time() + wait, deadline)
                await self._pause(until, stoppable=stoppable)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _pause(self, until: float, *, stoppable: bool) -> None:
        if not stoppable:
            await asyncio.sleep(until - self._time())
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._stopping.wait()
