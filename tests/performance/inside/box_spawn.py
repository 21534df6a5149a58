"""Our side of B17: the Local executor starts, captures and ends runs in boxes.

`box_spawn.py COUNT IN_FLIGHT PROFILE NETWORK FOLDER` prints the rate as JSON; with COUNT 0 the arguments of bubblewrap as it would have started them, and writes the filter to
FOLDER/filter. A run counts when its result has been looked at: exit code 0, and what it gave in $JOBWARDEN_OUTPUT.
"""

import asyncio
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from controller.base.clock import SystemClock
from controller.domain.trust import Box, NetworkMode, Profile
from controller.executors import abilities, box, seccomp
from controller.executors.local import LocalExecutor
from controller.executors.protocol import BoxRequest, ExecutionRequest, ExecutionResult


def request(number: int, wanted: Box, folder: Path) -> ExecutionRequest:
    """As `launch` would make it."""
    output = str(folder / f"run-{number}.out")
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/home/jobwarden", "JOBWARDEN_OUTPUT": output}
    made = box.request(wanted, box.Place(env, output=output), abilities.of_this_host())
    if not isinstance(made, BoxRequest):
        raise SystemExit(f"no boxes here: {made}")
    return ExecutionRequest(
        run=f"run-{number}",
        namespace="default",
        job="run",
        argv=("/bin/sh", "-c", "true"),
        env=env,
        timeout=timedelta(hours=1),
        log_path=folder / f"run-{number}.log",
        output_path=output,
        box=made,
    )


async def main(count: int, in_flight: int, wanted: Box, folder: Path) -> float:
    """Runs a second."""
    executor = LocalExecutor(SystemClock())
    over = asyncio.get_running_loop().create_future()
    started = ended = 0

    def start() -> None:
        nonlocal started
        started += 1
        executor.start(request(started, wanted, folder), end)

    def end(result: ExecutionResult) -> None:
        nonlocal ended
        ended += 1
        if result.exit_code != 0:
            over.set_exception(SystemExit(f"a run ended badly: {result}"))
        elif started < count:
            start()
        elif ended == count:
            over.set_result(None)

    begun = time.perf_counter()
    for _ in range(in_flight):
        start()
    await over
    rate = count / (time.perf_counter() - begun)
    executor.close()
    return rate


if __name__ == "__main__":
    asked = Box(profile=Profile(sys.argv[3]), network=NetworkMode(sys.argv[4]), hosts=("example.com",))
    where = Path(sys.argv[5])
    if int(sys.argv[1]):
        abilities.of_this_host()
        print(json.dumps({"value": asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), asked, where))}))
    else:
        (where / "filter").write_bytes(seccomp.program() or b"")
        place = box.Place({"HOME": "/home/jobwarden"})
        bare = box.arguments(asked, place, box.of_this_host())
        print(json.dumps({"arguments": [abilities.of_this_host().bubblewrap, *bare], "filter": str(where / "filter")}))
