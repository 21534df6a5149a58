"""The API server's side of a controller: the source that is watched, and the status that is written back.

The composition root makes one where `--kubernetes` is given; nothing else of the engine knows that there is a cluster. Imported only then.
"""

from collections.abc import Callable, Mapping
from typing import Any

from controller.app.options import KubernetesOptions
from controller.base.clock import Clock
from controller.kubernetes.connection import connect
from controller.kubernetes.executor import KubernetesExecutor
from controller.kubernetes.mirror import object_path
from controller.kubernetes.podspec import Owner
from controller.kubernetes.source import KubernetesSource
from controller.kubernetes.status import StatusWriter
from controller.kubernetes.workloads import Workloads
from controller.reconcile.desired import Desired
from controller.reconcile.pipeline import Outcome
from controller.reconcile.records import Key


def source_of(name: str, options: KubernetesOptions) -> KubernetesSource:
    """The source that arguments or configuration name. Errors: InvalidInput where no API server can be found."""
    return KubernetesSource(name, connect(options.context), options.namespaces)


def pods_of(
    options: KubernetesOptions, clock: Clock, owner_of: Callable[[str, str], Owner | None]
) -> KubernetesExecutor:
    """The executor whose runs are Pods. Errors: InvalidInput where no API server can be found."""
    return KubernetesExecutor(Workloads(connect(options.context).http(), options.namespaces), clock, owner_of)


class Cluster:
    """One source of custom resources with the writer of their status."""

    def __init__(self, source: KubernetesSource, desired: Desired, clock: Clock) -> None:
        def id_of(key: Key) -> int | None:
            entry = desired.get(key)
            return entry.id if entry is not None and entry.source == source.name else None

        self._source, self._id_of = source, id_of
        self._writer = StatusWriter(lambda: source.objects, source.mirror, clock, id_of)
        self.run = self._writer.run
        self.flush = self._writer.flush
        self.close = source.close

    def reporting(self) -> Callable[[Mapping[str, Any]], None]:
        """Takes how resources look that are about to be looked at, ours and those of other sources."""
        return self._writer.reporting()

    def owner_of(self, namespace: str, job: str) -> Owner | None:
        """The object that a job of ours was declared by; None for one of another source."""
        key = Key("ScheduledJob", namespace, job)
        held = self._source.mirror.held.get(object_path(*key))
        return Owner(job, held.uid) if held is not None and self._id_of(key) is not None else None

    def reconciled(self, outcome: Outcome) -> None:
        """A source was brought in step."""
        if outcome.source == self._source.name:
            self._writer.reconciled(outcome, self._source.reconciled())
