"""B7: whether a due job starts as quickly among 100,000 others as among 1,000.

Three controllers stay up with 1,000, 10,000 and 100,000 idle jobs (quick: the first two). Each sample gives every one of them twenty one-shots, one
at a time, a tenth of a second apart; the figure is the median of (recorded start - instant), and the score the ratio of the largest to
the smallest. Fair: the same process, the same instants, only the number of other jobs differs.
"""

from collections.abc import Iterable

from tests.performance.benchmarks.b02_lateness import late
from tests.performance.harness import Case, Check, Metrics
from tests.performance.resident import Resident
from tests.performance.suite import Suite

ONE_SHOTS = 20
SECONDS = 2.0


def cases(suite: Suite) -> Iterable[Case]:
    """On SQLite."""
    sizes = (1_000, 10_000) if suite.quick else (1_000, 10_000, 100_000)
    residents = [Resident(suite, f"b7-{size}", size) for size in sizes]

    def ours() -> Metrics:
        medians = {}
        for number, (size, resident) in enumerate(zip(sizes, residents, strict=True)):
            medians[f"p50_{size}"] = late(resident, ONE_SHOTS, SECONDS, number, ahead=4.0)["dispatcher_p50"]
        return {"value": medians[f"p50_{sizes[-1]}"], **medians}

    def close() -> None:
        for resident in residents:
            resident.close()

    largest, smallest = f"p50_{sizes[-1]}", f"p50_{sizes[0]}"
    yield Case(
        id="B7",
        variant=f"1 due among {sizes[0]:,} … {sizes[-1]:,}",
        unit="ms (dispatcher, p50)",
        limit=suite.yardstick(),
        ours=ours,
        checks=(Check(f"{sizes[-1]:,} / {sizes[0]:,}", lambda r: r.ours[largest] / r.ours[smallest], "<=", 1.3),),
        close=close,
    )
