"""procrastinate on PostgreSQL, one worker with eight tasks at once: B1.

`procrastinate_shell.py URL COUNT` defers COUNT tasks that run `sh -c true` through asyncio with captured output, then starts the
worker: the clock runs from there until every row says succeeded. Like us it records each job's states durably.
"""

import asyncio
import json
import sys
import time

import psycopg
from procrastinate import App, PsycopgConnector

URL, COUNT = sys.argv[1], int(sys.argv[2])
app = App(connector=PsycopgConnector(conninfo=URL))


@app.task(name="true")
async def true() -> int:
    """The job: the same shell, captured."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", "true", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the shell failed")
    return 0


async def main() -> None:
    """Print the rate as JSON."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await true.batch_defer_async(*({} for _ in range(COUNT)))
        begun = time.perf_counter()
        await app.run_worker_async(concurrency=8, wait=False, install_signal_handlers=False)
        took = time.perf_counter() - begun
    with psycopg.connect(URL) as connection:
        row = connection.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'").fetchone()
    if row is None or row[0] != COUNT:
        raise SystemExit(f"{row} of {COUNT} jobs succeeded")
    print(json.dumps({"value": COUNT / took}))


asyncio.run(main())
