"""B14: whether a job that prints 200 MB disturbs the others or fills the memory.

One job runs `head -c 200000000 /dev/zero` while one-shots fall due around it. Figures: the controller's memory growth while the flood is running, the lateness
of the one-shots' children, and the flood's rate. Against an event loop that reads the same child and throws it away. Fair: the same child;
ours also keeps the tail and writes the run log, which the limit does not.
"""

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from tests.performance import manifests
from tests.performance.benchmarks import one_shots
from tests.performance.benchmarks.b02_lateness import lateness, tells_clock
from tests.performance.benchmarks.b06_idle import resident_memory_mb
from tests.performance.harness import Case, Check, Metrics, absolute
from tests.performance.product import check_each_once, moment
from tests.performance.resident import Resident, fresh
from tests.performance.suite import Suite

MEGABYTES = 200
BESIDE = 60


def cases(suite: Suite) -> Iterable[Case]:
    """On SQLite."""
    resident = Resident(suite, "b14", 1_000)
    yield Case(
        id="B14",
        variant=f"{MEGABYTES} MB beside {BESIDE} one-shots",
        unit="MB/s",
        limit=suite.limit("add_reader", MEGABYTES),
        ours=lambda: sample(resident),
        checks=(
            Check("ours / limit", lambda r: r.ours["value"] / r.limit["value"], ">=", 0.6),
            absolute("memory growth", "growth_mb", "<=", 8.0, "MB"),
            absolute("child p99 beside it", "child_p99", "<=", 20.0, "ms"),
        ),
        close=resident.close,
    )


def sample(resident: Resident) -> Metrics:
    """Rate, memory growth and lateness of one flood."""
    resident.controller  # noqa: B018 - loads its idle jobs before the instants are drawn
    prefix = fresh("flood")
    due = one_shots.due_instant(BESIDE)
    instants = {f"{prefix}{n:03d}": round(due + n / 60, 6) for n in range(BESIDE)}
    flood = manifests.job(
        f"{prefix}flood", f"head -c {MEGABYTES * 1_000_000} /dev/zero", datetime.fromtimestamp(due, UTC)
    )
    beside = (tells_clock(name, at) for name, at in instants.items())
    resident.add([flood, *beside])
    one_shots.require_loaded(time.time(), due)
    pid = resident.controller.process.pid
    before, most, over = resident_memory_mb(pid), [0.0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(pid, most, over))
    watcher.start()
    try:
        query = f"SELECT count(*) FROM runs WHERE job LIKE '{prefix}%' AND state <> 'Running'"
        database = resident.where.database()
        time.sleep(max(0.0, due - time.time()))
        database.wait(lambda: database.number(query) >= BESIDE + 1, 60, lambda: resident.controller.alive)
    finally:
        over.set()
        watcher.join()
    runs = resident.runs_of(prefix)
    check_each_once(runs, BESIDE + 1)
    flooded = next(run["status"] for run in runs if run["spec"]["job"].endswith("flood"))
    if flooded["output"]["bytes"] != MEGABYTES * 1_000_000:
        raise RuntimeError(f"{flooded['output']['bytes']} bytes were recorded")
    told = lateness([run for run in runs if run["spec"]["job"] in instants], instants)
    took = moment(flooded["finishedAt"]) - moment(flooded["startedAt"])
    return {**told, "value": MEGABYTES / took, "growth_mb": most[0] - before}


def _watch(pid: int, most: list[float], over: threading.Event) -> None:
    while not over.wait(0.02):
        most[0] = max(most[0], resident_memory_mb(pid))
