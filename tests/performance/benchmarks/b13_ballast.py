"""B13: whether starting processes gets slower as the controller grows.

B1 with 1,000 jobs, once as it is and once with 500 MB of touched memory in the controller process; the score is the ratio of the two
rates of the same round. It catches every path that forks instead of using vfork: fork copies page tables and falls to tens of starts per second.
"""

import sys
from collections.abc import Iterable

from tests.performance.benchmarks import one_shots
from tests.performance.harness import Case, Check, Metrics
from tests.performance.suite import Suite

_BALLAST = (
    sys.executable,
    "-c",
    "ballast = bytearray(b'x' * 1_000_000) * 500\nfrom controller.cli.main import main\nmain()",
)


def cases(suite: Suite) -> Iterable[Case]:
    """On SQLite."""

    def ours() -> Metrics:
        without = one_shots.rate(suite, 1_000, "sqlite")["value"]
        with_ballast = one_shots.rate(suite, 1_000, "sqlite", _BALLAST)["value"]
        return {"value": with_ballast, "without": without, "kept": with_ballast / without}

    yield Case(
        id="B13",
        variant="500 MB in the controller",
        unit="runs/s",
        limit=suite.limit("spawn", 2_000),
        ours=ours,
        checks=(Check("with / without", lambda r: r.ours["kept"], ">=", 0.9),),
        twice=False,
    )
