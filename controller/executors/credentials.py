"""What a run is given beside what its job declares, and where it goes: into a variable, or into a file of a folder that only the run sees.

Whoever obtains credentials makes `Given` of them, `dispatch.launch` arranges them for a request, `private_files` makes the folder.
Invariant: a value is in a `Given` and in what is made of it, and in no message and no repr.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol, runtime_checkable

import msgspec

from controller.executors.environment import reserved

DIRECTORY_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Names the folder, as systemd does. Source: https://systemd.io/CREDENTIALS/"""
LARGEST = 1024 * 1024
"""Bytes of all files of a run. Source: the same, which limits a service to 1 MiB."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_PARTS = 16
_LONGEST_PART = 255  # bytes; NAME_MAX


class Given(msgspec.Struct, frozen=True):
    """One credential: `name` is what people call it, `env` a variable, `file` a relative path. Neither: it is only masked."""

    name: str
    value: bytes
    env: str | None = None
    file: str | None = None

    def __repr__(self) -> str:
        return f"Given({self.name})"


class Token(msgspec.Struct, frozen=True):
    """A token that nobody here ever has: the kubelet puts it into a file of the run's Pod, and renews it there."""

    name: str
    file: str
    account: str  # the service account that the Pod runs as
    audience: str
    lifetime: timedelta


class Arranged(msgspec.Struct, frozen=True):
    """What is given to a run, by where it goes. `files`: relative path to content."""

    env: Mapping[str, str] = {}
    files: Mapping[str, bytes] = {}
    secrets: tuple[bytes, ...] = ()
    tokens: tuple[Token, ...] = ()

    def __repr__(self) -> str:
        return "Arranged(***)"


@runtime_checkable
class Refreshing(Protocol):
    """An execution whose files can get new contents while it runs."""

    def refresh(self, path: str, value: bytes) -> str | None:
        """Replace one file of the request, as a whole; from now on the new value is masked as well. What prevented it, in words."""
        ...


class Refused(msgspec.Struct, frozen=True):
    """Why it cannot be given like that, and what to do."""

    message: str


NOTHING = Arranged()


def arrange(given: Iterable[Given], tokens: Sequence[Token] = ()) -> Arranged | Refused:
    """Put everything where it is to go. Pure.

    Shape:  the first that cannot be delivered refuses all: a run that lacks one of its credentials must not start.
    """
    env: dict[str, str] = {}
    files: dict[str, bytes] = {}
    secrets: list[bytes] = []
    for one in given:
        secrets.append(one.value)
        wrong = _into_env(one, env) or _into_files(one, files)
        if wrong is not None:
            return Refused(f"the credential {one.name!r} cannot be delivered: {wrong}")
    for token in tokens:
        if (wrong := _bad_path(token.file) or _in_the_way(token.file, files)) is not None:
            return Refused(f"the credential {token.name!r} cannot be delivered: {wrong}")
        files[token.file] = b""
    if sum(map(len, files.values())) > LARGEST:
        return Refused(f"the files of the credentials are larger than {LARGEST} bytes together: deliver less")
    for token in tokens:
        del files[token.file]
    return Arranged(env, files, tuple(secrets), tuple(tokens))


def _into_env(one: Given, env: dict[str, str]) -> str | None:
    """Effect: the variable in `env`. What is wrong, else None."""
    if one.env is None:
        return None
    if not _VARIABLE.fullmatch(one.env):
        return f"{one.env!r} is no name of a variable: use letters, digits and `_`"
    if reserved(one.env) or one.env == DIRECTORY_VARIABLE:
        return f"the variable {one.env} is the controller's own: choose another name"
    if one.env in env:
        return f"another one is delivered as the variable {one.env}: choose another name"
    if b"\0" in one.value:
        return "its value holds a NUL byte, which no variable can: deliver it as a file"
    try:
        env[one.env] = one.value.decode()
    except UnicodeDecodeError:
        return "its value is not UTF-8 text: deliver it as a file"
    return None


def _into_files(one: Given, files: dict[str, bytes]) -> str | None:
    """Effect: the file in `files`. What is wrong, else None."""
    if one.file is None:
        return None
    wrong = _bad_path(one.file) or _in_the_way(one.file, files)
    if wrong is None:
        files[one.file] = one.value
    return wrong


def _bad_path(file: str) -> str | None:
    parts = file.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts) or len(parts) > _MOST_PARTS:
        return f"{file!r} is no relative path: it begins and ends with a name, has no empty part, no `.` and no `..`"
    if any(len(part.encode("utf-8", "surrogateescape")) > _LONGEST_PART for part in parts):
        return f"a part of the path {file!r} is longer than {_LONGEST_PART} bytes: shorten it"
    return None


def _in_the_way(file: str, files: Iterable[str]) -> str | None:
    for other in files:
        if other == file or other.startswith(file + "/") or file.startswith(other + "/"):
            return f"the file {file!r} is in the way of {other!r}: choose another path"
    return None
