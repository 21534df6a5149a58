"""Which replica leads: whoever holds one Lease and renews it in time. One that cannot renew stops leading before another may begin.

The composition root makes one `Election`; loops that only the leader may run ask it for turns (`take_turns`). Invariant: two replicas never lead at the same
time, whatever their wall clocks say: a leader counts from before it asked for its last renewal, and another waits the whole duration out from when it saw the
last change by its own monotonic clock. Source: KEP-589, and the rules of client-go's leader election.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from lightkube import AsyncClient
from lightkube.generic_resource import create_namespaced_resource

from controller.base.clock import Clock
from controller.base.logs import event
from controller.kubernetes.objects import ApiFailed, answered

_log = logging.getLogger(__name__)

DURATION = timedelta(seconds=10)
"""How long others wait after the last renewal that they have seen."""
RENEW_WITHIN = timedelta(seconds=6)
"""How long after its last renewal a leader goes on; the rest of the duration is what it has for ending its work."""
RETRY = timedelta(seconds=1.5)
_ANSWER_WITHIN_S = 3.0
_END_WORK_WITHIN_S = 5.0
_LOOK_S = 0.01
_RESOURCE: Any = create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases")

Work = Callable[[], Awaitable[None]]


class Record(msgspec.Struct, frozen=True):
    """A Lease as it stands. `holder` empty: nobody's. Times are texts of others' clocks: they are shown and compared for equality, nothing else."""

    holder: str
    seconds: float
    acquired: str
    renewed: str
    transitions: int
    version: str = ""


class Leases:
    """One Lease on one API server."""

    def __init__(self, client: AsyncClient, namespace: str, name: str) -> None:
        self._client: Any = client
        self.namespace, self.name = namespace, name

    async def read(self) -> Record | None:
        """The Lease; None when there is none. Errors: ApiFailed."""
        try:
            return _record_of(await answered(self._client.get(_RESOURCE, self.name, namespace=self.namespace)))
        except ApiFailed as error:
            if error.code == 404:
                return None
            raise

    async def write(self, record: Record, before: Record | None) -> Record:
        """Put `record` in the place of `before`, or make the Lease. Errors: ApiFailed, with 409 when it is no longer as it was."""
        metadata = {"name": self.name, "namespace": self.namespace}
        if before is not None:
            metadata["resourceVersion"] = before.version
        spec = {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": int(record.seconds),
            "acquireTime": record.acquired,
            "renewTime": record.renewed,
            "leaseTransitions": record.transitions,
        }
        body = _RESOURCE(apiVersion="coordination.k8s.io/v1", kind="Lease", metadata=metadata, spec=spec)
        call = self._client.create if before is None else self._client.replace
        return _record_of(await answered(call(body)))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    def __str__(self) -> str:
        return f"the Lease {self.namespace}/{self.name}"


class Election:
    """`run` for the supervisor; `take_turns` for loops; `release` when stopping. All on one loop."""

    def __init__(self, leases: Leases, me: str, clock: Clock, changed: Callable[[], None] = lambda: None) -> None:
        """`me` names this replica and nobody else, ever; `changed` is called when it begins or ends to lead."""
        self._leases, self._me, self._clock, self._changed = leases, me, clock, changed
        self._seen: Record | None = None
        self._seen_at = self._renewed_at = clock.monotonic()
        self._sure = False  # `_seen` is what the API server had when it was last asked
        self._at_work = 0
        self._released = False
        self._asking = asyncio.Lock()
        self._won, self._lost = asyncio.Event(), asyncio.Event()
        self._lost.set()
        self.trouble: str | None = None
        """Why nothing is known of the Lease."""
        self.answers_since = clock.monotonic()
        """From when on the API server has answered whenever it was asked."""

    @property
    def leading(self) -> bool:
        """Whether this replica may do now what only the leader does; also right when the loop was held up."""
        return self._won.is_set() and self._left() > 0

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last looked at; empty: nobody."""
        return self._seen.holder if self._seen is not None else ""

    async def run(self) -> None:
        """Take the Lease when it is free, and renew it, until cancelled."""
        try:
            while True:
                async with self._asking:
                    await self._attempt()
                await asyncio.sleep(self._pause())
        finally:
            self._set(leads=False)

    async def take_turns(self, leading: Work, following: Work) -> None:
        """Run one of the two, for ever; it is cancelled, and has ended, before the other begins. Errors: what they raise."""
        while True:
            leads = self._won.is_set()
            self._at_work += leads
            try:
                await _until(self._lost if leads else self._won, leading if leads else self._unless_released(following))
            finally:
                self._at_work -= leads

    async def release(self) -> None:
        """Stop leading, and say so, so that nobody has to wait. Bounded in time; never raises for an API server that is away."""
        self._released = True
        self._set(leads=False)
        with contextlib.suppress(ApiFailed, TimeoutError):
            async with asyncio.timeout(_END_WORK_WITHIN_S), self._asking:
                while self._at_work:
                    await asyncio.sleep(_LOOK_S)
                held = await self._leases.read()
                if held is not None and held.holder == self._me:
                    freed = msgspec.structs.replace(held, holder="", seconds=1, renewed=self._now())
                    await self._leases.write(freed, held)

    def _unless_released(self, following: Work) -> Work:
        return _for_ever if self._released else following

    # one attempt

    async def _attempt(self) -> None:
        if self._released:
            return
        asked = self._clock.monotonic()
        within = min(_ANSWER_WITHIN_S, self._left()) if self._won.is_set() else _ANSWER_WITHIN_S
        try:
            async with asyncio.timeout(max(within, 0.0)):
                await self._renew_or_take(asked)
        except ApiFailed as error:
            self._sure = False
            gone = error.code == 404 and self._won.is_set()
            self._failed(_words(self._leases, error), lost=gone or error.code == 409)
        except TimeoutError:
            self._sure = False
            self._failed(f"{self._leases} cannot be renewed: the API server does not answer in time", lost=False)

    async def _renew_or_take(self, asked: float) -> None:
        if not self._sure or not self._won.is_set():
            self._look(await self._leases.read())
            if not self._free():
                self.trouble = None
                self._set(leads=False)
                return
        self._look(await self._leases.write(self._mine(), self._seen))
        self._renewed_at, self._sure, self.trouble = asked, True, None
        self._set(leads=True)

    def _look(self, found: Record | None) -> None:
        """Note what is there; a change counts from when it has been seen."""
        if found is None or self._seen is None or found.version != self._seen.version:
            self._seen_at = self._clock.monotonic()
        if found is not None and found.holder not in ("", self._me, self.holder):
            hint = "controllers with databases of their own need Leases of their own (--lease)"
            event(_log, "another replica leads", lease=self._leases.name, holder=found.holder, hint=hint)
        self._seen = found

    def _free(self) -> bool:
        seen = self._seen
        if seen is None or seen.holder in ("", self._me):
            return True
        return self._clock.monotonic() - self._seen_at >= seen.seconds

    def _mine(self) -> Record:
        """The Lease as ours, from now on."""
        before, now = self._seen, self._now()
        if before is not None and before.holder == self._me:
            return msgspec.structs.replace(before, seconds=DURATION.total_seconds(), renewed=now)
        transitions = before.transitions + 1 if before is not None else 0
        return Record(self._me, DURATION.total_seconds(), now, now, transitions)

    def _failed(self, why: str, *, lost: bool) -> None:
        """What cannot be renewed is held until its time is over; what another one has changed is looked at next time, or is lost at once."""
        if not lost:
            self.answers_since = self._clock.monotonic()
            if self.trouble is None:
                event(_log, "nobody can be elected for now", logging.WARNING, problem=why)
            self.trouble = why
        if lost or self._left() <= 0:
            self._set(leads=False)

    def _pause(self) -> float:
        """Seconds until the next attempt; a leader does not sleep past its own end."""
        pause = RETRY.total_seconds()
        return min(pause, max(self._left(), 0.0)) if self._won.is_set() else pause * random.uniform(1.0, 1.3)  # noqa: S311

    def _left(self) -> float:
        """Seconds until a leader that has not renewed must stop."""
        return self._renewed_at + RENEW_WITHIN.total_seconds() - self._clock.monotonic()

    def _set(self, *, leads: bool) -> None:
        if leads == self._won.is_set():
            return
        now, before = (self._won, self._lost) if leads else (self._lost, self._won)
        now.set()
        before.clear()
        if self._released and leads:
            return
        event(
            _log,
            "leads" if leads else "does not lead any more",
            lease=str(self._leases).removeprefix("the Lease "),
            me=self._me,
        )
        self._changed()

    def _now(self) -> str:
        return micro_time(self._clock.now())


def micro_time(instant: datetime) -> str:
    """An instant as Kubernetes' MicroTime: always six digits of a second. Pure."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _until(over: asyncio.Event, work: Work) -> None:
    """Run `work` until `over`; it has ended when this returns. Errors: what it raises."""
    working, ended = asyncio.ensure_future(work()), asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            await ended
    finally:
        working.cancel()
        ended.cancel()
        await asyncio.gather(working, ended, return_exceptions=True)


def _words(leases: Leases, error: ApiFailed) -> str:
    if error.code in (401, 403):
        return f"{leases} may not be used: {error}; manifests/kubernetes/rights.yaml has what is needed"
    return f"{leases} cannot be renewed: {error}"


def _record_of(body: Any) -> Record:
    spec = body.get("spec") or {}
    return Record(
        holder=spec.get("holderIdentity") or "",
        seconds=float(spec.get("leaseDurationSeconds") or 0),
        acquired=spec.get("acquireTime") or "",
        renewed=spec.get("renewTime") or "",
        transitions=int(spec.get("leaseTransitions") or 0),
        version=body["metadata"]["resourceVersion"]
        if isinstance(body.get("metadata"), dict)
        else body.metadata.resourceVersion,
    )
