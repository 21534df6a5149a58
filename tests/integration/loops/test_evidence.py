"""The loop that signs: whatever becomes of keys and of whoever has them, everything is signed in the end, and nobody waits for anybody else's."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from controller.base.clock import SystemClock
from controller.base.errors import NotFound
from controller.base.tasks import Backoff, Wake
from controller.domain.records import Run
from controller.domain.trust import Detail, Ref
from controller.evidence.bundle import Found
from controller.evidence.keys import SigningKey, signing_key
from controller.evidence.verify import Verified, verify
from controller.loops.evidence import EvidenceLoop, Settings
from controller.loops.retention import RetentionLoop
from controller.store import evidence, schema
from controller.store.database import open_store
from controller.store.store import Store
from tests.evidence import AT, SIGNER, ended, grant, pem

QUICK = Settings(
    batch=3,
    patience=timedelta(seconds=0.2),
    again=Backoff(initial=timedelta(milliseconds=20), most=timedelta(milliseconds=50)),
)
OTHER = Ref("other", "ClusterCredentialProvider")
SECRET = pem()


class Providers:
    """Keys as CredentialProviders would give them; `answers` may fail, hang, or give what is no key."""

    def __init__(self) -> None:
        self.answers: dict[Ref, Callable[[], Awaitable[bytes]]] = {}
        self.asked: list[tuple[Ref, str]] = []

    def has(self, ref: Ref, data: bytes) -> None:
        async def give() -> bytes:
            return data

        self.answers[ref] = give

    async def key(self, ref: Ref, namespace: str) -> bytes:
        self.asked.append((ref, namespace))
        return await self.answers[ref]()


@pytest.fixture
def store(tmp_path: Path, database: str | None) -> Iterator[Store]:
    """An empty store on each database."""
    opened = open_store(database or f"sqlite:///{tmp_path}/store.db")
    yield opened
    opened.close()


async def record(store: Store, *runs: Run) -> None:
    await store.write(lambda tx: evidence.append(tx, runs, AT))


async def examined(store: Store, key: SigningKey, job: str = "nightly") -> Verified:
    marks = await store.read(lambda tx: evidence.marks(tx, "default", job))
    records = await store.read(lambda tx: evidence.page(tx, "default", job, 0, 1000))
    return verify([Found("row", one) for one in (*marks, *(one.envelope for one in records))], [key.public])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def signing(
    store: Store, keys: Providers, settings: Settings = QUICK
) -> AsyncIterator[tuple[EvidenceLoop, Wake]]:
    """The loop, running."""
    wake = Wake()
    loop = EvidenceLoop(store, keys, SystemClock(), wake, settings)
    task = asyncio.create_task(loop.run())
    try:
        yield loop, wake
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_everything_is_signed_and_marked(store: Store) -> None:
    """What was there before the loop, and what is recorded while it runs, in portions; each with the checkpoint of its beginning."""
    keys, key = Providers(), signing_key(SECRET)
    keys.has(SIGNER, SECRET)
    await record(store, *(ended(number) for number in range(1, 11)))
    async with signing(store, keys) as (_, wake):

        async def good() -> bool:
            return (await examined(store, key)).good

        await until(good)
        await record(store, ended(11))
        wake.set()
        await until(good)
    (verdict,) = (await examined(store, key)).chains
    assert (verdict.signed, verdict.last) == (11, 11)
    assert set(keys.asked) == {(SIGNER, "default")}
    assert await store.read(lambda tx: evidence.marks(tx, "default", "nightly"))


@pytest.mark.parametrize("trouble", ["away", "hangs", "breaks", "no key"])
async def test_a_signer_in_trouble_delays_its_own_signatures_and_nothing_else(
    store: Store, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked again until it answers; the other's are signed meanwhile; nothing of what it says of secrets is logged."""

    async def fail() -> bytes:
        if trouble == "away":
            raise NotFound("there is no CredentialProvider 'signing'")
        if trouble == "hangs":
            await asyncio.sleep(3600)
        if trouble == "breaks":
            raise RuntimeError("canary-secret")
        return b"canary-secret"

    keys, key = Providers(), signing_key(SECRET)
    keys.answers[SIGNER] = fail
    keys.has(OTHER, SECRET)
    await record(store, ended(1), ended(1, name="daily-1", job="daily", grant=grant(Detail.Summary, OTHER)))
    with caplog.at_level(logging.DEBUG):
        async with signing(store, keys):

            async def other() -> bool:
                return (await examined(store, key, "daily")).good

            async def often() -> bool:
                return keys.asked.count((SIGNER, "default")) >= 3

            await until(other)
            await until(often)
            assert not (await examined(store, key)).good
            keys.has(SIGNER, SECRET)

            async def good() -> bool:
                return (await examined(store, key)).good and "evidence is signed again" in caplog.text

            await until(good)
    assert "evidence is not signed" in caplog.text
    assert "canary" not in "".join(str(vars(one)) for one in caplog.records)
    assert SECRET.decode() not in caplog.text


async def test_checkpoints_are_told_in_the_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A witness outside the database: chain, number, digest, key."""
    keys, key = Providers(), signing_key(SECRET)
    keys.has(SIGNER, SECRET)
    await record(store, ended(1), ended(2))
    with caplog.at_level(logging.INFO):
        async with signing(store, keys):

            async def told() -> bool:
                return "evidence checkpoint" in caplog.text

            await until(told)
    (head,) = [await store.read(lambda tx: evidence.head(tx, "default", "nightly"))]
    assert head is not None
    (said,) = [str(vars(one)) for one in caplog.records if one.message == "evidence checkpoint"]
    assert head.digest in said
    assert key.public.key_id in said


async def test_a_drain_signs_what_is_there(store: Store) -> None:
    """A controller that is stopped, or idle, leaves nothing unsigned that could be signed; and a signer that hangs does not hold it up."""
    keys, key = Providers(), signing_key(SECRET)
    keys.has(SIGNER, SECRET)
    await record(store, *(ended(number) for number in range(1, 8)))
    loop = EvidenceLoop(store, keys, SystemClock(), Wake(), QUICK)
    await loop.drain()
    assert (await examined(store, key)).good

    async def hang() -> bytes:
        await asyncio.sleep(3600)
        return b""

    keys.answers[SIGNER] = hang
    await record(store, ended(8))
    await EvidenceLoop(store, keys, SystemClock(), Wake()).drain(timedelta(milliseconds=50))
    assert len(await store.read(evidence.signers)) == 1


async def test_two_replicas_sign_side_by_side(store: Store) -> None:
    """Both sign the same; one signature of each is kept, and it is good."""
    keys, key = Providers(), signing_key(SECRET)
    keys.has(SIGNER, SECRET)
    await record(store, *(ended(number) for number in range(1, 31)))
    async with signing(store, keys), signing(store, keys):

        async def good() -> bool:
            return (await examined(store, key)).good

        await until(good)


async def test_retention_and_signing_together_leave_a_chain_that_holds(store: Store, tmp_path: Path) -> None:
    """One marks, the other signs, and then what is old is gone."""
    keys, key = Providers(), signing_key(SECRET)
    keys.has(SIGNER, SECRET)
    await record(store, *(ended(number) for number in range(1, 6)))
    forget = RetentionLoop(store, SystemClock(), tmp_path, timedelta(days=1))
    async with signing(store, keys) as (_, wake):

        async def gone() -> bool:
            await forget.once()
            wake.set()
            return not await store.read(lambda tx: evidence.page(tx, "default", "nightly", 0, 10))

        await until(gone)
        await record(store, ended(6))
        wake.set()

        async def good() -> bool:
            return (await examined(store, key)).good

        await until(good)
    head = await store.read(lambda tx: evidence.head(tx, "default", "nightly"))
    assert head is not None
    assert head.sequence == 6


async def test_what_was_signed_is_not_signed_again_over_something_else(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody with the database forges a statement, takes its signature away, and gets no new one."""
    keys, key = Providers(), signing_key(SECRET)
    keys.has(SIGNER, SECRET)
    await record(store, ended(1), ended(2))
    table = schema.evidence
    async with signing(store, keys) as (_, wake):

        async def good() -> bool:
            return (await examined(store, key)).good

        await until(good)
        (forged, _) = await store.read(lambda tx: evidence.page(tx, "default", "nightly", 0, 2))
        words = forged.envelope.payload.replace(b'"exitCode":0', b'"exitCode":1')
        change = update(table).where(table.c.sequence == 1).values(statement=words, signature=None, key_id=None)
        await store.write(lambda tx: tx.execute(change))
        wake.set()

        async def told() -> bool:
            return "its signature is gone" in "".join(str(vars(one)) for one in caplog.records)

        await until(told)
    assert await store.read(evidence.waiting) == 1
