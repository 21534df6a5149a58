"""The API server's side of a controller: the source that is watched, the status that is written back, and who of several replicas does it.

The composition root makes one where `--kubernetes` is given; nothing else of the engine knows that there is a cluster. Imported only then.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from controller.app.options import KubernetesOptions
from controller.base.clock import Clock
from controller.base.metrics import Metrics
from controller.base.tasks import Supervisor
from controller.domain.story import StoryEvent
from controller.kinds.configuration import EgressProxy
from controller.kubernetes.access import AccessReviews
from controller.kubernetes.connection import connect
from controller.kubernetes.desk import Desk
from controller.kubernetes.egress import WayOut
from controller.kubernetes.election import Election, Leases
from controller.kubernetes.events import Recorder
from controller.kubernetes.executor import KubernetesExecutor
from controller.kubernetes.mirror import object_path
from controller.kubernetes.occurrences import Observed, Occurrence, told
from controller.kubernetes.podspec import Owner
from controller.kubernetes.secrets import Secrets
from controller.kubernetes.source import KubernetesSource
from controller.kubernetes.status import StatusWriter, by_path
from controller.kubernetes.tokens import ServiceAccountTokens
from controller.kubernetes.workloads import Workloads
from controller.loops.elected import ElectedSourceLoop
from controller.reconcile.desired import Desired
from controller.reconcile.pipeline import Outcome
from controller.reconcile.records import Key
from controller.store import resources
from controller.store.store import Store

_DEAF_AFTER_S = 60.0
_TOPIC = "jobs "
_MOST_NAMED = 500
"""Ids in one message to other replicas: PostgreSQL takes 8,000 bytes."""


def source_of(name: str, options: KubernetesOptions) -> KubernetesSource:
    """The source that arguments or configuration name. Errors: InvalidInput where no API server can be found."""
    return KubernetesSource(name, connect(options.context), options.namespaces)


def pods_of(
    options: KubernetesOptions,
    clock: Clock,
    owner_of: Callable[[str, str], Owner | None],
    proxy: EgressProxy | None,
) -> KubernetesExecutor:
    """The executor whose runs are Pods. Errors: InvalidInput where no API server can be found, or the key of the egress proxy cannot be used."""
    way_out = WayOut(proxy) if proxy is not None else None
    return KubernetesExecutor(Workloads(connect(options.context).http(), options.namespaces), clock, owner_of, way_out)


class Cluster:
    """One source of custom resources, with the writer of their status, the desk for what people ask and decide with objects, and the election of who does all that."""

    def __init__(
        self,
        source: KubernetesSource,
        desired: Desired,
        store: Store,
        clock: Clock,
        *,
        lease: str,
        instance: str,
        metrics: Metrics,
        elected: Callable[[], None],
        owner: str,
        wished: Callable[[], None],
    ) -> None:
        """`instance` names this replica to people, `owner` in the database; `elected` is called when its turn has begun, `wished` when somebody's wish has become rows.

        Errors: InvalidInput for credentials that cannot be read.
        """

        def id_of(key: Key) -> int | None:
            entry = desired.get(key)
            return entry.id if entry is not None and entry.source == source.name else None

        namespace, _, name = lease.rpartition("/")
        self.source, self._desired = source, desired
        self._metrics, self._lease = metrics, name
        self._clock, self._store = clock, store
        self._observed = Observed(source.mirror)
        self._writer = StatusWriter(lambda: source.objects, source.mirror, clock, id_of, source.hearing.expect)
        self._client = source.connection.client()
        self.secrets = Secrets(self._client, source.connection.namespace)
        self.tokens = ServiceAccountTokens(self._client, source.connection.namespace)
        self.access = AccessReviews(self._client)
        self._recorder = Recorder(self._client, instance, clock, self._identify)
        leases = Leases(self._client, namespace or source.connection.namespace, name)
        self.election = Election(leases, instance, clock, self._turned)
        self._desk = Desk(source, store, clock, owner, wished)
        self.source_loop = partial(ElectedSourceLoop, self.election, elected)
        metrics.leading(name, leads=False)

    def add_loops(self, supervisor: Supervisor) -> None:
        """Everything that runs for the cluster, but the source's own loop; and how it ends, after the jobs' last status was projected."""
        supervisor.add("election", self.election.run, restartable=True)
        supervisor.add("cluster status", self._write_status, restartable=True)
        supervisor.add("cluster requests", self._attend, restartable=True)
        supervisor.add("events", self._recorder.run, restartable=True)
        supervisor.on_stop("cluster status", self._flush)
        supervisor.on_stop("events", self._recorder.flush)
        supervisor.on_stop("election", self.election.release)
        supervisor.on_stop("cluster", self._close)

    def deaf(self) -> str | None:
        """Why the watch is of no use: it has not told for too long what the API server has, which answers."""
        if self.election.trouble is not None:
            return None
        silent = self.source.hearing.silent(self.election.answers_since)
        return f"it has not told of changes for {silent:.0f} s" if silent > _DEAF_AFTER_S else None

    def reporting(self) -> Callable[[Mapping[str, Any]], None]:
        """Takes how resources look that are about to be looked at, ours and those of other sources."""
        self._desk.wake()
        return self._writer.reporting()

    def owner_of(self, namespace: str, job: str) -> Owner | None:
        """The object that a job of ours was declared by; None for one of another source."""
        key = Key("ScheduledJob", namespace, job)
        held = self.source.mirror.held.get(object_path(*key))
        return Owner(job, held.uid) if held is not None and self._is_ours(key) else None

    def reconciled(self, outcome: Outcome) -> None:
        """A source was brought in step."""
        if outcome.source != self.source.name:
            return
        generations = self.source.reconciled()
        self._writer.reconciled(outcome, generations)
        if outcome.unavailable is None:
            self._desk.open()
            for seen in self._observed.look(tuple(generations), by_path(outcome.errors), self._clock.now()):
                self._recorder.tell(seen)

    def tell(self, news: StoryEvent) -> None:
        """Take what happens to jobs, ours and those of other sources. See `Tell`."""
        occurrence = told(news)
        if occurrence is not None:
            self._recorder.tell(occurrence)

    def topics(self, jobs: Sequence[int]) -> Iterable[str]:
        """What tells the replica that writes status that these jobs look different; nothing where that is us."""
        if self.election.leading:
            return
        for start in range(0, len(jobs), _MOST_NAMED):
            yield _TOPIC + ",".join(map(str, jobs[start : start + _MOST_NAMED]))

    def heard(self, topic: str) -> Sequence[int] | None:
        """The jobs that another replica names, as far as they are of any concern here; None: it is about something else."""
        if not topic.startswith(_TOPIC):
            return None
        return [int(one) for one in topic.removeprefix(_TOPIC).split(",")] if self.election.leading else ()

    def _turned(self) -> None:
        self._metrics.leading(self._lease, leads=self.election.leading)
        if not self.election.leading:
            self._writer.forget()
            self._observed.forget()
            self._desk.shut()

    def _is_ours(self, key: Key) -> bool:
        """Whether a job that has an object is that object's. One who does not lead has not read what the leader applied: it knows of other sources only."""
        entry = self._desired.get(key)
        return not self.election.leading if entry is None else entry.source == self.source.name

    async def _identify(self, occurrences: Sequence[Occurrence]) -> Sequence[tuple[Occurrence, str]]:
        """Those about objects of the cluster, with uids; a job that another source declares is told nowhere."""
        named = {(one.key.namespace, one.key.name) for one in occurrences if one.uid is None}
        ours = await self._store.read(partial(resources.jobs_of, source=self.source.name, names=named))
        found = []
        for one in occurrences:
            held = self.source.mirror.held.get(object_path(*one.key))
            uid = one.uid or (held.uid if held is not None and one.key[1:] in ours else None)
            if uid is not None:
                found.append((one, uid))
        return found

    async def _write_status(self) -> None:
        await self.election.take_turns(self._writer.run, _nothing)

    async def _attend(self) -> None:
        await self.election.take_turns(self._desk.run, _nothing)

    async def _flush(self) -> None:
        if self.election.leading:
            await self._writer.flush()

    async def _close(self) -> None:
        await self._desk.close()
        await self._client.aclose()
        await self.source.close()


async def _nothing() -> None:
    """What the others do meanwhile."""
