"""Running one small program to its end: what it prints, bounded; and nothing of it afterwards, however it ended.

`exec_credential` uses it. The program is the leader of a session, and a variable marks it and all that it starts, so that what left the session is found as well.
Invariant: when `run` is over, also by cancellation, every process that still has the mark gets a KILL; the program sees the variables that it is given, the
mark, and no other; nothing blocks the event loop but the start itself. What a controller that was killed left running, the next one ends (`end_orphans`).
"""

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Mapping
from pathlib import Path

import msgspec

MARK = "JOBWARDEN_PROVIDER_CALL"
_PREFIX = f"{MARK}=".encode()
_LOOK_S = 0.01
_SWEEPS = 5
_LOOKS_AFTER_KILL = 500


class Ended(msgspec.Struct, frozen=True):
    """How a program ended: its exit code, or minus the signal. `cut`: it printed more than was read, and was killed."""

    code: int
    stdout: bytes
    stderr: bytes
    cut: bool = False

    def __repr__(self) -> str:
        return f"Ended({self.code}, ***)"


class NotStarted(msgspec.Struct, frozen=True):
    """Why there was no process."""

    message: str


async def run(argv: tuple[str, ...], env: Mapping[str, str], *, most: int) -> Ended | NotStarted:
    """Run `argv` in the root folder with nothing to read.

    Units:  `most` in bytes: of standard output; more kills the program. Of standard error the first `most` are kept.
    """
    mark = f"{_me()}.{secrets.token_hex(16)}"
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            env={**env, MARK: mark},
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    )
    try:
        # The program runs before this is over. To cancel it would wait for whoever has inherited a pipe.
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.shield(_abandon(starting, mark))
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its arguments cannot be passed on"
        return NotStarted(f"{argv[0]} cannot be started: {why}")
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Pipe(process.stdout, most), _Pipe(process.stderr, most)
    try:
        # Not `process.wait()`: on some versions of Python that waits for everybody who has inherited a pipe.
        while process.returncode is None and not out.over:
            await asyncio.sleep(_LOOK_S)
    finally:
        await _kill(process, f"{MARK}={mark}".encode())
    code = process.returncode if process.returncode is not None else -signal.SIGKILL
    return Ended(code, await out.text(), await err.text(), cut=out.over)


def end_orphans() -> int:
    """Kill what programs of controllers that died have left, on this host, of this user; how many that were. Reads /proc: call it on a thread, at the start."""
    found = 0
    numbered = _numbering(os.getpid())
    for pid in map(int, _pids()):
        mark = next((one for one in _environment(pid) if one.startswith(_PREFIX)), None)
        if mark is None or _numbering(pid) != numbered:
            continue
        if not _lives(mark.removeprefix(_PREFIX).decode("ascii", "replace")):
            found += _kill_marked(pid, mark)
    return found


def _me() -> str:
    """This process, by its number and its start time, as numbers are used again."""
    return f"{os.getpid()}.{_started(os.getpid())}"


def _lives(mark: str) -> bool:
    """Whether the controller that a mark names still runs. What cannot be read is nobody's orphan."""
    pid, _, rest = mark.partition(".")
    started = rest.partition(".")[0]
    return not (pid.isdigit() and started.isdigit()) or _started(int(pid)) == started


def _numbering(pid: int) -> str:
    """Where its number counts: a controller in a container names itself by a number that is somebody else's here. Source: pid_namespaces(7)."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Ticks after boot; "" for a process that is gone. Source: proc(5), the 22nd field of stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


class _Pipe:
    """What comes through a pipe: the first `most` bytes are kept, the rest is thrown away."""

    def __init__(self, stream: asyncio.StreamReader, most: int) -> None:
        self.over = False
        self._found, self._most = bytearray(), most
        self._reading = asyncio.ensure_future(self._read(stream))

    async def text(self) -> bytes:
        await self._reading
        return bytes(self._found)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(1 << 16):
            room = self._most - len(self._found)
            self._found += data[:room]
            self.over = self.over or len(data) > room


async def _abandon(starting: asyncio.Future[asyncio.subprocess.Process], mark: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        await _kill(await starting, f"{MARK}={mark}".encode())


async def _kill(process: asyncio.subprocess.Process, mark: bytes) -> None:
    """End the group while its number is certainly ours, then everything that has the mark, and see the program's end."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    await asyncio.to_thread(_sweep, mark)
    for _ in range(_LOOKS_AFTER_KILL):
        if process.returncode is not None:
            return
        await asyncio.sleep(_LOOK_S)


def _sweep(mark: bytes) -> None:
    for _ in range(_SWEEPS):
        # One that forks while it is looked for is found by the next sweep.
        if not sum(_kill_marked(int(entry), mark) for entry in _pids()):
            return


def _pids() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names, quickly
    except OSError:
        return []


def _kill_marked(pid: int, wanted: bytes) -> bool:
    """Kill the process if it has the mark; by a descriptor, so that a number that is used again is safe."""
    if not _marked(pid, wanted):
        return False
    try:
        held = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not _marked(pid, wanted):
            return False
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _marked(pid: int, wanted: bytes) -> bool:
    return wanted in _environment(pid)


def _environment(pid: int) -> list[bytes]:
    """What the process was started with; nothing for one of another user, and for one that has ended and waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
