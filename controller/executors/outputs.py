"""The values that a run gives to others: `key=value` lines in the file that $JOBWARDEN_OUTPUT names.

`local` takes the file once the process has ended with 0; chains read the values as parameters. What a controller that was killed has left there, the next one removes.
Invariants: whatever the process left at that path (a directory, a FIFO, a gigabyte), reading it neither blocks nor fails the run; a secret that the run
was given is masked before anything is made of what it wrote, the words of an error included.
"""

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from controller.base.masked_stream import Needles

LIMIT = 4096  # bytes in all, as much as a Pod's termination message may hold
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")


class Outputs(msgspec.Struct, frozen=True):
    """Either values, or why there are none."""

    values: dict[str, str] = {}
    error: str | None = None


NONE = Outputs()


def parse(data: bytes, needles: Needles | None = None) -> Outputs:
    """Read `key=value` lines, masked. Pure.

    Shape:  keys are letters, digits, `_`, `.`, `-`, at most 63, starting with a letter or `_`; the value is all that follows the first `=`. Empty lines
            do not count, and the last of several lines with one key wins. One bad line spoils the whole: half of the values would mislead.
    """
    if len(data) > LIMIT:
        return Outputs(
            error=f"$JOBWARDEN_OUTPUT holds more than {LIMIT} bytes: write less, or pass the name of a file instead"
        )
    if needles is not None:
        data = needles.mask(data)
    values: dict[str, str] = {}
    for number, raw in enumerate(data.split(b"\n"), start=1):
        line = raw.removesuffix(b"\r")
        if not line.strip():
            continue
        try:
            key, equals, value = line.decode("utf-8").partition("=")
        except UnicodeDecodeError:
            return Outputs(error=f"$JOBWARDEN_OUTPUT, line {number}: not UTF-8")
        if not equals or not _KEY.fullmatch(key):
            return Outputs(
                error=f"$JOBWARDEN_OUTPUT, line {number}: {line[:60].decode('utf-8', 'replace')!r} is not key=value"
            )
        if "\0" in value:
            return Outputs(error=f"$JOBWARDEN_OUTPUT, line {number}: the value of {key} holds a NUL byte")
        values[key] = value
    return Outputs(values=values)


def home(path: str | Path) -> str:
    """The private folder of a run that has no file system of its own to have one in: beside its file, by a name that no run has. Pure."""
    return f"{path}~"


def make(path: str | Path) -> None:
    """The file, empty, for a run that may write it and make none beside it. Errors: OSError."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o600))


def left(folder: Path) -> list[str]:
    """The runs that have something in the folder of outputs."""
    try:
        return list({name.removesuffix("~") for name in os.listdir(folder)})  # noqa: PTH208 - names
    except OSError:
        return []


def remove(folder: Path, runs: Iterable[str]) -> None:
    """Remove what these runs have written and nobody will read, whatever it is: it was never masked. Errors: none."""
    for path in (folder / name for run in runs for name in (run, home(run))):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def take(path: str | Path, needles: Needles | None = None) -> Outputs | None:
    """Read the file, masked. None: the process wrote none, or the folder is gone."""
    try:
        # A process may put anything at the path: O_NONBLOCK for a FIFO, O_NOFOLLOW for a link to what only the controller may read.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        return Outputs(error=f"$JOBWARDEN_OUTPUT cannot be read: {os.strerror(error.errno or 0)}")
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return Outputs(error="$JOBWARDEN_OUTPUT is not a regular file")
        return parse(os.read(fd, LIMIT + 1), needles)
    except OSError as error:
        return Outputs(error=f"$JOBWARDEN_OUTPUT cannot be read: {os.strerror(error.errno or 0)}")
    finally:
        os.close(fd)
