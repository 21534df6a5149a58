"""Readiness of descriptors inside the loop."""

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest

from controller.executors.poller import LoopPoller, Poller, make


@pytest.fixture(params=[make, LoopPoller])
async def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    """Both kinds: they promise the same."""
    made: Poller = request.param(asyncio.get_running_loop())
    yield made
    made.close()
    made.close()


@pytest.fixture
def pipes() -> Iterator[Callable[[], tuple[int, int]]]:
    """Makes pipes; what is still open in the end is closed."""
    made: list[int] = []

    def pipe() -> tuple[int, int]:
        ends = os.pipe()
        made.extend(ends)
        return ends

    yield pipe
    for fd in set(made):
        try:
            os.close(fd)
        except OSError:
            continue


async def _turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_descriptor_is_told_of_as_long_as_it_has_something(
    poller: Poller, pipes: Callable[[], tuple[int, int]]
) -> None:
    """Level-triggered: whoever reads only a part is called again; nobody is called for nothing."""
    read, write = pipes()
    heard: list[bytes] = []
    poller.watch(read, lambda: heard.append(os.read(read, 2)))
    await _turns()
    assert heard == []
    os.write(write, b"abcde")
    await _turns()
    assert heard == [b"ab", b"cd", b"e"]
    poller.forget(read)
    os.write(write, b"more")
    await _turns()
    assert heard == [b"ab", b"cd", b"e"]
    poller.forget(read)


async def test_a_number_given_out_again_within_a_batch_gets_no_event_of_the_old_one(
    poller: Poller, pipes: Callable[[], tuple[int, int]]
) -> None:
    """Two pipes become readable together; handling the first closes the second, and a new pipe takes its number."""
    pairs = [pipes() for _ in range(2)]
    wrong: list[int] = []
    once: list[int] = []

    def first(mine: int, other: int) -> None:
        poller.forget(mine)
        poller.forget(other)
        if once:
            return
        once.append(mine)
        os.close(other)
        read, write = pipes()
        assert other in (read, write)
        poller.watch(read, lambda: wrong.append(read))

    (read_a, write_a), (read_b, write_b) = pairs
    poller.watch(read_a, lambda: first(read_a, read_b))
    poller.watch(read_b, lambda: first(read_b, read_a))
    os.write(write_a, b"x")
    os.write(write_b, b"x")
    await _turns()
    assert len(once) == 1
    assert wrong == []


async def test_a_callback_that_fails_is_reported_and_the_others_are_called(
    poller: Poller, pipes: Callable[[], tuple[int, int]]
) -> None:
    """One run's fault costs no other run its events."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context.get("exception")))
    called: list[int] = []

    def fail(fd: int) -> None:
        called.append(fd)
        poller.forget(fd)
        raise ZeroDivisionError

    for _ in range(5):
        read, write = pipes()
        poller.watch(read, lambda read=read: fail(read))
        os.write(write, b"x")
    await _turns()
    assert len(set(called)) == 5
    assert [type(fault) for fault in faults] == [ZeroDivisionError] * 5
