"""Limit of B1 (and the yardstick of rounds that have no limit of their own): a bare interpreter that does nothing but spawn.

`spawn.py COUNT [IN_FLIGHT]` starts `sh -c true` COUNT times with posix_spawn, IN_FLIGHT at once, captures nothing and
records nothing. No scheduler on CPython can start shells faster than this process does on the same machine.
"""

import json
import os
import sys
import time


def main(count: int, in_flight: int) -> None:
    """Print the rate as JSON."""
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, one) for one in (0, 1, 2)]
    begun = time.perf_counter()
    started = running = 0
    while started < count or running:
        while started < count and running < in_flight:
            os.posix_spawn("/bin/sh", ["sh", "-c", "true"], environment, file_actions=actions)
            started += 1
            running += 1
        _, status = os.wait()
        running -= 1
        if status != 0:
            raise SystemExit(f"a child ended with status {status}")
    print(json.dumps({"value": count / (time.perf_counter() - begun)}))


main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4)
