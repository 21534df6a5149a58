"""The `key=value` lines that a run leaves for others."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.executors import outputs


def test_lines_become_values() -> None:
    """The first `=` separates, the rest of the line is the value, blank lines and carriage returns do not count, the last of equals wins."""
    parsed = outputs.parse("rows=12\n\nurl=https://x/?a=b\r\nrows=13\nempty=\nspaced= two words \nname=Zoë\n".encode())
    assert parsed.error is None
    assert parsed.values == {
        "rows": "13",
        "url": "https://x/?a=b",
        "empty": "",
        "spaced": " two words ",
        "name": "Zoë",
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"rows=1\nno equals sign\n", "line 2: 'no equals sign' is not key=value"),
        (b"=value\n", "line 1: '=value' is not key=value"),
        (b"a key=value\n", "line 1"),
        (b"k" * 64 + b"=v", "line 1"),
        (b"a=\xff\n", "line 1: not UTF-8"),
        (b"a=b\0c\n", "value of a holds a NUL byte"),
        (b"a=" + b"x" * 4095, "more than 4096 bytes"),
    ],
)
def test_a_bad_line_spoils_all_and_is_named(data: bytes, said: str) -> None:
    """Half of the values would mislead the job that takes them."""
    parsed = outputs.parse(data)
    assert parsed.values == {}
    assert parsed.error is not None
    assert said in parsed.error


def test_4096_bytes_are_allowed() -> None:
    """The bound itself still fits."""
    assert outputs.parse(b"a=" + b"x" * 4094).values == {"a": "x" * 4094}


@given(st.binary(max_size=5000))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    """Whatever is in the file, there are values or there is an error, never both and never an exception."""
    parsed = outputs.parse(data)
    assert parsed.error is None or parsed.values == {}


def test_a_run_that_wrote_nothing_has_no_outputs(tmp_path: Path) -> None:
    """A missing file is the ordinary case."""
    assert outputs.take(tmp_path / "none") is None
    assert outputs.take(tmp_path / "no-folder" / "none") is None


@pytest.mark.parametrize("kind", ["directory", "fifo", "link", "huge", "unreadable"])
def test_whatever_lies_at_the_path_is_an_error_and_not_a_trap(tmp_path: Path, kind: str) -> None:
    """Reading does not block on a FIFO, does not follow a link to what the controller may read, and does not read a gigabyte."""
    path = tmp_path / "out"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "secret").write_text("password=hunter2\n")
        path.symlink_to(tmp_path / "secret")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 30)
    else:
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        path.write_text("a=b\n")
        path.chmod(0)
    taken = outputs.take(path)
    assert taken is not None
    assert taken.values == {}
    assert taken.error is not None
