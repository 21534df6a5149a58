"""Limit of B17: a bare interpreter that starts bubblewrap with the arguments that a run would get, and nothing else.

`box_spawn.py COUNT IN_FLIGHT ARGUMENTS FILTER` starts `sh -c true` COUNT times in a box, IN_FLIGHT at once; ARGUMENTS is bubblewrap with its options as a JSON list, FILTER a
file with its filter of system calls. Nothing is captured, recorded or waited for beyond the process itself.
"""

import json
import os
import sys
import time


def main(count: int, in_flight: int, arguments: list[str], filter_file: str) -> None:
    """Print the rate as JSON."""
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/home/jobwarden"}
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, one) for one in (0, 1, 2)]
    actions.append((os.POSIX_SPAWN_OPEN, 3, filter_file, os.O_RDONLY, 0))
    command = [*arguments, "--seccomp", "3", "--", "/bin/sh", "-c", "true"]
    begun = time.perf_counter()
    started = running = 0
    while started < count or running:
        while started < count and running < in_flight:
            os.posix_spawn(command[0], command, environment, file_actions=actions, setsid=True)
            started += 1
            running += 1
        _, status = os.wait()
        running -= 1
        if status != 0:
            raise SystemExit(f"a child ended with status {status}")
    print(json.dumps({"value": count / (time.perf_counter() - begun)}))


main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4])
