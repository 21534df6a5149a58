"""A folder of manifests, read whole.

Files are compared by their stat signature first and by the hash of their content second; only contents that the caller does not know are handed
over. Invariant: a file that is being written, a folder that is being removed or a link that is being swung is waited for or reported, never
mistaken for the desired state.
"""

# Paths are text here: pathlib doubles the time of a look at 10,000 files.
# ruff: noqa: PTH100, PTH112, PTH118, PTH120, PTH123

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta

import msgspec

from controller.base.errors import SourceUnavailable
from controller.sources.scan import Found, Scan, Vanished, scan, signature_of
from controller.sources.snapshot import MAX_FILE, Hint, Revision, Snapshot, difference
from controller.sources.watch import Watcher

_ATTEMPTS = 5
_PAUSE = 0.05  # seconds between looks at something that is changing
_UNSETTLED_NS = 50_000_000  # what changed more recently than this may not be finished
_LONGEST_UNSETTLED = 2.0  # seconds
_RACY_NS = 2_000_000_000  # coarsest timestamps of file systems: a younger file may change without showing it
_RESCAN_SHARE = 2000  # a rescan may cost 1/2000 of the time, as long as the kernel tells us of changes
_DEAF_RESCAN = 5.0  # seconds between looks at a folder that tells us nothing


class _Known(msgspec.Struct, frozen=True, gc=False):
    signature: int
    digest: str
    racy: bool


class Directory:
    """One folder. Satisfies `snapshot.Source`."""

    kind = "Directory"

    def __init__(
        self,
        name: str,
        path: str,
        *,
        namespace: str | None = None,
        allowed_kinds: frozenset[str] | None = None,
        rescan_interval: timedelta = timedelta(minutes=1),
    ) -> None:
        """`path` may be relative to the working directory, a link, and missing for now."""
        self.name = name
        self.location = os.path.abspath(path)
        self.namespace = namespace
        self.allowed_kinds = allowed_kinds
        self._rescan = rescan_interval.total_seconds()
        self._took = 0.0
        self._watcher: Watcher | None = None
        self._lock = asyncio.Lock()
        self._forget()

    def _forget(self) -> None:
        self._seen: dict[str, _Known] = {}
        self._files: dict[str, str] = {}
        self._revision = Revision()
        self._links = False
        self._whole = False

    async def fetch(self, known: Mapping[str, str], hint: Hint | None = None) -> Snapshot:
        """As `snapshot.Source.fetch`."""
        async with self._lock:
            if hint is not None and hint.paths is not None and self._whole and not self._links:
                snapshot = self._look_at(hint.paths, known)
                if snapshot is not None:
                    return snapshot
            return await asyncio.to_thread(self._look, known)

    async def changes(self) -> AsyncIterator[Hint]:
        """As `snapshot.Source.changes`."""
        self._watcher = Watcher(self.location)
        self._watcher.door()
        try:
            yield Hint()
            async for hint in self._watcher.hints(self._pace()):
                yield hint
        finally:
            self._watcher.close()
            self._watcher = None

    def _pace(self) -> float:
        if self._watcher is None or self._watcher.deaf:
            return min(self._rescan, _DEAF_RESCAN)
        return max(self._rescan, self._took * _RESCAN_SHARE)

    # hinted: a few files

    def _look_at(self, paths: Iterable[str], known: Mapping[str, str]) -> Snapshot | None:
        """A snapshot that differs only in `paths`; None when more than single files may be different."""
        contents: dict[str, bytes] = {}
        for path in paths:
            full = os.path.join(self.location, path)
            try:
                status = os.lstat(full)
            except FileNotFoundError:
                # A file that went, or a folder that went with everything in it?
                if not os.path.isdir(os.path.dirname(full)):
                    return None
                self._record(path, None)
                continue
            except OSError:
                return None
            if not _plain(status):
                return None
            try:
                data = self._read(Found(full, signature_of(status), status.st_size, status.st_mtime_ns), path)
            except (Vanished, SourceUnavailable):
                return None
            if data is not None:
                contents[path] = data
        return self._snapshot(known, contents, among=paths)

    # everything

    def _look(self, known: Mapping[str, str]) -> Snapshot:
        started = time.monotonic()
        self._whole = False
        misses = 0
        while True:
            try:
                seen = self._scan()
                contents = self._read_new(seen, known)
            except Vanished as gone:
                misses += 1
                if misses >= _ATTEMPTS or not os.path.isdir(self.location):
                    raise self._missing(gone) from None
                time.sleep(_PAUSE)
                continue
            if not self._unsettled(seen, known) or time.monotonic() - started > _LONGEST_UNSETTLED:
                break
            time.sleep(_PAUSE)
        if self._watcher is not None:
            self._watcher.settle(seen.folders, seen.links)
        self._links = bool(seen.links)
        self._whole = True
        self._took = time.monotonic() - started
        return self._snapshot(known, contents)

    def _scan(self) -> Scan:
        watcher = self._watcher
        if watcher is not None:
            watcher.door()
        try:
            return scan(self.location, watcher.folder if watcher is not None else _nothing)
        except OSError as error:
            where = error.filename or self.location
            raise SourceUnavailable(
                f"{where} cannot be read: {error.strerror}; nothing of source {self.name} is changed or removed"
            ) from error

    def _read_new(self, seen: Scan, known: Mapping[str, str]) -> dict[str, bytes]:
        """Contents of the files that look different, or that the caller does not have; records digests of all."""
        contents: dict[str, bytes] = {}
        for path in [path for path in self._seen if path not in seen.files]:
            self._record(path, None)
        for path, found in seen.files.items():
            before = self._seen.get(path)
            if (
                before is not None
                and before.signature == found.signature
                and not before.racy
                and known.get(path) == before.digest
            ):
                continue
            data = self._read(found, path)
            if data is not None and known.get(path) != self._files[path]:
                contents[path] = data
        return contents

    def _unsettled(self, seen: Scan, known: Mapping[str, str]) -> bool:
        """Whether something that matters was touched a moment ago: it may be half of what is meant."""
        now = time.time_ns()
        changed, removed = difference(known, self._files)
        touched = [seen.files[path].modified_ns for path in changed]
        if removed:
            touched.append(seen.modified_ns)
        return any(now - _UNSETTLED_NS < moment <= now for moment in touched)

    def _missing(self, gone: Vanished) -> SourceUnavailable:
        kept = f"nothing of source {self.name} is changed or removed"
        if not os.path.isdir(self.location):
            return SourceUnavailable(f"the folder {self.location} does not exist; {kept}")
        return SourceUnavailable(f"{gone.path} disappears while it is read, or is a link to nothing; {kept}")

    # both

    def _read(self, found: Found, path: str) -> bytes | None:
        """The file's content, its digest recorded; None for one that is too large. Errors: Vanished, SourceUnavailable."""
        try:
            path.encode()
        except UnicodeEncodeError:
            raise SourceUnavailable(f"the name of {path!r} in {self.location} is not UTF-8; rename it") from None
        if found.size > MAX_FILE:
            self._record(path, _Known(found.signature, f"size:{found.size}:{found.modified_ns}", racy=False))
            return None
        try:
            with open(found.full, "rb", buffering=0) as file:
                # One byte more than expected tells a file that grows; a buffer for the largest file would cost more than the reading.
                data = file.read(found.size + 1) or b""
                status = os.fstat(file.fileno())
        except FileNotFoundError:
            raise Vanished(found.full) from None
        except OSError as error:
            raise SourceUnavailable(
                f"{found.full} cannot be read: {error.strerror}; nothing of source {self.name} is changed or removed"
            ) from error
        if signature_of(status) != found.signature or len(data) != status.st_size:
            raise Vanished(found.full)
        racy = time.time_ns() - status.st_ctime_ns < _RACY_NS
        self._record(path, _Known(found.signature, hashlib.sha256(data).hexdigest(), racy=racy))
        return data

    def _record(self, path: str, now: _Known | None) -> None:
        before = self._seen.pop(path, None)
        self._files.pop(path, None)
        if now is not None:
            self._seen[path] = now
            self._files[path] = now.digest
        self._revision.replace(path, before.digest if before else None, now.digest if now else None)

    def _snapshot(
        self, known: Mapping[str, str], contents: Mapping[str, bytes], among: Iterable[str] | None = None
    ) -> Snapshot:
        changed, removed = difference(known, self._files, among)
        return Snapshot(
            revision=str(self._revision),
            files=dict(self._files),
            changed={path: contents[path] for path in changed if path in contents},
            removed=removed,
            oversized={
                path: int(self._files[path].split(":")[1]) for path in changed if self._files[path].startswith("size:")
            },
        )


def _plain(status: os.stat_result) -> bool:
    """A regular file with one name: what a single look can judge."""
    return (status.st_mode & 0o170000) == 0o100000 and status.st_nlink == 1


def _nothing(_full: str, _relative: str | None) -> None:
    """Nobody watches."""
