"""B17: how many runs a second go through a box.

The Local executor starts `sh -c true` in the box of a contract, captures its output, reads what it gives and waits until the box is empty. Against a bare interpreter that
starts bubblewrap with the same arguments and the same filter, captures nothing and waits for bubblewrap alone. Fair: the same command and as many in flight on both sides. The box
with hosts has more to do than its limit: a listener is opened in its network, and the command waits for it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.performance.harness import Case, Metrics, slower_than_limit
from tests.performance.suite import Suite
from tests.performance.workspace import ROOT, script

IN_FLIGHT = 4
_VARIANTS = {
    "Restricted": ("Restricted", "Unrestricted"),
    "Isolated": ("Isolated", "None"),
    "Restricted, with hosts": ("Restricted", "Restricted"),
}


def cases(suite: Suite) -> Iterable[Case]:
    """Every kind of box."""
    count = 200 if suite.quick else 1_000
    for variant, asked in _VARIANTS.items():
        yield _case(suite, variant, asked, count)


def _case(suite: Suite, variant: str, asked: tuple[str, str], count: int) -> Case:
    folder = suite.workspace.folder("box")
    bare: dict[str, Any] = {}

    def arguments() -> str:
        bare.update(bare or script("inside/box_spawn.py", 0, 0, *asked, folder, path=ROOT))
        return json.dumps(bare["arguments"])

    def ours() -> Metrics:
        where: Path = suite.workspace.folder("box")
        return script("inside/box_spawn.py", count, IN_FLIGHT, *asked, where, path=ROOT)

    return Case(
        id="B17",
        variant=f"{variant}, {IN_FLIGHT} in flight",
        unit="runs/s",
        limit=suite.limit("box_spawn", count, IN_FLIGHT, arguments, folder / "filter"),
        ours=ours,
        checks=(slower_than_limit(2.5),),
    )
