"""C4: the same work as the CronJob controller of Kubernetes, in the same cluster, one after the other.

150 CronJobs `* * * * *` (quick: 50) and as many ScheduledJobs, executor Kubernetes, one container each, one ended Job kept by either, so that every new one costs the removal
of an old one. The first minute warms up; the three after it (quick: two) are counted by the API server: requests of the one who schedules, of the job controller, and
all that have to do with the namespace, each by the number of Jobs made. Lateness is the receipt of the request that makes a Job, less the whole minute before it.
Fair: both write Events and a status. Ours also follows the Pod, reads its log and keeps a record of the run; the CronJob controller looks at none of these. It has the
API's queries to itself (1,000 a second allowed), ours keeps its own limits.
"""

import time
from collections.abc import Iterable
from typing import Any

from tests.harness.manifests import job
from tests.performance import audit
from tests.performance.audit import MINUTE, Request
from tests.performance.cluster import OURS, Cluster, until
from tests.performance.harness import Case, Check, Metrics, absolute
from tests.performance.quantiles import spread
from tests.performance.suite import Suite

RIVAL = "cronjob-controller"
JOBS = "job-controller"
_READY = 10.0
"""Seconds before a minute at which everything must be there."""


def cases(suite: Suite) -> Iterable[Case]:
    """One size."""
    count, minutes = (50, 2) if suite.quick else (150, 3)
    cluster = Cluster(suite)

    def ours() -> Metrics:
        namespace = cluster.namespace("c4")
        cluster.create(namespace, [_scheduled_job(f"tick-{number}") for number in range(count)])
        with cluster.controller(namespace, "--job-image", "x", executor="Kubernetes") as controller:
            until(lambda: len(cluster.statuses(namespace)) >= count, "the jobs to be ready", 120, controller)
            figures = _watched(cluster, namespace, "sjob", OURS, count, minutes)
            controller.stop()
        return figures

    def theirs() -> Metrics:
        namespace = cluster.namespace("c4-cronjobs")
        cluster.create(namespace, [_cron_job(f"tick-{number}") for number in range(count)])
        return _watched(cluster, namespace, "cronjob", RIVAL, count, minutes)

    yield Case(
        id="C4",
        variant=f"{count} jobs a minute, {minutes} minutes",
        unit="requests/run",
        limit=None,
        ours=ours,
        rivals={"cronjob": theirs},
        checks=(
            *(
                beside
                for name, metric, unit in (
                    ("requests of the scheduler", "value", ""),
                    ("requests of the job controller", "jobs", ""),
                    ("all requests", "all", ""),
                    ("lateness p50", "late_p50", "ms"),
                    ("lateness p99", "late_p99", "ms"),
                )
                for beside in _beside(name, metric, unit)
            ),
        ),
        rounds=1,
        twice=False,
        close=cluster.close,
    )


def _beside(name: str, metric: str, unit: str) -> Iterable[Check]:
    """Ours, theirs, and the ratio."""
    yield absolute(name, metric, "<=", None, unit)
    yield Check(f"{name}, CronJob", lambda r: r.rivals["cronjob"][metric], unit=unit, rival="cronjob")
    yield Check(f"{name}, ours / CronJob", lambda r: r.ours[metric] / r.rivals["cronjob"][metric], rival="cronjob")


def _watched(cluster: Cluster, namespace: str, kind: str, scheduler: str, count: int, minutes: int) -> Metrics:
    """Counted over whole minutes; then nothing fires any more."""
    first = (time.time() + _READY) // MINUTE * MINUTE + MINUTE
    begun, ended = first + MINUTE, first + MINUTE * (1 + minutes)
    time.sleep(max(0.0, ended - time.time()))
    cluster.suspend(kind, namespace)
    time.sleep(5)
    return figures(cluster.audit.requests(begun, ended), namespace, scheduler, count * minutes)


def figures(requests: list[Request], namespace: str, scheduler: str, runs: int) -> Metrics:
    """Requests by runs, and lateness in milliseconds. Errors: RuntimeError when there was not one Job for each instant."""
    ours = [one for one in requests if one.component == scheduler]
    made = [one for one in ours if one.done and one.verb == "create" and one.resource == "jobs"]
    if len({one.name for one in made}) != runs or len(made) != runs:
        raise RuntimeError(f"{len(made)} Jobs were made, {len({one.name for one in made})} different; wanted {runs}")
    inside = [one for one in requests if one.namespace == namespace]
    jobs = [one for one in inside if one.component == JOBS]
    every = {one.id for one in (*inside, *ours)}
    kinds = {f"asked {kind}": number / runs for kind, number in audit.tally(ours).items()}
    return {
        "value": len(ours) / runs,
        "jobs": len(jobs) / runs,
        "all": len(every) / runs,
        **spread("late", [late * 1000 for late in audit.lateness(made)]),
        **kinds,
    }


def _scheduled_job(name: str) -> dict[str, Any]:
    return job(name, schedule={"cron": "* * * * *"}, history={"succeeded": 1, "failed": 1})


def _cron_job(name: str) -> dict[str, Any]:
    container = {"name": "run", "image": "x", "command": ["/bin/sh", "-c", "true"]}
    pod = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {
            "schedule": "* * * * *",
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}},
        },
    }
