"""Fresh folders on a real disk, and processes that are gone when the suite is.

Benchmarks ask for a folder per sample; scripts of limits and rivals are run here and answer with one line of JSON. Invariant: no
database that is measured lies on a memory file system.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.performance.harness import NotAvailable

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
SCRIPTS = Path(__file__).resolve().parent
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_counter = itertools.count(1)


def file_system_of(path: Path) -> str:
    """The type of the file system that holds `path`, from /proc/mounts (`ext4`, `tmpfs`, …), or `unknown`."""
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return kind
    for line in mounts:
        where, what = line.split()[1:3]
        if Path(where) in (path, *path.parents) and len(where) >= len(best):
            best, kind = where, what
    return kind


class Workspace:
    """One temporary folder for the whole suite, with numbered folders inside."""

    def __init__(self) -> None:
        """Make the folder below the project's cache, or where BENCH_DIR or TMPDIR say if the cache is in memory."""
        self.path = self._choose()

    @staticmethod
    def _choose() -> Path:
        wishes = [os.environ.get("BENCH_DIR"), str(CACHE), os.environ.get("TMPDIR"), "/var/tmp"]
        for wish in filter(None, wishes):
            parent = Path(wish)
            parent.mkdir(parents=True, exist_ok=True)
            if file_system_of(parent.resolve()) not in _MEMORY_FILE_SYSTEMS:
                return Path(tempfile.mkdtemp(prefix="bench-", dir=parent)).resolve()
        raise NotAvailable("no folder on a real disk: set BENCH_DIR to one")

    def folder(self, name: str) -> Path:
        """A new empty folder."""
        path = self.path / f"{next(_counter):05d}-{name}"
        path.mkdir()
        return path

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)


def script(
    name: str,
    *arguments: object,
    python: Path | None = None,
    seconds: float = 600,
    cwd: Path | None = None,
    path: Path | None = None,
) -> dict[str, Any]:
    """Run `limits/…`, `rivals/…` or `inside/…` as a process of its own and give the JSON object of its last line.

    `path` is put on the import path, for those that import the product.

    Errors: RuntimeError with the end of its standard error, when it fails or is silent.
    """
    command = [str(python or sys.executable), str(SCRIPTS / name), *map(str, arguments)]
    environment = {"PYTHONPATH": str(path)} if path else None
    process = start(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd)
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        end(process)
    lines = out.decode().strip().splitlines()
    if process.returncode != 0 or not lines:
        raise RuntimeError(f"{name} ended with {process.returncode}: {err.decode(errors='replace')[-800:]}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def start(command: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, so that `end` can take everything that it started along."""
    return subprocess.Popen(command, env={**os.environ, **(env or {})}, start_new_session=True, **options)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process's group and collect the process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()
