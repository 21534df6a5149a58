"""C4: the same work as the CronJob controller of Kubernetes, in the same cluster and the same minutes.

150 CronJobs `* * * * *` (quick: 50) and as many ScheduledJobs, executor Kubernetes, one container each, one ended Job kept by either, so that every new one costs the removal
of an old one. The first minute warms up; the three after it (quick: two) are counted by the API server: requests of the one who schedules, of the job controller, and
all that have to do with the namespace, each by the number of Jobs made. Lateness is the receipt of the request that makes a Job, less the whole minute before it.
Fair: at once, so that a neighbour is a neighbour of both; both write Events and a status. Ours also follows the Pod, asks for its log and keeps a record of the run; the
CronJob controller does none of these. The node has no logs, so that ours asks once and is refused, where it asks a real kubelet twice.
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

    beside: dict[str, Metrics] = {}

    def both() -> Metrics:
        mine, theirs = cluster.namespace("c4"), cluster.namespace("c4-cronjobs")
        cluster.create(mine, [_scheduled_job(f"tick-{number}") for number in range(count)])
        with cluster.controller(mine, "--job-image", "x", executor="Kubernetes") as controller:
            until(lambda: len(cluster.statuses(mine)) >= count, "the jobs to be ready", 120, controller)
            cluster.create(theirs, [_cron_job(f"tick-{number}") for number in range(count)])
            begun, ended = _minutes(minutes)
            time.sleep(ended - time.time())
            cluster.suspend("sjob", mine)
            cluster.suspend("cronjob", theirs)
            time.sleep(5)  # what is under way is told
            asked = cluster.audit.requests(begun, ended)
            controller.stop()
        beside["cronjob"] = figures(asked, theirs, RIVAL, count * minutes)
        return figures(asked, mine, OURS, count * minutes)

    yield Case(
        id="C4",
        variant=f"{count} jobs a minute, {minutes} minutes",
        unit="requests/run",
        limit=None,
        ours=both,
        rivals={"cronjob": lambda: beside["cronjob"]},
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


def _minutes(count: int) -> tuple[float, float]:
    """From when to when is counted: whole minutes, after one that warms up."""
    first = (time.time() + _READY) // MINUTE * MINUTE + MINUTE
    return first + MINUTE, first + MINUTE * (1 + count)


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
    return job(
        name, schedule={"cron": "* * * * *"}, concurrency={"policy": "Allow"}, history={"succeeded": 1, "failed": 1}
    )


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
