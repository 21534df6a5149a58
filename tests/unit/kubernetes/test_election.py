"""Who may lead when: told without a server, with one clock for each replica that nobody else can see."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from controller.kubernetes import election
from controller.kubernetes.election import DURATION, RENEW_WITHIN, Election, Record
from controller.kubernetes.objects import ApiFailed

LONG_AGO = "1999-01-01T00:00:00.000000Z"


class Watch:
    """A clock that is moved by hand; its wall time is of no use to anybody."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        """Always the same."""
        return datetime(1999, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        """What the test says."""
        return self.seconds

    def pass_by(self, span: timedelta) -> None:
        """Time goes by."""
        self.seconds += span.total_seconds()


class Lease:
    """The Lease on an API server that can be away."""

    namespace, name = "jobwarden", "jobwarden"

    def __init__(self) -> None:
        self.there: Record | None = None
        self.fails: ApiFailed | None = None

    async def read(self) -> Record | None:
        """See `Leases.read`."""
        if self.fails is not None:
            raise self.fails
        return self.there

    async def write(self, record: Record, before: Record | None) -> Record:
        """See `Leases.write`."""
        if self.fails is not None:
            raise self.fails
        if before != self.there:
            raise ApiFailed("it is another one by now", 409)
        version = str(int(self.there.version) + 1 if self.there is not None else 1)
        self.there = msgspec.structs.replace(record, version=version)
        return self.there

    def renewed_by_somebody(self) -> None:
        """Somebody else holds it and has renewed it just now, by a clock that is decades behind."""
        version = str(int(self.there.version) + 1 if self.there is not None else 1)
        self.there = Record("other", DURATION.total_seconds(), LONG_AGO, LONG_AGO, 1, version)


async def attempt(replica: Election) -> bool:
    """One attempt, as `run` makes them; whether it leads afterwards."""
    await replica._attempt()
    return replica.leading


def made(lease: Lease, me: str = "me") -> tuple[Election, Watch]:
    """A replica with its own clock."""
    clock = Watch()
    return Election(lease, me, clock), clock  # type: ignore[arg-type]


async def test_a_lease_that_nobody_has_is_taken_at_once() -> None:
    """One replica need not wait for anybody."""
    lease = Lease()
    replica, _ = made(lease)
    assert await attempt(replica)
    assert lease.there is not None
    assert lease.there.holder == "me"
    assert lease.there.transitions == 0


async def test_another_ones_lease_is_waited_out_from_when_it_was_seen() -> None:
    """However old its own words say that it is: other clocks are never compared."""
    lease = Lease()
    lease.renewed_by_somebody()
    replica, clock = made(lease)
    assert not await attempt(replica)
    clock.pass_by(DURATION - timedelta(seconds=1))
    assert not await attempt(replica)
    lease.renewed_by_somebody()
    clock.pass_by(timedelta(seconds=2))
    assert not await attempt(replica)
    clock.pass_by(DURATION)
    assert await attempt(replica)
    assert lease.there is not None
    assert (lease.there.holder, lease.there.transitions) == ("me", 2)


async def test_a_leader_that_cannot_renew_stops_before_others_may_begin() -> None:
    """By the time alone, even if nothing tells it."""
    lease = Lease()
    replica, clock = made(lease)
    assert await attempt(replica)
    lease.fails = ApiFailed("away")
    clock.pass_by(RENEW_WITHIN - timedelta(seconds=1))
    assert await attempt(replica)
    assert replica.trouble is not None
    clock.pass_by(timedelta(seconds=1))
    assert not replica.leading
    assert RENEW_WITHIN < DURATION
    lease.fails = None
    assert await attempt(replica)
    assert replica.trouble is None


async def test_an_answer_that_took_long_counts_from_when_it_was_asked_for() -> None:
    """Others may have seen the renewal as early as that."""
    lease = Lease()
    replica, clock = made(lease)
    write = lease.write

    async def slow(record: Record, before: Record | None) -> Record:
        clock.pass_by(RENEW_WITHIN - timedelta(seconds=1))
        return await write(record, before)

    lease.write = slow  # type: ignore[method-assign]
    assert await attempt(replica)
    clock.pass_by(timedelta(seconds=1))
    assert not replica.leading


async def test_who_lost_the_lease_knows_it_with_the_next_renewal() -> None:
    """A write that finds another version is no renewal."""
    lease = Lease()
    replica, _ = made(lease)
    assert await attempt(replica)
    lease.renewed_by_somebody()
    assert not await attempt(replica)
    assert not await attempt(replica)


async def test_what_only_the_leader_does_has_ended_before_the_lease_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Release waits for the work, and another replica may begin at once."""
    monkeypatch.setattr(election, "_LOOK_S", 0.001)
    lease = Lease()
    replica, _ = made(lease)
    ended: list[str] = []

    async def leading() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            assert lease.there is not None
            ended.append(lease.there.holder)

    async def following() -> None:
        await asyncio.Event().wait()

    async with running(replica.take_turns(leading, following)):
        assert await attempt(replica)
        await asyncio.sleep(0.01)
        await replica.release()
        assert ended == ["me"]
        assert lease.there is not None
        assert lease.there.holder == ""
    other, _ = made(lease, "next")
    assert await attempt(other)


@contextlib.asynccontextmanager
async def running(work: object) -> AsyncIterator[None]:
    """Beside the block, and cancelled after it."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
