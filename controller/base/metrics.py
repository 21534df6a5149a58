"""What the controller counts, one method per event; names and units as Prometheus and OpenTelemetry have them.

The composition root makes one `Metrics` and gives it to whoever has something to tell: the plain class counts nothing and costs a method call,
`PrometheusMetrics` counts, and `render` is what `/metrics` answers. Importing this module does not import prometheus-client.

Cardinality: `namespace` and `job` labels are kept for at most `jobs` jobs (those that ran first, until they are deleted); all others are told as
job `_other`, and `jobwarden_jobs_without_series` says how many. Every other label comes from a fixed set of words.

Invariant: a metric never contains text that a user's job made.
"""

import platform
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

OTHER = "_other"
"""Label of all jobs beyond the bound together."""

_LATENESS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60, 300, 1800, 3600)
_DURATION = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 43200, 86400)
_COMMIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)
_SYNC = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class StoreCounters(NamedTuple):
    """What the store has done since it was opened."""

    commits: int
    operations: int


class Metrics:
    """The events that are counted. This class counts none of them: it is what runs when nobody asks for metrics."""

    def run_started(self, namespace: str, job: str, *, lateness: timedelta) -> None:
        """A run's process was started, `lateness` after the dispatch was due."""

    def run_finished(
        self, namespace: str, job: str, *, state: str, cause: str, duration: timedelta | None, at: datetime
    ) -> None:
        """A run reached its final state. `duration` None: it never started (Denied, Crashed before the start)."""

    def dispatch_ended(self, *, cause: str, state: str, reason: str | None) -> None:
        """A turn ended a dispatch: it became Done, Skipped, Missed or Cancelled."""

    def dispatch_deferred(self, *, reason: str) -> None:
        """A guard said "not now"."""

    def queue(self, waiting: Mapping[str, int]) -> None:
        """How many dispatches wait, by state; a state that is left out has none."""

    def live_runs(self, count: int) -> None:
        """How many runs are open on this replica."""

    def jobs(self, count: int) -> None:
        """How many jobs are in force."""

    def job_overdue(self, namespace: str, job: str, *, overdue: bool) -> None:
        """An alert bound of the job was crossed, or is no longer."""

    def job_succeeded_at(self, namespace: str, job: str, at: datetime) -> None:
        """The job succeeded; `run_finished` tells it."""

    def series(self) -> Collection[tuple[str, str]]:
        """The jobs that have series of their own."""
        return ()

    def job_removed(self, namespace: str, job: str) -> None:
        """The job is gone: drop its series."""

    def store_write(self, seconds: float) -> None:
        """A write waited that long, from being queued until it was durable."""

    def store_failed(self) -> None:
        """The database did not answer."""

    def store_counters(self, read: Callable[[], StoreCounters]) -> None:
        """Ask `read` at every scrape."""

    def source_synced(self, source: str, *, result: str, duration: timedelta, at: datetime) -> None:
        """A source was read and applied. `result`: Applied, Unchanged, Rejected (documents with errors) or Unavailable."""

    def delivery(self, *, event: str, result: str) -> None:
        """A notification was tried. `result`: Sent, Retried or Failed."""

    def outbox(self, pending: int) -> None:
        """How many notifications are on their way."""

    def evidence(self, unsigned: int) -> None:
        """How much of what is on record waits for its signature."""

    def replicas(self, live: int) -> None:
        """How many controllers share the store."""

    def leading(self, name: str, *, leads: bool) -> None:
        """This replica holds the Lease of this name, or does not any more."""

    def loop_restarted(self, loop: str) -> None:
        """A supervised loop was entered again after an error."""

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The text for a scraper that accepts these content types, and its content type."""
        del accept
        return b"", "text/plain; charset=utf-8"


class PrometheusMetrics(Metrics):
    """Counts into a registry of its own. Thread-safe."""

    def __init__(self, *, version: str, mode: str, store: str, jobs: int = 500) -> None:
        """`jobs`: for how many jobs there are `namespace` and `job` labels; 0 for none."""
        # Here, because importing it takes 0.1 s that a command without metrics does not owe.
        import prometheus_client as prometheus  # noqa: PLC0415

        # The time of creation of each series is for OpenMetrics push receivers; scrapers only pay for it.
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._prometheus: Any = prometheus
        self.registry = prometheus.CollectorRegistry()
        self._known = _KnownJobs(jobs)

        def counter(name: str, text: str, *labels: str) -> prometheus.Counter:
            return prometheus.Counter(f"jobwarden_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> prometheus.Gauge:
            return prometheus.Gauge(f"jobwarden_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> prometheus.Histogram:
            return prometheus.Histogram(
                f"jobwarden_{name}_seconds", text, labels, buckets=buckets, registry=self.registry
            )

        self._runs = counter("runs_total", "Runs that ended, by final state.", "namespace", "job", "cause", "state")
        self._live = gauge("runs_active", "Runs that are open on this replica.")
        self._duration = histogram("run_duration", "How long runs took, from start to end.", _DURATION, "state")
        self._lateness = histogram(
            "dispatch_lateness", "From when a dispatch was due until its run started.", _LATENESS
        )
        self._dispatches = counter(
            "dispatches_total",
            "Dispatches that were opened, skipped, missed or replaced, by state and reason.",
            "cause",
            "state",
            "reason",
        )
        self._deferred = counter("dispatch_deferrals_total", "How often a dispatch had to wait, by reason.", "reason")
        self._queue = gauge("queue_depth", "Dispatches that wait, by state.", "state")
        self._jobs = gauge("jobs", "Jobs in force.")
        self._last_success = gauge(
            "job_last_success_timestamp_seconds", "When the job last succeeded.", "namespace", "job"
        )
        self._overdue = gauge("job_overdue", "1 while an alert bound of the job is crossed.", "namespace", "job")
        omitted = gauge("jobs_without_series", "Jobs that are told together as job _other.")
        omitted.set_function(lambda: float(self._known.omitted))
        self._write = histogram("store_write", "From queueing a write until it is durable.", _COMMIT)
        self._store_errors = counter("store_errors_total", "How often the database did not answer.")
        self._syncs = counter("source_syncs_total", "Times a source was read, by result.", "source", "result")
        self._sync = histogram("source_sync", "How long reading and applying a source took.", _SYNC, "source")
        self._synced_at = gauge("source_last_sync_timestamp_seconds", "When the source was last read whole.", "source")
        self._deliveries = counter(
            "notifications_total", "Notifications that were tried, by result.", "event", "result"
        )
        self._outbox = gauge("notifications_pending", "Notifications on their way.")
        self._unsigned = gauge(
            "evidence_unsigned", "Statements about runs, and checkpoints, that wait for their signature."
        )
        self._replicas = gauge("replicas", "Controllers that share the store.")
        self._leading = prometheus.Gauge(
            "leader_election_master_status",
            "1 while this replica holds the Lease of this name.",
            ["name"],
            registry=self.registry,
        )
        self._restarts = counter("loop_restarts_total", "How often a loop was entered again after an error.", "loop")
        gauge("build_info", "What runs here; always 1.", "version", "python", "mode", "store").labels(
            version, platform.python_version(), mode, store
        ).set(1)
        prometheus.ProcessCollector(registry=self.registry)
        prometheus.GCCollector(registry=self.registry)

    def run_started(self, namespace: str, job: str, *, lateness: timedelta) -> None:
        del namespace, job
        self._lateness.observe(max(0.0, lateness.total_seconds()))

    def run_finished(
        self, namespace: str, job: str, *, state: str, cause: str, duration: timedelta | None, at: datetime
    ) -> None:
        self._runs.labels(*self._known.labels(namespace, job), cause, state).inc()
        if duration is not None:
            self._duration.labels(state).observe(max(0.0, duration.total_seconds()))
        if state == "Succeeded":
            self.job_succeeded_at(namespace, job, at)

    def dispatch_ended(self, *, cause: str, state: str, reason: str | None) -> None:
        self._dispatches.labels(cause, state, reason or "").inc()

    def dispatch_deferred(self, *, reason: str) -> None:
        self._deferred.labels(reason).inc()

    def queue(self, waiting: Mapping[str, int]) -> None:
        for state in ("Pending", "Claimed", "AwaitingApproval"):
            self._queue.labels(state).set(waiting.get(state, 0))

    def live_runs(self, count: int) -> None:
        self._live.set(count)

    def jobs(self, count: int) -> None:
        self._jobs.set(count)

    def job_overdue(self, namespace: str, job: str, *, overdue: bool) -> None:
        if self._known.has(namespace, job):
            self._overdue.labels(namespace, job).set(int(overdue))

    def job_succeeded_at(self, namespace: str, job: str, at: datetime) -> None:
        if self._known.has(namespace, job):
            self._last_success.labels(namespace, job).set(at.timestamp())

    def series(self) -> Collection[tuple[str, str]]:
        return self._known.all()

    def job_removed(self, namespace: str, job: str) -> None:
        if self._known.forget(namespace, job):
            for metric in (self._runs, self._last_success, self._overdue):
                metric.remove_by_labels({"namespace": namespace, "job": job})

    def store_write(self, seconds: float) -> None:
        self._write.observe(seconds)

    def store_failed(self) -> None:
        self._store_errors.inc()

    def store_counters(self, read: Callable[[], StoreCounters]) -> None:
        self.registry.register(_AtScrape(self._prometheus, read))

    def source_synced(self, source: str, *, result: str, duration: timedelta, at: datetime) -> None:
        self._syncs.labels(source, result).inc()
        self._sync.labels(source).observe(max(0.0, duration.total_seconds()))
        if result != "Unavailable":
            self._synced_at.labels(source).set(at.timestamp())

    def delivery(self, *, event: str, result: str) -> None:
        self._deliveries.labels(event, result).inc()

    def outbox(self, pending: int) -> None:
        self._outbox.set(pending)

    def evidence(self, unsigned: int) -> None:
        self._unsigned.set(unsigned)

    def replicas(self, live: int) -> None:
        self._replicas.set(live)

    def leading(self, name: str, *, leads: bool) -> None:
        self._leading.labels(name).set(int(leads))

    def loop_restarted(self, loop: str) -> None:
        self._restarts.labels(loop).inc()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        encode, content_type = self._prometheus.exposition.choose_encoder(accept)
        return encode(self.registry), content_type


class _KnownJobs:
    """The jobs that have labels of their own: the first `bound` that were told about."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._known: set[tuple[str, str]] = set()
        self._others: set[tuple[str, str]] = set()

    @property
    def omitted(self) -> int:
        return len(self._others)

    def all(self) -> Collection[tuple[str, str]]:
        return tuple(self._known)

    def has(self, namespace: str, job: str) -> bool:
        key = (namespace, job)
        if key in self._known:
            return True
        if len(self._known) < self._bound:
            self._known.add(key)
            self._others.discard(key)
            return True
        self._others.add(key)
        return False

    def labels(self, namespace: str, job: str) -> tuple[str, str]:
        return (namespace, job) if self.has(namespace, job) else (OTHER, OTHER)

    def forget(self, namespace: str, job: str) -> bool:
        key = (namespace, job)
        self._others.discard(key)
        known = key in self._known
        self._known.discard(key)
        return known


class _AtScrape:
    """Counters that live in the store, read when somebody scrapes."""

    def __init__(self, prometheus: Any, read: Callable[[], StoreCounters]) -> None:
        self._family = prometheus.metrics_core.CounterMetricFamily
        self._read = read

    def collect(self) -> list[Any]:
        counted = self._read()
        return [
            self._family("jobwarden_store_commits", "Transactions that were committed.", value=counted.commits),
            self._family(
                "jobwarden_store_operations", "Functions that ran in those transactions.", value=counted.operations
            ),
        ]
