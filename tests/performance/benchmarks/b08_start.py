"""B8: how long the controller takes to be ready with 10,000 manifests of 1 KB, on an empty database and on one that knows them.

From the start of the process until `/readyz` answers 200 and every job is in the database. Against reading, hashing and parsing the same
files with the same parser in a bare process (cold); the warm gate is absolute, because a warm start should not parse at all. Beside it,
the time APScheduler takes to put 10,000 jobs into its empty store. Fair: same files for all rounds, the page cache warm on both sides.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from tests.performance import manifests
from tests.performance.harness import Case, Check, Metrics, absolute, times_limit
from tests.performance.product import Controller, Installation, answers, free_port, installation
from tests.performance.suite import Suite


def cases(suite: Suite) -> Iterable[Case]:
    """Cold and warm; the quick suite with 2,000 manifests and no absolute gate."""
    count = 2_000 if suite.quick else 10_000
    folder = suite.workspace.path / f"kilobytes-{count}"
    yield Case(
        id="B8",
        variant=f"cold, {count:,} manifests",
        unit="s",
        limit=suite.limit("read_parse", lambda: _filled(folder, count)),
        ours=lambda: cold(suite, _filled(folder, count), count),
        rivals={"apscheduler": suite.rival("apscheduler_jobs", lambda: ("fill", suite.workspace.folder("aps"), count))},
        checks=(
            times_limit(1.6),
            Check(
                "apscheduler / ours",
                lambda r: r.rivals["apscheduler"]["value"] / r.ours["value"],
                ">=",
                None,
                rival="apscheduler",
            ),
        ),
    )
    yield Case(
        id="B8",
        variant=f"warm, {count:,} manifests",
        unit="s",
        limit=suite.limit("read_parse", lambda: _filled(folder, count)),
        ours=lambda: warm(suite, _filled(folder, count), count),
        checks=(absolute("start", "value", "<=", None if suite.quick else 0.6, "s"),),
    )


def cold(suite: Suite, source: Path, count: int) -> Metrics:
    """Seconds of the first start."""
    with installation(suite, "b8") as where:
        return {"value": _start(_at(where, source), count)}


def warm(suite: Suite, source: Path, count: int) -> Metrics:
    """Seconds of the second start: nothing has changed since the first."""
    with installation(suite, "b8") as where:
        _start(_at(where, source), count)
        return {"value": _start(_at(where, source), count)}


def _at(where: Installation, source: Path) -> Installation:
    return Installation(where.folder, where.url, source)


def _start(where: Installation, count: int) -> float:
    port = free_port()
    begun = time.perf_counter()
    with Controller(where, "--metrics-addr", f"127.0.0.1:{port}") as controller:
        while not answers(f"http://127.0.0.1:{port}/readyz"):
            if not controller.alive or time.perf_counter() - begun > 300:
                raise RuntimeError(f"never ready: {controller.tail()}")
            time.sleep(0.01)
        controller.wait_loaded(count)
        took = time.perf_counter() - begun
        controller.stop()
    return took


def _filled(folder: Path, count: int) -> Path:
    """The same manifests for every round, written on first use."""
    if not folder.exists():
        folder.mkdir()
        manifests.kilobyte_files(folder, count)
    return folder
