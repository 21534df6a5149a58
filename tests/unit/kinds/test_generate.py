"""The generated files: fresh, structural, readable, and the same from the same models."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from controller.kinds import generate, schemas
from controller.kinds.catalog import KINDS
from controller.kinds.models import MODELS
from controller.kinds.models.configuration import ControllerConfiguration
from controller.kinds.structural import plain
from tests.harness.manifests import job

ROOT = Path(__file__).parents[3]
FILES = generate.files()
CRDS = {path: yaml.load(text, Loader=yaml.CSafeLoader) for path, text in FILES.items() if path.startswith("crds/")}
SCHEMAS = {path: json.loads(text) for path, text in FILES.items() if path.startswith("schemas/")}
CAMEL_CASE = re.compile(r"[a-z][A-Za-z]*")
BOOLEAN_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false"}
# https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/#JSONSchemaProps
ALLOWED = {
    "type", "format", "description", "properties", "required", "items", "additionalProperties", "enum", "pattern", "default",
    "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "maxProperties",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip


def nodes(schema: dict[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema, with its path."""
    yield at, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{at}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{at}[]")


def root_of(crd: dict[str, Any]) -> dict[str, Any]:
    root: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def test_the_committed_files_are_those_that_the_models_give() -> None:
    """`jobwarden schema generate` has been run since the models changed."""
    assert generate.stale(ROOT) == []


def test_a_missing_a_changed_and_a_leftover_file_are_stale_until_written(tmp_path: Path) -> None:
    """`write` makes the folders whole, and nothing else of them is touched."""
    generate.write(tmp_path)
    (tmp_path / "schemas/readme.txt").write_text("mine")
    assert generate.stale(tmp_path) == []
    (tmp_path / "schemas/manifest.schema.json").unlink()
    (tmp_path / "crds/old.yaml").write_text("x")
    changed = tmp_path / "schemas/jobwarden.schema.json"
    changed.write_text(changed.read_text() + " ")
    assert [path.name for path in generate.stale(tmp_path)] == [
        "old.yaml",
        "jobwarden.schema.json",
        "manifest.schema.json",
    ]
    generate.write(tmp_path)
    assert generate.stale(tmp_path) == []
    assert (tmp_path / "schemas/readme.txt").exists()


def test_there_is_a_schema_and_a_crd_for_every_kind_and_no_more() -> None:
    """The catalogue, the models and the files name the same kinds."""
    assert set(MODELS) == set(KINDS)
    assert {crd["spec"]["names"]["kind"] for crd in CRDS.values()} == set(KINDS)
    assert len(SCHEMAS) == len(KINDS) + 2


@pytest.mark.parametrize("path", SCHEMAS)
def test_schemas_are_valid_schemas(path: str) -> None:
    """By the meta-schema of their dialect."""
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[path])


@pytest.mark.parametrize(
    "model",
    [*(model for pair in MODELS.values() for model in pair), ControllerConfiguration],
    ids=lambda model: model.__name__,
)
def test_every_field_is_described_bounded_and_safely_named(model: Any) -> None:
    """Descriptions are sentences; every text, list and map has a bound; no name is a YAML 1.1 boolean or not camelCase."""
    for at, node in nodes(plain(model)):
        for name, inner in node.get("properties", {}).items():
            assert inner.get("description", "")[-1:] in (".", "`", "}"), f"{at}.{name}"
            assert name.lower() not in BOOLEAN_WORDS, f"{at}.{name}"
            assert CAMEL_CASE.fullmatch(name), f"{at}.{name}"
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node, at
        if node.get("type") == "array":
            assert "maxItems" in node, at
        if node.get("type") == "object" and "properties" not in node and "x-jobwarden-open" not in node:
            assert "maxProperties" in node, at
        for value in node.get("enum", ()):
            assert value[0].isupper(), at


@pytest.mark.parametrize("path", CRDS)
def test_crds_are_structural(path: str) -> None:
    """Types everywhere, no dialect of our own, defaults that fit, list keys that exist; what an API server would refuse otherwise."""
    for at, node in nodes(root_of(CRDS[path])):
        assert set(node) <= ALLOWED, f"{at}: {set(node) - ALLOWED}"
        assert "type" in node, at
        assert not ("properties" in node and "additionalProperties" in node), at
        if "default" in node:
            jsonschema.validate(node["default"], node)
        if keys := node.get("x-kubernetes-list-map-keys"):
            for key in keys:
                assert key in node["items"].get("required", ()) or "default" in node["items"]["properties"][key], (
                    f"{at}: {key}"
                )
        if node["type"] == "array":
            assert node["x-kubernetes-list-type"] in ("atomic", "set", "map"), at
            if node["x-kubernetes-list-type"] == "set":
                assert node["items"]["type"] in ("string", "integer"), at


@pytest.mark.parametrize("path", CRDS)
def test_crds_are_small_and_polished(path: str) -> None:
    """Under 256 KiB; category, short name, columns, status subresource, selectable fields that are scalars of the schema."""
    crd = CRDS[path]
    assert len(FILES[path].encode()) < 256 * 1024
    assert crd["metadata"]["name"] == f"{crd['spec']['names']['plural']}.jobwarden.dev"
    assert crd["spec"]["names"]["categories"] == ["jobwarden"]
    assert crd["spec"]["names"]["shortNames"]
    (version,) = crd["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    assert version["additionalPrinterColumns"][-1]["name"] == "AGE"
    assert len(version["selectableFields"]) <= 8
    for field in [*version["selectableFields"], *version["additionalPrinterColumns"]]:
        node = root_of(crd)
        if field["jsonPath"] == ".metadata.creationTimestamp":
            continue
        for part in field["jsonPath"][1:].split("."):
            node = node["properties"][part]
        assert node["type"] in ("string", "integer", "boolean"), field


def test_a_job_has_the_columns_of_the_design() -> None:
    """SCHEDULE, TARGET, SUSPEND, READY, LAST, NEXT, AGE."""
    columns = CRDS["crds/jobwarden.dev_scheduledjobs.yaml"]["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == ["SCHEDULE", "TARGET", "SUSPEND", "READY", "LAST", "NEXT", "AGE"]


def test_unions_and_immutability_are_cel_in_crds() -> None:
    """What JSON Schema says with oneOf and not, an API server is told in CEL."""
    spec = root_of(CRDS["crds/jobwarden.dev_scheduledjobs.yaml"])["properties"]["spec"]
    assert [rule["rule"] for rule in spec["x-kubernetes-validations"]] == [
        "[has(self.shell), has(self.exec), has(self.pod), has(self.watchdog)].filter(given, given).size() == 1",
        "[has(self.schedule), has(self.trigger)].filter(given, given).size() <= 1",
        "[has(self.identity), has(self.identityRef)].filter(given, given).size() <= 1",
        "[has(self.credentialPolicy), has(self.credentialPolicyRef)].filter(given, given).size() <= 1",
        "[has(self.trustContract), has(self.trustContractRef)].filter(given, given).size() <= 1",
    ]
    request = root_of(CRDS["crds/jobwarden.dev_runrequests.yaml"])["properties"]["spec"]
    assert [rule["rule"] for rule in request["x-kubernetes-validations"]] == ["self == oldSelf"]


def test_the_manifest_schema_judges_by_kind() -> None:
    """What an editor points at accepts each kind that people write, and refuses a wrong field of it."""
    validator = jsonschema.Draft202012Validator(SCHEMAS["schemas/manifest.schema.json"])
    assert validator.is_valid(job("a"))
    assert not validator.is_valid(job("a", shedule={}))
    assert not validator.is_valid({**job("a"), "kind": "RunRequest"})
    assert not validator.is_valid({**job("a"), "kind": "ResourcePool"})


def test_at_run_time_the_same_schemas_are_found() -> None:
    """In a checkout the folder at its top, in a wheel the copy beside the module."""
    assert schemas.load("scheduledjob.schema.json") == SCHEMAS["schemas/scheduledjob.schema.json"]
