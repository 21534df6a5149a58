"""Gate 7: what a run is given is obtained once it is open, from the providers that its grant names; and given back when it has ended.

    a run's deliveries → its providers asked (providers) → undo written down (store) → `Given` (executors)

The dispatcher asks before it starts a run, `renewing` while it lasts, the cleanup loop gives back, the evidence loop has its keys from here, and gates 1 and 3 hear here whether
a provider vouches for an identity. Invariant: what a run may have to give back is written down before it is asked for; a value is in a `Given`, in the session that it came in, and in nothing
else; what is asked for in the name of an identity that was narrowed is narrowed anew, out of live credentials of what it was narrowed from.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from functools import partial

import msgspec

from controller.base import ids
from controller.base.clock import Clock
from controller.base.errors import Conflict, JobwardenError, NotFound
from controller.base.logs import event
from controller.domain.governors import Governors
from controller.domain.job import ExecutorKind, JobSpec, PodTarget
from controller.domain.records import Cleanup, Run
from controller.domain.trust import Contract, Credential, CredentialPolicy, Delivery, Identity, Provider, Ref
from controller.executors.credentials import Given, Token
from controller.gates import credentials
from controller.gates.enquiries import Away, Enquiry, Finding, NotVouched, Vouched, Vouching
from controller.providers.calling import Caller
from controller.providers.instances import Instances, Key
from controller.providers.protocol import Answer, Refused, Request, Secret, Session, Unavailable
from controller.providers.service_account_token import projected
from controller.store import cleanups, governors
from controller.store.store import Store

_log = logging.getLogger(__name__)

_PATIENCE = timedelta(minutes=1)
"""How long an open run waits for a provider that cannot be reached."""
_PAUSE_S = 2.0
_UNKNOWN = b""
"""The handle of what was asked for and not answered yet."""
_BRIEFLY = timedelta(minutes=5)

_Ask = Callable[[], Awaitable[Answer]]


class ProviderAway(JobwardenError):
    """A provider cannot be asked now."""


class Held(msgspec.Struct, frozen=True):
    """One credential that a run was given, as its provider gave it. `record`: the row that undoes it. Lives in memory only."""

    delivery: Delivery
    provider: Ref
    request: Request
    session: Session
    record: str | None = None

    def __repr__(self) -> str:
        return f"Held({self.delivery.name})"


class Obtained(msgspec.Struct, frozen=True):
    """Everything that a run is given, and the same as it was held."""

    given: tuple[Given, ...] = ()
    held: tuple[Held, ...] = ()
    tokens: tuple[Token, ...] = ()  # what the kubelet gives to its Pod


class Obtaining:
    """Credentials of one controller."""

    def __init__(
        self,
        store: Store,
        make: Callable[[], Instances],
        clock: Clock,
        accounts: Collection[str] = (),
        granted: Callable[[], Governors | None] = lambda: None,
    ) -> None:
        """`make` is called when somebody first needs a provider: to look for plug-ins takes a moment that others do not owe. `accounts` are the service
        accounts that Pods of jobs may run as; `granted` are the documents that the last run was opened under, where anybody remembers them.
        """
        self._store, self._make, self._clock, self._accounts = store, make, clock, accounts
        self._granted = granted
        self._instances: Instances | None = None

    async def follow(self, known: Governors) -> None:
        """Make ready for the providers that there are, and let go of those that are gone."""
        declared = [one for one in known.documents if isinstance(one.document, Provider)]
        if self._instances is None and declared:
            self._instances = self._make()
        if self._instances is not None:
            await self._instances.follow([Key(one.kind, one.namespace, one.name) for one in declared])

    async def close(self) -> None:
        """Let go of every provider."""
        if self._instances is not None:
            await self._instances.close()

    async def for_run(self, run: Run, spec: JobSpec) -> Obtained | str:
        """Everything that the run is given, or why it cannot be started. Errors: StoreUnavailable."""
        policy = run.grant.credentials if run.grant is not None else CredentialPolicy()
        # What the gates have just judged by: to read it again for each run costs more than all of them.
        known = self._granted()
        if known is None:
            known = await self._store.read(governors.read)
        given: list[Given] = []
        held: list[Held] = []
        tokens: list[Token] = []
        for delivery in policy.deliver:
            token = self._projected(run, spec, delivery, known)
            if token is not None and {one.account for one in tokens} <= {token.account}:
                tokens.append(token)
                continue
            one = await self._delivered(run, policy, delivery, known)
            if isinstance(one, str):
                return one
            chosen = choose(one)
            if isinstance(chosen, str):
                return chosen
            given.append(chosen)
            held.append(one)
        return Obtained(tuple(given), tuple(held), tuple(tokens))

    def _projected(self, run: Run, spec: JobSpec, delivery: Delivery, known: Governors) -> Token | None:
        """The file that the kubelet fills, where Pods of jobs may be that service account; else the token is asked for as anywhere.

        The account is the Pod's own then, so a job that could name one of its namespace without being allowed to would be given more than the controller itself may ask for.
        """
        ref = delivery.provider
        origin = credentials.origin(delivery, run.grant.identity if run.grant is not None else None)
        if isinstance(origin, str) or origin.identity is not None:
            return None  # in the name of an identity its provider has to answer
        taken = any(one.credential_ref == delivery.name for one in spec.env)
        if ref is None or delivery.file is None or taken or spec.executor is not ExecutorKind.Kubernetes:
            return None
        found = known.find(ref.kind, run.namespace, ref.name)
        declared = found.document if found is not None and isinstance(found.document, Provider) else None
        if declared is None or declared.type != "serviceAccountToken" or ref.kind.startswith("Cluster"):
            return None
        policy = run.grant.credentials if run.grant is not None else CredentialPolicy()
        wanted = projected(
            declared.config, delivery.scopes, (delivery.key,) if delivery.key else (), policy.max_lifetime
        )
        if wanted is None or wanted.account not in self._accounts or _acts_as(spec) not in (None, wanted.account):
            return None
        return Token(delivery.name, delivery.file, wanted.account, wanted.audience, wanted.lifetime)

    async def again(self, run: Run, held: Held) -> Held | Refused | Unavailable:
        """The same credential for longer: what is held is prolonged, or something is given in its place that has a record of its own.

        It is as it was granted: a provider that has been changed since is asked no more. Errors: StoreUnavailable.
        """
        ref = held.provider
        known = await self._store.read(governors.read)
        found = known.find(ref.kind, run.namespace, ref.name)
        granted = run.grant.governors if run.grant is not None else {}
        if found is None or granted.get(str(found)) != found.digest:
            return Refused(f"{ref.kind} {ref.name} is not what it was when the run was granted")
        caller = await self._caller(ref, run.namespace, known)
        if isinstance(caller, Refused):
            return caller
        identity = held.request.identity
        narrowed = identity is not None and bool(identity.narrowed_from)
        if caller.can_renew and not narrowed:
            answer = await caller.renew(held.request, held.session)
            if isinstance(answer, Session):
                return msgspec.structs.replace(held, session=answer)
            # What can be prolonged no more may yet be had anew.
            if isinstance(answer, Unavailable) or held.delivery.file is None:
                return answer
        session, record = await self._made(run, ref, caller, held.request, _once)
        if not isinstance(session, Session):
            return session
        fallen = _fallen(identity, session)
        if fallen is not None:
            return Refused(fallen)
        return Held(held.delivery, ref, held.request, session, record)

    async def let_go(self, run: Run, held: Held) -> None:
        """Give back what something else has taken the place of. Errors: none of a provider: then it is given back when the run has ended."""
        lease, record = held.session.lease, held.record
        if lease is None or record is None:
            return
        try:
            await self.undo(held.provider, run.namespace, lease.encode())
        except JobwardenError:
            return
        await asyncio.shield(self._store.write(lambda tx: cleanups.undone(tx, record)))

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

    async def credential(self, wanted: Credential, user: str, job: str) -> Secret | Refused | Unavailable:
        """One credential that the controller itself looks at, asked for once. `user`: the namespace that has to be allowed to use the provider, "" for the
        controller. Errors: StoreUnavailable.
        """
        caller = await self._caller(wanted.provider, user, await self._store.read(governors.read))
        if isinstance(caller, Refused):
            return caller
        keys = (wanted.key,) if wanted.key is not None else ()
        session = await caller.resolve(Request(namespace=user, job=job, keys=keys, lifetime=_BRIEFLY))
        if not isinstance(session, Session):
            return session
        if session.lease is not None:
            await caller.revoke(session.lease)  # it is looked at once; a lease that stays ends by itself
        if wanted.key is not None:
            return session.credentials.get(wanted.key) or Refused(f"{caller.name} gave no credential {wanted.key!r}")
        if len(session.credentials) != 1:
            names = ", ".join(sorted(session.credentials)) or "none"
            return Refused(f"{caller.name} has several credentials ({names}): name one in key")
        [secret] = session.credentials.values()
        return secret

    async def key(self, ref: Ref, namespace: str) -> bytes:
        """See `evidence.Keys`. Errors: ProviderAway, NotFound, Conflict."""
        known = await self._store.read(governors.read)
        caller = await self._caller(ref, "" if _signs_for_cluster(ref, known) else namespace, known)
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

        async def ask(once: _Ask) -> Answer:
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
                return Vouched(answer.principal, answer.level, answer.scopes, answer.attestations)
            case Refused():
                return NotVouched(answer.message)
            case Unavailable():
                return Away(answer.message, answer.retry_after)

    async def _delivered(self, run: Run, policy: CredentialPolicy, delivery: Delivery, known: Governors) -> Held | str:
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
        session, record = await self._made(run, origin.provider, caller, request, self._patiently)
        if not isinstance(session, Session):
            return f"{where}: {session.message}"
        fallen = _fallen(origin.identity, session)
        return f"{where}: {fallen}" if fallen is not None else Held(delivery, origin.provider, request, session, record)

    async def _made(
        self, run: Run, provider: Ref, caller: Caller, request: Request, how: Callable[[_Ask], Awaitable[Answer]]
    ) -> tuple[Answer, str | None]:
        """What is answered to a request, each call made as `how` says, and the row of what can be revoked of it."""
        records: list[str | None] = []

        async def ask(once: _Ask) -> Answer:
            answer, record = await self._recorded(run, provider, caller, partial(how, once))
            records.append(record)
            return answer

        return await _held(caller, request, ask), records[-1]

    async def _patiently(self, ask: _Ask) -> Answer:
        """Ask, again for a while where the provider is away."""
        until = self._clock.monotonic() + _PATIENCE.total_seconds()
        answer = await ask()
        while isinstance(answer, Unavailable):
            pause = _PAUSE_S if answer.retry_after is None else answer.retry_after.total_seconds()
            if self._clock.monotonic() + pause > until:
                break
            await asyncio.sleep(pause)
            answer = await ask()
        return answer

    async def _recorded(
        self, run: Run, provider: Ref, caller: Caller, ask: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, str | None]:
        """What is answered, and the row of what can be revoked of it, which is written down before and after."""
        if not caller.can_revoke:
            return await ask(), None
        record = self._record_of(run, provider)
        await self._store.write(lambda tx: cleanups.record(tx, record))
        answer = await ask()
        lease = answer.lease if isinstance(answer, Session) else None
        # Also when the run ends just now, and nobody waits for us any more.
        if lease is None:
            await asyncio.shield(self._store.write(lambda tx: cleanups.undone(tx, record.id)))
            return answer, None
        handle = lease.encode()
        await asyncio.shield(self._store.write(lambda tx: cleanups.amend(tx, record.id, handle)))
        return answer, record.id

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


async def _once(ask: _Ask) -> Answer:
    return await ask()


async def _held(caller: Caller, request: Request, ask: Callable[[_Ask], Awaitable[Answer]]) -> Answer:
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


def _signs_for_cluster(ref: Ref, known: Governors) -> bool:
    """Whether a contract of the cluster has chosen this provider: then the controller asks for itself, and nobody's namespace has to be allowed to have the key. Pure."""
    contracts = [
        one.document for one in known.documents if one.match is not None and isinstance(one.document, Contract)
    ]
    return ref.kind.startswith("Cluster") and any(one.evidence.signing_key == ref for one in contracts)


def _acts_as(spec: JobSpec) -> str | None:
    """The service account that a template names itself. Pure."""
    body = spec.target.template.get("spec") if isinstance(spec.target, PodTarget) else None
    named = body.get("serviceAccountName") or body.get("serviceAccount") if isinstance(body, dict) else None
    return str(named) if named else None


def choose(held: Held) -> Given | str:
    """The credential that is meant. Pure."""
    delivery, session = held.delivery, held.session
    where, key = f"the credential {delivery.name}", delivery.key
    if key is None:
        if len(session.credentials) != 1:
            names = ", ".join(sorted(session.credentials)) or "none"
            return f"{where}: its provider has several credentials ({names}): name one in key"
        [key] = session.credentials
    secret = session.credentials.get(key)
    if secret is None:
        return f"{where}: its provider gave no credential {key!r}"
    return Given(delivery.name, secret.reveal().encode(), env=delivery.env, file=delivery.file)
