"""B4: what one hop of a chain costs.

A job and ten that follow each other (`trigger.after`, on success): from the end of the first run to the end of the last, divided by
ten, the median of five chains. Against a bare process that spawns, waits and commits one row per hop: the next job may not start before
the end of the last is durable, so no chain can be faster. Fair: same shell, same engine, same durability.
"""

import statistics
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.performance import manifests
from tests.performance.benchmarks import one_shots
from tests.performance.harness import Case, Metrics, absolute, times_limit
from tests.performance.product import check_each_once, moment
from tests.performance.resident import Resident, fresh
from tests.performance.suite import Suite

HOPS = 10
CHAINS = 5
_GATE = {"sqlite": 5.0, "postgresql": 10.0}


def cases(suite: Suite) -> Iterable[Case]:
    """On both databases."""
    for engine in ("sqlite", "postgresql"):
        yield _case(suite, engine)


def _case(suite: Suite, engine: str) -> Case:
    resident = Resident(suite, f"b4-{engine}", 0, engine=engine)

    where = suite.folder("chain") if engine == "sqlite" else suite.postgres.database
    return Case(
        id="B4",
        variant=f"{engine}, {HOPS} hops",
        unit="ms/hop",
        limit=suite.limit("chain", 300, where),
        ours=lambda: sample(resident),
        checks=(absolute("per hop", "value", "<=", _GATE[engine], "ms"), times_limit(None)),
        close=resident.close,
    )


def sample(resident: Resident) -> Metrics:
    """The median over five chains, one after the other."""
    prefixes = [fresh("chain") for _ in range(CHAINS)]
    due = one_shots.due_instant(CHAINS * HOPS)
    resident.add(one for n, prefix in enumerate(prefixes) for one in chain(prefix, due + n))
    one_shots.require_loaded(time.time(), due)
    time.sleep(max(0.0, due + CHAINS - 1 - time.time()))
    database = resident.where.database()
    query = "SELECT count(*) FROM runs WHERE state <> 'Running' AND ({})".format(
        " OR ".join(f"job LIKE '{prefix}%'" for prefix in prefixes)
    )
    database.wait(lambda: database.number(query) >= CHAINS * (HOPS + 1), 60, lambda: resident.controller.alive)
    hops = []
    for prefix in prefixes:
        runs = resident.runs_of(prefix)
        check_each_once(runs, HOPS + 1)
        ended = sorted(moment(run["status"]["finishedAt"]) for run in runs)
        hops.append((ended[-1] - ended[0]) * 1000 / HOPS)
    return {"value": statistics.median(hops), "worst": max(hops)}


def chain(prefix: str, due: float) -> Iterable[dict[str, Any]]:
    """A root that is due once, and ten jobs each of which follows the one before."""
    yield manifests.job(f"{prefix}00", at=datetime.fromtimestamp(due, UTC))
    for hop in range(1, HOPS + 1):
        after = {"after": [{"job": f"{prefix}{hop - 1:02d}", "when": "Succeeded"}]}
        yield manifests.job(f"{prefix}{hop:02d}", trigger=after)
