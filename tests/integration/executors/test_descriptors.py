"""File descriptors that the controller has, seen from a controller of its own and its runs."""

import os
import subprocess
import sys

import pytest

CHILD = """
import asyncio, os, resource, sys
from datetime import timedelta
from controller.base.clock import SystemClock
from controller.executors.local import LocalExecutor
from controller.executors.protocol import ExecutionRequest

soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

async def main():
    executor = LocalExecutor(SystemClock())
    ended = asyncio.get_running_loop().create_future()
    argv = ("/bin/sh", "-c", "ls /proc/self/fd | tr '\\\\n' ' '")
    request = ExecutionRequest(run="r", namespace="n", job="j", argv=argv, env={"PATH": os.environ["PATH"]}, timeout=timedelta(minutes=1))
    executor.start(request, ended.set_result)
    print((await ended).stdout.decode().split(), resource.getrlimit(resource.RLIMIT_NOFILE))
    executor.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(("soft", "hard", "now"), [(256, 8192, 4096), (256, 1000, 1000), (6000, 8192, 6000)])
def test_there_are_enough_and_none_is_inherited(soft: int, hard: int, now: int) -> None:
    """A descriptor that the controller was started with stays with it; its limit is raised as far as needed and allowed, never lowered."""
    leaking = os.open("/dev/null", os.O_RDONLY)
    try:
        seen = subprocess.run(
            [sys.executable, "-c", CHILD, str(soft), str(hard)],
            pass_fds=[leaking],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        )
    finally:
        os.close(leaking)
    # 3 is the folder that ls itself has open.
    assert seen.stdout.strip() == f"{['0', '1', '2', '3']} {(now, hard)}"
