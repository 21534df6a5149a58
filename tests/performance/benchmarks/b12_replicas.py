"""B12: three replicas on one PostgreSQL, and the death of one.

5,000 one-shots `true`, all due at T (quick: 1,000), once with one replica and once with three; the score is the ratio of the rates: on one machine more
replicas win nothing, so the figure tells what their coordination costs. Then the same with kill -9 of the replica with most runs, half-way: the
figure is how long it takes until everything that it held is resolved; the gate is its lease and a second. Every job has run at most once.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack

from controller.loops.lease import LEASE
from tests.performance.benchmarks import one_shots
from tests.performance.harness import Case, Check, Metrics, absolute
from tests.performance.product import Controller, Installation, check_each_once, installation, replica
from tests.performance.suite import Suite

REPLICAS = 3


def cases(suite: Suite) -> Iterable[Case]:
    """Throughput, then failover."""
    count = 1_000 if suite.quick else 5_000

    def ours() -> Metrics:
        one = throughput(suite, 1, count)
        three = throughput(suite, REPLICAS, count)
        return {"value": three, "one": one, "kept": three / one}

    yield Case(
        id="B12",
        variant=f"3 replicas, {count:,} jobs",
        unit="runs/s",
        limit=suite.limit("spawn", 2_000),
        ours=ours,
        checks=(Check("3 replicas / 1", lambda r: r.ours["kept"], ">=", 0.9),),
        twice=False,
    )
    yield Case(
        id="B12",
        variant="kill -9 of the busiest of 3",
        unit="s",
        limit=suite.yardstick(),
        ours=lambda: failover(suite, count),
        checks=(absolute("all resolved after", "value", "<=", LEASE.total_seconds() + 1, "s"),),
        twice=False,
    )


def throughput(suite: Suite, replicas: int, count: int) -> float:
    """Runs per second of so many replicas on a fresh database."""
    with installation(suite, f"b12-{replicas}", "postgresql") as where, ExitStack() as stack:
        due = one_shots.due_instant(count)
        one_shots.write_due(where, count, due)
        controllers = [stack.enter_context(Controller(one)) for one in _replicas(where, replicas)]
        one_shots.require_loaded(controllers[0].wait_loaded(count), due)
        ended = controllers[0].wait_ended(count)
        for controller in controllers:
            controller.stop()
        check_each_once(where.runs(), count)
    return count / (ended - due)


def failover(suite: Suite, count: int) -> Metrics:
    """Seconds from the kill until every run of the dead replica, and every dispatch, has its end."""
    with installation(suite, "b12-kill", "postgresql") as where, ExitStack() as stack:
        due = one_shots.due_instant(count)
        one_shots.write_due(where, count, due)
        controllers = [stack.enter_context(Controller(one)) for one in _replicas(where, REPLICAS)]
        one_shots.require_loaded(controllers[0].wait_loaded(count), due)
        database = where.database()
        database.wait(lambda: database.ended() >= count // 2, 120, lambda: controllers[0].alive)
        busiest = _busiest(where)
        by_pid = {controller.process.pid: controller for controller in controllers}
        os.kill(by_pid.pop(busiest).process.pid, signal.SIGKILL)
        killed = time.time()
        survivor = next(iter(by_pid.values()))
        ended = survivor.wait_ended(count, 300)
        runs = where.runs()
        for controller in by_pid.values():
            controller.stop()
    states = Counter(run["status"]["state"] for run in runs)
    if set(states) - {"Succeeded", "Crashed"} or len({run["spec"]["job"] for run in runs}) != len(runs):
        raise RuntimeError(f"after the kill there are {dict(states)} in {len(runs)} runs")
    return {"value": ended - killed, "crashed": float(states["Crashed"])}


def _replicas(where: Installation, count: int) -> list[Installation]:
    return [replica(where, f"replica-{n}") for n in range(count)]


def _busiest(where: Installation) -> int:
    """The process id of the replica that opened most runs."""
    database = where.database()
    rows = database.all(
        "SELECT i.pid FROM runs r JOIN instances i ON i.id = r.owner GROUP BY i.pid ORDER BY count(*) DESC"
    )
    return int(rows[0][0])
