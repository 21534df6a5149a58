"""The API server's side of a controller: the source that is watched, and the status that is written back.

The composition root makes one where `--kubernetes` is given; nothing else of the engine knows that there is a cluster. Imported only then.
"""

from collections.abc import Callable, Mapping
from typing import Any

from controller.app.options import KubernetesOptions
from controller.base.clock import Clock
from controller.kubernetes.connection import connect
from controller.kubernetes.source import KubernetesSource
from controller.kubernetes.status import StatusWriter
from controller.reconcile.desired import Desired
from controller.reconcile.pipeline import Outcome
from controller.reconcile.records import Key

SOURCE = "kubernetes"
"""The name of the source, in conditions, in `get sources` and in the inventory."""


def source_of(options: KubernetesOptions) -> KubernetesSource:
    """The source that the arguments name. Errors: InvalidInput where no API server can be found."""
    return KubernetesSource(SOURCE, connect(options.context), options.namespaces)


class Cluster:
    """One source of custom resources with the writer of their status."""

    def __init__(self, source: KubernetesSource, desired: Desired, clock: Clock) -> None:
        def id_of(key: Key) -> int | None:
            entry = desired.get(key)
            return entry.id if entry is not None and entry.source == source.name else None

        self._source = source
        self._writer = StatusWriter(lambda: source.objects, source.mirror, clock, id_of)
        self.run = self._writer.run
        self.flush = self._writer.flush
        self.close = source.close

    def reporting(self) -> Callable[[Mapping[str, Any]], None]:
        """Takes how resources look that are about to be looked at, ours and those of other sources."""
        return self._writer.reporting()

    def reconciled(self, outcome: Outcome) -> None:
        """A source was brought in step."""
        if outcome.source == self._source.name:
            self._writer.reconciled(outcome, self._source.reconciled())
