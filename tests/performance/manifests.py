"""The manifests that benchmarks feed to the controller: plain files, as a person would write them.

Invariant: nothing is set that a benchmark does not measure; every other field has its default.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

FAR = datetime(2099, 1, 1, tzinfo=UTC)
TOGETHER = 250
"""Documents in one file, where it does not matter how they are spread."""


def instant(when: datetime) -> str:
    """RFC 3339 with microseconds."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def job(
    name: str, script: str = "true", at: datetime | None = None, shell: str | None = None, **spec: Any
) -> dict[str, Any]:
    """One ScheduledJob that runs `script` with `shell` (None: the default one), at an instant or when `spec` says."""
    schedule = {} if at is None else {"schedule": {"at": instant(at)}}
    target = {"script": script} if shell is None else {"script": script, "shell": shell}
    return {
        "apiVersion": "jobwarden.dev/v1alpha1",
        "kind": "ScheduledJob",
        "metadata": {"name": name},
        "spec": {**schedule, "shell": target, **spec},
    }


def idle_jobs(count: int, prefix: str = "idle") -> Iterable[dict[str, Any]]:
    """Jobs that are due in another century."""
    return (job(f"{prefix}-{n:06d}", at=FAR + timedelta(seconds=n)) for n in range(count))


def write(folder: Path, name: str, documents: Iterable[Mapping[str, Any]]) -> None:
    """Write documents into as few files `<name>-NNNN.yaml` as is reasonable; each file appears at once (rename)."""
    batch: list[Mapping[str, Any]] = []
    number = 0
    for document in documents:
        batch.append(document)
        if len(batch) == TOGETHER:
            _file(folder / f"{name}-{number:04d}.yaml", batch)
            batch, number = [], number + 1
    if batch:
        _file(folder / f"{name}-{number:04d}.yaml", batch)


def _file(path: Path, documents: list[Mapping[str, Any]]) -> None:
    beside = path.with_suffix(".beside")
    beside.write_text(yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=False), encoding="utf-8")
    beside.rename(path)


def kilobyte_files(folder: Path, count: int, per_folder: int = 100) -> None:
    """`count` files of about 1 KB with one job each, `per_folder` to a subfolder: what a large repository looks like."""
    for number in range(count):
        where = folder / f"team-{number // per_folder:03d}"
        if number % per_folder == 0:
            where.mkdir(parents=True)
        (where / f"job-{number:05d}.yaml").write_text(kilobyte_text(number), encoding="utf-8")


def kilobyte_text(number: int) -> str:
    """One such manifest."""
    return _KILOBYTE.format(n=number, minute=number % 60)


_KILOBYTE = """\
apiVersion: jobwarden.dev/v1alpha1
kind: ScheduledJob
metadata:
  name: job-{n:05d}
  labels:
    team: data-platform
    tier: nightly
    index: "{n}"
spec:
  description: >-
    Copies yesterday's partition of table {n} into the warehouse, checks the row count against the source, and leaves a
    report for the people who look after it. Safe to run again.
  priority: 10
  schedule:
    cron: "{minute} 3 1 1 *"
    timeZone: UTC
    startingDeadline: 6h
  shell:
    script: |
      set -eu
      echo "copying table {n}"
      printf 'rows=%s\\n' 42 >> "$JOBWARDEN_OUTPUT"
  env:
    - name: WAREHOUSE_URL
      value: https://warehouse.example.com/partitions
    - name: LOG_LEVEL
      value: info
    - name: BATCH_SIZE
      value: "5000"
  timeout: 45m
  terminationGracePeriod: 20s
  concurrency:
    policy: Forbid
  retry:
    limit: 3
    backoff:
      initial: 30s
      factor: 2
      max: 10m
  onInterruption: Rerun
  history:
    succeeded: 5
    failed: 10
"""
