"""Many one-shot jobs that are all due at T: the workload of B1, B12 and B13, run once.

The clock runs from T to the commit that ends the last run, seen from outside. The jobs are loaded before T; a sample in which they were
not is taken again with more time to load. Every run is checked afterwards through `get runs`.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.performance import manifests
from tests.performance.harness import InvalidSample, Metrics
from tests.performance.product import COMMAND, Controller, Installation, check_each_once, installation, moment
from tests.performance.suite import Suite

_READY_BEFORE = 0.3
_lead = {"start": 2.0, "job": 0.0015}
"""Seconds allowed for starting and for loading each job; they follow what loading really takes here."""


def due_instant(count: int) -> float:
    """A T far enough from now to load `count` jobs before it, a third of a second past a full second."""
    return float(int(time.time() + _lead["start"] + _lead["job"] * count) + 1) + 1 / 3


@dataclass(frozen=True)
class Trusting:
    """What the jobs say of trust, the documents that they name, and the variables that those need and may read."""

    spec: Mapping[str, Any]
    documents: Sequence[Mapping[str, Any]]
    variables: Mapping[str, str]

    def prepare(self, where: Installation) -> tuple[str, ...]:
        """Put the documents into an installation; gives the arguments that its controller takes."""
        manifests.write(where.manifests, "a-trust", self.documents)
        config = where.folder / "jobwarden.yaml"
        said = {"apiVersion": "jobwarden.dev/v1alpha1", "kind": "ControllerConfiguration"}
        config.write_text(json.dumps({**said, "settings": {"allowEnv": list(self.variables)}}), encoding="utf-8")
        return ("--config", str(config))


def write_due(where: Installation, count: int, due: float, **spec: Any) -> None:
    """Manifests of `count` jobs `true`, all due at `due`, everything else default but for what `spec` says."""
    at = datetime.fromtimestamp(due, UTC)
    manifests.write(where.manifests, "due", (manifests.job(f"due-{n:05d}", at=at, **spec) for n in range(count)))


def require_loaded(loaded: float, due: float) -> None:
    """Errors: InvalidSample when jobs were still being loaded at T; the next sample gets as much more time as was missing."""
    late = loaded - (due - _READY_BEFORE)
    if late > 0:
        _lead["start"] += min(2 * late + 0.5, 30.0)
        raise InvalidSample(f"the jobs were loaded {late:.1f} s too late")


def rate(
    suite: Suite, count: int, engine: str, command: Sequence[str] = COMMAND, trust: Trusting | None = None
) -> Metrics:
    """Runs per second of one fresh controller on a fresh database; `first` and `spread` tell where the time went, in ms after T."""
    with installation(suite, f"b1-{count}", engine) as where:
        configured = trust.prepare(where) if trust is not None else ()
        where.more = trust.variables if trust is not None else {}
        due = due_instant(count)
        write_due(where, count, due, **(trust.spec if trust is not None else {}))
        with Controller(where, "--until-idle", *configured, command=command) as controller:
            require_loaded(controller.wait_loaded(count), due)
            ended = controller.wait_ended(count)
            controller.stop()
        runs = where.runs()
    check_each_once(runs, count)
    started = [moment(run["status"]["startedAt"]) for run in runs]
    return {
        "value": count / (ended - due),
        "first_start_ms": (min(started) - due) * 1000,
        "last_start_ms": (max(started) - due) * 1000,
        "ended_ms": (ended - due) * 1000,
    }
