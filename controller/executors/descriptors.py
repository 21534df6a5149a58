"""File descriptors of the controller's process: none reaches a run, and there are enough for many runs.

`local` calls both once, when an executor is made. Invariant: limits are only ever raised, and never above what the system allows this user.
"""

import contextlib
import os
import resource
from pathlib import Path

ENOUGH = 4096  # 500 runs need four each; much higher limits, which runs inherit, make old programs close millions of descriptors one by one


def keep_private() -> None:
    """See to it that what the controller itself inherited does not reach its runs.

    Effect: marks every descriptor but the standard ones as close-on-exec. Python makes its own that way; those that came with the controller's own
    start (a supervisor's sockets, a make jobserver) are not, and `posix_spawn` can close them itself only from Python 3.13 on.
    """
    folder = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")
    for entry in tuple(folder.iterdir()):
        if int(entry.name) > 2:
            with contextlib.suppress(OSError):  # the one that the listing itself used is closed by now
                os.set_inheritable(int(entry.name), False)  # noqa: FBT003


def raise_limit() -> int:
    """Raise the soft limit to `ENOUGH`, or as far as the hard limit lets us; give what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems have a lower limit of their own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
