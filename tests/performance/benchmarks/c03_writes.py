"""C3: what the controller writes while jobs run, and while nothing happens.

Runs: 50 jobs that last half a second, every five seconds, for a minute (quick: half of one): status writes a run. Idle: 200 jobs that are due in another season, for two
minutes (quick: one), once all are Ready: status writes and requests of ours, told for an hour. The API server counts both.
"""

import time
from collections.abc import Iterable
from typing import Any

from tests.harness.manifests import job
from tests.performance import audit
from tests.performance.benchmarks.c01_apply import HOURLY
from tests.performance.cluster import OURS, Cluster, until
from tests.performance.harness import Case, Metrics, absolute
from tests.performance.suite import Suite

BUSY, IDLE = 50, 200
HOUR = 3600.0


def cases(suite: Suite) -> Iterable[Case]:
    """Busy, then idle."""
    busy, idle = (30.0, 60.0) if suite.quick else (60.0, 120.0)
    running = Cluster(suite)
    yield Case(
        id="C3",
        variant=f"{BUSY} jobs every 5 s, {busy:.0f} s",
        unit="writes/run",
        limit=None,
        ours=lambda: while_running(running, busy),
        checks=(
            absolute("status writes a run", "value", "<=", 2.0, ""),
            absolute("requests a run, Events and all", "requests", "<=", None, ""),
        ),
        rounds=1,
        twice=False,
        close=running.close,
    )
    resting = Cluster(suite)
    yield Case(
        id="C3",
        variant=f"{IDLE} idle jobs, {idle:.0f} s",
        unit="writes/h",
        limit=None,
        ours=lambda: while_idle(resting, idle),
        checks=(
            absolute("status writes an hour", "value", "<=", 0.0, ""),
            absolute("requests an hour, Lease and all", "requests", "<=", None, ""),
            absolute("of them for the Lease", "lease", "<=", None, ""),
        ),
        rounds=1,
        twice=False,
        close=resting.close,
    )


def while_running(cluster: Cluster, seconds: float) -> Metrics:
    """Writes and requests of ours by runs, over the whole life of the jobs once they are Ready."""
    namespace = cluster.namespace("c3")
    cluster.create(namespace, [_busy(number) for number in range(BUSY)])
    with cluster.controller(namespace) as controller:
        until(lambda: len(cluster.statuses(namespace)) >= BUSY, "the jobs to be ready", 60, controller)
        time.sleep(seconds)
        cluster.suspend("sjob", namespace)
        time.sleep(3)  # what runs ends, and is told
        runs = controller.where.runs()
        controller.stop()
    ended = [one for one in runs if one["status"]["state"] == "Succeeded"]
    if len(ended) != len(runs) or not runs:
        raise RuntimeError(f"{len(ended)} of {len(runs)} runs succeeded")
    # Each job was written when it became Ready, and when it was suspended.
    writes = len(cluster.statuses(namespace)) - 2 * BUSY
    asked = [one for one in cluster.audit.requests() if one.user == OURS]
    return {"value": writes / len(runs), "requests": len(asked) / len(runs), "runs": float(len(runs))}


def while_idle(cluster: Cluster, seconds: float) -> Metrics:
    """Writes and requests of ours, an hour."""
    namespace = cluster.namespace("c3")
    cluster.create(namespace, [job(f"idle-{number}", **HOURLY) for number in range(IDLE)])
    with cluster.controller(namespace) as controller:
        until(lambda: len(cluster.statuses(namespace)) >= IDLE, "the jobs to be ready", 60, controller)
        time.sleep(10)
        begun = time.time()
        time.sleep(seconds)
        asked = [one for one in cluster.audit.requests(begun, begun + seconds) if one.user == OURS]
        controller.stop()
    kinds = audit.tally(asked)
    lease = sum(count for kind, count in kinds.items() if kind.endswith(" leases"))
    writes = len(cluster.statuses(namespace, begun, begun + seconds))
    return {
        "value": writes * HOUR / seconds,
        "requests": len(asked) * HOUR / seconds,
        "lease": lease * HOUR / seconds,
        **{f"asked {kind}": count * HOUR / seconds for kind, count in kinds.items()},
    }


def _busy(number: int) -> dict[str, Any]:
    keep = {"succeeded": 10_000, "failed": 10_000}
    return job(f"busy-{number}", "sleep 0.5", schedule={"every": "5s"}, history=keep)
