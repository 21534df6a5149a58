"""The limits and the rivals alone, without jobwarden: what this machine can do at all.

`--limits` runs these. Each limit is measured twice a round like any other, and takes the place of our side too, so that the ratio in the
table (which ought to be 1) shows how far figures on this machine wander by themselves.
"""

from collections.abc import Iterable
from functools import partial

from tests.performance import manifests
from tests.performance.benchmarks import b01_shell, b16_command
from tests.performance.harness import Case, Check, Side
from tests.performance.suite import Suite


def limit_cases(suite: Suite) -> Iterable[Case]:
    """One case per limit; B1's rivals beside theirs."""
    kilobytes = suite.workspace.path / "kilobytes-limit"
    kilobytes.mkdir()
    manifests.kilobyte_files(kilobytes, 2_000)
    yield _case(
        "B1", "spawn, 4 in flight", "runs/s", suite.limit("spawn", 2_000), b01_shell.rivals(suite, "sqlite", 1_000)
    )
    yield _case("B1", "the same", "runs/s", suite.limit("spawn", 2_000), b01_shell.rivals(suite, "postgresql", 1_000))
    yield _case(
        "B2",
        "timerfd and spawn",
        "ms (child, p50)",
        suite.limit("lateness", 60, 6, 2, suite.folder("l")),
    )
    yield _case("B4", "spawn + commit, SQLite", "ms/hop", suite.limit("chain", 300, suite.folder("l")))
    yield _case("B4", "spawn + commit, PostgreSQL", "ms/hop", suite.limit("chain", 300, suite.postgres.database))
    yield _case("B8", "read, hash, parse 2,000 x 1 KB", "s", suite.limit("read_parse", kilobytes))
    yield _case("B9", "inotify", "ms (p50)", suite.limit("inotify", suite.folder("l"), 200))
    yield _case("B11", "executemany 50/txn, SQLite", "pairs/s", suite.limit("store", 20_000, partial(_sqlite, suite)))
    yield _case(
        "B11", "executemany 50/txn, PostgreSQL", "pairs/s", suite.limit("store", 20_000, partial(_postgres, suite))
    )
    yield _case("B14", "add_reader, 200 MB", "MB/s", suite.limit("add_reader", 200))
    yield _case("B16", "python -c import", "ms", b16_command.bare_interpreter)


def _case(name: str, variant: str, unit: str, limit: Side, rivals: dict[str, Side] | None = None) -> Case:
    again = Check("limit / limit", lambda r: r.ours["value"] / r.limit["value"])
    beside = tuple(_beside(rival) for rival in rivals or {})
    return Case(name, variant, unit, limit, limit, rivals or {}, (again, *beside), twice=False)


def _beside(rival: str) -> Check:
    return Check(f"limit / {rival}", lambda r: r.limit["value"] / r.rivals[rival]["value"], rival=rival)


def _sqlite(suite: Suite) -> str:
    return f"sqlite:///{suite.workspace.folder('l') / 'limit.db'}"


def _postgres(suite: Suite) -> str:
    return suite.postgres.database().replace("postgresql://", "postgresql+psycopg://", 1)
