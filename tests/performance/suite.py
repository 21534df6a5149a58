"""What every benchmark is handed: where to work, which server and which rivals there are, and how long it may take.

`__main__` makes one, `benchmarks/*` take it. Invariant: benchmarks get their surroundings from here and from nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.performance.bench_venv import BenchVenv
from tests.performance.harness import Metrics, Side
from tests.performance.postgres import Postgres
from tests.performance.progress import Progress
from tests.performance.workspace import Workspace, script


@dataclass(frozen=True)
class Suite:
    """The surroundings of one run of the suite."""

    workspace: Workspace
    postgres: Postgres
    venv: BenchVenv
    progress: Progress
    quick: bool

    def limit(self, name: str, *arguments: object) -> Side:
        """A side that runs `limits/<name>.py` in a process of its own.

        Arguments that can be called are called anew for every sample (fresh folders, databases, seeds).
        """

        def side() -> Metrics:
            return script(f"limits/{name}.py", *(one() if callable(one) else one for one in arguments))

        return side

    def folder(self, name: str) -> Callable[[], Path]:
        """An argument of `limit`: a new folder for every sample."""
        return lambda: self.workspace.folder(name)

    def rival(self, name: str, arguments: Callable[[], tuple[object, ...]]) -> Side:
        """A side that runs `rivals/<name>.py` in the rivals' environment, with arguments made anew for every sample."""

        def side() -> Metrics:
            return script(f"rivals/{name}.py", *arguments(), python=self.venv.python(), cwd=self.workspace.path)

        return side

    def yardstick(self) -> Side:
        """A short spawn limit, for rounds whose benchmark has no limit of its own: it tells noisy rounds, nothing else."""
        return self.limit("spawn", 600)
