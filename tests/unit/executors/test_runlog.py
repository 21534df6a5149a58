"""The writer of run logs: room, progress, ends."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.executors.runlog import BUDGET, LogWriter, RunLog


@pytest.fixture
async def writer() -> AsyncIterator[LogWriter]:
    """A writer on the test's loop."""
    made = LogWriter(asyncio.get_running_loop())
    yield made
    made.close()


async def closed(log: RunLog) -> None:
    """Close the log and wait until that is done."""
    done = asyncio.Event()
    log.close(done.set)
    assert not done.is_set()
    async with asyncio.timeout(60):
        await done.wait()


async def test_who_asks_for_room_that_there_is_already_is_called(writer: LogWriter, tmp_path: Path) -> None:
    """The thread may have finished everything between the look and the question; nobody would wake us then."""
    resumed = asyncio.Event()
    log = RunLog(writer, tmp_path / "log", 100)
    writer.when_room(log, resumed.set)
    async with asyncio.timeout(60):
        await resumed.wait()
    assert log.error is None


async def test_a_reader_waits_while_the_disk_is_behind_and_goes_on_afterwards(
    writer: LogWriter, tmp_path: Path
) -> None:
    """Pausing bounds memory; it ends when half of the budget is free."""
    gate = threading.Event()
    writer.put(0, lambda: gate.wait(60) and None)
    log = RunLog(writer, tmp_path / "log", 10 * BUDGET)
    while not writer.full:
        log.write(bytes(65536))
    resumed = asyncio.Event()
    writer.when_room(log, resumed.set)
    await asyncio.sleep(0)
    assert not resumed.is_set()
    gate.set()
    async with asyncio.timeout(60):
        await resumed.wait()
    assert not writer.full
    await closed(log)
    assert (log.error, log.truncated) == (None, False)
    assert log.size == (tmp_path / "log").stat().st_size > BUDGET


async def test_slow_is_not_stuck(writer: LogWriter, tmp_path: Path) -> None:
    """As long as something gets written between two looks nobody gives up, however long it takes; without any progress the log ends."""
    steps = threading.Semaphore(0)
    log = RunLog(writer, tmp_path / "log", 10 * BUDGET)
    for _ in range(8):
        writer.put(BUDGET, lambda: steps.acquire(timeout=60) and None)
    resumed = asyncio.Event()
    writer.when_room(log, resumed.set)
    for step in range(1, 5):
        steps.release()
        async with asyncio.timeout(60):
            while writer._taken < step * BUDGET:
                await asyncio.sleep(0.005)
        writer._check_progress()
        assert not resumed.is_set()
        assert log.error is None
    writer._check_progress()
    assert resumed.is_set()
    assert log.error is not None
    steps.release(8)


@pytest.mark.parametrize(("limit", "pieces"), [(10, [b"0123456789"]), (10, [b"01234", b"56789"]), (0, [])])
async def test_a_log_that_just_fits_is_not_truncated(
    writer: LogWriter, tmp_path: Path, limit: int, pieces: list[bytes]
) -> None:
    """The limit itself is still within."""
    log = RunLog(writer, tmp_path / "log", limit)
    for piece in pieces:
        log.write(piece)
    await closed(log)
    assert not log.truncated
    assert log.size == sum(map(len, pieces))


async def test_a_log_over_its_limit_says_so_once(writer: LogWriter, tmp_path: Path) -> None:
    """Everything up to the limit, then one line."""
    log = RunLog(writer, tmp_path / "log", 8)
    for piece in (b"01234", b"56789", b"more"):
        log.write(piece)
    await closed(log)
    assert log.truncated
    assert log.size == 8
    assert (tmp_path / "log").read_bytes() == b"01234567\n[the run log ends here, at its limit of 8 bytes]\n"


async def test_closing_the_writer_writes_what_is_queued(tmp_path: Path) -> None:
    """A controller that stops loses no line that it has read."""
    writer = LogWriter(asyncio.get_running_loop())
    log = RunLog(writer, tmp_path / "log", 100)
    log.write(b"last words\n")
    writer.close()
    writer.close()
    assert (tmp_path / "log").read_bytes() == b"last words\n"
