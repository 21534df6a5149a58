"""B11, our side: runs opened and finished through the store, as its callers do it.

`store_pairs.py PAIRS URL CALLERS TOGETHER`: CALLERS tasks each open TOGETHER runs in one write and finish them in another, over and over. With
TOGETHER 1 every pair is two writes of its own, which only the store can put together; larger numbers are what the dispatcher hands over at once.
Prints pairs per second and operations per commit; afterwards every run must be there, once, with its end.
"""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from functools import partial

import msgspec

from controller.domain.job import JobSpec, ShellTarget
from controller.domain.records import Output, Run
from controller.domain.states import Cause, RunState
from controller.store import database, runs
from controller.store.store import Store

SPEC = JobSpec(target=ShellTarget("true"))
NOW = datetime.now(UTC)
OWNER = "bench"


def opened(number: int) -> runs.NewRun:
    run = Run(
        name=f"job-{number:06d}-0123abcd",
        job_id=number + 1,
        job_uid=f"uid-{number:06d}",
        namespace="default",
        job=f"job-{number:06d}",
        dispatch=f"dispatch-{number:06d}",
        cause=Cause.Schedule,
        state=RunState.Running,
        scheduled_for=NOW,
        created_at=NOW,
        root=f"job-{number:06d}-0123abcd",
        owner=OWNER,
        host="bench",
        started_at=NOW,
    )
    return runs.NewRun(run, SPEC, "sha256:" + "0" * 64)


def ended(new: runs.NewRun) -> Run:
    output = Output(b"x" * 200, b"", 200)
    return msgspec.structs.replace(new.run, state=RunState.Succeeded, finished_at=NOW, exit_code=0, output=output)


async def caller(store: Store, numbers: list[int], together: int) -> None:
    for first in range(0, len(numbers), together):
        batch = [opened(number) for number in numbers[first : first + together]]
        accepted = await store.write(partial(runs.open_all, new=batch))
        if len(accepted) != len(batch):
            raise SystemExit("a run was not opened")
        ends = [ended(new) for new in batch]
        await store.write(partial(runs.finish, ended=ends))


async def main(pairs: int, url: str, callers: int, together: int) -> None:
    """Print the metrics as JSON."""
    store = database.open_store(url)
    commits, operations = store.commits, store.operations
    shares = [list(range(one, pairs, callers)) for one in range(callers)]
    begun = time.perf_counter()
    await asyncio.gather(*(caller(store, share, together) for share in shares))
    took = time.perf_counter() - begun
    per_commit = pairs * 2 / (store.commits - commits)
    writes = (store.operations - operations) / (store.commits - commits)
    done = store.read_now(lambda tx: tx.exec_driver_sql("SELECT count(*) FROM runs WHERE state = 'Succeeded'").scalar())
    store.close()
    if done != pairs:
        raise SystemExit(f"{done} of {pairs} runs are finished")
    print(json.dumps({"value": pairs / took, "operations_per_commit": per_commit, "writes_per_commit": writes}))


asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
