"""One look at a folder: which manifest files it has, each once, and which folders have to be watched to hear of others.

`directory` calls it. Symbolic links are followed, as ConfigMap volumes (`a.yaml → ..data/a.yaml`) and git-sync (`current → .worktrees/…`) need it; a
file or folder that can be reached in several ways is taken once, by its real place if that is inside. Invariant: what was seen is one state
of the folder, or `Vanished` says that it changed meanwhile.
"""

# Paths are text here: pathlib doubles the time of a look at 10,000 files.
# ruff: noqa: PTH114, PTH115, PTH116, PTH118, PTH119, PTH120

import os
import stat
from collections import deque
from collections.abc import Callable

import msgspec

from controller.sources.snapshot import is_manifest

_MOST_HOPS = 40  # as Linux follows links


class Vanished(Exception):
    """Something disappeared between being listed and being looked at."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)


class Found(msgspec.Struct, frozen=True):
    """One manifest file. `signature` differs when the file does, except when `modified_ns` is too fresh to tell."""

    full: str
    signature: int
    size: int
    modified_ns: int


class Scan(msgspec.Struct, frozen=True):
    """What one look gave.

    Shape: `files` by path relative to the root; `folders` are all that were listed, with the youngest of their modification times;
    `links` are the relative paths that are symbolic links, whether to files or to folders.
    """

    files: dict[str, Found]
    folders: frozenset[str]
    links: frozenset[str]
    modified_ns: int


def scan(root: str, enter: Callable[[str, str | None], None]) -> Scan:
    """Look at everything below `root`.

    Effect: calls `enter(folder, relative)` before a folder is listed, so that a watch can be set without missing anything; `relative` is None for
    folders that only hold the target of a link. Errors: Vanished; OSError for what cannot be read.
    """
    swings_before = _swings(root, ())
    look = _Look(root, enter)
    look.everything()
    if swings_before | look.swings != _swings(root, look.swings):
        raise Vanished(root)
    return Scan(look.files, frozenset(look.folders), frozenset(look.links), look.modified_ns)


def signature_of(status: os.stat_result) -> int:
    """A number that changes when the file is written, replaced or renamed. Pure; not stable between processes."""
    return hash((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


class _Look:
    def __init__(self, root: str, enter: Callable[[str, str | None], None]) -> None:
        self._root = root
        self._enter = enter
        self._queue: deque[tuple[str, str]] = deque([(root, "")])
        self._later: list[tuple[str, str]] = []
        self._seen: set[tuple[int, int]] = set()
        self.files: dict[str, Found] = {}
        self.folders: list[str] = []
        self.links: list[str] = []
        self.swings: set[tuple[str, str]] = set()
        self.modified_ns = 0

    def everything(self) -> None:
        """Real folders first, then links in the order of their names: the real place of a file wins, whatever the order of listing."""
        while self._queue or self._later:
            if self._queue:
                self._folder(*self._queue.popleft())
            else:
                pending, self._later = sorted(self._later), []
                for full, relative in pending:
                    self._link(full, relative)

    def _folder(self, full: str, relative: str) -> None:
        status = _stat(full, relative or self._root, required=full == self._root)
        if status is None or not self._first_time(status):
            return
        self._enter(full, relative)
        self.folders.append(full)
        self.modified_ns = max(self.modified_ns, status.st_mtime_ns)
        try:
            entries = os.scandir(full)
        except FileNotFoundError:
            raise Vanished(full) from None
        with entries:
            for entry in entries:
                self._entry(entry, f"{relative}/{entry.name}" if relative else entry.name)

    def _entry(self, entry: os.DirEntry[str], relative: str) -> None:
        if entry.name.startswith("."):
            # Volumes of ConfigMaps swing this link from one timestamp folder to the next.
            if entry.name == "..data" and entry.is_symlink():
                self.swings.add((entry.path, _target(entry.path)))
        elif entry.is_symlink():
            self._later.append((entry.path, relative))
        elif entry.is_dir(follow_symlinks=False):
            self._queue.append((entry.path, relative))
        elif is_manifest(entry.name):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                raise Vanished(entry.path) from None
            self._file(entry.path, relative, status)

    def _link(self, full: str, relative: str) -> None:
        status = _stat(full, relative, required=is_manifest(os.path.basename(full)))
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            self.links.append(relative)
            self._queue.append((full, relative))
        elif is_manifest(os.path.basename(full)):
            self.links.append(relative)
            self._enter(os.path.dirname(os.path.realpath(full)), None)
            self._file(full, relative, status)

    def _file(self, full: str, relative: str, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode) and self._first_time(status):
            self.files[relative] = Found(full, signature_of(status), status.st_size, status.st_mtime_ns)

    def _first_time(self, status: os.stat_result) -> bool:
        identity = (status.st_dev, status.st_ino)
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True


def _stat(full: str, shown: str, *, required: bool) -> os.stat_result | None:
    try:
        return os.stat(full)
    except FileNotFoundError:
        if required:
            raise Vanished(shown) from None
        return None
    except OSError:
        if required:
            raise
        return None


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        raise Vanished(link) from None


def _swings(root: str, found: "set[tuple[str, str]] | tuple[()]") -> set[tuple[str, str]]:
    """The links that lead to the root, and those that were `found`, with where they point now."""
    now = {(link, _target(link)) for link, _ in found}
    for link in links_to(root):
        now.add((link, _target(link)))
    return now


def links_to(root: str) -> list[str]:
    """The chain of symbolic links that `root` is the first of, if it is one."""
    chain: list[str] = []
    while len(chain) < _MOST_HOPS and os.path.islink(root):
        chain.append(root)
        root = os.path.normpath(os.path.join(os.path.dirname(root), os.readlink(root)))
    return chain
