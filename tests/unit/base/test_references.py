"""Reading what a manifest points at, and nothing else."""

import os
from pathlib import Path

import pytest

from controller.base.references import LARGEST, Allowed, Unreadable, file, variable


def test_a_variable_is_read_only_when_its_name_is_allowed() -> None:
    """Names are compared whole; a variable that is allowed and missing may appear later."""
    allowed = Allowed(env=frozenset({"TOKEN", "LATER"}))
    environment = {"TOKEN": "t", "TOKEN2": "u"}
    assert variable("TOKEN", allowed, environment) == "t"
    refused = variable("TOKEN2", allowed, environment)
    assert isinstance(refused, Unreadable)
    assert refused.permanent
    missing = variable("LATER", allowed, environment)
    assert isinstance(missing, Unreadable)
    assert not missing.permanent


@pytest.mark.parametrize(("written", "read"), [("v", "v"), ("v\n", "v"), ("v\r\n", "v"), ("v\n\n", "v\n"), ("", "")])
def test_one_final_line_break_is_not_part_of_a_value(tmp_path: Path, written: str, read: str) -> None:
    """Editors add one; nobody means it."""
    (tmp_path / "value").write_bytes(written.encode())
    assert file(tmp_path / "value", Allowed(folders=(tmp_path,))) == read


def test_a_link_inside_the_folder_is_followed_and_one_that_leaves_it_is_not(tmp_path: Path) -> None:
    """Mounted secrets are links to a dated folder beside them; a link to /etc/shadow is an attempt."""
    folder, outside = tmp_path / "allowed", tmp_path / "outside"
    (folder / "..data").mkdir(parents=True)
    outside.mkdir()
    (folder / "..data" / "token").write_text("inside")
    (outside / "token").write_text("outside")
    (folder / "token").symlink_to(folder / "..data" / "token")
    (folder / "leaving").symlink_to(outside / "token")
    allowed = Allowed(folders=(folder,))
    assert file(folder / "token", allowed) == "inside"
    for path in (folder / "leaving", folder / ".." / "outside" / "token", outside / "token", outside / "missing"):
        refused = file(path, allowed)
        assert isinstance(refused, Unreadable)
        assert refused.permanent
        assert "settings.allowFiles" in refused.message


def test_a_missing_file_of_an_allowed_folder_may_come_later(tmp_path: Path) -> None:
    """Not permanent: creating the file is enough."""
    missing = file(tmp_path / "token", Allowed(folders=(tmp_path,)))
    assert isinstance(missing, Unreadable)
    assert not missing.permanent
    assert "there is no file" in missing.message


def test_what_is_not_a_small_text_file_is_refused(tmp_path: Path) -> None:
    """A pipe does not block, a folder and a loop of links do not raise, and a large or binary file is not a value."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "large").write_bytes(b"x" * (LARGEST + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("fifo", "folder", "loop", "large", "binary"):
        assert isinstance(file(tmp_path / name, Allowed(folders=(tmp_path,))), Unreadable), name
    (tmp_path / "largest").write_bytes(b"x" * LARGEST)
    assert file(tmp_path / "largest", Allowed(folders=(tmp_path,))) == "x" * LARGEST
