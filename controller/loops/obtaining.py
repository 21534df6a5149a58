"""Gate 7: what a run is given is obtained once it is open, from the providers that its grant names; and given back when it has ended.

    a run's deliveries → each provider asked once (providers) → undo written down (store) → `Given` (executors)

The dispatcher asks before it starts a run, the cleanup loop gives back, the evidence loop has its keys from here. Invariant: what may have to be revoked is written
down before it is asked for; a value is in a `Given` and in nothing else.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from controller.base import ids
from controller.base.clock import Clock
from controller.base.errors import Conflict, JobwardenError, NotFound
from controller.domain.governors import Governors
from controller.domain.records import Cleanup, Run
from controller.domain.trust import CredentialPolicy, Delivery, Provider, Ref
from controller.executors.credentials import Given
from controller.providers.calling import Caller
from controller.providers.instances import Instances, Key
from controller.providers.protocol import Refused, Request, Session, Unavailable
from controller.store import cleanups, governors
from controller.store.store import Store

_PATIENCE = timedelta(minutes=1)
"""How long an open run waits for a provider that cannot be reached."""
_PAUSE_S = 2.0
_UNKNOWN = b""
"""The handle of what was asked for and not answered yet."""
_SIGNING = timedelta(minutes=5)


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
        answer = await caller.resolve(Request(namespace=namespace, job="", lifetime=_SIGNING))
        if isinstance(answer, Unavailable):
            raise ProviderAway(answer.message)
        if isinstance(answer, Refused):
            raise Conflict(answer.message)
        if len(answer.credentials) != 1:
            raise Conflict(f"{ref.kind} {ref.name} has {len(answer.credentials)} credentials, and one key signs")
        [secret] = answer.credentials.values()
        return secret.reveal().encode()

    async def _delivered(self, run: Run, policy: CredentialPolicy, delivery: Delivery, known: Governors) -> Given | str:
        where = f"the credential {delivery.name}"
        if delivery.provider is None:
            return f"{where} names no provider"
        caller = await self._caller(delivery.provider, run.namespace, known)
        if isinstance(caller, Refused):
            return f"{where}: {caller.message}"
        request = Request(
            namespace=run.namespace,
            job=run.job,
            run=run.name,
            scopes=delivery.scopes,
            keys=(delivery.key,) if delivery.key is not None else (),
            lifetime=policy.max_lifetime,
        )
        session = await self._resolved(run, delivery.provider, caller, request)
        if not isinstance(session, Session):
            return f"{where}: {session.message}"
        return _chosen(where, delivery, session)

    async def _resolved(
        self, run: Run, provider: Ref, caller: Caller, request: Request
    ) -> Session | Refused | Unavailable:
        """Ask, again for a while where the provider is away; what can be revoked is written down before and after."""
        record = self._record_of(run, provider) if caller.can_revoke else None
        if record is not None:
            await self._store.write(lambda tx: cleanups.record(tx, record))
        until = self._clock.monotonic() + _PATIENCE.total_seconds()
        answer = await caller.resolve(request)
        while isinstance(answer, Unavailable) and self._clock.monotonic() < until:
            await asyncio.sleep(_PAUSE_S if answer.retry_after is None else answer.retry_after.total_seconds())
            answer = await caller.resolve(request)
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
