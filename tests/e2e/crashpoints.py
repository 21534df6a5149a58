"""The real command in a process that kills itself with SIGKILL at a chosen instant: `python crashpoints.py POINT:COUNT ARGUMENTS…`.

The instants are those at which the controller touches the world, so nothing of the product is named: a commit, the start of a process, the reaping of
one, a signal to one, a file or a folder that is given its mode, a folder that is removed. Only SIGKILL is used, which nobody can catch; what was written before is written, and nothing is cleaned up.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

POINTS = (
    *("before-commit", "after-commit", "before-spawn", "after-spawn", "after-reap", "before-signal"),
    *("before-chmod", "after-chmod", "before-rmdir", "after-rmdir"),
)


class Trap:
    """Kills this process when the instant has come for the given number of times."""

    def __init__(self, point: str, count: int) -> None:
        self.point, self._left = point, count

    def pass_by(self, point: str) -> None:
        """We are at this instant."""
        if point == self.point:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def set_up(trap: Trap) -> None:
    """Put the trap around what the controller does to the world."""
    from sqlalchemy import Connection  # noqa: PLC0415 - only when asked for

    around(Connection, "commit", trap, "commit")
    around(os, "posix_spawn", trap, "spawn")
    around(subprocess, "Popen", trap, "spawn")
    around(os, "waitpid", trap, "reap")
    around(signal, "pidfd_send_signal", trap, "signal")
    around(os, "fchmod", trap, "chmod")
    around(os, "rmdir", trap, "rmdir")


def around(where: Any, name: str, trap: Trap, point: str) -> None:
    """Let everybody who calls `where.name` pass by the trap, before and after."""
    real: Callable[..., Any] = getattr(where, name)

    def trapped(*args: Any, **kwargs: Any) -> Any:
        trap.pass_by(f"before-{point}")
        result = real(*args, **kwargs)
        trap.pass_by(f"after-{point}")
        return result

    if isinstance(real, type):
        # A class that others may inherit from stays one.
        setattr(
            where,
            name,
            type(name, (real,), {"__init__": lambda self, *a, **k: _initialise(self, real, trap, point, a, k)}),
        )
    else:
        setattr(where, name, trapped)


def _initialise(self: Any, real: Any, trap: Trap, point: str, args: Any, kwargs: Any) -> None:
    trap.pass_by(f"before-{point}")
    real.__init__(self, *args, **kwargs)
    trap.pass_by(f"after-{point}")


if __name__ == "__main__":
    import croniter  # noqa: F401 - asks the program `file` something while it is imported, which is no start of a job

    where, _, number = sys.argv[1].partition(":")
    assert where in POINTS, where
    set_up(Trap(where, int(number)))
    from controller.cli.main import main

    sys.argv = ["jobwarden", *sys.argv[2:]]
    sys.exit(main())
