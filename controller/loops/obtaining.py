"""Gate 7: what a run is given is obtained once it is open, from the providers that its grant names; and given back when it has ended.

    a run's deliveries → its providers asked (providers) → undo written down (store) → `Given` (executors)

The dispatcher asks before it starts a run, the cleanup loop gives back, the evidence loop has its keys from here, and gates 1 and 3 hear here whether a provider
vouches for an identity. Invariant: what a run may have to give back is written down before it is asked for; a value is in a `Given` and in nothing else; what is asked for in the name of an identity that
was narrowed is narrowed anew, out of live credentials of what it was narrowed from.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial

import msgspec

from controller.base import ids
from controller.base.clock import Clock
from controller.base.errors import Conflict, JobwardenError, NotFound
from controller.base.logs import event
from controller.domain.governors import Governors
from controller.domain.records import Cleanup, Run
from controller.domain.trust import CredentialPolicy, Delivery, Identity, Provider, Ref
from controller.executors.credentials import Given
from controller.gates import credentials
from controller.gates.enquiries import Away, Enquiry, Finding, NotVouched, Vouched, Vouching
from controller.providers.calling import Caller
from controller.providers.instances import Instances, Key
from controller.providers.protocol import Refused, Request, Session, Unavailable
from controller.store import cleanups, governors
from controller.store.store import Store

_log = logging.getLogger(__name__)

_PATIENCE = timedelta(minutes=1)
"""How long an open run waits for a provider that cannot be reached."""
_PAUSE_S = 2.0
_UNKNOWN = b""
"""The handle of what was asked for and not answered yet."""
_BRIEFLY = timedelta(minutes=5)

_Answer = Session | Refused | Unavailable
_Ask = Callable[[], Awaitable[_Answer]]


class ProviderAway(JobwardenError):
    """A provider cannot be asked now."""


class Obtaining:
    """Credentials of one controller."""

    def __init__(self, store: Store, make: Callable[[], Instances], clock: Clock) -> None:
        """`make` is called when somebody first needs a provider: to look for plug-ins takes a moment that others do not owe."""
        self._store, self._make, self._clock = store, make, clock
        self._instances: Instances | None = None

    async def close(self) -> None:
        """Let go of every provider."""
        if self._instances is not None:
            await self._instances.close()

    async def for_run(self, run: Run) -> Sequence[Given] | str:
        """Everything that the run is given, or why it cannot be started. Errors: StoreUnavailable."""
        policy = run.grant.credentials if run.grant is not None else CredentialPolicy()
        known = await self._store.read(governors.read)
        given: list[Given] = []
        for delivery in policy.deliver:
            one = await self._delivered(run, policy, delivery, known)
            if isinstance(one, str):
                return one
            given.append(one)
        return given

    async def undo(self, provider: Ref, namespace: str, handle: bytes) -> None:
        """See `cleanups.Undoer`. Errors: ProviderAway, Conflict, NotFound."""
        if handle == _UNKNOWN:
            return  # the controller died before it was answered; what it was given ends by itself
        caller = await self._caller(provider, namespace, await self._store.read(governors.read))
        if isinstance(caller, Refused):
            raise NotFound(caller.message)
        answer = await caller.revoke(handle.decode())
        if isinstance(answer, Unavailable):
            raise ProviderAway(answer.message)
        if isinstance(answer, Refused):
            raise Conflict(answer.message)

    async def key(self, ref: Ref, namespace: str) -> bytes:
        """See `evidence.Keys`. Errors: ProviderAway, NotFound, Conflict."""
        caller = await self._caller(ref, namespace, await self._store.read(governors.read))
        if isinstance(caller, Refused):
            raise NotFound(caller.message)
        answer = await caller.resolve(Request(namespace=namespace, job="", lifetime=_BRIEFLY))
        if isinstance(answer, Unavailable):
            raise ProviderAway(answer.message)
        if isinstance(answer, Refused):
            raise Conflict(answer.message)
        if len(answer.credentials) != 1:
            raise Conflict(f"{ref.kind} {ref.name} has {len(answer.credentials)} credentials, and one key signs")
        [secret] = answer.credentials.values()
        return secret.reveal().encode()

    async def vouch(self, enquiry: Enquiry) -> Finding | Away:
        """Whether the provider of an identity stands behind it. What it gives on the way is used by nobody, and given back. See `Vouching`."""
        assert isinstance(enquiry, Vouching)
        identity = enquiry.identity
        assert identity.provider is not None
        caller = await self._caller(identity.provider, enquiry.namespace, await self._store.read(governors.read))
        if isinstance(caller, Refused):
            return NotVouched(caller.message)
        request = Request(
            namespace=enquiry.namespace,
            job=enquiry.job,
            identity=identity,
            scopes=identity.scopes,
            lifetime=_BRIEFLY,
        )
        leases: list[str] = []

        async def ask(once: _Ask) -> _Answer:
            answer = await once()
            if isinstance(answer, Session) and answer.lease is not None and answer.lease not in leases:
                leases.append(answer.lease)
            return answer

        try:
            answer = await _held(caller, request, ask)
        finally:
            for lease in reversed(leases):
                await _give_back(caller, lease)
        match answer:
            case Session():
                return Vouched(answer.principal, answer.level, answer.scopes)
            case Refused():
                return NotVouched(answer.message)
            case Unavailable():
                return Away(answer.message, answer.retry_after)

    async def _delivered(self, run: Run, policy: CredentialPolicy, delivery: Delivery, known: Governors) -> Given | str:
        where = f"the credential {delivery.name}"
        identity = run.grant.identity if run.grant is not None else None
        origin = credentials.origin(delivery, identity)
        if isinstance(origin, str):
            return origin
        caller = await self._caller(origin.provider, run.namespace, known)
        if isinstance(caller, Refused):
            return f"{where}: {caller.message}"
        request = Request(
            namespace=run.namespace,
            job=run.job,
            run=run.name,
            identity=origin.identity,
            scopes=origin.scopes,
            keys=(delivery.key,) if delivery.key is not None else (),
            lifetime=policy.max_lifetime,
        )
        session = await _held(caller, request, partial(self._patiently, run, origin.provider, caller))
        if not isinstance(session, Session):
            return f"{where}: {session.message}"
        fallen = _fallen(origin.identity, session)
        return f"{where}: {fallen}" if fallen is not None else _chosen(where, delivery, session)

    async def _patiently(self, run: Run, provider: Ref, caller: Caller, ask: _Ask) -> _Answer:
        """Ask, again for a while where the provider is away; what can be revoked is written down before and after."""
        record = self._record_of(run, provider) if caller.can_revoke else None
        if record is not None:
            await self._store.write(lambda tx: cleanups.record(tx, record))
        until = self._clock.monotonic() + _PATIENCE.total_seconds()
        answer = await ask()
        while isinstance(answer, Unavailable):
            pause = _PAUSE_S if answer.retry_after is None else answer.retry_after.total_seconds()
            if self._clock.monotonic() + pause > until:
                break
            await asyncio.sleep(pause)
            answer = await ask()
        if record is not None:
            lease = answer.lease if isinstance(answer, Session) else None
            if lease is None:
                await self._store.write(lambda tx: cleanups.undone(tx, record.id))
            else:
                handle = lease.encode()
                await self._store.write(lambda tx: cleanups.amend(tx, record.id, handle))
        return answer

    def _record_of(self, run: Run, provider: Ref) -> Cleanup:
        now = self._clock.now()
        return Cleanup(ids.new_id(now), run.name, provider, run.namespace, _UNKNOWN, now, now)

    async def _caller(self, ref: Ref, namespace: str, known: Governors) -> Caller | Refused:
        found = known.find(ref.kind, namespace, ref.name)
        declared = found.document if found is not None and isinstance(found.document, Provider) else None
        home = "" if ref.kind.startswith("Cluster") else namespace
        if self._instances is None:
            self._instances = self._make()
        return await self._instances.of(Key(ref.kind, home, ref.name), declared, namespace)


async def _held(caller: Caller, request: Request, ask: Callable[[_Ask], Awaitable[_Answer]]) -> _Answer:
    """A session for the request, each call made through `ask`; one for an identity that was narrowed is made of one for what it was narrowed from."""
    identity = request.identity
    if identity is None or not identity.narrowed_from:
        return await ask(partial(caller.resolve, request))
    # All credentials: nobody knows which of them it is made of.
    wide = await ask(partial(caller.resolve, msgspec.structs.replace(request, scopes=identity.narrowed_from, keys=())))
    return await ask(partial(caller.downscope, request, wide)) if isinstance(wide, Session) else wide


async def _give_back(caller: Caller, lease: str) -> None:
    """End what was granted for a question."""
    if caller.can_revoke and await caller.revoke(lease) is not None:
        event(_log, "an unused lease was not revoked; it ends by itself", logging.WARNING, provider=caller.name)


def _fallen(identity: Identity | None, session: Session) -> str | None:
    """Why a session is not worth what the run was let in for; None: it is. Pure."""
    if identity is None or session.level is None or session.level.rank >= identity.level.rank:
        return None
    return f"its provider vouches for {session.level} now, and the run was opened as {identity.level}"


def _chosen(where: str, delivery: Delivery, session: Session) -> Given | str:
    """The credential that is meant. Pure."""
    key = delivery.key
    if key is None:
        if len(session.credentials) != 1:
            names = ", ".join(sorted(session.credentials)) or "none"
            return f"{where}: its provider has several credentials ({names}): name one in key"
        [key] = session.credentials
    secret = session.credentials.get(key)
    if secret is None:
        return f"{where}: its provider gave no credential {key!r}"
    return Given(delivery.name, secret.reveal().encode(), env=delivery.env, file=delivery.file)
