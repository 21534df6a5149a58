"""B11: how many runs a second the store can open and finish, durably.

20,000 pairs (open a run, then finish it with 200 bytes of output): 64 callers that each write one at a time, so that only the store's group commit
helps; and the same with 50 handed over at once, as the dispatcher does under load. Against plain SQLAlchemy executemany with 50 pairs a transaction in
one thread on the same engine with the same durability. Fair: the same library, rows of both sides counted afterwards; ours carry all
columns, indexes and checks of the real tables, the limit's table has six columns and none.
"""

from collections.abc import Iterable
from pathlib import Path

from tests.performance.harness import Case, Check, Metrics, absolute
from tests.performance.suite import Suite
from tests.performance.workspace import ROOT, script

CALLERS = 64


def cases(suite: Suite) -> Iterable[Case]:
    """SQLite and PostgreSQL, single and batched."""
    pairs = 5_000 if suite.quick else 20_000
    for engine in ("sqlite", "postgresql"):
        for together in (1, 50):
            yield _case(suite, engine, pairs, together)


def _case(suite: Suite, engine: str, pairs: int, together: int) -> Case:
    callers = CALLERS if together == 1 else 4

    def sqlalchemy_url() -> str:
        return _url(suite, engine).replace("postgresql:", "postgresql+psycopg:", 1)

    def ours() -> Metrics:
        return script("inside/store_pairs.py", pairs, _url(suite, engine), callers, together, path=ROOT)

    single = together == 1
    return Case(
        id="B11",
        variant=f"{engine}, {callers} callers, {together} at once",
        unit="pairs/s",
        limit=suite.limit("store", pairs, sqlalchemy_url),
        ours=ours,
        checks=(
            Check("ours / limit", lambda r: r.ours["value"] / r.limit["value"], ">=", 0.5),
            absolute("operations per commit", "operations_per_commit", ">=", 8.0 if single else None, ""),
        ),
    )


def _url(suite: Suite, engine: str) -> str:
    if engine == "postgresql":
        return suite.postgres.database()
    folder: Path = suite.workspace.folder("store")
    return f"sqlite:///{folder / 'bench.db'}"
