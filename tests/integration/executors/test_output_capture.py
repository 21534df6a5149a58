"""What processes print: tails, floods, bytes that are no text."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.executors.output import text
from controller.executors.protocol import ExecutionResult
from tests.integration.executors.conftest import Runner, resident, until

Log = Callable[[ExecutionResult], bytes]


async def test_both_streams_are_kept_apart_and_exactly_as_printed(run: Runner, log_of: Log) -> None:
    """Blank lines, missing line ends, tabs and escape sequences are the user's."""
    result = await run.script(r"printf '\n\033[31mred\033[0m\t \r\n\n no end'; printf 'err\n' >&2")
    assert result.stdout == b"\n\033[31mred\033[0m\t \r\n\n no end"
    assert result.stderr == b"err\n"
    assert not result.truncated
    assert sorted(log_of(result)) == sorted(result.stdout + result.stderr)
    assert result.log_bytes == len(result.stdout + result.stderr)


async def test_the_tail_holds_the_end_and_the_log_everything(run: Runner, log_of: Log) -> None:
    """Ten thousand lines with a tail of 100 bytes."""
    result = await run.script("seq 10000; seq 5 >&2", keep_bytes=100)
    whole = "".join(f"{n}\n" for n in range(1, 10001)).encode()
    assert result.stdout == whole[-100:]
    assert result.stderr == b"1\n2\n3\n4\n5\n"
    assert (result.stdout_bytes, result.stderr_bytes) == (len(whole), 10)
    assert result.truncated
    assert sorted(log_of(result)) == sorted(whole + result.stderr)
    assert not result.log_truncated


async def test_the_log_has_the_streams_in_the_order_in_which_they_came(run: Runner, log_of: Log) -> None:
    """Within a stream exactly; between the two, what was printed well before stands before."""
    wait = "while ! test -e {}; do sleep 0.01; done"
    script = f"echo one; {wait.format('first')}; echo two >&2; {wait.format('second')}; echo three"
    execution, ended = run.start(run.request(script=script, cwd=str(run.folder)))
    for heard, name in ((4, "first"), (8, "second")):
        await until(lambda heard=heard: execution.output_bytes == heard, "the line has been read")
        (run.folder / name).touch()
    assert log_of(await ended) == b"one\ntwo\nthree\n"


async def test_output_can_be_followed_while_the_run_goes_on(run: Runner) -> None:
    """The log and the execution know of a line long before the end; that is what `logs -f` and the watchdog read."""
    request = run.request(script="echo ready; read line < fifo", cwd=str(run.folder))
    os.mkfifo(run.folder / "fifo")
    execution, ended = run.start(request)
    assert execution.last_output_at is None
    await until(lambda: execution.output_bytes == 6, "the line has been read")
    log = Path(str(request.log_path))
    await until(lambda: log.exists() and log.read_bytes() == b"ready\n", "the line is in the log")
    assert execution.last_output_at is not None
    assert execution.last_output_at >= execution.started_at
    assert not ended.done()
    (run.folder / "fifo").write_text("go on\n")
    assert (await ended).exit_code == 0


async def test_a_silent_run_makes_no_log(run: Runner) -> None:
    """Most jobs print nothing; they cost no file."""
    result = await run.script("true")
    assert result.log_bytes == 0
    assert not (run.folder / "logs").exists()


async def test_bytes_that_are_not_text_are_kept_and_shown_safely(run: Runner, log_of: Log) -> None:
    """The result and the log have the bytes; the text has replacement characters."""
    result = await run.script(r"printf 'a\377\000\303\251b\303'")
    assert result.stdout == log_of(result) == b"a\xff\0\xc3\xa9b\xc3"
    assert text(result.stdout) == "a\ufffd\ufffdéb\ufffd"


@pytest.mark.parametrize("keep", [0, 1, 2, 3, 4, 5])
async def test_a_character_is_never_cut_in_two(run: Runner, keep: int) -> None:
    """Wherever the tail begins, a four-byte character is there whole or not at all."""
    result = await run.script(r"printf 'x\360\237\232\200'", keep_bytes=keep)
    shown = text(result.stdout, total=result.stdout_bytes)
    expected = {4: "[1 earlier bytes are not shown]\n🚀", 5: "x🚀"}.get(keep, "[5 earlier bytes are not shown]\n")
    assert shown == expected


async def test_a_flood_is_drained_in_bounded_memory_and_others_are_not_held_up(run: Runner, log_of: Log) -> None:
    """200 MB through one run: the controller grows by less than 8 MB, the log ends at its limit, short runs end meanwhile."""
    await run.script("seq 100000", log_limit=1 << 20)  # threads and buffers exist from here on
    flood = "head -c 200000000 /dev/zero; echo; echo the end"
    before = resident()
    most = 0
    _, ended = run.start(run.request(script=flood, log_limit=16 << 20))
    beside = 0
    while not ended.done():
        assert (await run.script("echo beside")).stdout == b"beside\n"
        most = max(most, resident())
        beside += 1
    result = await ended
    assert result.exit_code == 0
    assert beside > 0
    assert result.stdout_bytes == 200_000_009
    assert result.stdout.endswith(b"\0\nthe end\n")
    assert len(result.stdout) == 65536
    assert (result.log_bytes, result.log_truncated, result.log_error) == (16 << 20, True, None)
    log = log_of(result)
    assert log[: 16 << 20] == bytes(16 << 20)
    assert log[16 << 20 :] == b"\n[the run log ends here, at its limit of 16777216 bytes]\n"
    assert most - before <= 8 << 20


async def test_a_flood_whose_log_has_room_is_written_whole(run: Runner) -> None:
    """The reader waits for the disk instead of dropping output or keeping it in memory."""
    before = resident()
    result = await run.script("head -c 100000000 /dev/zero", log_limit=1 << 30)
    assert result.log_bytes == 100_000_000
    assert (result.log_truncated, result.log_error) == (False, None)
    assert (run.folder / "logs" / f"{result.run}.log").stat().st_size == 100_000_000
    assert resident() - before <= 16 << 20


async def test_output_of_a_process_that_closed_its_streams_early_is_kept(run: Runner) -> None:
    """Closing standard output is not an end."""
    result = await run.script("echo early; exec >&- 2>&-; sleep 0.2; exit 3")
    assert (result.exit_code, result.stdout) == (3, b"early\n")


async def test_a_run_that_prints_after_its_first_moments_is_heard(run: Runner) -> None:
    """More than a pipe holds, late: somebody must be reading."""
    result = await run.script("sleep 0.1; seq 100000 | tail -c 200000", keep_bytes=1 << 20)
    assert result.exit_code == 0
    assert len(result.stdout) == 200_000


async def test_a_young_run_with_more_output_than_a_pipe_holds_is_not_stuck(run: Runner) -> None:
    """It prints 1 MB at once, before anybody watches its pipes."""
    results = await asyncio.gather(*(run.script("head -c 1000000 /dev/zero") for _ in range(8)))
    assert [result.stdout_bytes for result in results] == [1_000_000] * 8


async def test_a_timeout_keeps_what_was_printed(run: Runner) -> None:
    """What a run said before it was ended is the best hint at why."""
    result = await run.out_of_time("echo working; exec sleep 600")
    assert result.timed_out
    assert result.stdout == b"working\n"
