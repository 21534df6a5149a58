"""C2: a controller that begins where there are 5,000 objects that nobody has looked at yet (quick: 1,000).

From the start of the process until the API server has answered the write of the last status; then its resident memory, and its greatest. The limit lists the same number of
objects and writes a status of one condition into each. Fair: both talk to the same server, which does most of the work.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from tests.harness.manifests import job
from tests.performance.benchmarks.b06_idle import resident_memory_mb
from tests.performance.benchmarks.c01_apply import HOURLY
from tests.performance.cluster import Cluster, until
from tests.performance.harness import Case, Metrics, absolute, times_limit
from tests.performance.suite import Suite
from tests.performance.workspace import script


def cases(suite: Suite) -> Iterable[Case]:
    """One size."""
    count = 1_000 if suite.quick else 5_000
    cluster = Cluster(suite)
    bare: list[str] = []

    def limit() -> Metrics:
        if not bare:
            bare.append(_filled(cluster, "c2-limit", count))
        return script("limits/apply_status.py", cluster.kubeconfig, bare[0], "all")

    yield Case(
        id="C2",
        variant=f"{count:,} objects",
        unit="s",
        limit=limit,
        ours=lambda: sample(cluster, _filled(cluster, "c2", count), count),
        checks=(
            times_limit(None),
            absolute("cold sync", "value", "<=", None, "s"),
            absolute("resident memory", "rss_mb", "<=", None, "MB"),
            absolute("greatest resident memory", "peak_mb", "<=", None, "MB"),
            absolute("status writes an object", "writes", "<=", 1.0, ""),
        ),
        rounds=1,
        twice=False,
        close=cluster.close,
    )


def sample(cluster: Cluster, namespace: str, count: int) -> Metrics:
    """Seconds and MB."""
    begun = time.time()
    with cluster.controller(namespace) as controller:
        until(lambda: len(cluster.statuses(namespace)) >= count, "every status", 900, controller)
        time.sleep(2)  # what is written twice is written by then
        rss, peak = resident_memory_mb(controller.process.pid), _peak_mb(controller.process.pid)
        controller.stop()
    writes = cluster.statuses(namespace)
    if len({one.name for one in writes}) != count:
        raise RuntimeError(f"{len({one.name for one in writes})} of {count} have a status")
    last = max(one.answered for one in writes)
    return {"value": last - begun, "rss_mb": rss, "peak_mb": peak, "writes": len(writes) / count}


def _filled(cluster: Cluster, word: str, count: int) -> str:
    namespace = cluster.namespace(word)
    cluster.create(namespace, [job(f"job-{number}", **HOURLY) for number in range(count)])
    return namespace


def _peak_mb(pid: int) -> float:
    """VmHWM."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
