"""Disks that are full, gone, forbidden or stuck under a run log: the run does not care."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.executors import runlog
from tests.integration.executors.conftest import Runner, resident, until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks are given up after half a second."""
    monkeypatch.setattr(runlog, "STALL", 0.5)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Path]:
    """A log path whose opening does not return: a FIFO that nobody reads, like a file on a dead network mount."""
    path = tmp_path / "stuck.log"
    os.mkfifo(path)
    yield path
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # lets the writer go


async def test_a_full_disk_ends_the_log_and_not_the_run(run: Runner, small_disk: Path) -> None:
    """What fitted is there, the result says what happened, tail and exit code are whole."""
    result = await run.script("seq 1000000; echo the end; exit 4", log_path=small_disk / "run.log")
    assert result.exit_code == 4
    assert result.stdout.endswith(b"1000000\nthe end\n")
    assert result.log_error == f"the run log {small_disk / 'run.log'} is incomplete: No space left on device"
    assert 0 < result.log_bytes <= (small_disk / "run.log").stat().st_size <= 1 << 20
    assert (await run.script("echo next")).log_error is None


async def test_a_device_that_takes_nothing_is_told_of(run: Runner) -> None:
    """Not even the first byte."""
    result = await run.script("echo hello", log_path="/dev/full")
    assert (result.exit_code, result.stdout, result.log_bytes) == (0, b"hello\n", 0)
    assert result.log_error == "the run log /dev/full is incomplete: No space left on device"


async def test_a_log_folder_that_cannot_be_made_is_told_of(run: Runner) -> None:
    """A file stands where the folder should be."""
    (run.folder / "file").touch()
    result = await run.script("echo hello", log_path=run.folder / "file" / "run.log")
    assert (result.exit_code, result.stdout) == (0, b"hello\n")
    assert result.log_error is not None
    assert "Not a directory" in result.log_error


async def test_logs_are_for_their_owner_only(run: Runner) -> None:
    """Output may hold anything; folders are made when needed."""
    path = run.folder / "a" / "b" / "run.log"
    result = await run.script("echo hello", log_path=path)
    assert result.log_bytes == 6
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_a_log_is_never_overwritten(run: Runner) -> None:
    """Whatever is there already stays."""
    path = run.folder / "run.log"
    path.write_text("before\n")
    await run.script("echo after", log_path=path)
    assert path.read_text() == "before\nafter\n"


@pytest.mark.usefixtures("impatient")
async def test_a_stuck_disk_delays_an_end_only_so_long(run: Runner, stuck: Path) -> None:
    """The loop goes on meanwhile, and so does the run."""
    _, ended = run.start(run.request(script="echo hello; exit 3", log_path=stuck))
    turns = 0
    while not ended.done():
        await asyncio.sleep(0.01)
        turns += 1
    result = ended.result()
    assert turns > 1
    assert (result.exit_code, result.stdout) == (3, b"hello\n")
    assert result.log_error == f"the run log {stuck} is incomplete: no write to it finished within 0.5 seconds"


@pytest.mark.usefixtures("impatient")
async def test_a_flood_onto_a_stuck_disk_goes_on_without_its_log(run: Runner, stuck: Path) -> None:
    """It waits for the disk for a while, in bounded memory, and is then drained as if it had no log."""
    before = resident()
    result = await run.script("head -c 50000000 /dev/zero; echo; echo the end", log_path=stuck)
    assert resident() - before <= 16 << 20
    assert result.exit_code == 0
    assert result.stdout_bytes == 50_000_009
    assert result.stdout.endswith(b"the end\n")
    assert result.log_error is not None


@pytest.mark.usefixtures("impatient")
async def test_a_disk_that_comes_back_serves_later_runs(
    run: Runner, stuck: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stuck write must not silence the logs of all runs for ever."""
    assert (await run.script("echo hello", log_path=stuck)).log_error is not None
    assert (await run.script("echo behind the stuck one")).log_error is not None
    monkeypatch.setattr(runlog, "STALL", 60)
    reader = os.open(stuck, os.O_RDONLY | os.O_NONBLOCK)
    later = run.folder / "later.log"
    _, ended = run.start(run.request(script="echo later", log_path=later))
    await until(ended.done, "it ends")
    os.close(reader)
    assert ended.result().log_error is None
    assert later.read_bytes() == b"later\n"
