"""Limit of B14: an event loop that reads one child's pipe in 64 KiB pieces and throws them away.

`add_reader.py MEGABYTES` prints MB/s. The child is the same `head -c … /dev/zero` that the benchmark's job runs.
"""

import asyncio
import json
import os
import subprocess
import sys
import time

PIECE = 64 * 1024


async def main(megabytes: int) -> None:
    """Print the rate as JSON."""
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    ended = loop.create_future()
    total = 0

    def ready() -> None:
        nonlocal total
        piece = os.read(reading, PIECE)
        total += len(piece)
        if not piece:
            loop.remove_reader(reading)
            ended.set_result(None)

    begun = time.perf_counter()
    child = subprocess.Popen(["/bin/sh", "-c", f"head -c {megabytes * 1_000_000} /dev/zero"], stdout=writing)
    os.close(writing)
    loop.add_reader(reading, ready)
    await ended
    took = time.perf_counter() - begun
    child.wait()
    if total != megabytes * 1_000_000:
        raise SystemExit(f"{total} bytes came through")
    print(json.dumps({"value": megabytes / took}))


asyncio.run(main(int(sys.argv[1])))
