"""APScheduler 3 with its SQLAlchemy job store on SQLite: B1 (`shell`), B2 (`late`), B6 (`idle`) and B8 (`fill`).

It keeps the schedule durably and removes a one-shot job when it fires; it keeps no record of runs. Fair: the documented set-up, its
own thread pool, jobs that run the same shell command with captured output, and no deadline (`misfire_grace_time=None`).
"""

import datetime as dt
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

WORKERS = 8


def true() -> int:
    """The job of B1."""
    return subprocess.run(["/bin/sh", "-c", "true"], capture_output=True, check=True).returncode


def clock() -> str:
    """The job of B2."""
    return subprocess.run(["/bin/bash", "-c", "echo $EPOCHREALTIME"], capture_output=True, check=True, text=True).stdout


def scheduler_in(folder: Path) -> BackgroundScheduler:
    return BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=f"sqlite:///{folder / 'jobs.db'}")},
        executors={"default": ThreadPoolExecutor(WORKERS)},
        job_defaults={"misfire_grace_time": None, "coalesce": False, "max_instances": 1},
        timezone=dt.UTC,
    )


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def shell(folder: Path, count: int) -> dict[str, float]:
    """T → the last job has run. The jobs are in the store before T."""
    scheduler = scheduler_in(folder)
    ended: list[float] = []
    failed: list[object] = []
    scheduler.add_listener(lambda _: ended.append(time.time()), EVENT_JOB_EXECUTED)
    scheduler.add_listener(failed.append, EVENT_JOB_ERROR)
    scheduler.start(paused=True)
    due = time.time() + 2 + count * 0.004
    for _ in range(count):
        scheduler.add_job(true, "date", run_date=at(due))
    if time.time() > due:
        raise SystemExit("filling the store took longer than expected")
    scheduler.resume()
    wait(lambda: len(ended) + len(failed) >= count)
    if failed:
        raise SystemExit(f"{len(failed)} jobs failed")
    scheduler.shutdown()
    return {"value": count / (max(ended) - due)}


def late(folder: Path, count: int, seconds: float, seed: int, idle: int) -> dict[str, float]:
    """Lateness of the child's first command, with idle jobs in the same store."""
    fill(folder, idle)
    scheduler = scheduler_in(folder)
    wrote: dict[str, float] = {}
    scheduler.add_listener(lambda event: wrote.update({event.job_id: float(event.retval)}), EVENT_JOB_EXECUTED)
    scheduler.start(paused=True)
    chance = random.Random(seed)
    first = time.time() + 2
    instants = {f"due-{n}": first + chance.random() * seconds for n in range(count)}
    for name, instant in instants.items():
        scheduler.add_job(clock, "date", run_date=at(instant), id=name)
    if time.time() > first:
        raise SystemExit("filling the store took longer than expected")
    scheduler.resume()
    wait(lambda: len(wrote) >= count)
    scheduler.shutdown()
    lateness = sorted((wrote[name] - instant) * 1000 for name, instant in instants.items())
    return {"value": lateness[count // 2], "child_p50": lateness[count // 2], "child_p99": lateness[int(count * 0.99)]}


def fill(folder: Path, count: int) -> dict[str, float]:
    """Seconds to put `count` future jobs into an empty store."""
    scheduler = scheduler_in(folder)
    scheduler.start(paused=True)
    begun = time.perf_counter()
    for number in range(count):
        scheduler.add_job(true, "date", run_date=at(time.time() + 400 * 86400), id=f"idle-{number}")
    took = time.perf_counter() - begun
    scheduler.shutdown()
    return {"value": took}


def idle(folder: Path, count: int, seconds: float) -> dict[str, float]:
    """CPU, voluntary switches and memory of a scheduler that has nothing to do, in a process that has listed its jobs once."""
    if os.fork() == 0:
        fill(folder, count)
        os._exit(0)
    os.wait()
    scheduler = scheduler_in(folder)
    scheduler.start()
    scheduler.get_jobs()
    time.sleep(1)
    before = usage()
    time.sleep(seconds)
    after = usage()
    scheduler.shutdown()
    memory = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return {
        "value": (after[0] - before[0]) / seconds * 100,
        "switches": (after[1] - before[1]) / seconds,
        "rss_mb": int(memory.split()[1]) / 1024,
    }


def usage() -> tuple[float, int]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_nvcsw


def wait(done: object, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise SystemExit("the jobs did not end")
        time.sleep(0.005)


def main(what: str, where: Path, numbers: list[float]) -> None:
    """Print the metrics as JSON."""
    if what == "shell":
        answer = shell(where, int(numbers[0]))
    elif what == "late":
        answer = late(where, int(numbers[0]), numbers[1], int(numbers[2]), int(numbers[3]))
    elif what == "idle":
        answer = idle(where, int(numbers[0]), numbers[1])
    else:
        answer = fill(where, int(numbers[0]))
    print(json.dumps(answer))


if __name__ == "__main__":
    # The store keeps references to functions by module name; `__main__` of another process would not have them.
    sys.modules["apscheduler_jobs"] = sys.modules["__main__"]
    true.__module__ = clock.__module__ = "apscheduler_jobs"
    main(sys.argv[1], Path(sys.argv[2]), [float(one) for one in sys.argv[3:]])
