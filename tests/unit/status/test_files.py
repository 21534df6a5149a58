"""Status files: whole, only ours, and never among manifests."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.base.errors import InvalidInput
from controller.status.files import MARK, StatusFiles


def shape(name: str = "a", ready: str = "True", namespace: str | None = "default") -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "v",
        "kind": "ScheduledJob",
        "metadata": metadata,
        "spec": {"x": 1},
        "status": {"ready": ready},
    }


def test_a_file_says_which_resource_it_is_about_and_how_it_stands(tmp_path: Path) -> None:
    """The spec is not repeated: it is where somebody wrote it."""
    files = StatusFiles(tmp_path / "status", [])
    assert files.write(shape())
    found = yaml.safe_load((tmp_path / "status/ScheduledJob/default/a.yaml").read_text())
    assert found == {
        "apiVersion": "v",
        "kind": "ScheduledJob",
        "metadata": {"name": "a", "namespace": "default"},
        "status": {"ready": "True"},
    }


def test_a_file_is_replaced_only_when_the_status_changed(tmp_path: Path) -> None:
    """Also by a controller that was started anew: watchers of the folder see real changes only."""
    StatusFiles(tmp_path, []).write(shape())
    path = tmp_path / "ScheduledJob/default/a.yaml"
    before = path.stat().st_ino
    files = StatusFiles(tmp_path, [])
    assert not files.write(shape())
    assert path.stat().st_ino == before
    assert files.write(shape(ready="False"))
    assert path.stat().st_ino != before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_without_our_mark_is_neither_changed_nor_removed(tmp_path: Path) -> None:
    """Somebody's own file at our place stays as it is."""
    path = tmp_path / "ScheduledJob/default/a.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("mine: true\n")
    files = StatusFiles(tmp_path, [])
    assert not files.write(shape())
    files.remove(path)
    files.keep_only(set())
    assert path.read_text() == "mine: true\n"


def test_files_of_resources_that_are_gone_are_removed_also_those_of_an_earlier_controller(tmp_path: Path) -> None:
    """And the folders that this leaves empty."""
    StatusFiles(tmp_path, []).write(shape("old", namespace="team"))
    files = StatusFiles(tmp_path, [])
    files.write(shape("new"))
    files.keep_only({files.path(shape("new"))})
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.yaml")] == ["ScheduledJob/default/new.yaml"]
    assert not (tmp_path / "ScheduledJob/team").exists()


def test_cluster_kinds_have_a_folder_that_no_namespace_can_be_called(tmp_path: Path) -> None:
    """An underscore is no DNS label."""
    files = StatusFiles(tmp_path, [])
    assert files.path(shape(namespace=None)).parent.name == "_cluster"


@pytest.mark.parametrize("place", ["manifests", "manifests/status", "manifests/../manifests/x", "link/status"])
def test_a_folder_inside_a_source_is_refused(tmp_path: Path, place: str) -> None:
    """What is written there would be read as manifests; links and dots do not hide it."""
    (tmp_path / "manifests").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "manifests")
    with pytest.raises(InvalidInput, match="inside the source"):
        StatusFiles(tmp_path / place, [tmp_path / "manifests"])


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """What is being written has another name until it is whole, and a failure leaves the old file."""
    files = StatusFiles(tmp_path, [])
    files.write(shape())
    path = tmp_path / "ScheduledJob/default/a.yaml"
    (path.parent / f".a.yaml.{os.getpid()}.tmp").mkdir()
    with pytest.raises(OSError, match=r"."):
        files.write(shape(ready="False"))
    assert path.read_text().startswith(MARK)
    assert yaml.safe_load(path.read_text())["status"] == {"ready": "True"}
