"""Signs what is on record, and makes checkpoints of chains; a signer that is away delays its own signatures, and nothing else.

    wake → who has something to sign (store) → one task a signer: its key → sign → keep (store)

The dispatcher records, and wakes. Invariant: a private key is asked for when something is to be signed, and forgotten afterwards; it is in no log and no row. Invariant: one process signs one number of a
chain once.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import msgspec

from controller.base.clock import Clock
from controller.base.errors import Conflict, JobwardenError, StoreUnavailable
from controller.base.logs import event
from controller.base.tasks import Backoff, Wake
from controller.domain.trust import Ref
from controller.evidence.dsse import Envelope, Signature
from controller.store import evidence
from controller.store.evidence import Signer, Unsigned
from controller.store.store import Store

_log = logging.getLogger(__name__)
_LONGEST_SLEEP_S = 60.0
_SHORTEST_SLEEP_S = 0.5  # a busy dispatcher wakes us each turn; what it records meanwhile is signed together


class Keys(Protocol):
    """Where private keys come from: CredentialProviders."""

    async def key(self, ref: Ref, namespace: str) -> bytes:
        """The key in PEM, for jobs of that namespace. Errors: JobwardenError, whose text holds no secret; anything else is told by its type alone."""
        ...


class Signing(Protocol):
    """A private key."""

    def sign(self, envelope: Envelope, /) -> Signature:
        """What it says of an envelope."""
        ...


class Settings(msgspec.Struct, frozen=True):
    """`batch`: signatures of one transaction; `patience`: for one key; `checkpoints`: how long after one the next is made; `again`: after a failure."""

    batch: int = 200
    patience: timedelta = timedelta(seconds=30)
    checkpoints: timedelta = timedelta(hours=1)
    again: Backoff = Backoff(initial=timedelta(seconds=1), most=timedelta(minutes=5))


class _Rest(msgspec.Struct, frozen=True):
    """A signer that failed: how often in a row, and when (monotonic) it is tried again."""

    failures: int
    until: float


class EvidenceLoop:
    """`run` for the supervisor, restartable; `drain` for its hook. `wake` is set by whoever records."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        clock: Clock,
        wake: Wake,
        settings: Settings = Settings(),  # noqa: B008 - frozen
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._wake = wake
        self._settings = settings
        self._flights: dict[Signer, asyncio.Task[None]] = {}
        self._resting: dict[Signer, _Rest] = {}
        self._signed: dict[str, int] = {}  # up to which number this process has signed each chain
        self._marked_at: float | None = None

    async def run(self) -> None:
        """Until cancelled. Errors: StoreUnavailable."""
        try:
            while True:
                await self._mark()
                await self._launch()
                await asyncio.sleep(_SHORTEST_SLEEP_S)
                await self._wake.wait(self._until_next())
        finally:
            await self._abandon()

    async def drain(self, within: timedelta = timedelta(seconds=5)) -> None:
        """Sign what there is, at most that long. Errors: none; the rest stays for the next start."""
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(within.total_seconds()):
                await self._launch()
                while self._flights:
                    await asyncio.wait(tuple(self._flights.values()))

    async def _mark(self) -> None:
        """Make the checkpoints that are due; looked after once a minute."""
        now = self._clock.monotonic()
        if self._marked_at is not None and now < self._marked_at + _LONGEST_SLEEP_S:
            return
        while await self._store.write(
            lambda tx: evidence.mark_heads(tx, self._clock.now(), self._settings.checkpoints)
        ):
            pass
        self._marked_at = now

    async def _launch(self) -> None:
        """Let every signer sign that has something to sign, is not signing, and does not rest."""
        now = self._clock.monotonic()
        for signer in await self._store.read(evidence.signers):
            rest = self._resting.get(signer)
            if signer in self._flights or (rest is not None and now < rest.until):
                continue
            task = asyncio.create_task(self._sign(signer), name=f"sign for {signer.namespace}")
            self._flights[signer] = task
            task.add_done_callback(lambda _task, signer=signer: self._landed(signer))  # type: ignore[misc]

    def _landed(self, signer: Signer) -> None:
        del self._flights[signer]
        self._wake.set()

    def _until_next(self) -> float:
        """Seconds to sleep if nobody wakes us."""
        now = self._clock.monotonic()
        ends = [rest.until - now for signer, rest in self._resting.items() if signer not in self._flights]
        return max(_SHORTEST_SLEEP_S, min([*ends, _LONGEST_SLEEP_S]))

    async def _sign(self, signer: Signer) -> None:
        """Sign everything that waits for one signer."""
        # Cryptography: 0.1 s that a controller that signs nothing does not owe.
        from controller.evidence.keys import signing_key  # noqa: PLC0415

        try:
            async with asyncio.timeout(self._settings.patience.total_seconds()):
                key = signing_key(await self._keys.key(signer.ref, signer.namespace))
            full = True
            # What comes while the last few are signed has woken us, and is signed with what follows it.
            while full:
                waiting = await self._store.read(lambda tx: evidence.unsigned(tx, signer, self._settings.batch))
                full = len(waiting) == self._settings.batch
                self._refuse_again(waiting)
                signed = await asyncio.to_thread(_signatures, key, waiting)
                await self._store.write(lambda tx, signed=signed: evidence.sign(tx, signed, self._clock.now()))  # type: ignore[misc]
                self._signed |= {one.chain: one.sequence for one, _ in signed if one.why is None}
                _tell(signed)
        except TimeoutError:
            self._failed(signer, f"no key came within {self._settings.patience.total_seconds():.0f} s")
        except JobwardenError as error:
            self._failed(signer, str(error)[:500])
        except Exception as error:  # noqa: BLE001 - a plug-in's defect, whose words may hold a secret; others must go on signing
            self._failed(signer, f"it broke with {type(error).__name__}")
        else:
            if self._resting.pop(signer, None) is not None:
                event(_log, "evidence is signed again", signer=_named(signer), namespace=signer.namespace)

    def _refuse_again(self, waiting: Sequence[Unsigned]) -> None:
        """Somebody who may write the database takes a signature away, and waits for a new one over something else. Errors: Conflict."""
        for one in waiting:
            if one.why is None and one.sequence <= self._signed.get(one.chain, 0):
                raise Conflict(
                    f"sequence {one.sequence} of {one.chain} was signed before, and its signature is gone; it is not signed again while this controller runs"
                )

    def _failed(self, signer: Signer, why: str) -> None:
        before = self._resting.get(signer)
        failures = before.failures + 1 if before is not None else 1
        self._resting[signer] = _Rest(failures, self._clock.monotonic() + self._settings.again.delay(failures))
        event(
            _log,
            "evidence is not signed; it waits for its signer",
            logging.WARNING if before is None else logging.DEBUG,
            signer=_named(signer),
            namespace=signer.namespace,
            message_of_signer=why,
        )

    async def _abandon(self) -> None:
        flights = tuple(self._flights.values())
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


def _signatures(key: Signing, waiting: Sequence[Unsigned]) -> list[tuple[Unsigned, Signature]]:
    return [(one, key.sign(Envelope(one.statement))) for one in waiting]


def _tell(signed: Sequence[tuple[Unsigned, Signature]]) -> None:
    """Checkpoints are logged: whoever keeps the log elsewhere has a witness that the database cannot change."""
    for one, signature in signed:
        if one.why is not None:
            event(
                _log,
                "evidence checkpoint",
                job=one.chain,
                sequence=one.sequence,
                sha256=one.digest,
                why=one.why.value,
                key=signature.keyid,
            )


def _named(signer: Signer) -> str:
    return f"{signer.ref.kind}/{signer.ref.name}"
