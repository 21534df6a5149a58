"""B3: whether a slow job holds up those behind it.

One `sleep 5` is due at T - 1 s, nineteen `true` at T; the figure is when the last `true` had ended, in ms after T. The gate is absolute;
the spawn limit only tells noisy rounds. Fair by construction: a scheduler that runs jobs one after the other cannot be below four seconds.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from tests.performance import manifests
from tests.performance.benchmarks import one_shots
from tests.performance.harness import Case, Metrics, absolute
from tests.performance.product import check_each_once, moment
from tests.performance.resident import Resident, fresh
from tests.performance.suite import Suite

QUICK_JOBS = 19


def cases(suite: Suite) -> Iterable[Case]:
    """On SQLite."""
    resident = Resident(suite, "b3", 0)
    yield Case(
        id="B3",
        variant="sleep 5, then 19 x true",
        unit="ms after T",
        limit=suite.yardstick(),
        ours=lambda: sample(resident),
        checks=(absolute("last true after T", "value", "<=", 100.0, "ms"),),
        close=resident.close,
    )


def sample(resident: Resident) -> Metrics:
    """When the last of the quick jobs had ended."""
    prefix = fresh("line")
    due = one_shots.due_instant(20)
    slow = manifests.job(f"{prefix}slow", "sleep 5", datetime.fromtimestamp(due - 1, UTC))
    at = datetime.fromtimestamp(due, UTC)
    resident.add([slow, *(manifests.job(f"{prefix}{n:02d}", at=at) for n in range(QUICK_JOBS))])
    one_shots.require_loaded(time.time(), due - 1)
    time.sleep(max(0.0, due + 5 - time.time()))
    query = f"SELECT count(*) FROM runs WHERE job LIKE '{prefix}%' AND state <> 'Running'"
    database = resident.where.database()
    database.wait(lambda: database.number(query) >= QUICK_JOBS + 1, 30, lambda: resident.controller.alive)
    runs = resident.runs_of(prefix)
    check_each_once(runs, QUICK_JOBS + 1)
    ended = [moment(run["status"]["finishedAt"]) for run in runs if not run["spec"]["job"].endswith("slow")]
    return {"value": (max(ended) - due) * 1000}
