"""Where an installation's files are: everything follows from the database URL."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from controller.base import paths
from controller.base.errors import InvalidInput

ENVIRONMENT = {"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/ann"}


def socket(url: str, environment: dict[str, str] = ENVIRONMENT) -> Path:
    return paths.control_socket(url, environment, 7)


def test_the_default_database_is_in_the_state_folder_of_the_user() -> None:
    """A relative XDG_STATE_HOME is ignored, as its specification says."""
    assert paths.default_database(ENVIRONMENT) == "sqlite:////home/ann/.local/state/jobwarden/jobwarden.db"
    assert paths.default_state_dir({**ENVIRONMENT, "XDG_STATE_HOME": "/state"}) == Path("/state/jobwarden")
    assert paths.default_state_dir({**ENVIRONMENT, "XDG_STATE_HOME": "state"}) == Path(
        "/home/ann/.local/state/jobwarden"
    )


def test_one_file_has_one_socket_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, absolute, through a link, with escapes."""
    (tmp_path / "a b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    monkeypatch.chdir(tmp_path)
    ways = ["a b/x.db", f"{tmp_path}/a b/x.db", "link/x.db", "a%20b/x.db", "a b/../a b/x.db"]
    assert len({socket(f"sqlite:///{way}") for way in ways}) == 1
    assert socket("sqlite:///y.db") != socket("sqlite:///a b/x.db")


def test_a_password_does_not_change_the_socket_and_everything_else_does() -> None:
    """Who turns a password round still finds the controller."""
    one = socket("postgresql://ann:old@db.example.org/jobs")
    for same in (
        "postgresql://ann:new@db.example.org/jobs",
        "postgresql://ann@DB.example.org:5432/jobs",
        "postgresql://ann@db.example.org/jobs?password=x",
    ):
        assert socket(same) == one
    for other in (
        "postgresql://bob@db.example.org/jobs",
        "postgresql://ann@db.example.org:5433/jobs",
        "postgresql://ann@db.example.org/other",
        "postgresql://ann@db.example.org/jobs?host=/tmp",
    ):
        assert socket(other) != one


def test_a_socket_is_in_the_runtime_folder_and_always_short_enough() -> None:
    """The kernel takes 107 bytes and no more."""
    assert str(socket("sqlite:////x.db")).startswith("/run/user/7/jobwarden/")
    assert str(socket("sqlite:////x.db", {})).startswith("/tmp/jobwarden-7/")
    for runtime in ("/" + "r" * 200, "relative"):
        path = socket("sqlite:////x.db", {"XDG_RUNTIME_DIR": runtime, "TMPDIR": "/" + "t" * 200})
        assert len(os.fsencode(path)) <= 107


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_asks_the_controller_of_whoever_has_the_database(tmp_path: Path) -> None:
    """Where that one listens; not where somebody else has put a folder of that name."""
    owner = 2_000_000_000 + os.getpid()
    url = f"sqlite:///{tmp_path}/x.db"
    (tmp_path / "x.db").touch()
    own = paths.socket_to_ask(url, ENVIRONMENT, 0)
    assert own == paths.control_socket(url, ENVIRONMENT, 0)
    os.chown(tmp_path / "x.db", owner, owner)
    theirs = paths.control_socket(url, {}, owner)
    theirs.parent.mkdir()
    try:
        theirs.touch()
        assert paths.socket_to_ask(url, ENVIRONMENT, 0) == own
        os.chown(theirs.parent, owner, owner)
        assert paths.socket_to_ask(url, ENVIRONMENT, 0) == theirs
        assert paths.socket_to_ask(url, ENVIRONMENT, 7) == paths.control_socket(url, ENVIRONMENT, 7)
    finally:
        shutil.rmtree(theirs.parent)


@pytest.mark.parametrize("url", ["mysql://a:secret@b/c", "sqlite://", "sqlite:///", "sqlite:///:memory:", "x"])
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    """And with what could be written instead."""
    with pytest.raises(InvalidInput, match="write sqlite:///FILE") as error:
        paths.absolute_url(url)
    assert "secret" not in str(error.value)


def test_a_private_folder_is_made_private_and_a_foreign_one_refused(tmp_path: Path) -> None:
    """A link or another user's folder could be somebody's trap."""
    folder = tmp_path / "a/b"
    paths.private_folder(folder, os.getuid())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    paths.private_folder(folder, os.getuid())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(InvalidInput, match="not a link"):
        paths.private_folder(tmp_path / "link", os.getuid())
    with pytest.raises(InvalidInput, match="another user"):
        paths.private_folder(folder, os.getuid() + 1)
