"""Private folders of runs, in memory: made just before a run starts, removed when it has ended, whoever dies in between.

    <place>/jobwarden-credentials-<uid>/<owner>/<run>/<file>          directories 0700, files 0400

`local` fills and removes the folder of each run; `loops.credentials` sweeps. The name is the record of what has to be undone, and it is there before
anything is in it: as long as a controller lives it holds a lock on the folder `<owner>`, and the kernel lets go of that when it dies, however it dies. What lies
in a folder that nobody holds is removed by the next sweep, of this or any other controller of the user, without a database.

Invariants: nothing is written unless the file system lives in memory; no link is followed below the place; the folder of a run whose processes live is
not swept, nor one of a controller that lives.
"""

import contextlib
import fcntl
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

Alive = Callable[[Collection[str]], Collection[str]]
"""Which of these runs have processes that live."""

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_MOUNTS = Path("/proc/self/mountinfo")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class NoPlace(msgspec.Struct, frozen=True):
    """Why there can be no private folder, and what to do."""

    message: str


class Swept(msgspec.Struct, frozen=True):
    """Runs whose folders were removed, and folders that could not be: path and why."""

    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def places(environ: Mapping[str, str], configured: Path | None = None) -> tuple[Path, ...]:
    """Where private folders may be, the best first: what was configured and nothing else, or the user's own folder and the one for everybody. Pure."""
    if configured is not None:
        return (configured,)
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return (*([Path(runtime)] if runtime.startswith("/") else []), Path("/dev/shm"))  # noqa: S108 - checked for what it is


class PrivateFiles:
    """The private folders of one controller's runs. Nothing is made before the first run needs one. Blocks only on memory; all but `path` is for one thread."""

    def __init__(self, owner: str, where: Sequence[Path], mounts: Path = _MOUNTS) -> None:
        """`owner` is this controller's alone; `mounts` is the table of mounts, by which a file system is known."""
        self._owner = _checked(owner)
        self._where = where
        self._mounts = mounts
        self._folder: Path | None = None
        self._fd = -1
        self._left: set[str] = set()
        self._opening = threading.Lock()  # who opened it a second time would wait for itself

    def path(self, run: str) -> Path | NoPlace:
        """The folder that a run will have. From any thread. Effect: the controller's own folder exists and is held."""
        with self._opening:
            if self._folder is None:
                found = self._open()
                if isinstance(found, NoPlace):
                    return found
                self._folder, self._fd = found
            return self._folder / _checked(run)

    def fill(self, run: str, files: Mapping[str, bytes]) -> str | None:
        """Make the folder and its files. What prevented it, in words; then nothing is left of it."""
        place = self.path(run)
        if isinstance(place, NoPlace):
            return place.message
        try:
            _make(run, self._fd)
            with _entered(run, self._fd) as folder:
                for path, content in files.items():
                    _write(folder, path.split("/"), content)
        except OSError as error:
            self.remove(run)
            return f"its credentials cannot be written below {place.parent}: {error.strerror}"
        return None

    def replace(self, run: str, path: str, content: bytes) -> str | None:
        """Put something else into one of the run's files: whoever opens it finds the old or the new, and both whole. Why not, in words; then the old is there."""
        try:
            with _entered(_checked(run), self._fd) as folder:
                _replace(folder, path.split("/"), content)
        except OSError as error:
            return f"the file {path!r} of its credentials cannot be replaced: {error.strerror}"
        return None

    def remove(self, run: str) -> str | None:
        """Remove the folder and all that is in it, also what the run has put there. Why it could not be, in words; then `retry` tries again."""
        if self._fd < 0:
            return None
        try:
            _remove(_checked(run), self._fd)
        except (OSError, RecursionError) as error:
            self._left.add(run)
            return f"the credentials in {self._folder}/{run} cannot be removed: {error}"
        self._left.discard(run)
        return None

    def retry(self) -> tuple[str, ...]:
        """Remove what could not be removed; what still cannot, in words."""
        return tuple(words for run in tuple(self._left) if (words := self.remove(run)) is not None)

    def close(self) -> None:
        """Let go. What is left is swept by others."""
        if self._fd >= 0 and self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            os.close(self._fd)
            self._fd, self._folder = -1, None

    def _open(self) -> tuple[Path, int] | NoPlace:
        """Make and hold our own folder in the first place that will do."""
        wrong = []
        for place in self._where:
            try:
                refusal = _refusal(place, self._mounts)
                if refusal is None:
                    return place / _root_name() / self._owner, self._hold(place)
            except OSError as error:
                refusal = error.strerror or str(error)
            wrong.append(f"{place}: {refusal}")
        hint = "mount a tmpfs there, or deliver them as variables"
        return NoPlace(f"there is no private folder in memory for its credentials ({'; '.join(wrong)}): {hint}")

    def _hold(self, place: Path) -> int:
        with _root(place, make=True) as root:
            if os.fstat(root).st_dev != place.stat().st_dev:
                raise PermissionError(0, f"another file system is mounted on {_root_name()} in it: unmount it")
            while True:
                with contextlib.suppress(FileExistsError):
                    _make(self._owner, root)
                held = os.open(self._owner, _DIRECTORY, dir_fd=root)
                fcntl.flock(held, fcntl.LOCK_EX)
                # A sweep may have seen it before we held it, and removed it as nobody's.
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(self._owner, dir_fd=root, follow_symlinks=False).st_ino == os.fstat(held).st_ino:
                        return held
                os.close(held)


def sweep(where: Sequence[Path], alive: Alive) -> Swept:
    """Remove the folders of controllers that are gone, except those of runs that still live. Errors: none; what is not ours to enter is left alone."""
    removed: list[str] = []
    left: list[str] = []
    for place in where:
        with contextlib.suppress(OSError), _root(place, make=False) as root:
            for owner in _names(root):
                _sweep_owner(owner, root, place / _root_name(), alive, removed, left)
    return Swept(tuple(removed), tuple(left))


def _sweep_owner(owner: str, root: int, path: Path, alive: Alive, removed: list[str], left: list[str]) -> None:
    try:
        with _entered(owner, root) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            runs = _names(folder)
            living = alive(runs) if runs else ()
            for run in runs:
                if run not in living:
                    _remove(run, folder)
                    removed.append(run)
            if not living:
                os.rmdir(owner, dir_fd=root)
    except (BlockingIOError, FileNotFoundError):
        return  # its controller lives, or somebody else sweeps
    except (OSError, RecursionError) as error:
        left.append(f"{path / owner}: {error}")


def _refusal(place: Path, mounts: Path) -> str | None:
    """Why nothing private can be written there. Errors: OSError."""
    kind = _file_system(place.stat().st_dev, mounts)
    if kind in _IN_MEMORY:
        return None
    return f"it is on {kind or 'a file system that cannot be told'}, and secrets must not reach a disk"


def _file_system(device: int, mounts: Path) -> str:
    """The type of the file system with that device number. Source: proc_pid_mountinfo(5), fields 3 and 9. (Python has no statfs(2).)"""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields, _, rest = line.partition(" - ")
        if fields.split(" ")[2] == number:
            return rest.split(" ")[0]
    return ""


def _root_name() -> str:
    return f"jobwarden-credentials-{os.geteuid()}"


@contextlib.contextmanager
def _root(place: Path, *, make: bool) -> Iterator[int]:
    """The folder of this user in a place that everybody may write to. Errors: OSError, also when it is somebody else's."""
    outside = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                _make(_root_name(), outside)
        with _entered(_root_name(), outside) as root:
            found = os.fstat(root)
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise PermissionError(0, f"{_root_name()} in it is not this user's alone: remove it")
            yield root
    finally:
        os.close(outside)


def _make(name: str, parent: int) -> None:
    """A new folder of ours alone, whatever the umask is. Errors: OSError, FileExistsError among them."""
    os.mkdir(name, 0o700, dir_fd=parent)
    os.chmod(name, 0o700, dir_fd=parent)


@contextlib.contextmanager
def _entered(name: str, parent: int) -> Iterator[int]:
    """A folder, and no link to one. Errors: OSError."""
    folder = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as found:
        return [entry.name for entry in found]


def _write(folder: int, parts: Sequence[str], content: bytes) -> None:
    """One file, in folders of its own where its path has some. Errors: OSError."""
    name, *rest = parts
    if rest:
        with contextlib.suppress(FileExistsError):
            _make(name, folder)
        with _entered(name, folder) as inner:
            _write(inner, rest, content)
        return
    file = os.open(name, _NEW_FILE, 0o400, dir_fd=folder)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
        os.fchmod(file, 0o400)  # whatever the umask has made of it
    finally:
        os.close(file)


def _replace(folder: int, parts: Sequence[str], content: bytes) -> None:
    """One file, by a name that nobody has and a rename. Errors: OSError, and nothing has changed."""
    name, *rest = parts
    if rest:
        with _entered(name, folder) as inner:
            _replace(inner, rest, content)
        return
    beside = f".{secrets.token_hex(8)}"
    try:
        _write(folder, [beside], content)
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        raise


def _remove(name: str, parent: int) -> None:
    """Remove a file, or a folder with everything in it; what is not there is fine. Errors: OSError, RecursionError for folders nested by the thousand."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        with _reentered(name, parent) as folder:
            with os.scandir(folder) as found:
                # Files first: those that we wrote go even where the rest cannot.
                names = sorted((entry.is_dir(follow_symlinks=False), entry.name) for entry in found)
            for _, inner in names:
                _remove(inner, folder)
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return


@contextlib.contextmanager
def _reentered(name: str, parent: int) -> Iterator[int]:
    """A folder that is to be emptied, whatever the run has made of its mode."""
    try:
        folder = os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        folder = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        os.fchmod(folder, 0o700)
        yield folder
    finally:
        os.close(folder)


def _checked(name: str) -> str:
    """A name that cannot lead anywhere else. Errors: ValueError, a defect of ours."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a folder")
    return name
