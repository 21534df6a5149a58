"""The start of one process: descriptors, a session of its own, and words for why it could not be started.

`local` calls it on the loop's thread, for a run in a box by way of `boxed`. The cost of a start must not grow with the controller's memory, so nothing here forks: `posix_spawn` where it
can do the job, and else `subprocess.Popen`, which goes through vfork as long as neither `preexec_fn` nor `user` is asked for.
Invariants: the process inherits its three standard descriptors and no others (bubblewrap a few more, which end with it); after a failure no descriptor and no process is left.
"""

import errno
import fcntl
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence

import msgspec

_DEFAULT_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
)  # Python ignores these, and an ignored signal stays ignored across exec
SAFE = 9  # descriptors up to this one may be given to a process under a number of its own
_CLOSE_FROM = getattr(os, "POSIX_SPAWN_CLOSEFROM", None)  # from Python 3.13 on


class Spawned(msgspec.Struct, frozen=True):
    """A process that runs, leader of its own session and group, and our ends of its pipes (non-blocking). Whoever takes it reaps it."""

    pid: int
    stdout: int
    stderr: int


class NotStarted(msgspec.Struct, frozen=True):
    """Why there is no process, and what to do about it."""

    message: str


def spawn(
    argv: tuple[str, ...],
    env: Mapping[str, str],
    cwd: str | None,
    stdin: int,
    passed: Sequence[int] = (),
    *,
    close: bool = True,
) -> Spawned | NotStarted:
    """Start `argv` with exactly the variables of `env`. Descriptors in `passed` are 3, 4, … there, for a program with a path and no `cwd`; all above `SAFE`.

    Without `close` our own descriptors are trusted to close themselves, as `descriptors` sees to it: who may not list them in /proc would try each possible number.
    """
    if not argv:
        return NotStarted("the command is empty: spec.exec.command needs at least one word")
    fds: list[int] = []
    try:
        fds += safe_pipe() if passed else os.pipe()
        fds += safe_pipe() if passed else os.pipe()
        os.set_blocking(fds[0], False)
        os.set_blocking(fds[2], False)
        # posix_spawn cannot change the directory, searches the PATH of the controller, and mixes up descriptors that are standard ones.
        if cwd is None and "/" in argv[0] and min(stdin, *fds) > 2:
            pid = _posix_spawn(argv, env, (stdin, fds[1], fds[3], *passed))
        else:
            pid = _popen(argv, env, cwd, (stdin, fds[1], fds[3]), close=close)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        for fd in fds:
            os.close(fd)
        return NotStarted(explain(error, argv, env, cwd))
    os.close(fds[1])
    os.close(fds[3])
    return Spawned(pid, fds[0], fds[2])


def safe_pipe() -> list[int]:
    """A pipe whose ends are above `SAFE`. Errors: OSError."""
    return [lifted(fd) for fd in os.pipe()]


def lifted(fd: int) -> int:
    """The descriptor, or in its place one above `SAFE`, so that no number of the process to be started covers it. Errors: OSError; it is closed then."""
    if fd > SAFE:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SAFE + 1)
    finally:
        os.close(fd)


def _posix_spawn(argv: tuple[str, ...], env: Mapping[str, str], fds: Sequence[int]) -> int:
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)]
    if _CLOSE_FROM is not None:
        actions.append((_CLOSE_FROM, len(fds)))
    return os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True, setsigdef=_DEFAULT_SIGNALS)


def _popen(
    argv: tuple[str, ...], env: Mapping[str, str], cwd: str | None, fds: tuple[int, int, int], *, close: bool
) -> int:
    stdin, stdout, stderr = fds
    process = subprocess.Popen(
        argv, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, start_new_session=True, close_fds=close
    )
    process.returncode = 0  # tells the object that it has nothing to wait for: the caller reaps
    return process.pid


def explain(error: Exception, argv: tuple[str, ...], env: Mapping[str, str], cwd: str | None) -> str:
    """Say what stood in the way of a start, and what to do. Reads the file system for hints, changes nothing."""
    if not isinstance(error, OSError):
        return f"cannot start {argv[0]!r}: {error}; remove it from the command or the environment"
    # Popen names the file that the system refused: the working directory, or the program.
    if cwd is not None and error.filename == cwd:
        return _explain_cwd(error, cwd)
    return _explain_program(error, argv[0], env) or _explain_host(error, argv[0])


def _explain_cwd(error: OSError, cwd: str) -> str:
    if error.errno == errno.ENOENT:
        return f"the working directory {cwd!r} does not exist: create it, or change spec.workingDir"
    if error.errno == errno.ENOTDIR:
        return f"the working directory {cwd!r} is not a directory: change spec.workingDir"
    if error.errno == errno.EACCES:
        return f"the working directory {cwd!r} may not be entered: give the controller's user the right to, or change spec.workingDir"
    return f"the working directory {cwd!r} cannot be used: {error.strerror}"


def _explain_program(error: OSError, program: str, env: Mapping[str, str]) -> str | None:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if "/" not in program:
            where = env.get("PATH", os.defpath)
            return f"command not found: {program!r} is in no folder of PATH ({where}): install it, give its full path, or set PATH in spec.env"
        if os.path.exists(program):  # noqa: PTH110 - a name from a manifest, not a path of ours
            return f"{program!r} exists, but the interpreter that it names (its first line, or its dynamic loader) does not: install that"
        return f"command not found: there is no file {program!r}: install it, or correct the path"
    if error.errno == errno.EACCES:
        return (
            f"{program!r} is not executable for the controller's user: make it so (chmod +x), check that it is a file and "
            "that its file system is not mounted noexec"
        )
    if error.errno == errno.ENOEXEC:
        return f"{program!r} is not a program that this machine can run: a script needs '#!' and an interpreter as its first line"
    return None


def _explain_host(error: OSError, program: str) -> str:
    if error.errno == errno.E2BIG:
        return (
            f"cannot start {program!r}: the script, one argument or one variable is longer than the system allows (128 KiB each on "
            "Linux, and all of them a quarter of the stack limit): put it into a file"
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"cannot start {program!r}: the controller has no free file descriptors (limit {soft}): raise it (ulimit -n), or run less at once"
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return f"cannot start {program!r}: the host refuses new processes ({error.strerror}): raise its limit (ulimit -u, pids.max), or run less at once"
    return f"cannot start {program!r}: {error.strerror}"
