"""How many processes a second the Local executor starts, captures and ends, beside the bare limit of the machine in the same rounds.

    python tests/performance/spawn.py [--runs 1500] [--rounds 9] [--flight 8] [--script true]

Limit: `os.posix_spawn` of the same command with as many in flight, nothing captured, in this very process. A round is limit, ours, limit; it counts when
its two limits differ by less than a quarter. Printed: the median of the rounds' ratios, with the least and the greatest.
"""

import argparse
import asyncio
import os
import statistics
import time
from datetime import timedelta
from tempfile import TemporaryDirectory

from controller.base.clock import SystemClock
from controller.executors.local import LocalExecutor
from controller.executors.protocol import ExecutionRequest, ExecutionResult

ENV = {"PATH": os.defpath, "HOME": "/", "LANG": "C.UTF-8"} | {
    f"JOBWARDEN_VARIABLE_{n}": "some value" for n in range(12)
}


def bare(script: str, runs: int, flight: int) -> float:
    """Processes a second without an executor."""
    argv = ("/bin/sh", "-c", script)
    began = time.perf_counter()
    started = ended = 0
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
    while ended < runs:
        while started < runs and started - ended < flight:
            os.posix_spawn(argv[0], argv, ENV, file_actions=actions)
            started += 1
        os.waitpid(-1, 0)
        ended += 1
    os.close(null)
    return runs / (time.perf_counter() - began)


async def ours(script: str, runs: int, flight: int, folder: str) -> float:
    """The same through the executor, output captured, every result looked at."""
    executor = LocalExecutor(SystemClock())
    over = asyncio.get_running_loop().create_future()
    counts = {"started": 0, "ended": 0, "bad": 0}

    def start() -> None:
        number = counts["started"]
        counts["started"] += 1
        request = ExecutionRequest(
            run=f"run-{number}",
            namespace="default",
            job="run",
            argv=("/bin/sh", "-c", script),
            env=ENV,
            timeout=timedelta(hours=1),
            log_path=f"{folder}/run-{number}.log",
            output_path=f"{folder}/run-{number}.out",
        )
        executor.start(request, end)

    def end(result: ExecutionResult) -> None:
        counts["ended"] += 1
        counts["bad"] += result.exit_code != 0
        if counts["started"] < runs:
            start()
        elif counts["ended"] == runs:
            over.set_result(None)

    began = time.perf_counter()
    for _ in range(flight):
        start()
    await over
    rate = runs / (time.perf_counter() - began)
    executor.close()
    assert counts["bad"] == 0, counts
    return rate


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--flight", type=int, default=8)
    parser.add_argument("--script", default="true")
    options = parser.parse_args()
    ratios: list[float] = []
    for number in range(options.rounds):
        with TemporaryDirectory() as folder:
            before = bare(options.script, options.runs, options.flight)
            rate = asyncio.run(ours(options.script, options.runs, options.flight, folder))
            after = bare(options.script, options.runs, options.flight)
        limit = (before + after) / 2
        counts = abs(before - after) < 0.25 * limit
        print(
            f"round {number + 1}: limit {limit:.0f}/s, ours {rate:.0f}/s, {rate / limit:.3f}{'' if counts else ' (unsteady, left out)'}"
        )
        if counts:
            ratios.append(rate / limit)
    if ratios:
        print(f"ours / limit: {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})")


if __name__ == "__main__":
    main()
