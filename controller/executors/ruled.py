"""The start of a process in a box that Landlock keeps, where bubblewrap cannot.

`local` calls `start` for a request with `Rules`, `abilities` to try it. Rules and filters are attributes of a thread, inherited by what it starts and never taken off again. So each
start has a thread that binds itself, starts the process and ends; nothing forks, and no Python runs in the box.
The process is a run's main process like any other: there is nothing round it, its signals and its tree are its own.
Invariants: a thread that is bound does nothing else and serves nobody again; no other thread of the controller is ever bound.
"""

import contextlib
import errno
import functools
import gc
import os
import shutil
import threading
from collections.abc import Callable

from controller.executors import landlock, outputs, seccomp
from controller.executors.box import out_of_sight
from controller.executors.landlock import Ruleset
from controller.executors.protocol import ExecutionRequest, Rules
from controller.executors.seccomp import Alone
from controller.executors.spawn import NotStarted, Spawned, spawn

_UNMADE = "the box could not be made"
_ONE_AT_A_TIME = threading.Lock()


def start(request: ExecutionRequest, rules: Rules, stdin: int) -> Spawned | NotStarted:
    """Start the command of a request within rules. The private folder and the file for outputs are there afterwards, unless nothing was started."""
    env = {**request.env, **request.box.env} if request.box is not None else request.env
    cwd = request.cwd or rules.home
    try:
        _make_places(request, rules)
        started = _within(rules, lambda: spawn(request.argv, env, cwd, stdin, close=False))
    except (OSError, RuntimeError) as error:  # RuntimeError: no further thread
        started = NotStarted(f"{_UNMADE}: {_said(error)}")
    if isinstance(started, NotStarted):
        _remove_places(request, rules)
        return _explained(started, request, rules)
    return started


def _make_places(request: ExecutionRequest, rules: Rules) -> None:
    if rules.home is not None:
        os.mkdir(rules.home, 0o700)  # noqa: PTH102 - a str
    if rules.files and request.output_path is not None:
        outputs.make(request.output_path)


def _remove_places(request: ExecutionRequest, rules: Rules) -> None:
    if rules.home is not None:
        shutil.rmtree(rules.home, ignore_errors=True)
    if rules.files and request.output_path is not None and os.path.lexists(request.output_path):
        os.unlink(request.output_path)  # noqa: PTH108 - a path may be a str


def _within(rules: Rules, begin: Callable[[], Spawned | NotStarted]) -> Spawned | NotStarted:
    """What `begin` gives, called within rules. Errors: OSError, RuntimeError."""
    program = _program(rules.files, rules.network)
    with Ruleset(files=rules.files, network=rules.network) as ruleset:
        for paths, rights in (
            (rules.shown, landlock.READ),
            (rules.used, landlock.USE),
            (rules.changed, landlock.CHANGE),
        ):
            for path in paths:
                with contextlib.suppress(FileNotFoundError):  # of the system, which may have lost it since
                    ruleset.allow(path, rights, links=True)
        for paths, rights in ((rules.read, landlock.READ), (rules.write, landlock.WRITE)):
            for path in paths:
                ruleset.allow(path, rights, links=False)
        if rules.home is not None:
            ruleset.allow(rules.home, landlock.WRITE, links=True)
        return _in_a_thread_of_its_own(ruleset, program, begin)


def _in_a_thread_of_its_own(
    ruleset: Ruleset, program: bytes, begin: Callable[[], Spawned | NotStarted]
) -> Spawned | NotStarted:
    given: list[Spawned | NotStarted] = []

    def work() -> None:
        try:
            landlock.enter(ruleset, program)
            given.append(begin())
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for words
            given.append(NotStarted(f"{_UNMADE}: {_said(error)}"))

    # Garbage is collected by whichever thread makes it necessary: nobody's finalizer is to find itself in a box.
    with _ONE_AT_A_TIME:
        collecting = gc.isenabled()
        gc.disable()
        try:
            thread = threading.Thread(target=work, name="jobwarden-box", daemon=True)
            thread.start()
            thread.join()
        finally:
            if collecting:
                gc.enable()
    return given[0]


@functools.cache
def _program(files: bool, network: bool) -> bytes:  # noqa: FBT001 - private, and named where it is called
    return seccomp.of_this_machine(Alone(files=files, network=network))


def _said(error: Exception) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def _explained(refused: NotStarted, request: ExecutionRequest, rules: Rules) -> NotStarted:
    """In terms of the box, where it is only there that the program cannot be executed."""
    program = shutil.which(request.argv[0], path=request.env.get("PATH", os.defpath)) if request.argv else None
    if not rules.files or program is None or refused.message.startswith(_UNMADE):
        return refused
    return NotStarted(out_of_sight(request.argv[0], os.strerror(errno.EACCES)))
