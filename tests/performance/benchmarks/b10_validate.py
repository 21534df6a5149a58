"""B10: how many parsed manifests a second can be judged.

10,000 documents in memory, one in a hundred of them bad: shape by the schema and meaning by the rules of the kind (cron, zones, durations, combinations), with findings
for what is refused. Against jsonschema-rs alone, which says yes or no by the same schema and knows no rules. Fair: same documents,
same order, building the validators is outside the clock on both sides.
"""

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.performance.harness import Case, Metrics, absolute, slower_than_limit
from tests.performance.manifests import kilobyte_text
from tests.performance.suite import Suite
from tests.performance.workspace import ROOT, script

BAD_EVERY = 100
SCHEMA = ROOT / "schemas" / "scheduledjob.schema.json"


def cases(suite: Suite) -> Iterable[Case]:
    """One case."""
    count = 2_000 if suite.quick else 10_000
    path = suite.workspace.path / f"documents-{count}.json"
    yield Case(
        id="B10",
        variant=f"{count:,} manifests",
        unit="manifests/s",
        limit=suite.limit("validate", SCHEMA, lambda: _written(path, count)),
        ours=lambda: judged(_written(path, count), count),
        checks=(absolute("rate", "value", ">=", 10_000.0, "/s"), slower_than_limit(None)),
    )


def judged(path: Path, count: int) -> Metrics:
    """Our rate; every bad document, and no other, must have been refused."""
    told = script("inside/validate_documents.py", path, path=ROOT)
    if told["refused"] != count // BAD_EVERY:
        raise RuntimeError(f"{told['refused']} documents were refused instead of {count // BAD_EVERY}")
    return told


def _written(path: Path, count: int) -> Path:
    if not path.exists():
        path.write_text(json.dumps([_document(number) for number in range(count)]), encoding="utf-8")
    return path


_TEMPLATE: dict[str, Any] = yaml.load(kilobyte_text(0), Loader=yaml.CSafeLoader)


def _document(number: int) -> dict[str, Any]:
    document = copy.deepcopy(_TEMPLATE)
    document["metadata"]["name"] = f"job-{number:05d}"
    document["spec"]["schedule"]["cron"] = f"{number % 60} {number // 60 % 24} * * *"
    if number % BAD_EVERY == 7:
        # Half of the bad ones break the schema, the others only a rule.
        if number % (2 * BAD_EVERY) == 7:
            document["spec"]["priority"] = "high"
        else:
            document["spec"]["env"][0]["name"] = "JOBWARDEN_RUN_ID"
    return document
