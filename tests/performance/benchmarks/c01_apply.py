"""C1: from `kubectl apply` to Ready.

200 new jobs (quick: 50), one after the other, beside 500 that are there already: each is applied, and then waited for with `kubectl wait`. The figure is what the API server
saw: from the receipt of the object to the answer to the write of its status. Beside it what a person waits, which is mostly two starts of kubectl. The limit is a watch
whose every object is answered with a write at once. Fair: the same commands for both, in the same cluster.
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from tests.harness.manifests import job
from tests.performance import audit
from tests.performance.cluster import Cluster, until
from tests.performance.harness import Case, Metrics, absolute, times_limit
from tests.performance.quantiles import spread
from tests.performance.resident import fresh
from tests.performance.suite import Suite
from tests.performance.workspace import SCRIPTS, end, start

IDLE = 500
HOURLY = {"schedule": {"cron": "0 3 1 1 *"}}


def cases(suite: Suite) -> Iterable[Case]:
    """One size."""
    count = 50 if suite.quick else 200
    cluster, stack = Cluster(suite), ExitStack()
    theirs: list[str] = []

    def ours() -> Metrics:
        if not theirs:
            theirs.append(_inhabited(cluster, stack))
        return sample(cluster, theirs[0], count)

    def limit() -> Metrics:
        namespace = cluster.namespace("c1-limit")
        with _bare(cluster, namespace):
            return sample(cluster, namespace, count)

    def close() -> None:
        stack.close()
        cluster.close()

    yield Case(
        id="C1",
        variant=f"{count} jobs beside {IDLE}",
        unit="ms (p50)",
        limit=limit,
        ours=ours,
        checks=(
            times_limit(None),
            absolute("apply to Ready p50", "value", "<=", None, "ms"),
            absolute("apply to Ready p99", "ready_p99", "<=", None, "ms"),
            absolute("kubectl apply + wait, p50", "person_p50", "<=", None, "ms"),
        ),
        close=close,
    )


def sample(cluster: Cluster, namespace: str, count: int) -> Metrics:
    """Milliseconds."""
    begun, person = time.time(), []
    for number in range(count):
        name = f"{fresh('apply')}{number}"
        before = time.perf_counter()
        cluster.plane.apply(job(name, **HOURLY), namespace=namespace).ok()
        cluster.plane.kubectl("wait", f"sjob/{name}", "-n", namespace, "--for=condition=Ready", "--timeout=30s").ok()
        person.append((time.perf_counter() - before) * 1000)
    applied = cluster.asked(verbs=("create", "patch"), resource="scheduledjobs", namespace=namespace, since=begun)
    ready = [one * 1000 for one in audit.delays(applied, cluster.statuses(namespace, begun))]
    if len(ready) != count:
        raise RuntimeError(f"{len(ready)} of {count} jobs were applied")
    figures = spread("ready", ready) | spread("person", person)
    return {"value": figures["ready_p50"], **figures}


def _inhabited(cluster: Cluster, stack: ExitStack) -> str:
    """A namespace with jobs that our controller knows."""
    namespace = cluster.namespace("c1")
    cluster.create(namespace, [job(f"idle-{number}", **HOURLY) for number in range(IDLE)])
    controller = stack.enter_context(cluster.controller(namespace))
    until(lambda: len(cluster.statuses(namespace)) >= IDLE, "the idle jobs to be ready", 120, controller)
    return namespace


@contextmanager
def _bare(cluster: Cluster, namespace: str) -> Iterator[None]:
    """The limit watches."""
    command = [sys.executable, str(SCRIPTS / "limits/apply_status.py"), str(cluster.kubeconfig), namespace, "watch"]
    process = start(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        end(process)
