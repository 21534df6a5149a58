"""B16: how long `jobwarden get jobs` takes, in a new process each time.

With 10 and with 10,000 jobs in the database; once while a controller runs (asked over its socket, if it answers there) and once while none does. Against
an interpreter that imports argparse, json and sqlite3 and does nothing: what a read verb in this language must cost. The median of seven
calls is one sample. Fair: warm page cache on both sides, output to a pipe.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

from tests.performance.harness import Case, Metrics, absolute, times_limit
from tests.performance.product import COMMAND
from tests.performance.resident import Resident
from tests.performance.suite import Suite

CALLS = 7


def cases(suite: Suite) -> Iterable[Case]:
    """Two sizes, with and without a controller."""
    for count, gate in ((10, 60.0), (10_000, 200.0)):
        for running in (True, False):
            yield _case(suite, count, gate, running=running)


def _case(suite: Suite, count: int, gate: float, *, running: bool) -> Case:
    resident = Resident(suite, f"b16-{count}", count)
    return Case(
        id="B16",
        variant=f"get jobs, {count:,} jobs, {'controller running' if running else 'no controller'}",
        unit="ms",
        limit=bare_interpreter,
        ours=lambda: sample(resident, count, running=running),
        checks=(absolute("get jobs", "value", "<=", gate, "ms"), times_limit(None)),
        close=resident.close,
    )


def bare_interpreter() -> Metrics:
    """The limit."""
    return timed([sys.executable, "-c", "import argparse, json, sqlite3"], {}, 0)


def sample(resident: Resident, count: int, *, running: bool) -> Metrics:
    """Milliseconds of one call."""
    where = resident.where
    if not running and resident.controller.alive:
        resident.controller.stop()
    return timed([*COMMAND, "get", "jobs"], dict(where.environment), count)


def timed(command: Sequence[str], environment: dict[str, str], lines: int) -> Metrics:
    """The median time of some calls in ms. Errors: RuntimeError when a call fails or prints too little."""
    took = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False)
        took.append((time.perf_counter() - begun) * 1000)
        if done.returncode != 0 or done.stdout.count(b"\n") < lines:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr[-400:].decode(errors='replace')}")
    return {"value": statistics.median(took), "worst": max(took)}
