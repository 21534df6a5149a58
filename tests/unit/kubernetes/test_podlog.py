"""The output of a container, whatever pieces it comes in and wherever the stream breaks."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base.clock import SystemClock
from controller.base.masked_stream import Needles
from controller.executors.runlog import LogWriter
from controller.kubernetes import podlog
from controller.kubernetes.podlog import Lines, PodLog

TEXTS = st.lists(st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"")), max_size=12)


def stream(texts: list[bytes], *, whole: bool) -> bytes:
    """What Kubernetes sends: each line after the time it was printed at, nanoseconds without trailing zeros."""
    lines = [b"2026-01-01T00:00:%02d.%dZ %s" % (number // 3, number % 3 + 1, text) for number, text in enumerate(texts)]
    return b"\n".join(lines) + (b"\n" if whole and lines else b"")


@given(TEXTS, st.booleans(), st.lists(st.integers(0, 600), max_size=6))
def test_pieces_of_any_size_give_what_was_printed(texts: list[bytes], whole: bool, cuts: list[int]) -> None:
    """Byte for byte, with or without an end of the last line."""
    data = stream(texts, whole=whole)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    lines = Lines()
    got = b"".join(lines.take(data[start:end]) for start, end in itertools.pairwise(places)) + lines.end()
    assert got == b"\n".join(texts) + (b"\n" if whole and texts else b"")


@given(TEXTS, st.integers(0, 600))
def test_a_stream_that_breaks_is_taken_up_after_its_last_whole_line(texts: list[bytes], cut: int) -> None:
    """What comes again is left out, what was missed is not, though the second begins with everything of the same second."""
    data = stream(texts, whole=True)
    lines = Lines()
    got = lines.take(data[:cut])
    lines.again()
    got += lines.take(data) + lines.end()
    assert got == b"".join(text + b"\n" for text in texts)


def test_a_line_without_an_end_is_not_collected() -> None:
    """A program that prints for ever, and no line of it, must not fill the controller's memory; nothing of it is lost or told twice."""
    lines = Lines()
    piece = b"x" * 50_000
    got = lines.take(b"2026-01-01T00:00:00.1Z " + piece)
    for _ in range(20):
        got += lines.take(piece)
        assert len(lines._rest) <= 1 << 16
    got += lines.take(b"\n2026-01-01T00:00:00.2Z short\n")
    assert got == piece * 21 + b"\nshort\n"


def test_a_long_line_that_was_given_is_left_out_whole_when_it_comes_again() -> None:
    """Not only its first piece."""
    line = b"2026-01-01T00:00:00.1Z " + b"x" * 200_000 + b"\n"
    lines = Lines()
    got = lines.take(line)
    lines.again()
    for start in range(0, len(line), 30_000):
        got += lines.take(line[start : start + 30_000])
    got += lines.take(b"2026-01-01T00:00:00.2Z short\n") + lines.end()
    assert got == b"x" * 200_000 + b"\nshort\n"


class DeadStream:
    """An API server whose open stream has died without a word; asked anew it has everything."""

    async def log(
        self, _namespace: str, _pod: str, _container: str, _since: str | None, *, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        """The output."""
        yield b"2026-01-01T00:00:00.1Z first\n"
        if follow:
            await asyncio.Event().wait()
        yield b"2026-01-01T00:00:00.2Z last\n"


async def test_a_secret_is_masked_across_lines_and_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this controller has looked up for the Pod; also when the stream was taken up again in the middle of it."""
    monkeypatch.setattr(podlog, "_CUT_S", 0.01)
    workloads: Any = DeadStream()
    log = PodLog(
        LogWriter(asyncio.get_running_loop()),
        SystemClock(),
        path=None,
        limit=100,
        keep=100,
        needles=Needles.of([b"first", b"st\nlast"]),
    )
    reading = asyncio.create_task(log.follow(workloads, "n", "p", "c"))
    async with asyncio.timeout(20):
        while not log.last_output_at:
            await asyncio.sleep(0)
        await log.finish()
        await reading
    assert log.tail.data == b"***\n"


async def test_a_stream_that_has_died_costs_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in between drops connections that were silent for long, and tells nobody."""
    monkeypatch.setattr(podlog, "_CUT_S", 0.01)
    workloads: Any = DeadStream()
    log = PodLog(LogWriter(asyncio.get_running_loop()), SystemClock(), path=None, limit=100, keep=100)
    reading = asyncio.create_task(log.follow(workloads, "n", "p", "c"))
    async with asyncio.timeout(20):
        while not log.tail.total:
            await asyncio.sleep(0)
        await log.finish()
        await reading
    assert (log.tail.data, log.error) == (b"first\nlast\n", None)


class CutBehind:
    """An API server that lost the node: what it was streaming ends as if that were all."""

    async def log(
        self, _namespace: str, _pod: str, _container: str, since: str | None, *, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        """The output, from the line with this time on."""
        if since is None:
            yield b"2026-01-01T00:00:00.1Z first\n"
        if not follow:
            yield b"2026-01-01T00:00:00.2Z last\n"


async def test_an_end_that_looks_whole_is_not_believed() -> None:
    """Between API server and node connections break as well, and then a stream ends well; so the rest is asked for when the Pod has ended."""
    workloads: Any = CutBehind()
    log = PodLog(LogWriter(asyncio.get_running_loop()), SystemClock(), path=None, limit=100, keep=100)
    reading = asyncio.create_task(log.follow(workloads, "n", "p", "c"))
    async with asyncio.timeout(20):
        while not log.tail.total:
            await asyncio.sleep(0)
        await log.finish()
        await reading
    assert (log.tail.data, log.error) == (b"first\nlast\n", None)
