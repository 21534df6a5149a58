"""huey on SQLite with four worker threads: B1.

`huey_shell.py FOLDER COUNT` queues COUNT tasks that run `sh -c true` with captured output, then starts the consumer: the clock
runs from there to the end of the last task. It has no schedule to look at (its own looks once a second), which favours it, and keeps
a result but no record of a run: nothing says afterwards when it ran, or that it began and never ended.
"""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from huey import SqliteHuey

FOLDER, COUNT = Path(sys.argv[1]), int(sys.argv[2])
WORKERS = 4
huey = SqliteHuey("bench", filename=str(FOLDER / "huey.db"))
ended: list[float] = []


@huey.task()
def true() -> int:
    """The job: the same shell, captured."""
    return subprocess.run(["/bin/sh", "-c", "true"], capture_output=True, check=True).returncode


@huey.signal()
def note(signal: str, _task: object, _error: object = None) -> None:
    """Take the instant at which a task is over, with its result stored."""
    if signal in {"complete", "error"}:
        ended.append(time.perf_counter())


results = [true() for _ in range(COUNT)]
consumer = huey.create_consumer(
    workers=WORKERS, worker_type="thread", periodic=False, initial_delay=0.01, check_worker_health=False
)
begun = time.perf_counter()
consumer.start()
deadline = time.monotonic() + 300
while len(ended) < COUNT and time.monotonic() < deadline:
    time.sleep(0.005)
threading.Thread(target=consumer.stop, kwargs={"graceful": True}).start()
answers = [one.get(blocking=False) for one in results]
if answers != [0] * COUNT:
    raise SystemExit(f"{answers.count(0)} of {COUNT} tasks have their result")
print(json.dumps({"value": COUNT / (max(ended) - begun)}), flush=True)
