"""B1: how many jobs that are due at the same instant end per second.

100, 1,000 and 10,000 one-shot jobs `true` under the default shell with default settings, on SQLite (synchronous=FULL) and PostgreSQL: from
T until the row of the last run is finished and committed. Against a bare interpreter that only spawns the same shell (no capture, no
record: the most that one CPython process can do), and against APScheduler and huey on SQLite and procrastinate on PostgreSQL, each
running the same command with captured output. Fair: same shell, fresh database on a real disk, every row checked afterwards. Two of the
rivals keep no record of runs and are still asked for no more than they do.
"""

from collections.abc import Iterable

from tests.performance.benchmarks import one_shots
from tests.performance.harness import Case, Check, Metrics, Side, faster_than, slower_than_limit
from tests.performance.suite import Suite

COMPARED = 1_000
"""The size at which rivals take part and to which 10,000 is compared."""
_GATE = {"sqlite": 1.7, "postgresql": 2.2}


def cases(suite: Suite) -> Iterable[Case]:
    """SQLite and PostgreSQL in three sizes; the quick suite leaves 10,000 out."""
    for engine in ("sqlite", "postgresql"):
        yield _case(suite, engine, 100)
        yield _case(suite, engine, COMPARED)
        if not suite.quick:
            yield _flat(suite, engine)


def _case(suite: Suite, engine: str, count: int) -> Case:
    compared = count == COMPARED
    beside = rivals(suite, engine, count) if compared else {}
    return Case(
        id="B1",
        variant=f"{engine}, {count:,} jobs",
        unit="runs/s",
        limit=suite.limit("spawn", 2_000),
        ours=lambda: one_shots.rate(suite, count, engine),
        rivals=beside,
        # One hundred runs last less than the first commit's share of them; the gate is for 1,000.
        checks=(slower_than_limit(_GATE[engine] if compared else None), *_claims(beside)),
    )


def _flat(suite: Suite, engine: str) -> Case:
    def ours() -> Metrics:
        few = one_shots.rate(suite, COMPARED, engine)
        many = one_shots.rate(suite, 10_000, engine)
        return {**many, "flat": many["value"] / few["value"]}

    return Case(
        id="B1",
        variant=f"{engine}, 10,000 jobs",
        unit="runs/s",
        limit=suite.limit("spawn", 2_000),
        ours=ours,
        checks=(
            slower_than_limit(_GATE[engine]),
            Check("10,000 / 1,000", lambda r: r.ours["flat"], ">=", 0.9),
        ),
        twice=False,
    )


def rivals(suite: Suite, engine: str, count: int) -> dict[str, Side]:
    """Who else runs so many shells, on which engine."""
    if engine == "postgresql":
        return {"procrastinate": suite.rival("procrastinate_shell", lambda: (suite.postgres.database(), count))}
    return {
        "apscheduler": suite.rival("apscheduler_jobs", lambda: ("shell", suite.workspace.folder("aps"), count)),
        "huey": suite.rival("huey_shell", lambda: (suite.workspace.folder("huey"), count)),
    }


def _claims(rivals: dict[str, Side]) -> tuple[Check, ...]:
    claims = {"apscheduler": 2.5, "huey": 1.0, "procrastinate": 2.5}
    return tuple(faster_than(name, claims[name]) for name in rivals)
