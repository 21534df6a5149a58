"""A controller that stays up for a whole benchmark case, with many idle jobs loaded, to which every sample adds its own work.

Loading ten thousand jobs anew for each sample would make the suite ten times longer and tell nothing more. Invariant: names of jobs
are never used twice, so each sample's runs can be told from those of the others.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.performance import manifests
from tests.performance.product import Controller, Installation, installation
from tests.performance.suite import Suite

_numbers = itertools.count(1)


class Resident:
    """Starts on first use; `close` ends it."""

    def __init__(
        self,
        suite: Suite,
        name: str,
        idle: int,
        *arguments: str,
        engine: str = "sqlite",
        fill: Callable[[Path, int], None] | None = None,
    ) -> None:
        """`idle` jobs are loaded before the first sample, from manifests that `fill(folder, count)` writes."""
        self._suite, self._name, self.idle, self._arguments, self._engine = suite, name, idle, arguments, engine
        self._fill = fill or _idle
        self._stack = ExitStack()
        self._controller: Controller | None = None
        self._loaded = idle

    @property
    def controller(self) -> Controller:
        """The running controller with its idle jobs loaded."""
        if self._controller is None:
            where = self._stack.enter_context(installation(self._suite, self._name, self._engine))
            self._fill(where.manifests, self.idle)
            with self._suite.progress.during(f"{self._name}: loading {self.idle:,} jobs"):
                self._controller = self._stack.enter_context(Controller(where, *self._arguments))
                self._controller.wait_loaded(self.idle, 1200)
        return self._controller

    @property
    def where(self) -> Installation:
        """Its installation."""
        return self.controller.where

    def add(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Give it more jobs and wait until it has them."""
        documents = list(jobs)
        manifests.write(self.where.manifests, f"more-{next(_numbers):04d}", documents)
        self._loaded += len(documents)
        self.controller.wait_loaded(self._loaded)

    def runs_of(self, prefix: str) -> list[dict[str, Any]]:
        """The runs of jobs whose names begin with `prefix`."""
        return [run for run in self.where.runs() if run["spec"]["job"].startswith(prefix)]

    def close(self) -> None:
        """End the controller and remove its database."""
        self._stack.close()
        self._controller = None
        self._loaded = self.idle


def fresh(word: str) -> str:
    """A prefix for job names that nobody has used yet."""
    return f"{word}{next(_numbers)}-"


def _idle(folder: Path, count: int) -> None:
    manifests.write(folder, "idle", manifests.idle_jobs(count))
