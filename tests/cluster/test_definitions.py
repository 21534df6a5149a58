"""The definitions in `crds/` before a real API server: the same verdicts as `jobwarden validate`, and everything that kubectl shows of a kind."""

import http.client
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.kinds import verdict
from controller.kinds.catalog import API_VERSION, KINDS, schema_file
from controller.kinds.parse import parse_file
from controller.kinds.yaml import read
from tests.harness import once
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import Document
from tests.harness.warden import ROOT

CORPUS = ROOT / "tests/corpus"
_STATUS_OF_VALIDATION = (400, 422)


class Raw:
    """Plain HTTP: what the API server says, word for word."""

    def __init__(self, api: ControlPlane) -> None:
        context = ssl.create_default_context(cafile=str(api.folder / "certificates/apiserver.crt"))
        self._connection = http.client.HTTPSConnection(api.server.removeprefix("https://"), context=context)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def create(self, document: Document, namespace: str = "default") -> tuple[int, Any]:
        """Create strictly, and only as a rehearsal. Gives the code and the answer."""
        kind = KINDS[document["kind"]]
        place = f"namespaces/{namespace}/" if kind.namespaced else ""
        self._connection.request(
            "POST",
            f"/apis/{API_VERSION}/{place}{kind.plural}?dryRun=All&fieldValidation=Strict",
            body=json.dumps(document),
            headers={"Authorization": "Bearer admin-token", "Content-Type": "application/json"},
        )
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.fixture
def raw(api: ControlPlane) -> Iterator[Raw]:
    """Requests as the administrator."""
    asking = Raw(api)
    yield asking
    asking.close()


def documents(folder: str) -> Iterator[tuple[str, Document]]:
    """Every document of ours in the corpus that is an object at all, with where it is."""
    for path in sorted((CORPUS / folder).iterdir()):
        if path.suffix == ".expected":
            continue
        for document in read(path.read_bytes()).documents:
            found = document.value.get("items", [document.value]) if isinstance(document.value, dict) else []
            for one in found:
                if (
                    isinstance(one, dict)
                    and isinstance(one.get("kind"), str)
                    and one["kind"] in KINDS
                    and one.get("apiVersion") == API_VERSION
                    and not document.problems
                ):
                    yield f"{path.name}:{document.line}", one


def clean(document: Document) -> Document:
    """Without what an API server gives by itself."""
    metadata = {
        key: value
        for key, value in (document.get("metadata") or {}).items()
        if key in ("name", "labels", "annotations")
    }
    return {**{key: value for key, value in document.items() if key != "status"}, "metadata": metadata}


def pointers(answer: Any) -> list[str]:
    """The fields of an answer as JSON pointers."""
    causes = answer.get("details", {}).get("causes", [])
    fields = [cause.get("field", "") for cause in causes]
    if not causes:
        fields = re.findall(r'(?:unknown field|duplicate field) "([^"]+)"', answer["message"])
    return [
        "/" + re.sub(r"\[(\w+)\]", r".\1", field).replace(".", "/") for field in fields if field not in ("", "<nil>")
    ]


def test_every_good_document_is_accepted(raw: Raw) -> None:
    """What `jobwarden validate` accepts, the API server accepts."""
    seen = 0
    for where, document in documents("good"):
        if KINDS[document["kind"]].verb is not None:
            continue
        code, answer = raw.create(clean(document))
        assert code == 201, f"{where}: {answer.get('message')}"
        seen += 1
    assert seen >= 15


def test_what_the_schema_refuses_the_api_server_refuses_at_the_same_place(raw: Raw) -> None:
    """Class A: the same verdict, and a cause at a place that `jobwarden validate` names as well (it names meaning only where the shape is right)."""
    seen = compared = 0
    for where, document in documents("bad"):
        if not isinstance(document.get("metadata"), dict) or KINDS[document["kind"]].verb is not None:
            continue
        told = [error.pointer for error in parse_file("x", json.dumps(document).encode()).errors]
        judged = verdict.judge(document["kind"], schema_file(document["kind"]), document)
        code, answer = raw.create(clean(document))
        if judged.findings and not all(one.pointer.startswith("/metadata") for one in judged.findings):
            assert code in _STATUS_OF_VALIDATION, f"{where}: accepted, but {told}"
            seen += 1
        if code in _STATUS_OF_VALIDATION:
            found = pointers(answer)
            near = [one for one in told for pointer in found if one.startswith(pointer) or pointer.startswith(one)]
            compared += bool(found)
            assert near or not found, f"{where}: {answer['message']} is none of {told}"
    assert seen >= 25
    assert compared >= 25, "the API server names fields in another way: nothing was compared"


def test_kubectl_explains_every_field(api: ControlPlane) -> None:
    """`kubectl explain` has a sentence for each."""
    text = api.kubectl("explain", "sjob.spec.concurrency").ok().out
    assert "policy" in text
    assert "maxQueued" in text
    assert "enum: Forbid, Allow, Replace, Queue" in text
    for kind in KINDS.values():
        everything = api.kubectl("explain", f"{kind.plural}.spec", "--recursive").ok().out
        assert "FIELDS" in everything, kind.name


def test_resources_are_found_by_short_name_category_and_field(api: ControlPlane, namespace: str) -> None:
    """`kubectl get jobwarden`, `kubectl get sjob --field-selector spec.suspend=true`."""
    api.apply(once("goes"), once("rests", suspend=True), namespace=namespace).ok()
    assert "goes" in api.kubectl("get", "jobwarden", "-n", namespace, "-o", "name").ok().out
    chosen = api.kubectl("get", "sjob", "-n", namespace, "--field-selector", "spec.suspend=true", "-o", "name").ok().out
    assert chosen.split() == ["scheduledjob.jobwarden.dev/rests"]


def test_a_refusal_says_what_to_do(api: ControlPlane, namespace: str) -> None:
    """kubectl shows the field and the sentence of the rule."""
    both = once("both")
    both["spec"]["exec"] = {"command": ["true"]}
    refused = api.apply(both, namespace=namespace)
    assert refused.code == 1
    assert "exactly one of" in refused.err
    typo = once("typo")
    typo["spec"]["concurency"] = {}
    assert 'unknown field "spec.concurency"' in api.apply(typo, namespace=namespace).err


@pytest.mark.parametrize("path", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda path: Path(path).name)
def test_a_definition_fits_where_kubectl_keeps_what_was_applied(path: Path) -> None:
    """An annotation may have 256 KiB, so that `kubectl apply` without --server-side works as well."""
    assert path.stat().st_size < 256 * 1024
