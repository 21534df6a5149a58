"""The two digests: what leaves them alone, what changes them, and that they never change by themselves."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.kinds import schemas
from controller.kinds.digests import effective_digest, fire_digest, reader
from controller.kinds.models import MODELS
from controller.kinds.models.base import Model
from controller.kinds.parse import parse_file
from tests.builders import bare, job, resource
from tests.unit.kinds.strategies import valid

GOLDEN = Path(__file__).with_name("digests.json")
GOOD = Path(__file__).parents[2] / "corpus" / "good"


def digests(document: dict[str, Any]) -> tuple[str, str]:
    document = resource(document).document
    return fire_digest(document), effective_digest(document)


def test_the_digests_of_the_corpus_are_those_of_earlier_versions() -> None:
    """A stored digest that changed by itself would fire one-shots again and void approvals. Never edit the table; add to it."""
    golden = json.loads(GOLDEN.read_text())
    assert golden
    found = {
        f"{path.name}/{found.name}": [fire_digest(found.document), effective_digest(found.document)]
        for path in sorted(GOOD.iterdir())
        for found in parse_file(path.name, path.read_bytes()).resources
        if found.kind == "ScheduledJob"
    }
    assert {name: found.get(name) for name in golden} == golden


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (job("a"), job("b", metadata={"labels": {"x": "y"}, "namespace": "n"})),
        (job("a", timeout="90s"), job("a", timeout="1m30s")),
        (job("a", schedule={"cron": "@daily"}), job("a", schedule={"crons": ["@daily"]})),
        (
            job("a", schedule={"cron": "@daily"}),
            job("a", schedule={"cron": "@daily", "timeZone": "UTC", "jitter": "0s", "catchUp": {}}),
        ),
        (
            job("a", schedule={"cron": "@daily"}),
            job("a", schedule={"cron": "@daily", "catchUp": {"policy": "Latest", "limit": 100}}),
        ),
        (job("a", schedule={"at": "2026-01-01T00:00:00Z"}), job("a", schedule={"at": "2026-01-01T01:00:00.0+01:00"})),
        (bare("a", shell={"script": "x"}), bare("a", shell={"script": "x", "shell": "/bin/sh"})),
        (bare("a", exec={"command": ["x"]}), bare("a", exec={"command": ["x"], "args": []})),
        (
            job("a"),
            job(
                "a", retry={"limit": 0, "backoff": {"factor": 2.0}}, concurrency={"pools": []}, approval={"message": ""}
            ),
        ),
        (job("a", output={"keep": "64Ki"}), job("a", output={"keep": "65536"})),
        (
            job("a", concurrency={"pools": [{"name": "p"}]}),
            job("a", concurrency={"pools": [{"name": "p", "kind": "ResourcePool", "slots": 1}]}),
        ),
    ],
)
def test_another_way_to_say_the_same_changes_neither_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Spelling, order, defaults that are written out, emptiness, metadata."""
    assert digests(one) == digests(other)


@pytest.mark.parametrize(
    "aside",
    [
        {"description": "x"},
        {"suspend": True},
        {"priority": 5},
        {"notifications": [{"events": ["Failed"], "targetRef": {"name": "t"}}]},
        {"alerts": {"maxDuration": "1h"}},
        {"history": {"succeeded": 1}},
    ],
)
def test_what_does_not_decide_a_run_changes_neither_digest(aside: dict[str, Any]) -> None:
    """A description that is corrected fires nothing again and voids no approval."""
    assert digests(job("a")) == digests(job("a", **aside))


@pytest.mark.parametrize(
    ("change", "fires_anew"),
    [
        ({"schedule": {"every": "1m"}}, True),
        ({"trigger": {"after": [{"job": "x"}]}}, True),
        ({"script": "false"}, True),
        ({"timeout": "1m"}, False),
        ({"env": [{"name": "A", "value": ""}]}, False),
        ({"parameters": [{"name": "p", "default": ""}]}, False),
        ({"retry": {"limit": 1}}, False),
        ({"workingDir": "/tmp"}, False),
        ({"approval": {"required": True}}, False),
        ({"onInterruption": "Rerun"}, False),
        ({"concurrency": {"policy": "Allow"}}, False),
        ({"deletionPolicy": "Orphan"}, False),
    ],
)
def test_what_decides_a_run_changes_the_digest_that_approvals_are_bound_to(
    change: dict[str, Any], fires_anew: bool
) -> None:
    """Only schedule, trigger and target make it another firing."""
    before, after = digests(job("a")), digests(job("a", **change))
    assert before[1] != after[1]
    assert (before[0] != after[0]) == fires_anew


def test_order_of_lists_matters() -> None:
    """Arguments, rules and steps are sequences."""
    assert digests(bare("a", exec={"command": ["x", "y"]}))[0] != digests(bare("a", exec={"command": ["y", "x"]}))[0]


def with_defaults(model: Model) -> Any:
    """The document with every default written out, as an API server would do inside the objects that are there."""
    return json.loads(model.model_dump_json(by_alias=True, exclude_none=True))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_writing_every_default_out_changes_nothing(data: st.DataObject) -> None:
    """The models' defaults are the schema's: a document and its fully defaulted form mean the same."""
    schema = schemas.load("scheduledjob.schema.json")["properties"]["spec"]
    spec = data.draw(valid(schema))
    model, _ = MODELS["ScheduledJob"]
    read = reader(schema)
    try:
        meant = read(spec)
    except ValueError:  # a day that no calendar has
        return
    assert read(with_defaults(model.model_validate(spec))) == meant
