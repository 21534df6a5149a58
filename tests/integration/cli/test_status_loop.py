"""The status loop: what it remembers, what it writes, and that nothing depends on it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import delete, select, update

from controller.base.clock import SystemClock
from controller.loops.status import Pace, StatusLoop
from controller.status.files import StatusFiles
from controller.store import schema
from tests.integration.cli.place import Place

QUICK = Pace(linger=0.01, sweep=600)


@asynccontextmanager
async def running(place: Place, folder: Path | None = None) -> AsyncIterator[StatusLoop]:
    """The loop, with files in `folder`."""
    files = StatusFiles(folder, []) if folder is not None else None
    loop = StatusLoop(place.store, SystemClock(), files, QUICK)
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def remembered(place: Place, number: int) -> dict[str, Any]:
    statement = select(schema.resources.c.conditions).where(schema.resources.c.id == number)
    data = place.store.read_now(lambda tx: tx.execute(statement).scalar_one())
    return {one["type"]: one for one in json.loads(data)} if data else {}


def change(place: Place, table: Any, number: int, **values: Any) -> None:
    place.store.submit(lambda tx: tx.execute(update(table).where(table.c.id == number).values(**values))).result()


async def test_a_change_that_was_told_is_in_the_file_and_in_the_conditions(place: Place) -> None:
    """And the time of a transition is remembered, so that it does not change again."""
    number = place.job("work")
    folder = place.folder / "status"
    path = folder / "ScheduledJob/default/work.yaml"
    async with running(place, folder) as loop:
        await until(path.exists)
        change(place, schema.jobs, number, hold_reason="r", hold_by="ann", hold_since=place.now)
        loop.touched([number])
        await until(lambda: remembered(place, number).get("Suspended", {}).get("status") == "True")
        await until(lambda: "Held" in path.read_text())
        held = remembered(place, number)["Suspended"]["lastTransitionTime"]
        change(place, schema.jobs, number, consecutive_errors=3)
        loop.touched([number])
        await until(lambda: "consecutiveErrors: 3" in path.read_text())
    assert remembered(place, number)["Suspended"]["lastTransitionTime"] == held
    assert yaml.safe_load(path.read_text())["metadata"]["name"] == "work"


async def test_what_somebody_waits_for_does_not_linger(place: Place) -> None:
    """Whoever has just applied a document looks for its conditions."""
    number = place.job("work")
    loop = StatusLoop(place.store, SystemClock(), None, Pace(linger=600, sweep=600))
    task = asyncio.create_task(loop.run())
    await until(lambda: remembered(place, number))
    change(place, schema.jobs, number, hold_reason="r", hold_by="ann", hold_since=place.now)
    loop.touched([number])
    loop.touched([number], at_once=True)
    await until(lambda: remembered(place, number).get("Suspended", {}).get("status") == "True")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_file_of_a_resource_that_is_gone_goes_as_well(place: Place) -> None:
    """Jobs that were told of, pools that nobody told of, and what an earlier controller left."""
    number = place.job("work")
    pool = place.resource("ResourcePool", "narrow", {"slots": 1}, {})
    place.insert(schema.pools, {"id": pool, "namespace": "default", "name": "narrow", "slots": 1})
    folder = place.folder / "status"
    StatusFiles(folder, []).write({"apiVersion": "v", "kind": "ScheduledJob", "metadata": {"name": "old", "namespace": "x"}, "status": {}})  # fmt: skip
    async with running(place, folder) as loop:
        await until(lambda: len(list(folder.rglob("*.yaml"))) == 2)
        place.store.submit(lambda tx: tx.execute(delete(schema.resources))).result()
        loop.touched([number])
        await until(lambda: not list(folder.rglob("*.yaml")))


async def test_resources_that_came_are_found_by_a_sweep_on_request(place: Place) -> None:
    """As after a reconciliation."""
    async with running(place) as loop:
        await asyncio.sleep(0)
        number = place.job("late")
        loop.sweep_soon()
        await until(lambda: remembered(place, number).get("Ready", {}).get("status") == "True")


async def test_a_folder_that_cannot_be_written_stops_nothing(place: Place) -> None:
    """Conditions are remembered all the same, and files come back with the folder."""
    number = place.job("work")
    folder = place.folder / "status"
    files = StatusFiles(folder, [])
    folder.rmdir()
    folder.write_text("in the way")
    loop = StatusLoop(place.store, SystemClock(), files, QUICK)
    await loop.sweep()
    assert remembered(place, number)["Ready"]["status"] == "True"
    folder.unlink()
    await loop.sweep()
    assert (folder / "ScheduledJob/default/work.yaml").exists()
