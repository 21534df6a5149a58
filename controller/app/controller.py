"""The composition root: builds one controller from its settings, runs it, and takes it apart again.

    settings → lock, store → recovery → loops under a supervisor → drain

Everything is built here and handed to whoever needs it; nothing looks anything up. Invariant: what recovery found is finished before anything new
is opened, and whatever ends the controller, runs are drained or left to the next start, never forgotten.
"""

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from controller.api.backend import Backend
from controller.api.control import ControlServer
from controller.app import commands, settings
from controller.app.answers import Answering
from controller.app.credentials import Around, around, providers
from controller.app.health import Health
from controller.app.options import LogFormat, RunOptions
from controller.app.telling import Telling
from controller.base import logs
from controller.base.clock import Clock, SystemClock
from controller.base.errors import JobwardenError, SourceUnavailable, StoreUnavailable
from controller.base.logs import event
from controller.base.metrics import Metrics, PrometheusMetrics
from controller.base.tasks import Backoff, Supervisor, Wake
from controller.dispatch import recover, requests
from controller.dispatch.judge import run_of
from controller.dispatch.knowledge import Knowledge
from controller.dispatch.launch import Launcher
from controller.domain.abilities import Abilities
from controller.domain.job import ExecutorKind
from controller.domain.records import Dispatch, Job
from controller.domain.requesters import ANNOTATION
from controller.domain.story import StoryEvent, StoryKind
from controller.domain.trust import Grant
from controller.executors import abilities, orphans, outputs, private_files, processes
from controller.executors.choice import Executors
from controller.executors.local import LocalExecutor
from controller.executors.private_files import PrivateFiles
from controller.executors.protocol import Executor, Handle
from controller.loops.cleanups import CleanupLoop
from controller.loops.credentials import CredentialLoop
from controller.loops.dispatcher import Dispatcher, Identity, Limits
from controller.loops.enquiring import Enquiring
from controller.loops.evidence import EvidenceLoop
from controller.loops.lease import LEASE, LeaseLoop
from controller.loops.obtaining import Obtaining
from controller.loops.outbox import OutboxLoop
from controller.loops.renewing import Renewing
from controller.loops.retention import RetentionLoop
from controller.loops.sources import SourceLoop
from controller.loops.status import StatusLoop
from controller.notifications.send import Sender
from controller.providers import programs
from controller.providers.instances import Instances
from controller.providers.registry import PROVIDERS, Registry
from controller.reconcile.desired import Desired
from controller.reconcile.pipeline import Outcome, Reconciler
from controller.reconcile.records import CancelRequested, Intent, RunRequested
from controller.sources.snapshot import Source
from controller.status.files import StatusFiles
from controller.status.shapes import Shape
from controller.store import census, database, governors, instances, runs, serving
from controller.store.database import FileLock
from controller.store.governors import Registry as Governors
from controller.store.runs import OpenRun
from controller.store.store import Store, Tx

if TYPE_CHECKING:
    from controller.app.cluster import Cluster
    from controller.kubernetes.executor import KubernetesExecutor

_log = logging.getLogger(__name__)

DRAIN = timedelta(seconds=30)
"""How long a stopping controller waits for what runs before it interrupts it."""
_FLUSH = timedelta(seconds=5)
_IDLE_LOOK_S = 0.05
_SWITCH_S = 0.0005
"""How long a thread that computes keeps the others waiting: at Python's own 5 ms a report being made would hold up every start by as much."""
_DISOWN_AFTER = timedelta(seconds=10)


def run(options: RunOptions) -> int:
    """Run a controller until it is stopped, is idle (`until_idle`) or its time is up (`run_for`); the exit code.

    Errors: StoreHeld, StoreUnavailable, InvalidInput before anything was started; LoopFailed when a part of it broke.
    """
    logs.setup(_log_format(options), logging.WARNING if options.log_format is LogFormat.Story else logging.INFO)
    plan = settings.read(options)
    options = plan.options
    clock = SystemClock()
    sys.setswitchinterval(_SWITCH_S)
    path = database.sqlite_path(database.parse_url(options.database))
    _private(options.state_dir)
    if path is not None:
        _private(path.parent)
    lock = FileLock.take(path, clock.now()) if path is not None else None
    try:
        store = database.open_store(options.database)
        try:
            return asyncio.run(_Controller(plan, store, clock).run())
        finally:
            store.close()
    finally:
        if lock is not None:
            lock.release()


class _Controller:
    """One controller's life, top to bottom."""

    def __init__(self, plan: settings.Plan, store: Store, clock: Clock) -> None:
        self._plan = plan
        self._options = options = plan.options
        self._store = store
        self._clock = clock
        self._identity = Identity(secrets.token_hex(8), socket.gethostname(), processes.boot_id())
        self._replicated = store.dialect == "postgresql"
        self._outputs = options.state_dir / "outputs"
        self._telling = Telling(options.tell, as_logs=options.log_format is not LogFormat.Story)
        self._metrics = self._make_metrics()
        places = private_files.places(os.environ)
        self._private = PrivateFiles(self._identity.owner, places)
        self._credentials = CredentialLoop(self._private, places)
        self._supervisor = Supervisor(self._metrics.loop_restarted)
        self._outbox_wake = Wake()
        self._governors = Governors()
        self._obtaining = Obtaining(
            store,
            self._make_providers,
            self._clock,
            self._plan.defaults.pods.service_accounts,
            lambda: self._governors.latest,
        )
        self._answering = self._make_answering()
        self._enquiring = Enquiring(store, clock, self._answering.by_kind, self._poke)
        self._cleanup_wake = Wake()
        self._evidence_wake = Wake()
        self._cluster: Cluster | None = None
        self._pods: KubernetesExecutor | None = None

    async def run(self) -> int:
        """Build, recover, run, drain."""
        self._loop = asyncio.get_running_loop()
        executor = self._make_executor()
        self._dispatcher = self._make_dispatcher(executor)
        self._status = self._make_status()
        try:
            await self._recover()
            await self._end_programs()
            await self._remove_outputs()
            await self._credentials.once()
            self._sources = self._make_sources()
            self._control = self._make_control()
            self._telling.listen(self._control.news.publish)
            if self._cluster is not None:
                self._telling.listen(self._cluster.tell)
            self._add_loops()
            self._listen_for_signals()
            event(
                _log,
                "started",
                instance=self._identity.owner,
                database=database.shown(database.parse_url(self._options.database)),
            )
            # Modules and what they have made stay until the end: whoever looks for garbage passes over them (50 ms each time).
            gc.freeze()
            await self._supervisor.run()
        finally:
            executor.close()
            self._private.close()
            await self._leave()
        if self._dispatcher.unwritten:
            raise StoreUnavailable(
                f"the database did not take the ends of {self._dispatcher.unwritten} runs; the next start tells them as interrupted"
            )
        self._telling(StoryEvent(at=self._clock.now(), kind=StoryKind.Stopped))
        return 0

    # building

    def _make_metrics(self) -> Metrics:
        if self._plan.metrics_addr is None:
            return Metrics()
        mode = "replicated" if self._replicated else "embedded"
        made = PrometheusMetrics(version=metadata.version("jobwarden"), mode=mode, store=self._store.dialect)
        self._store.measure(made)
        return made

    def _make_executor(self) -> Executor:
        local = LocalExecutor(self._clock, private=self._private)
        if ExecutorKind.Kubernetes not in self._plan.defaults.executors:
            return local
        from controller.app.cluster import pods_of  # noqa: PLC0415 - see settings

        self._pods = pods_of(self._plan.kubernetes, self._clock, self._owner_of, self._plan.egress_proxy)
        return Executors(local, self._pods)

    def _owner_of(self, namespace: str, job: str) -> Any:
        return self._cluster.owner_of(namespace, job) if self._cluster is not None else None

    def _make_dispatcher(self, executor: Executor) -> Dispatcher:
        _private(self._outputs)
        _private(self._options.log_dir)
        self._launcher = Launcher(
            os.environ,
            allowed=self._plan.allowed,
            settings=self._plan.defaults,
            log_dir=self._options.log_dir,
            output_dir=self._outputs,
            log_limit=self._plan.log_limit,
            private=self._private,
            abilities=self._abilities,
        )
        return Dispatcher(
            self._store,
            executor,
            self._launcher,
            self._identity,
            self._clock,
            limits=Limits(self._plan.running, self._plan.starts),
            metrics=self._metrics,
            tell=self._telling,
            on_change=self._changed,
            obtain=self._obtaining.for_run,
            keep=Renewing(self._obtaining, self._clock, self._telling).keep,
            knowledge=Knowledge(self._governors, self._abilities, self._enquiring.found),
            enquire=self._enquiring.ask,
        )

    def _abilities(self) -> Abilities:
        """Of this host, if anything is run on it; and of the cluster, by the operator's word."""
        defaults = self._plan.defaults
        here = abilities.of_this_host() if ExecutorKind.Local in defaults.executors else Abilities()
        vouched = {"network_policies": defaults.network_policies, "egress_proxy": defaults.egress_proxy}
        return msgspec.structs.replace(here, **vouched)

    def _make_status(self) -> StatusLoop:
        files = (
            StatusFiles(self._options.status_dir, self._plan.folders) if self._options.status_dir is not None else None
        )
        return StatusLoop(self._store, self._clock, files, reporting=self._reporting)

    def _reporting(self) -> Callable[[Shape], None]:
        return self._cluster.reporting() if self._cluster is not None else lambda _shape: None

    def _make_sources(self) -> list[SourceLoop]:
        desired = Desired()
        self._cluster = cluster = self._make_cluster(desired)
        found = []
        for source in self._plan.sources:
            elected = cluster is not None and source is cluster.source
            make = cluster.source_loop if cluster is not None and elected else SourceLoop
            reconciler = Reconciler(
                source,
                self._store,
                desired,
                self._clock,
                defaults=self._plan.defaults,
                obey=self._obey,
                examine=self._pods.examine if self._pods is not None else None,
                fence=partial(self._fence, source=source) if elected else lambda _tx: None,
            )
            found.append(
                make(
                    reconciler,
                    self._store,
                    self._clock,
                    self._identity.owner,
                    changed=self._reconciled,
                    reconciled=cluster.reconciled if cluster is not None else lambda _outcome: None,
                    metrics=self._metrics,
                    tell=self._telling,
                )
            )
        return found

    def _make_cluster(self, desired: Desired) -> "Cluster | None":
        source: Any = next((source for source in self._plan.sources if source.kind == "Kubernetes"), None)
        if source is None:
            return None
        from controller.app.cluster import Cluster  # noqa: PLC0415 - see settings

        return Cluster(
            source,
            desired,
            self._store,
            self._clock,
            lease=self._plan.kubernetes.lease,
            instance=f"{self._identity.host[:100]}_{self._identity.owner}",
            metrics=self._metrics,
            elected=self._status.sweep_soon,
            owner=self._identity.owner,
            wished=self._poke,
        )

    def _make_control(self) -> ControlServer:
        return ControlServer(self._options.socket, self._make_backend())

    def _make_backend(self) -> Backend:
        return Backend(
            store=self._store,
            clock=self._clock,
            perform=commands.perform,
            wake=self._poke,
            reconcile=self._reconcile_now,
            enquire=self._enquiring.find_out,
            abilities=self._abilities,
            trial=self._try,
            log_dir=self._options.log_dir,
            host=self._identity.host,
        )

    def _try(self, dispatch: Dispatch, job: Job, grant: Grant | None) -> str | None:
        """See `Backend.trial`."""
        run = run_of(dispatch, job, self._clock.now(), self._identity.owner, self._identity.host)
        return self._launcher.trial(msgspec.structs.replace(run, grant=grant), job.spec)

    def _add_loops(self) -> None:
        supervise = self._supervisor
        if self._pods is not None:
            supervise.add("pods", self._pods.run, restartable=True)
        supervise.add("dispatcher", self._dispatcher.run, backoff=Backoff(most=timedelta(seconds=3)))
        for loop in self._sources:
            supervise.add(f"source {loop.name}", loop.run)
        supervise.add("control", self._control.serve, restartable=True)
        secrets_of = self._cluster.secrets if self._cluster is not None else None
        sender = Sender(self._plan.allowed, self._clock, secret_of=secrets_of.read if secrets_of is not None else None)
        outbox = OutboxLoop(
            self._store, sender.send, self._clock, self._identity.owner, self._outbox_wake, metrics=self._metrics
        )
        supervise.add("credentials", self._credentials.run, restartable=True)
        supervise.add("outbox", outbox.run)
        supervise.add("status", self._status.run, restartable=True)
        retention = RetentionLoop(self._store, self._clock, self._options.log_dir, self._plan.evidence_kept)
        supervise.add("retention", retention.run, restartable=True)
        if self._replicated:
            self._add_replication()
        self._add_probes()
        if self._options.until_idle:
            supervise.start("until idle", self._stop_when_idle(outbox))
        if self._options.run_for is not None:
            supervise.start("run for", self._stop_after(self._options.run_for))
        supervise.on_stop("runs", partial(self._dispatcher.drain, DRAIN))
        cleanups = CleanupLoop(self._store, self._obtaining, self._clock, self._cleanup_wake, self._telling)
        supervise.add("cleanups", cleanups.run, restartable=True)
        supervise.on_stop("cleanups", cleanups.drain)
        supervise.on_stop("notifications", outbox.drain)
        self._add_signing()
        supervise.on_stop("status", self._flush_status)
        if self._cluster is not None:
            self._cluster.add_loops(supervise)
        if self._pods is not None:
            supervise.on_stop("pods", self._pods.leave)
        supervise.on_stop("http", sender.close)

    def _add_signing(self) -> None:
        signing = EvidenceLoop(self._store, self._obtaining, self._clock, self._evidence_wake)
        self._supervisor.add("evidence", signing.run, restartable=True)
        self._supervisor.on_stop("evidence", signing.drain)
        self._supervisor.on_stop("enquiries", self._enquiring.close)
        self._supervisor.on_stop("plug-ins of policies", self._answering.close)
        self._supervisor.on_stop("providers", self._obtaining.close)

    def _make_providers(self) -> Instances:
        return providers(Registry(PROVIDERS), self._around())

    def _make_answering(self) -> Answering:
        return Answering(
            self._clock,
            self._obtaining,
            self._around,
            lambda: self._cluster.access.ask if self._cluster is not None else None,
        )

    def _around(self) -> Around:
        cluster = self._cluster
        return around(
            self._clock,
            allowed=self._plan.allowed,
            environment=os.environ,
            secrets=cluster.secrets if cluster is not None else None,
            tokens=cluster.tokens if cluster is not None else None,
        )

    def _add_replication(self) -> None:
        lease = LeaseLoop(self._store, self._dispatcher, self._identity.owner, self._clock, self._adopt)
        self._supervisor.add("lease", lease.run)
        self._supervisor.add("unserved sources", self._disown_for_ever)
        loop = asyncio.get_running_loop()
        # PostgreSQL's driver: 9 MB and a tenth of a second that a controller on SQLite does not owe.
        from controller.store import listen  # noqa: PLC0415

        self._notify = listen.notify
        self._listener = listen.Listener(
            self._options.database, lambda topic: _in_loop(loop, partial(self._heard, topic))
        )
        self._listener.start()

    def _add_probes(self) -> None:
        parts = {"watch": self._cluster.deaf} if self._cluster is not None else {}
        health = Health(self._store, self._dispatcher, self._clock, [loop.synced for loop in self._sources], parts)
        # HTTP, which a controller that is asked for neither does not owe.
        if self._plan.metrics_addr is not None:
            from controller.api.metrics_server import MetricsServer  # noqa: PLC0415

            server = MetricsServer(self._plan.metrics_addr, self._metrics, health, self._count)
            self._supervisor.start("metrics server", server.start())
            self._supervisor.on_stop("metrics server", server.stop)
        if self._plan.history is not None:
            from controller.api.history_server import HistoryServer  # noqa: PLC0415

            history = HistoryServer(*self._plan.history, self._make_backend())
            self._supervisor.start("history server", history.start())
            self._supervisor.on_stop("history server", history.stop)
        if self._options.heartbeat_url is not None:
            from controller.loops.heartbeat import Heartbeat  # noqa: PLC0415

            heartbeat = Heartbeat(self._options.heartbeat_url, health.working)
            self._supervisor.add("heartbeat", heartbeat.run, restartable=True)
            self._supervisor.add("self check", health.watch, restartable=True)

    async def _count(self) -> None:
        """Bring up to date what only the store knows."""
        series = self._metrics.series()
        found = await self._store.read(partial(census.take, asked=series))
        self._metrics.jobs(found.jobs)
        self._metrics.queue(found.waiting)
        self._metrics.replicas(found.replicas)
        self._metrics.evidence(found.unsigned)
        for (namespace, job), overdue in found.known.items():
            self._metrics.job_overdue(namespace, job, overdue=overdue)
        for namespace, job in set(series) - found.known.keys():
            self._metrics.job_removed(namespace, job)

    # recovery

    async def _recover(self) -> None:
        """Register, take over what others left, end its processes; the first turn finishes it before it opens anything."""
        start_up = partial(
            recover.start_up,
            owner=self._identity.owner,
            host=self._identity.host,
            boot_id=self._identity.boot_id,
            pid=os.getpid(),
            now=self._clock.now(),
            lease=LEASE,
        )
        taken = await self._store.write(start_up)
        await self._store.write(partial(serving.disown, mine=[source.name for source in self._plan.sources]))
        await self._resolve(taken.runs)

    async def _end_programs(self) -> None:
        """End what providers of a controller that was killed had started: nobody reads what it prints, and it may hold a credential."""
        ended = await asyncio.to_thread(programs.end_orphans)
        if ended:
            event(_log, "programs that providers of a dead controller had left were ended", processes=ended)

    async def _remove_outputs(self) -> None:
        """Remove values that runs have written for others and that nobody has come to read: they were never masked."""
        elsewhere = await self._store.read(partial(runs.live_elsewhere, owner=self._identity.owner))
        await asyncio.to_thread(_remove_outputs, self._outputs, elsewhere)

    def _adopt(self, taken: Sequence[OpenRun]) -> None:
        self._supervisor.start("orphans", self._resolve(taken))

    async def _resolve(self, taken: Sequence[OpenRun]) -> None:
        """Go on with what outlived its controller; end the processes of other orphans and hand their endings to the dispatcher."""
        if self._pods is not None:
            outlived = [one for one in taken if one.spec.executor is ExecutorKind.Kubernetes]
            taken = [one for one in taken if one.spec.executor is not ExecutorKind.Kubernetes]
            if outlived:
                event(_log, "runs are taken up again", runs=len(outlived))
                self._dispatcher.adopt(outlived)
        if not taken:
            return
        left = await asyncio.to_thread(_end_processes, taken)
        # Before their ends are written, so that whoever dies in between leaves them to be found again.
        await asyncio.to_thread(outputs.remove, self._outputs, [entry.run.name for entry in taken])
        self._dispatcher.resolve(recover.endings(taken, self._clock.now(), left))
        for orphan in taken:
            event(
                _log,
                "an interrupted run was found",
                logging.WARNING,
                run=orphan.run.name,
                job=orphan.run.job,
                left_processes=orphan.run.name in left,
            )

    # wiring

    def _obey(self, tx: Tx, intent: Intent) -> None:
        """Carry out what an annotation asks for; one that cannot be met is told and forgotten."""
        now = self._clock.now()
        try:
            match intent:
                case RunRequested(namespace, name, _):
                    requests.trigger(tx, now, namespace, name, {}, None, ANNOTATION)
                case CancelRequested(namespace, name, _):
                    requests.cancel_job(tx, now, namespace, name, ANNOTATION)
        except JobwardenError as error:
            words = f"an annotation could not be obeyed: {error}"
            news = StoryEvent(
                at=now, kind=StoryKind.Trouble, namespace=intent.namespace, job=intent.name, message=words
            )
            # This is the thread that writes.
            _in_loop(self._loop, partial(self._telling, news))

    def _fence(self, tx: Tx, source: Source) -> None:
        """A former leader writes nothing: another replica has the source by now. Errors: SourceUnavailable."""
        if not serving.owns(tx, source.name, self._identity.owner):
            raise SourceUnavailable(f"the source {source.name} is reconciled by another replica by now")

    def _reconciled(self, outcome: Outcome) -> None:
        self._status.touched(outcome.touched, at_once=bool(outcome.touched))
        self._poke()
        if outcome.touched:
            self._supervisor.start("documents of trust", self._follow())

    async def _follow(self) -> None:
        """Learn what credentials and signatures take once documents ask for them: the first run that needs it is not to wait a tenth of a second for it. What is gone is let go of."""
        with contextlib.suppress(StoreUnavailable):
            known = await self._store.read(governors.read)
            await self._obtaining.follow(known)
            self._answering.follow(known)
            if known.any_signed():
                await asyncio.to_thread(importlib.import_module, "controller.evidence.keys")

    def _changed(self, jobs: Sequence[int]) -> None:
        """A turn changed these jobs, and may have left notifications."""
        self._status.touched(jobs)
        self._outbox_wake.set()
        self._cleanup_wake.set()

        self._evidence_wake.set()
        if self._replicated and self._cluster is not None:
            for topic in self._cluster.topics(jobs):
                self._store.submit(partial(self._notify, topic=topic))

    def _heard(self, topic: str) -> None:
        """Another replica tells of something."""
        jobs = self._cluster.heard(topic) if self._cluster is not None else None
        if jobs is None:
            self._poke_here()
        elif jobs:
            self._status.touched(jobs)

    def _poke(self) -> None:
        """Something was asked for: look at everything, here and on the other replicas."""
        self._poke_here()
        if self._replicated:
            self._store.submit(lambda tx: self._notify(tx, "changed"))

    def _poke_here(self) -> None:
        self._dispatcher.wake()
        self._outbox_wake.set()
        self._status.touched()

    async def _reconcile_now(self, names: Sequence[str] | None) -> Sequence[str]:
        chosen = [loop for loop in self._sources if names is None or loop.name in names]
        return [loop.name for loop in chosen if await loop.sync_now()]

    async def _disown_for_ever(self) -> None:
        mine = [source.name for source in self._plan.sources]
        while True:
            await asyncio.sleep(_DISOWN_AFTER.total_seconds())
            for name in await self._store.write(partial(serving.disown, mine=mine)):
                event(_log, "nobody serves the source; its jobs do not run", logging.WARNING, source=name)

    # stopping

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        """The first signal drains; the second interrupts what runs; the third leaves it to the next start."""
        if not self._supervisor.stopping:
            self._supervisor.stop()
        elif not self._dispatcher.interrupted:
            self._dispatcher.interrupt()
        else:
            self._supervisor.stop()

    async def _stop_after(self, span: timedelta) -> None:
        await asyncio.sleep(span.total_seconds())
        self._supervisor.stop()

    async def _stop_when_idle(self, outbox: OutboxLoop) -> None:
        for loop in self._sources:
            await loop.looked_after.wait()
        while outbox.in_flight or not await self._dispatcher.idle():
            await asyncio.sleep(_IDLE_LOOK_S)
        self._supervisor.stop()

    async def _flush_status(self) -> None:
        async with asyncio.timeout(_FLUSH.total_seconds()):
            await self._status.flush()

    async def _leave(self) -> None:
        """Say that this instance is gone, so that nobody has to wait for its lease."""
        if self._replicated and getattr(self, "_listener", None) is not None:
            await asyncio.to_thread(self._listener.stop)
        try:
            async with asyncio.timeout(_FLUSH.total_seconds()):
                await self._store.write(partial(instances.retire, instance=self._identity.owner))
                await self._store.write(partial(serving.release, owner=self._identity.owner))
        except (JobwardenError, TimeoutError) as error:
            event(
                _log,
                "could not sign off; others will notice when the lease has run out",
                logging.WARNING,
                problem=str(error) or "no answer in time",
            )


def _end_processes(taken: Sequence[OpenRun]) -> set[str]:
    """End what orphans have left running on this host; the names of runs of which something was found. Blocks."""
    handles = {
        entry.run.name: Handle(
            pid=entry.run.handle.pid,
            pid_start=entry.run.handle.pid_start,
            pgid=entry.run.handle.pid,
            boot_id=entry.run.handle.boot_id,
            host=entry.run.handle.host,
        )
        for entry in taken
        if entry.run.handle is not None
    }
    found = orphans.find({entry.run.name for entry in taken}, handles)
    grace = max((entry.spec.termination_grace_period for entry in taken), default=timedelta(0))
    orphans.end(found, min(grace, timedelta(seconds=10)))
    return {orphan.run for orphan in found}


def _remove_outputs(folder: Path, elsewhere: set[str]) -> None:
    """Of runs that are open nowhere, and of which nothing lives here: controllers may share the folder. Blocks."""
    found = set(outputs.left(folder)) - elsewhere
    living = {process.run for process in processes.scan(found, {})} if found else set()
    outputs.remove(folder, found - living)


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call from another thread; a loop that has ended needs no call."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


def _private(folder: Path) -> None:
    """A folder of our own; one that exists keeps its mode."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _log_format(options: RunOptions) -> logs.LogFormat:
    return logs.LogFormat.Json if options.log_format is LogFormat.Json else logs.LogFormat.Text
