"""Processes of the command that need not import it first: forked from one interpreter that has.

A test run asks the command thousands of times, and most of the time that takes is spent on imports. `Prefork.spawn` gives a process that
differs from `python -m controller.cli.main …` only in having found its modules in memory: its own process id and session, the environment, working folder and
streams that it was given, and for a controller the interpreter's own end. JOBWARDEN_TEST_EXEC=1 makes the harness start interpreters instead, as it
always does for an environment that speaks to the linker or to the interpreter.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STATUS = struct.Struct("i")
_MOST = 1 << 18


class Forked:
    """A process of the command, with the part of `subprocess.Popen` that the harness uses."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid, self.returncode = pid, None  # type: int, int | None
        self._status = status

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Exit code. Errors: subprocess.TimeoutExpired."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing happens to one that has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    return None
            told = os.read(self._status, _STATUS.size)
            os.close(self._status)
            # Nothing is told when the server itself has ended, and its children with it.
            self.returncode = _STATUS.unpack(told)[0] if told else -signal.SIGKILL
        return self.returncode


class Prefork:
    """The interpreter that has imported everything; one for a test process, for as long as that lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "ignore::RuntimeWarning:runpy",
                    "-m",
                    "tests.harness.prefork",
                    str(theirs.fileno()),
                ],
                env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"},
                cwd=Path(__file__).resolve().parents[2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def spawn(
        self, arguments: Sequence[str], *, environment: Mapping[str, str], cwd: Path, streams: tuple[int, int, int]
    ) -> Forked:
        """Start `jobwarden ARGUMENTS…` in a session of its own."""
        request = json.dumps({"arguments": list(arguments), "environment": dict(environment), "cwd": str(cwd)}).encode()
        told, telling = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._socket, [request], [*streams, telling])
                answer = self._socket.recv(_STATUS.size)
        finally:
            os.close(telling)
        assert answer, "the interpreter that processes are forked from has ended"
        return Forked(_STATUS.unpack(answer)[0], told)


def _serve(requests: socket.socket) -> None:
    """Fork for each request, and tell how each child ended, until nobody can ask any more. A child returns from here by ending."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, 4096)
                _reap(running)
            if requests in ready:
                request, fds, _, _ = socket.recv_fds(requests, _MOST, 4)
                if not request:
                    break
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(request), fds)
                running[pid] = fds[3]
                for fd in fds[:3]:
                    os.close(fd)
                requests.send(_STATUS.pack(pid))


def _reap(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        fd = running.pop(pid)
        try:
            os.write(fd, _STATUS.pack(os.waitstatus_to_exitcode(status)))
        except BrokenPipeError:
            pass
        finally:
            os.close(fd)


def _become(request: dict[str, Any], fds: list[int]) -> None:
    """Be the process that was asked for, to its end."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for target, fd in enumerate(fds[:3]):
        os.dup2(fd, target)
    os.closerange(3, 1024)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv = ["jobwarden", *request["arguments"]]
    code = importlib.import_module("controller.cli.main").main()
    if request["arguments"][:1] == ["run"]:
        sys.exit(code)
    # What only asks is asked again and again while a test waits: taking an interpreter of this size to pieces would cost more than the answer.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import_everything() -> None:
    package = importlib.import_module("controller")
    for module in pkgutil.walk_packages(package.__path__, "controller."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a module starts a thread when it is imported"
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _import_everything()
    _serve(socket.socket(fileno=int(sys.argv[1])))
