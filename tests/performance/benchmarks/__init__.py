"""One module for each row of the benchmark table, each with `cases(suite)`. The order here is the order in which they run."""

from collections.abc import Callable, Iterable, Mapping

from tests.performance.benchmarks import (
    b01_shell,
    b02_lateness,
    b03_head_of_line,
    b04_chain,
    b06_idle,
    b07_scale,
    b08_start,
    b09_apply,
    b10_validate,
    b11_store,
    b12_replicas,
    b13_ballast,
    b14_flood,
    b15_crash,
    b16_command,
    b17_box,
    b18_trust,
    c01_apply,
    c02_sync,
    c03_writes,
    c04_cronjobs,
    c05_takeover,
)
from tests.performance.harness import Case
from tests.performance.suite import Suite

BENCHMARKS: Mapping[str, Callable[[Suite], Iterable[Case]]] = {
    "B1": b01_shell.cases,
    "B2": b02_lateness.cases,
    "B3": b03_head_of_line.cases,
    "B4": b04_chain.cases,
    "B6": b06_idle.cases,
    "B7": b07_scale.cases,
    "B8": b08_start.cases,
    "B9": b09_apply.cases,
    "B10": b10_validate.cases,
    "B11": b11_store.cases,
    "B12": b12_replicas.cases,
    "B13": b13_ballast.cases,
    "B14": b14_flood.cases,
    "B15": b15_crash.cases,
    "B16": b16_command.cases,
    "B17": b17_box.cases,
    "B18": b18_trust.cases,
    "C1": c01_apply.cases,
    "C2": c02_sync.cases,
    "C3": c03_writes.cases,
    "C4": c04_cronjobs.cases,
    "C5": c05_takeover.cases,
}
