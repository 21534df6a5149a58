"""B2: how late a job starts, with 10,000 other jobs loaded.

200 one-shots at random instants within 20 s (quick: 60 within 6 s); each writes the shell's own clock. Two figures: how late the controller recorded
the start, and how late the first command of the child ran. Against a loop that sleeps on a timerfd and spawns the same bash, and
against APScheduler with the same jobs and as many idle ones. Fair: same shell on all sides, instants drawn the same way, one machine clock.
"""

import random
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.performance import manifests
from tests.performance.benchmarks import one_shots
from tests.performance.harness import Case, Check, Metrics, absolute
from tests.performance.product import check_each_once, moment
from tests.performance.quantiles import spread
from tests.performance.resident import Resident, fresh
from tests.performance.suite import Suite

IDLE = 10_000


def cases(suite: Suite) -> Iterable[Case]:
    """SQLite only: the database has no part in it."""
    count, seconds = (60, 6.0) if suite.quick else (200, 20.0)
    seeds = random.Random(2)
    resident = Resident(suite, "b2", IDLE)

    def seed() -> int:
        return seeds.randrange(1_000_000)

    yield Case(
        id="B2",
        variant=f"{count} one-shots beside {IDLE:,} idle jobs",
        unit="ms (child, p50)",
        limit=suite.limit("lateness", 60, 6, seed, suite.folder("late")),
        ours=lambda: late(resident, count, seconds, seed()),
        rivals={
            "apscheduler": suite.rival(
                "apscheduler_jobs", lambda: ("late", suite.workspace.folder("aps"), count, seconds, seed(), IDLE)
            )
        },
        checks=(
            absolute("dispatcher p50", "dispatcher_p50", "<=", 1.0, "ms"),
            absolute("dispatcher p99", "dispatcher_p99", "<=", 5.0, "ms"),
            Check("child p50 - limit", lambda r: r.ours["child_p50"] - r.limit["child_p50"], "<=", 1.5, "ms"),
            Check(
                "child p99 / apscheduler",
                lambda r: r.ours["child_p99"] / r.rivals["apscheduler"]["child_p99"],
                "<=",
                1.0,
                rival="apscheduler",
            ),
        ),
        close=resident.close,
    )


def late(resident: Resident, count: int, seconds: float, seed: int, ahead: float = 2.5) -> Metrics:
    """Add `count` one-shots to a running controller and tell how late they were, in ms."""
    resident.controller  # noqa: B018 - loads its idle jobs before the instants are drawn
    chance = random.Random(seed)
    prefix = fresh("late")
    first = time.time() + ahead
    instants = {f"{prefix}{n:04d}": round(first + chance.random() * seconds, 6) for n in range(count)}
    resident.add(tells_clock(name, when) for name, when in instants.items())
    one_shots.require_loaded(time.time(), first)
    before = len(instants)
    time.sleep(max(0.0, first + seconds - time.time()))
    resident.where.database().wait(lambda: _over(resident, prefix) >= before, 60, lambda: resident.controller.alive)
    runs = resident.runs_of(prefix)
    check_each_once(runs, count)
    return lateness(runs, instants)


def tells_clock(name: str, when: float) -> dict[str, Any]:
    """A job that prints the clock as the first thing it does."""
    return manifests.job(name, "echo $EPOCHREALTIME", datetime.fromtimestamp(when, UTC), shell="/bin/bash")


def lateness(runs: list[dict[str, Any]], instants: dict[str, float]) -> Metrics:
    """Dispatcher and child lateness of runs that echoed the clock."""
    dispatcher, child = [], []
    for run in runs:
        due = instants[run["spec"]["job"]]
        dispatcher.append((moment(run["status"]["startedAt"]) - due) * 1000)
        child.append((float(run["status"]["output"]["stdout"]) - due) * 1000)
    told = {**spread("dispatcher", dispatcher), **spread("child", child)}
    return {"value": told["child_p50"], **told}


def _over(resident: Resident, prefix: str) -> int:
    query = f"SELECT count(*) FROM runs WHERE job LIKE '{prefix}%' AND state <> 'Running'"
    return resident.where.database().number(query)
