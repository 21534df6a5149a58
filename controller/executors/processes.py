"""What /proc says about processes, and signals that cannot hit the wrong one.

`tree` uses it to end everything that belongs to a run, `orphans` to find what a controller that died left behind.
Invariant: a process is named by its id *and* its start time; a signal goes out only when both still hold, through a pidfd, so a reused id is safe.
Elsewhere than on Linux `supported()` is False, and everything finds nothing.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from functools import cache

import msgspec

RUN_VARIABLE = "JOBWARDEN_RUN_ID"
NAMESPACE_VARIABLE = "JOBWARDEN_NAMESPACE"
_MARKER = b"\0JOBWARDEN_RUN_ID="
_SLACK = 2  # clock ticks by which a start time and our own clock may differ


class Process(msgspec.Struct, frozen=True):
    """One process as /proc showed it."""

    pid: int
    start: int  # clock ticks after boot
    parent: int
    pgid: int
    session: int
    run: str | None = None  # JOBWARDEN_RUN_ID of its environment
    namespace: str | None = None


class Session(msgspec.Struct, frozen=True):
    """The session that a run began with. `until`: ticks at which its leader was reaped; a session of that number that began later is somebody else's."""

    number: int
    until: int | None = None


def supported() -> bool:
    """Whether processes can be looked for on this system."""
    return sys.platform == "linux" and os.path.exists("/proc/self/stat") and hasattr(os, "pidfd_open")  # noqa: PTH110


@cache
def ticks_per_second() -> int:
    """The unit of start times."""
    return os.sysconf("SC_CLK_TCK") if sys.platform == "linux" else 100


@cache
def boot_id() -> str:
    """The identity of this boot of the machine; "" where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - a kernel file
            return file.read().strip()
    except OSError:
        return ""


def now_ticks() -> int:
    """The present as a start time would say it."""
    if sys.platform != "linux":
        return 0
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * ticks_per_second())


def read(pid: int) -> Process | None:
    """The process, without its environment; None: there is none, or it has ended and only waits to be reaped."""
    try:
        fields = _stat(pid)
    except (OSError, ValueError, IndexError):
        return None
    return None if fields[0] in (b"Z", b"X") else _process(pid, fields)


def alive(process: Process) -> bool:
    """Whether this very process still runs."""
    now = read(process.pid)
    return now is not None and now.start == process.start


def start_ticks(pid: int) -> int:
    """When the process started, also when it has ended and waits to be reaped; 0: not known."""
    try:
        return int(_stat(pid)[19])
    except (OSError, ValueError, IndexError):
        return 0


def scan(runs: Collection[str] | None, sessions: Mapping[int, Session], since: int = 0) -> Iterator[Process]:
    """Give the live processes that carry a run's name, and those in the sessions, whatever their environment.

    Shape:  `runs` None means any run. Processes of other users are not seen (root sees all), nor is the caller itself.
    Units:  `since` in ticks: what started earlier cannot belong to the runs, and costs no look at its environment.
    Errors: OSError when /proc cannot be listed.
    """
    if not supported():
        return
    me = os.getpid()
    for name in os.listdir("/proc"):  # noqa: PTH208 - ten times faster, and it is called with a run waiting
        if not name.isdigit() or int(name) == me:
            continue
        process = read(int(name))
        if process is None or process.start < since - _SLACK:
            continue
        run, namespace = _marks(process.pid)
        if run is not None and (runs is None or run in runs):
            yield msgspec.structs.replace(process, run=run, namespace=namespace)
        elif _within(process, sessions.get(process.session) or sessions.get(process.pgid)):
            yield process


def send(process: Process, number: signal.Signals) -> bool:
    """Send the signal to exactly this process. False: it is gone, or not ours to signal."""
    fd = hold(process)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def hold(process: Process) -> int | None:
    """A pidfd of exactly this process, readable once it has ended; None: it is gone, or there are no descriptors left."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return None
    # The descriptor holds whoever has the number now; the start time says whether that is still the one we saw.
    if start_ticks(process.pid) == process.start:
        return fd
    os.close(fd)
    return None


def signal_group(pgid: int, number: signal.Signals | int) -> bool:
    """Signal a process group. False: there is nobody in it that we may signal. For a leader not reaped yet, or one reaped this very moment."""
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def reap(pid: int, options: int) -> int | None:
    """Reap a child: its exit code, or minus the signal. None: it still runs (with os.WNOHANG)."""
    try:
        reaped, status = os.waitpid(pid, options)
    except ChildProcessError:
        return 255  # somebody else reaped it, which is a defect; it must not look like a success
    return os.waitstatus_to_exitcode(status) if reaped else None


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; a real-time signal between the named ends has its number. Pure."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _within(process: Process, session: Session | None) -> bool:
    return session is not None and (session.until is None or process.start <= session.until + _SLACK)


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third (state) on; the second may hold spaces and brackets. Source: proc(5)."""
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123
        return file.read().rpartition(b") ")[2].split()


def _process(pid: int, fields: list[bytes]) -> Process:
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[2]), int(fields[3]))


def _marks(pid: int) -> tuple[str | None, str | None]:
    """Run and namespace in the environment that the process was started with."""
    environ = b""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123
        environ = b"\0" + file.read()
    if _MARKER not in environ:
        return None, None
    return _value(environ, RUN_VARIABLE), _value(environ, NAMESPACE_VARIABLE)


def _value(environ: bytes, name: str) -> str | None:
    _, found, rest = environ.partition(f"\0{name}=".encode())
    return os.fsdecode(rest.partition(b"\0")[0]) if found else None
