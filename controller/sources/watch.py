"""Hearing of changes in a folder: which paths may have changed, told once things are quiet for a moment.

`directory` owns one. The scan tells it every folder before it lists it, so nothing that happens afterwards is missed. Invariant: an event only
wakes; whoever is woken reads the folder itself, and looks at all of it from time to time in case the kernel told nothing.
"""

# Paths are text here: pathlib doubles the time of a look at 10,000 files.
# ruff: noqa: PTH112, PTH118, PTH119, PTH120

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import AsyncIterator, Iterable

import watchfiles

from controller.sources import inotify
from controller.sources.inotify import Event, Inotify
from controller.sources.mounts import must_poll
from controller.sources.scan import links_to
from controller.sources.snapshot import Hint, is_manifest

_log = logging.getLogger(__name__)

QUIET_AFTER_WRITE = 0.005
"""Seconds without events after files were completely written: enough to take a burst together."""
QUIET_AFTER_MOVE = 0.050
"""Seconds without events after something came or went: a document that moves between files, or a folder that is being removed, takes a while."""
LONGEST_WAIT = 2.0
"""Seconds after which a hint is given though it never became quiet."""

_WROTE = inotify.CLOSE_WRITE | inotify.MOVED_TO | inotify.ATTRIB
_WENT = inotify.MOVED_FROM | inotify.DELETE
_SELF = inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.UNMOUNT
_FOLDER = _WROTE | _WENT | _SELF | inotify.CREATE
_DOOR = inotify.CREATE | inotify.MOVED_TO | _WENT | _SELF


class Watcher:
    """Watches what `door` and `folder` were told of.

    Events come from inotify; on remote file systems, and where there is no inotify, watchfiles looks for changes and `deaf` is True.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._folders: dict[int, str | None] = {}
        self._paths: dict[int, str] = {}
        self._doors: dict[int, set[str]] = {}
        self._links: frozenset[str] = frozenset()
        self._full = False
        self._polls = must_poll(root)
        self._inotify: Inotify | None = None
        if self._polls:
            return
        try:
            self._inotify = Inotify()
        except OSError as error:
            _log.warning("file events cannot be had, so changes are noticed by rescans only: %s", error)

    @property
    def deaf(self) -> bool:
        """Whether some changes can only be found by looking."""
        return self._inotify is None or self._full

    def door(self) -> None:
        """Watch the way to the root: its parent, or what exists of it, and the links on the way."""
        for link in (self._root, *links_to(self._root)[1:]):
            path = link
            while (parent := os.path.dirname(path)) != path:
                watch = self._add(parent, _DOOR)
                if watch is not None:
                    self._doors.setdefault(watch, set()).add(os.path.basename(path))
                    break
                path = parent

    def folder(self, full: str, relative: str | None) -> None:
        """Watch a folder; `relative` to the root, or None for one outside."""
        watch = self._add(full, _FOLDER)
        if watch is not None:
            self._folders[watch] = relative
            self._paths[watch] = full

    def settle(self, folders: Iterable[str], links: frozenset[str]) -> None:
        """Forget folders that a whole look did not meet, and remember which paths are links."""
        self._links = links
        here = set(folders)
        gone = [watch for watch, full in list(self._paths.items()) if self._folders[watch] is not None]
        for watch in gone:
            if self._paths[watch] not in here:
                self._forget(watch)

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    async def hints(self, rescan: float) -> AsyncIterator[Hint]:
        """A hint for each burst of events, and one for everything when `rescan` seconds went by without any."""
        if self._inotify is None:
            async for hint in _without_inotify(self._root, rescan, polling=self._polls):
                yield hint
            return
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        descriptor = self._inotify.fileno()
        loop.add_reader(descriptor, readable.set)
        try:
            while True:
                burst = await self._burst(readable, rescan)
                if burst is not None:
                    yield burst
        finally:
            loop.remove_reader(descriptor)

    async def _burst(self, readable: asyncio.Event, rescan: float) -> Hint | None:
        if not await _within(readable, rescan):
            return Hint()
        pending = _Pending()
        started = asyncio.get_running_loop().time()
        while True:
            readable.clear()
            for event in self._inotify.read() if self._inotify is not None else ():
                self._take(event, pending)
            if not pending:
                return None
            if asyncio.get_running_loop().time() - started > LONGEST_WAIT:
                break
            if not await _within(readable, QUIET_AFTER_MOVE if pending.moved else QUIET_AFTER_WRITE):
                break
        return Hint(None if pending.everything else frozenset(pending.paths))

    def _take(self, event: Event, pending: "_Pending") -> None:
        """Sort one event into `pending`: a path, or everything, or nothing of interest."""
        if event.mask & inotify.IGNORED:
            self._forget(event.watch, ended=True)
        elif event.mask & inotify.OVERFLOW or event.name in self._doors.get(event.watch, ()):
            pending.all()
        elif event.watch in self._folders:
            self._take_inside(event, self._folders[event.watch], pending)

    def _take_inside(self, event: Event, folder: str | None, pending: "_Pending") -> None:
        name = event.name
        if event.mask & _SELF:
            pending.all()
        elif name.startswith("..") or (event.mask & inotify.ISDIR and not name.startswith(".")):
            # The swap of a ConfigMap volume; a folder that came or went (its attributes alone say nothing).
            if event.mask & ~(inotify.ATTRIB | inotify.ISDIR):
                pending.all()
        elif name.startswith(".") or event.mask & inotify.ISDIR:
            return
        elif folder is None:
            if is_manifest(name):
                pending.all()
        else:
            relative = f"{folder}/{name}" if folder else name
            self._take_file(event, relative, pending)

    def _take_file(self, event: Event, relative: str, pending: "_Pending") -> None:
        mode, links = _look(os.path.join(self._root, relative))
        if relative in self._links or stat.S_ISLNK(mode):
            pending.all()
        elif is_manifest(event.name) and not (event.mask & inotify.CREATE and links < 2):
            # A file that was just made is empty until it is closed; only a hard link is complete at once.
            pending.one(relative, moved=bool(event.mask & _WENT))

    def _add(self, folder: str, mask: int) -> int | None:
        if self._inotify is None:
            return None
        try:
            return self._inotify.add(folder, mask)
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
                return None  # the scan will meet it and say so
            if not self._full:
                self._full = True
                _log.warning(
                    "not every folder of %s can be watched (%s), so changes are also looked for regularly; "
                    "raise the sysctl fs.inotify.max_user_watches",
                    self._root,
                    error,
                )
            return None

    def _forget(self, watch: int, *, ended: bool = False) -> None:
        self._folders.pop(watch, None)
        self._paths.pop(watch, None)
        if ended:
            self._doors.pop(watch, None)
        elif watch not in self._doors and self._inotify is not None:
            self._inotify.remove(watch)


class _Pending:
    """What one burst amounts to."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.everything = False
        self.moved = False

    def __bool__(self) -> bool:
        return self.everything or bool(self.paths)

    def all(self) -> None:
        self.everything = self.moved = True

    def one(self, path: str, *, moved: bool) -> None:
        self.paths.add(path)
        self.moved |= moved


def _look(path: str) -> tuple[int, int]:
    try:
        status = os.lstat(path)
    except OSError:
        return 0, 0
    return status.st_mode, status.st_nlink


async def _within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def _without_inotify(root: str, rescan: float, *, polling: bool) -> AsyncIterator[Hint]:
    """Hints from watchfiles, which knows the other systems' events, and looks by itself where there are none.

    No paths, because not all systems tell them reliably.
    """
    while True:
        folder = _existing(root)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(rescan, stop.set)
        # Recursive only on the root itself: its parents may hold anything.
        async for _ in watchfiles.awatch(
            folder,
            step=20,
            debounce=100,
            recursive=folder == root,
            watch_filter=None,
            stop_event=stop,
            force_polling=polling,
        ):
            break
        yield Hint()


def _existing(path: str) -> str:
    """The path, or the nearest folder above it that exists."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path
