"""The chart says of the program what is so: its copies, its version, its definitions, its example. What an API server says of it is in tests/cluster/test_chart.py."""

import json
import tomllib
from typing import Any

import yaml

from controller.kinds.parse import parse_file
from tests.contract import generate
from tests.contract.generate import CHART
from tests.harness.warden import ROOT

_CHART = yaml.safe_load((CHART / "Chart.yaml").read_text())
_DEFINITIONS = [yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in sorted((ROOT / "crds").glob("*.yaml"))]


def test_its_copies_are_current() -> None:
    """`make generate` was run."""
    assert generate.stale_copies() == [], "run `make generate`"


def test_it_has_the_version_of_the_program() -> None:
    """A chart installs the program that it was made with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (_CHART["version"], _CHART["appVersion"]) == (project["version"], project["version"])


def test_it_lists_every_definition() -> None:
    """The annotation that hubs show names all kinds, by their right names."""
    listed = yaml.safe_load(_CHART["annotations"]["artifacthub.io/crds"])
    told = {(one["name"], one["kind"], one["version"]) for one in listed}
    there = {
        (one["metadata"]["name"], one["spec"]["names"]["kind"], one["spec"]["versions"][0]["name"])
        for one in _DEFINITIONS
    }
    assert told == there


def test_its_example_is_valid() -> None:
    """Whoever copies it from a hub gets a job."""
    for document in yaml.safe_load(_CHART["annotations"]["artifacthub.io/crdsExamples"]):
        parsed = parse_file("example.yaml", yaml.safe_dump(document).encode())
        assert not parsed.errors


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    """values.yaml is the list of what can be said: nothing is hidden in the schema, nothing in it is unknown there."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    declared = _declared(schema) - {"global", "resources.claims", "pods.egressProxy.resources.claims"}
    assert _said(values, declared) == declared


def _declared(schema: dict[str, Any], prefix: str = "") -> set[str]:
    """Paths of the leaves of a schema."""
    found = set()
    for name, field in schema["properties"].items():
        if field is False:
            continue
        inner = field.get("properties", {})
        closed = field.get("additionalProperties") is False
        found |= _declared(field, f"{prefix}{name}.") if inner and closed else {prefix + name}
    return found


def _said(values: dict[str, Any], declared: set[str], prefix: str = "") -> set[str]:
    """Paths of the values, as deep as the schema looks."""
    found = set()
    for name, value in values.items():
        path = prefix + name
        found |= {path} if path in declared or not isinstance(value, dict) else _said(value, declared, f"{path}.")
    return found
