"""B15: what kill -9 with 500 active runs costs.

500 runs of `sleep` are active and 10,000 jobs loaded when the controller is killed; one more job falls due while nobody is there. Figures: from the
start of the new process to the start of that job, and to the moment when every interrupted run has its end. The gate is absolute.
Afterwards every one of the 500 is Crashed (their `onInterruption` is the default, Fail), none ran twice, and no sleep is left behind.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from tests.performance import manifests
from tests.performance.benchmarks import one_shots
from tests.performance.harness import Case, Metrics, absolute
from tests.performance.product import Controller, Installation, check_each_once, installation, moment
from tests.performance.suite import Suite

ACTIVE = 500
SLEEP = "sleep 97"


def cases(suite: Suite) -> Iterable[Case]:
    """On SQLite; the quick suite with 50 active runs and 1,000 jobs."""
    active, idle = (50, 1_000) if suite.quick else (ACTIVE, 10_000)
    yield Case(
        id="B15",
        variant=f"{active} active runs, {idle:,} jobs",
        unit="s to first start",
        limit=suite.yardstick(),
        ours=lambda: sample(suite, active, idle),
        checks=(
            absolute("first new start", "value", "<=", 1.0, "s"),
            absolute("all resolved", "resolved", "<=", None, "s"),
        ),
        twice=False,
    )


def sample(suite: Suite, active: int, idle: int) -> Metrics:
    """Seconds from the start of the second controller."""
    with installation(suite, "b15") as where:
        manifests.write(where.manifests, "idle", manifests.idle_jobs(idle))
        due = one_shots.due_instant(idle + active) + 2
        at = datetime.fromtimestamp(due, UTC)
        manifests.write(where.manifests, "active", (manifests.job(f"active-{n:04d}", SLEEP, at) for n in range(active)))
        missed = datetime.fromtimestamp(due + 15, UTC)
        manifests.write(where.manifests, "after", [manifests.job("after-0000", at=missed)])
        with Controller(where, name="first") as first:
            one_shots.require_loaded(first.wait_loaded(idle + active + 1), due)
            database = where.database()
            database.wait(lambda: _running(where) >= active, 14, lambda: first.alive)
        time.sleep(max(0.0, due + 15.2 - time.time()))
        with Controller(where, name="second") as second:
            ended = second.wait_ended(active + 1)
            runs = where.runs()
        began = second.begun
    after = [run for run in runs if run["spec"]["job"] == "after-0000"]
    check_each_once(after, 1)
    check_each_once([run for run in runs if run["spec"]["job"] != "after-0000"], active, "Crashed")
    return {"value": moment(after[0]["status"]["startedAt"]) - began, "resolved": ended - began}


def _running(where: Installation) -> int:
    database = where.database()
    try:
        return database.number("SELECT count(*) FROM runs WHERE state = 'Running' AND pid IS NOT NULL")
    finally:
        database.close()
