"""The rivals' own virtual environment, made once from `requirements-bench.lock`, beside the product's and never inside it.

Invariant: the environment is named after the digest of the lock and the interpreter, so that a changed lock makes a new one.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.performance.harness import NotAvailable
from tests.performance.progress import Progress
from tests.performance.workspace import CACHE, ROOT

LOCK = ROOT / "requirements-bench.lock"


class BenchVenv:
    """Gives the interpreter that can import the rivals; makes the environment on first use."""

    def __init__(self, progress: Progress, *, wanted: bool = True) -> None:
        """Nothing is made yet; not `wanted` leaves the rivals out."""
        self._progress = progress
        self._missing = "" if wanted else "left out by --no-rivals"

    def python(self) -> Path:
        """The interpreter. Errors: NotAvailable when the packages cannot be installed (no registry within reach)."""
        if self._missing:
            raise NotAvailable(self._missing)
        folder = CACHE / f"bench-venv-{self._digest()}"
        if not (folder / "complete").exists():
            self._make(folder)
        return folder / "bin" / "python"

    @staticmethod
    def _digest() -> str:
        told = LOCK.read_bytes() + sys.version.encode() + sys.prefix.encode()
        return hashlib.sha256(told).hexdigest()[:12]

    def _make(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        with self._progress.during("installing the rivals from requirements-bench.lock"):
            commands = (
                [sys.executable, "-m", "venv", str(folder)],
                [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(LOCK)],
            )
            for command in commands:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    self._missing = f"the rivals could not be installed: {done.stderr.strip()[-300:]}"
                    raise NotAvailable(self._missing)
        (folder / "complete").touch()
