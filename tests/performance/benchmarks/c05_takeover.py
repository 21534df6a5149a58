"""C5: two replicas on one PostgreSQL, and kill -9 of the one that leads.

From the kill until the other has written the status of a change that was made right after it; the Lease lasts ten seconds, the gate is 15 s. Beside it the receipt of the request
by which the other takes the Lease. Of a job that fires every second no instant may be lost or doubled.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from tests.cluster.conftest import watch
from tests.harness.manifests import job
from tests.performance.benchmarks.c01_apply import HOURLY
from tests.performance.cluster import Cluster, until
from tests.performance.harness import Case, Metrics, absolute
from tests.performance.product import Controller, installation, replica
from tests.performance.suite import Suite

GATE = 15.0


def cases(suite: Suite) -> Iterable[Case]:
    """One kill a round."""
    cluster = Cluster(suite)
    yield Case(
        id="C5",
        variant="kill -9 of the leader of 2",
        unit="s",
        limit=None,
        ours=lambda: sample(suite, cluster),
        checks=(
            absolute("the other obeys a change after", "value", "<=", GATE, "s"),
            absolute("the other has the Lease after", "lease", "<=", GATE, "s"),
        ),
        twice=False,
        close=cluster.close,
    )


def sample(suite: Suite, cluster: Cluster) -> Metrics:
    """Seconds."""
    namespace = cluster.namespace("c5")
    cluster.create(namespace, [ticking(), job("changed", **HOURLY)])
    with installation(suite, "c5", "postgresql") as where, ExitStack() as stack:
        inside = cluster.inside(where, namespace)
        both = [
            stack.enter_context(Controller(replica(inside, f"replica-{number}"), *watch(namespace)))
            for number in range(2)
        ]
        until(lambda: len(cluster.statuses(namespace)) >= 2, "the jobs to be ready", 60)
        until(lambda: len(both[1].where.runs()) >= 3, "runs", 60, both[1])
        first = _leader(cluster, namespace, both)
        other = next(one for one in both if one is not first)
        # Anywhere between two renewals.
        time.sleep(3 + time.time() % 2)
        os.killpg(first.process.pid, signal.SIGKILL)
        killed = time.time()
        cluster.plane.apply(job("changed", schedule={"cron": "0 4 1 1 *"}), namespace=namespace).ok()

        def obeyed() -> list[float]:
            return [one.answered for one in cluster.statuses(namespace, killed) if one.name == "changed"]

        until(lambda: bool(obeyed()), "the change to be told", 90, other)
        taken = cluster.asked(verbs=("update", "patch"), resource="leases", namespace="jobwarden", since=killed)
        time.sleep(5)
        runs = other.where.runs()
        other.stop()
    check_balanced(runs)
    mine = [one.answered for one in taken if one.name == namespace]
    return {"value": min(obeyed()) - killed, "lease": min(mine) - killed}


def ticking() -> dict[str, Any]:
    """Every second, and nothing is left out."""
    return job(
        "ticks",
        schedule={"every": "1s", "catchUp": {"policy": "All"}},
        concurrency={"policy": "Allow", "maxQueued": 1000},
        history={"succeeded": 10_000, "failed": 10_000},
    )


def check_balanced(runs: Iterable[Mapping[str, Any]]) -> None:
    """One run for every second from the first to the last. Errors: RuntimeError that says which is lost or doubled."""
    of_ticks = [one["spec"]["scheduledFor"] for one in runs if one["spec"]["job"] == "ticks"]
    twice = [one for one, count in Counter(of_ticks).items() if count > 1]
    instants = sorted(datetime.fromisoformat(one) for one in set(of_ticks))
    lost = [str(one) for one, after in pairwise(instants) if after - one != timedelta(seconds=1)]
    if twice or lost or not instants:
        raise RuntimeError(f"of {len(instants)} instants, doubled: {twice[:3]}, followed by a gap: {lost[:3]}")


def _leader(cluster: Cluster, namespace: str, among: list[Controller]) -> Controller:
    lease = cluster.plane.get("lease", namespace, "jobwarden")
    held = lease["spec"]["holderIdentity"]
    return next(one for one in among if f'"me":"{held}"' in one.log.read_text(encoding="utf-8"))
