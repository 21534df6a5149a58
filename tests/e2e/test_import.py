"""`jobwarden import cronjob`: what comes out is accepted, and the report says the rest. The examples lie in tests/corpus/cronjobs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import Warden
from tests.harness.warden import ROOT

CORPUS = ROOT / "tests/corpus/cronjobs"
EXAMPLES = sorted(CORPUS.glob("*.yaml"))


@pytest.fixture
def desk(make_warden: Callable[..., Warden]) -> Warden:
    """A place to type commands."""
    return make_warden()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_imported_as_it_is_written_down(desk: Warden, example: Path) -> None:
    """The manifest and the report, word for word; 0 exactly when nothing is said to be lost."""
    done = desk.cli("import", "cronjob", str(example))
    report = example.with_suffix(".report").read_text(encoding="utf-8")
    assert done.out == example.with_suffix(".imported").read_text(encoding="utf-8")
    assert done.err == report
    assert done.code == (1 if "  lost " in report else 0)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_what_comes_out_is_valid(desk: Warden, example: Path) -> None:
    """`jobwarden validate` finds nothing wrong with it."""
    done = desk.cli("import", "cronjob", str(example))
    assert desk.write("imported", done.out).exists()
    desk.cli("validate", str(desk.manifests)).ok()


def test_several_cronjobs_are_several_documents_or_a_list(desk: Warden) -> None:
    """As YAML and as JSON, the same."""
    example = CORPUS / "parallel.yaml"
    documents = list(yaml.safe_load_all(desk.cli("import", "cronjob", str(example)).out))
    listed: Any = json.loads(desk.cli("import", "cronjob", str(example), "-o", "json").out)
    assert listed["items"] == documents
    assert [one["metadata"]["name"] for one in documents] == ["render", "reap"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no CronJob"),
        ("kind: Service\napiVersion: v1\n", "no CronJob"),
        ("a: [", "not YAML"),
        ("kind: CronJob\nkind: CronJob\n", "line 2"),
    ],
)
def test_what_is_no_cronjob_is_told(desk: Warden, text: str, words: str) -> None:
    """With 1, and nothing on standard output."""
    file = desk.folder / "file.yaml"
    file.write_text(text, encoding="utf-8")
    done = desk.cli("import", "cronjob", str(file))
    assert (done.code, done.out) == (1, "")
    assert words in done.err


def test_nothing_to_read_is_wrong_usage(desk: Warden) -> None:
    """A file or a name in a cluster, and not both."""
    assert desk.cli("import", "cronjob").code == 2
    assert desk.cli("import", "cronjob", "nowhere.yaml").code == 2
    assert desk.cli("import", "cronjob", str(EXAMPLES[0]), "--from-cluster", "x").code == 2
