"""Values that a manifest only points at: variables of the controller's own environment, and files on its host.

Whoever resolves a reference says what the settings allow; nothing is allowed by default, because whoever may write a manifest must not thereby
read what the controller can. Invariant: whether a file exists outside the allowed folders is never told, and no read blocks on a pipe.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from controller.base.structs import described

LARGEST = 64 * 1024  # bytes of a file that is read as a value


class Allowed(msgspec.Struct, frozen=True):
    """What references may reach."""

    env: frozenset[str] = frozenset()  # names of variables
    folders: tuple[Path, ...] = ()  # with everything below them


class Unreadable(msgspec.Struct, frozen=True):
    """Why there is no value, and what to do. `permanent`: trying again changes nothing, somebody has to edit settings or manifest."""

    message: str
    permanent: bool


class EnvRef(msgspec.Struct, frozen=True):
    """A variable of the controller's own environment."""

    name: str


class FileRef(msgspec.Struct, frozen=True):
    """A file on the controller's host."""

    path: str


class SecretKeyRef(msgspec.Struct, frozen=True):
    """A key of a Secret of a cluster."""

    name: str
    key: str


@described
class SecretSource(msgspec.Struct, frozen=True, rename="camel"):
    """Exactly one is set."""

    env_ref: EnvRef | None = None
    file_ref: FileRef | None = None
    secret_key_ref: SecretKeyRef | None = None


def variable(name: str, allowed: Allowed, environment: Mapping[str, str]) -> str | Unreadable:
    """The variable's value. Pure."""
    if name not in allowed.env:
        return Unreadable(
            f"the controller's variable {name} may not be read: add it to settings.allowEnv of the controller",
            permanent=True,
        )
    value = environment.get(name)
    if value is None:
        return Unreadable(
            f"the controller's environment has no variable {name}: set it, or correct the name", permanent=False
        )
    return value


def file(path: Path, allowed: Allowed) -> str | Unreadable:
    """The file's text without a final line break. Blocks on the disk; links are followed, as long as they end in an allowed folder."""
    try:
        real = path.resolve(strict=True)
        folders = [folder.resolve() for folder in allowed.folders]
    except (OSError, RuntimeError):
        if _below(Path(os.path.normpath(path)), allowed.folders):
            return Unreadable(f"there is no file {path}: create it, or correct the path", permanent=False)
        return _not_allowed(path)
    if not _below(real, folders):
        return _not_allowed(path)
    try:
        return _read(real).decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return Unreadable(f"{path} is not UTF-8 text", permanent=True)
    except OSError as error:
        return Unreadable(f"{path} cannot be read: {error.strerror}", permanent=False)


def _below(path: Path, folders: tuple[Path, ...] | list[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _not_allowed(path: Path) -> Unreadable:
    return Unreadable(
        f"{path} is in no folder that may be read: add its folder to settings.allowFiles of the controller",
        permanent=True,
    )


def _read(path: Path) -> bytes:
    # The path is resolved, so a link in its place now is somebody's trick; without O_NONBLOCK a pipe would stop us for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a regular file")
        data = opened.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise OSError(0, f"it is larger than {LARGEST} bytes")
    return data
