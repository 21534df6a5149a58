"""The corpus: good files give resources and nothing else; each bad file gives exactly the errors that stand beside it."""

from pathlib import Path

import pytest

from controller.kinds import schemas, verdict
from controller.kinds.catalog import KINDS, schema_file
from controller.kinds.parse import ParsedFile, parse_file
from controller.kinds.yaml import read

CORPUS = Path(__file__).parents[2] / "corpus"
GOOD = sorted(path for path in (CORPUS / "good").iterdir())
BAD = sorted(path for path in (CORPUS / "bad").iterdir() if path.suffix != ".expected")


def parsed(path: Path) -> ParsedFile:
    return parse_file(path.name, path.read_bytes())


def summary(file: ParsedFile) -> list[str]:
    """One line for the file and one for each error, as in the sidecar files."""
    head = f"# complete: {str(file.complete).lower()}, resources: {len(file.resources)}"
    errors = [
        f"{error.line}:{error.column} {error.reason} {error.name or '-'} {error.pointer or '-'}"
        for error in file.errors
    ]
    return [head, *errors]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_a_good_file_gives_resources_and_no_errors(path: Path) -> None:
    """Everything in `good/` is accepted as it stands."""
    file = parsed(path)
    assert [str(error) for error in file.errors] == []
    assert file.complete
    assert file.resources


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_a_bad_file_gives_the_expected_errors_at_the_expected_places(path: Path) -> None:
    """Line, column, reason, resource and pointer of every error are those of the sidecar."""
    assert summary(parsed(path)) == path.with_suffix(".expected").read_text("utf-8").splitlines()


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_every_error_says_what_is_wrong_and_what_to_do_on_one_line(path: Path) -> None:
    """Messages are one line, begin with the place, and are followed by a hint."""
    for error in parsed(path).errors:
        text = str(error)
        assert text.startswith(f"{path.name}:{error.line}:{error.column}: ")
        assert text.isprintable()
        assert error.message
        assert not error.message.endswith(".")


def test_the_two_validators_agree_on_every_document_of_the_corpus() -> None:
    """The quick one decides, the slow one explains: a difference would be a refusal without a reason."""
    seen = 0
    for path in [*GOOD, *BAD]:
        for document in read(path.read_bytes()).documents:
            for kind in KINDS:
                name = schema_file(kind)
                value = verdict._without_nulls(document.value, schemas.load(name))
                assert verdict._quick(name).is_valid(value) == verdict._slow(name).is_valid(value), (path, kind)
                seen += 1
    assert seen > 500


def test_no_message_shows_a_value_that_could_be_a_secret() -> None:
    """Values of variables, defaults, scripts and URLs never appear in a message, whatever is wrong with them."""
    canary = "canary-5f1e"
    data = f"""
apiVersion: jobwarden.dev/v1alpha1
kind: ScheduledJob
metadata: {{name: a}}
spec:
  shell: {{script: [{canary}]}}
  env: [{{name: A, value: {{x: {canary}}}}}, {{name: A, value: {canary}, valueFrom: {canary}}}]
  parameters: [{{name: p, default: {canary}, pattern: "x+"}}]
---
apiVersion: jobwarden.dev/v1alpha1
kind: NotificationTarget
metadata: {{name: a}}
spec: {{webhook: {{url: "ftp://{canary}@example.com/{canary}"}}}}
---
apiVersion: jobwarden.dev/v1alpha1
kind: NotificationTarget
metadata: {{name: b}}
spec: {{webhook: {{url: "https://{canary}@example.com/{canary}"}}}}
---
apiVersion: jobwarden.dev/v1alpha1
kind: ScheduledJob
metadata: {{name: b}}
spec:
  shell: {{script: "true"}}
  parameters: [{{name: p, default: {canary}, pattern: "x+"}}]
"""
    file = parse_file("secret.yaml", data.encode())
    assert {error.name for error in file.errors} == {"a", "b"}
    assert len(file.errors) >= 5
    assert canary not in "\n".join(map(str, file.errors))
