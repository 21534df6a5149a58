"""B6: what the controller costs while nothing is due.

10,000 and 50,000 jobs that are due in another century; for a minute (quick: ten seconds) we look at the process's CPU time, the voluntary
context switches of all its threads, and its resident memory. Gates are absolute; beside it APScheduler with 10,000 jobs that it has listed once.
Fair: both processes have loaded their jobs and are left alone for a while before the watch begins.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from tests.performance.harness import Case, Check, Metrics, absolute
from tests.performance.resident import Resident
from tests.performance.suite import Suite

_TICK = os.sysconf("SC_CLK_TCK")


def cases(suite: Suite) -> Iterable[Case]:
    """Two sizes; the quick suite only the smaller."""
    for count in (10_000,) if suite.quick else (10_000, 50_000):
        yield _case(suite, count, 10.0 if suite.quick else 60.0)


def _case(suite: Suite, count: int, seconds: float) -> Case:
    resident = Resident(suite, f"b6-{count}", count)
    rivals = {
        "apscheduler": suite.rival("apscheduler_jobs", lambda: ("idle", suite.workspace.folder("aps"), count, seconds))
    }
    return Case(
        id="B6",
        variant=f"{count:,} jobs, {seconds:.0f} s",
        unit="% of a core",
        limit=None,
        ours=lambda: sample(resident, seconds),
        rivals=rivals if count == 10_000 else {},
        checks=(
            absolute("CPU", "value", "<=", 0.1, "%"),
            absolute("voluntary switches", "switches", "<=", 2.0, "/s"),
            absolute("resident memory", "rss_mb", "<=", 60 + 3 * count / 1024, "MB"),
            Check(
                "memory / apscheduler",
                lambda r: r.ours["rss_mb"] / r.rivals["apscheduler"]["rss_mb"],
                "<=",
                1.0,
                rival="apscheduler",
            ),
        ),
        rounds=1,
        twice=False,
        close=resident.close,
    )


def sample(resident: Resident, seconds: float) -> Metrics:
    """CPU in percent of one core, switches per second, memory in MB, once start-up work is over."""
    pid = resident.controller.process.pid
    _settle(pid)
    cpu, switches = cpu_seconds(pid), voluntary_switches(pid)
    time.sleep(seconds)
    return {
        "value": (cpu_seconds(pid) - cpu) / seconds * 100,
        "switches": (voluntary_switches(pid) - switches) / seconds,
        "rss_mb": resident_memory_mb(pid),
    }


def _settle(pid: int, at_most: float = 60.0) -> None:
    """Wait until a second passes with less than 1 % of it used, so that what follows loading is not taken for idling."""
    deadline = time.monotonic() + at_most
    while time.monotonic() < deadline:
        before = cpu_seconds(pid)
        time.sleep(1)
        if cpu_seconds(pid) - before < 0.01:
            return


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def voluntary_switches(pid: int) -> int:
    """Of all its threads so far."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    return total


def resident_memory_mb(pid: int) -> float:
    """VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
