"""B9: how long an edited manifest takes to become effective.

One file of 10,000 is replaced (written beside, renamed over); the clock runs until the new generation is committed, seen from outside.
The limit is the bare inotify event of the same rename; the gate is absolute, because what follows the event is our own quiet period.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from tests.performance import manifests
from tests.performance.harness import Case, Metrics, absolute, times_limit
from tests.performance.quantiles import spread
from tests.performance.resident import Resident
from tests.performance.suite import Suite


def cases(suite: Suite) -> Iterable[Case]:
    """On SQLite; the quick suite with 2,000 files."""
    count, edits = (2_000, 15) if suite.quick else (10_000, 40)
    resident = Resident(suite, "b9", count, fill=manifests.kilobyte_files)
    edited = iter(range(count))
    yield Case(
        id="B9",
        variant=f"1 file of {count:,}",
        unit="ms (p50)",
        limit=suite.limit("inotify", suite.folder("inotify"), 100),
        ours=lambda: sample(resident, [next(edited) for _ in range(edits)]),
        checks=(
            absolute("p50", "apply_p50", "<=", 25.0, "ms"),
            absolute("p99", "apply_p99", "<=", 100.0, "ms"),
            times_limit(None),
        ),
        close=resident.close,
    )


def sample(resident: Resident, numbers: list[int]) -> Metrics:
    """Edit some files, one after the other, and tell how long each took, in ms."""
    took = [_edit(resident, number) for number in numbers]
    told = spread("apply", took)
    return {"value": told["apply_p50"], **told}


def _edit(resident: Resident, number: int) -> float:
    path = next(resident.where.manifests.glob(f"*/job-{number:05d}.yaml"))
    database = resident.where.database()
    query = f"SELECT generation FROM jobs WHERE name = 'job-{number:05d}' AND namespace = 'default'"
    before = database.number(query)
    text = path.read_text(encoding="utf-8").replace("priority: 10\n", "priority: 11\n")
    beside = Path(f"{path}.beside")
    beside.write_text(text, encoding="utf-8")
    time.sleep(0.25)  # the file beside is an event of its own; its quiet period shall be over
    begun = time.perf_counter()
    beside.rename(path)
    deadline = begun + 20
    while database.number(query) == before:
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{path.name} was edited and nothing happened; {resident.controller.tail()}")
        time.sleep(0.001)
    return (time.perf_counter() - begun) * 1000
