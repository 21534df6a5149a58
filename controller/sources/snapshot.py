"""What every source gives: whole snapshots, and hints that something may have changed.

`reconcile.pipeline` takes both. Invariant: a `Snapshot` is all that the place contains at one moment; whatever cannot be read whole is
`SourceUnavailable`, so that nobody ever mistakes a part for the whole and prunes the rest.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol

import msgspec

from controller.kinds import yaml

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE = yaml.MAX_FILE
"""Bytes; a larger file is not read but named in `Snapshot.oversized`."""

_SPACE = 1 << 128


class Snapshot(msgspec.Struct, frozen=True):
    """The whole desired state of one source, told as the difference to what the caller `known`.

    Shape: `files` are all paths (relative, `/`) with the digests of their contents; `changed` has the bytes of every file whose digest differs
    from the one that was known; `removed` are known paths that are gone; `oversized` are paths with their sizes in bytes, also in `files`; `signer` is who
    signed the revision, where the place can say so and the signature was checked.
    """

    revision: str
    files: Mapping[str, str]
    changed: Mapping[str, bytes]
    removed: tuple[str, ...]
    oversized: Mapping[str, int]
    signer: str | None = None


class Hint(msgspec.Struct, frozen=True):
    """What woke us: the paths that may have changed, or None for "look at everything". Never more than a hint."""

    paths: frozenset[str] | None = None


class Source(Protocol):
    """One named place that documents come from.

    `namespace` is forced upon every namespaced document; `allowed_kinds` None means all.
    """

    name: str
    kind: str
    location: str
    namespace: str | None
    allowed_kinds: frozenset[str] | None

    async def fetch(self, known: Mapping[str, str], hint: Hint | None = None) -> Snapshot:
        """Read the place. `known`: path to digest of what the caller has.

        With a hint the work follows the hinted paths, if `known` is what the last snapshot left; without one everything is looked at.
        Errors: SourceUnavailable (backoff), naming what could not be read.
        """
        ...

    def changes(self) -> AsyncIterator[Hint]:
        """Wait for changes, and give a hint for each burst of them; the first comes when watching has begun. Never ends by itself."""
        ...


class Revision:
    """A digest of a set of files that can be kept up to date file by file: the sum of the digests of its members."""

    def __init__(self) -> None:
        self._sum = 0
        self._count = 0

    def replace(self, path: str, old: str | None, new: str | None) -> None:
        """`path` had the digest `old` and now has `new`; None: is not there."""
        self._sum = (self._sum - _member(path, old) + _member(path, new)) % _SPACE
        self._count += (new is not None) - (old is not None)

    def __str__(self) -> str:
        return f"files:{self._count}:{self._sum:032x}"


def _member(path: str, digest: str | None) -> int:
    if digest is None:
        return 0
    return int.from_bytes(hashlib.sha256(f"{path}\0{digest}".encode("utf-8", "surrogateescape")).digest()[:16], "big")


def is_manifest(name: str) -> bool:
    """Whether a file of that name is read: by its suffix, unless it is hidden (editors' temporary files, timestamp folders). Pure."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


def difference(
    known: Mapping[str, str], files: Mapping[str, str], among: Iterable[str] | None = None
) -> tuple[list[str], tuple[str, ...]]:
    """Paths that are new or different, and those that are gone; looks only `among` these paths if given. Pure."""
    here = files if among is None else [path for path in among if path in files]
    before = known if among is None else [path for path in among if path in known]
    changed = sorted(path for path in here if known.get(path) != files[path])
    return changed, tuple(sorted(path for path in before if path not in files))
