"""One source from its files to the database: fetch, read, plan, apply (steps 1-4).

A loop waits on `hints` and calls `sync`. The registry and the index are taken over only after the commit, so that a step that fails leaves everything
as it was. Invariant: whatever becomes of a source (gone, half readable, wrong), what it declared last stays in force.
"""

import asyncio
import contextlib
import gc
import hashlib
import importlib.metadata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from controller.base import ids
from controller.base.clock import Clock
from controller.base.errors import SourceUnavailable
from controller.domain.resolve import Defaults
from controller.kinds.records import ManifestError
from controller.reconcile.apply import Applied, NewId, apply
from controller.reconcile.desired import Desired
from controller.reconcile.index import Change, FileState, SourceIndex
from controller.reconcile.plan import Decision, decide
from controller.reconcile.read import ReadFile, Rules, read, refused, too_large
from controller.reconcile.records import (
    Blocked,
    Counts,
    Document,
    Entry,
    Intent,
    Key,
    Problem,
    as_json,
    decode_facts,
)
from controller.sources.snapshot import Hint, Snapshot, Source
from controller.store import resources
from controller.store.resources import MOST_ERRORS, DeclaredRow, FileRow
from controller.store.store import Store, Tx

UNAVAILABLE = "SourceUnavailable"

_READER = 1  # a higher number makes every file be read again after an upgrade
_MANY = 500
_IN_THREAD = 8  # reading fewer files than this does not hold up the loop

Obey = Callable[[Tx, Intent], None]
Examine = Callable[[Sequence[Document]], Awaitable[Mapping[Key, Problem]]]
"""What is wrong with documents that only somebody outside can judge; whoever cannot be asked now finds nothing."""


class Outcome(msgspec.Struct, frozen=True):
    """What one `sync` did. `unavailable` says why nothing could be done; `errors` is everything that is wrong in the source now;
    `touched` are the ids of resources that look different.
    """

    source: str
    revision: str | None = None
    counts: Counts = Counts()
    errors: tuple[ManifestError, ...] = ()
    intents: tuple[Intent, ...] = ()
    changed: bool = False
    touched: tuple[int, ...] = ()
    unavailable: str | None = None


class Reconciler:
    """One source. `sync` is called by one task at a time."""

    def __init__(
        self,
        source: Source,
        store: Store,
        desired: Desired,
        clock: Clock,
        *,
        defaults: Defaults = Defaults(),  # noqa: B008 - frozen
        obey: Obey | None = None,
        examine: Examine | None = None,
        fence: Callable[[Tx], None] = lambda _tx: None,
        new_uid: Callable[[], str] = ids.new_uid,
        new_id: NewId = ids.new_id,
    ) -> None:
        """`obey` carries out what annotations ask for, in the very transaction that records that they were seen; `examine` says what is wrong with
        documents that only somebody outside can judge; `fence` raises where this reconciler may not write any more.
        """
        self.source = source
        self.index = SourceIndex()
        self._store = store
        self._desired = desired
        self._clock = clock
        self._rules = Rules(source.name, source.namespace, source.allowed_kinds, defaults)
        self._recipe = recipe_of(self._rules)
        self._obey = obey
        self._examine = examine
        self._fence = fence
        self._new_uid = new_uid
        self._new_id = new_id
        self._trusted = False  # the index is known to be what the database holds
        self._in_step = False  # ... and what the last snapshot left
        self._recheck = False
        self._recorded: tuple[str | None, str | None] | None = None  # revision and failure, as last written
        self._signer: str | None = None  # of that revision
        self._hints: asyncio.Queue[Hint] = asyncio.Queue()
        desired.listen(self._stirred)

    async def sync(self, hint: Hint | None = None) -> Outcome:
        """Bring the database in step with the source.

        Effect: one transaction at most. A source that cannot be read is recorded as such, and is no exception here. Errors: StoreUnavailable.
        """
        if not self._trusted:
            await self._load()
        elif self._store.dialect == "postgresql":
            await self._refresh()
        try:
            snapshot = await self.source.fetch(self.index.digests, hint if self._in_step else None)
        except SourceUnavailable as error:
            return await self.unavailable(str(error))
        self._in_step = False
        with _without_collector() if len(snapshot.changed) > _MANY else contextlib.nullcontext():
            files = await self._read(snapshot)
            outcome = await self._reconcile(snapshot, files)
        self._in_step = True
        return outcome

    def distrust(self) -> None:
        """Another replica may have reconciled the source meanwhile: begin as after a restart."""
        self._trusted = self._in_step = False
        self._recorded = None

    async def unavailable(self, message: str) -> Outcome:
        """Record that the source cannot be read. Errors: StoreUnavailable."""
        self._in_step = False
        await self._record_failure(message)
        return Outcome(self.source.name, unavailable=message)

    async def hints(self) -> AsyncIterator[Hint]:
        """The source's hints, joined while nobody looks, and one whenever another source ends a conflict that we wait for."""
        follower = asyncio.create_task(self._follow(), name=f"changes of source {self.source.name}")
        try:
            while True:
                waiting = asyncio.ensure_future(self._hints.get())
                await asyncio.wait((waiting, follower), return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    await follower  # it never ends by itself, so this raises
                    raise RuntimeError("a source stopped to tell of changes")
                paths: set[str] | None = set()
                for hint in (waiting.result(), *self._drain()):
                    paths = None if paths is None or hint.paths is None else paths | hint.paths
                yield Hint(None if paths is None else frozenset(paths))
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)

    async def _follow(self) -> None:
        async for hint in self.source.changes():
            self._hints.put_nowait(hint)

    def _drain(self) -> Iterable[Hint]:
        while not self._hints.empty():
            yield self._hints.get_nowait()

    def _stirred(self, keys: frozenset[Key]) -> None:
        """Other sources took or gave up resources that we have a claim to."""
        if not self._recheck and any(key in keys for key, _, _ in self.index.held):
            self._recheck = True
            self._hints.put_nowait(Hint(frozenset()))

    # steps

    async def _load(self) -> None:
        """Learn from the database what is in force, and which files need not be read."""
        async with self._desired.lock:
            stored, files = await self._store.read(
                lambda tx: (Stored.read(tx), resources.files_of(tx, self.source.name))
            )
            with _without_collector():
                stored.into(self._desired, self.source.name)
                self.index = index_of(self.source.name, self._recipe, self._desired, stored.declared, files)
            self._trusted = True

    async def _refresh(self) -> None:
        """Other replicas reconcile other sources; look again at what is in force once one of them has applied something."""
        applied = await self._store.read(resources.applied)
        if applied != self._desired.applied:
            async with self._desired.lock:
                stored = await self._store.read(Stored.read)
                stored.into(self._desired, self.source.name)

    async def _read(self, snapshot: Snapshot) -> list[ReadFile]:
        if len(snapshot.changed) < _IN_THREAD:
            files = read_all(snapshot, self._rules)
        else:
            files = await asyncio.to_thread(read_all, snapshot, self._rules)
        if self._examine is None:
            return files
        problems = await self._examine([document for file in files for document in file.documents])
        return [refused(file, problems) for file in files] if problems else files

    async def _reconcile(self, snapshot: Snapshot, files: list[ReadFile]) -> Outcome:
        async with self._desired.lock:
            if not files and not snapshot.removed and not self._recheck and not self._anything_open():
                await self._record_revision(snapshot)
                return Outcome(self.source.name, snapshot.revision, errors=tuple(self.index.all_errors()))
            change = self.index.propose(files, snapshot.removed)
            decision = await self._decide(change)
            applied = await self._apply(snapshot, change, decision)
        for path in decision.reread:
            self.index.digests.pop(path, None)
        if decision.reread:
            self._hints.put_nowait(Hint())
        return Outcome(
            source=self.source.name,
            revision=snapshot.revision,
            counts=applied.counts,
            errors=tuple(self.index.all_errors()),
            intents=applied.intents,
            changed=decision.plan.changes,
            touched=_touched(decision, applied, self._desired),
        )

    def _anything_open(self) -> bool:
        """Something that was left over before a restart has to be looked at once."""
        return self._recorded is None and bool(self.index.unclaimed or self.index.rejected)

    async def _decide(self, change: Change) -> Decision:
        if len(change.claims) < _IN_THREAD:
            return decide(self.source.name, self.index, change, self._desired)
        return await asyncio.to_thread(decide, self.source.name, self.index, change, self._desired)

    async def _apply(self, snapshot: Snapshot, change: Change, decision: Decision) -> Applied:
        """Write, and take over what was written. Until that is certain, nobody trusts what is in memory."""
        plan, now = decision.plan, self._clock.now()
        known = (document.entry.key for document in plan.update)
        before = {key: entry for key in known if (entry := self._desired.get(key)) is not None}
        after = _Preview(self.index, change, decision)

        def write(tx: Tx) -> Applied:
            self._fence(tx)
            applied = apply(tx, plan, now, before, new_uid=self._new_uid, new_id=self._new_id)
            resources.record_files(tx, self.source.name, after.clean(self._recipe), after.unclean())
            self._record(tx, snapshot, after.errors(), now)
            for intent in applied.intents if self._obey is not None else ():
                assert self._obey is not None
                self._obey(tx, intent)
            return applied

        self._trusted = False
        applied = await self._store.write(write)
        self._desired.commit(applied.stored, plan.blocked)
        self._desired.applied[self.source.name] = now
        self.index.commit(change, decision.rejected, decision.held, decision.unclaimed)
        self._recheck = False
        self._recorded, self._signer = (snapshot.revision, None), snapshot.signer
        self._trusted = True
        return applied

    # the source's own row

    def _record(self, tx: Tx, snapshot: Snapshot, errors: list[ManifestError], now: datetime) -> None:
        message = f"{len(errors)} errors, of which {MOST_ERRORS} are kept" if len(errors) > MOST_ERRORS else None
        resources.record_source(
            tx,
            self.source.name,
            self.source.kind,
            self.source.location,
            revision=snapshot.revision,
            signer=snapshot.signer,
            attempted_revision=snapshot.revision,
            applied_at=now,
            reason=None,
            message=message,
            failing_since=None,
            errors=as_json(_governors_first(errors)[:MOST_ERRORS]) if errors else None,
        )

    async def _record_revision(self, snapshot: Snapshot) -> None:
        """Nothing changed; say so once."""
        if self._recorded == (snapshot.revision, None) and self._signer == snapshot.signer:
            return
        errors, now = self.index.all_errors(), self._clock.now()
        await self._store.write(lambda tx: self._record(tx, snapshot, errors, now))
        self._desired.applied[self.source.name] = now
        self._recorded, self._signer = (snapshot.revision, None), snapshot.signer

    async def _record_failure(self, message: str) -> None:
        if self._recorded is not None and self._recorded[1] == message:
            return
        now, source = self._clock.now(), self.source

        def write(tx: Tx) -> None:
            row = resources.source(tx, source.name)
            since = row.failing_since if row is not None and row.failing_since is not None else now
            resources.record_source(
                tx, source.name, source.kind, source.location, reason=UNAVAILABLE, message=message, failing_since=since
            )

        await self._store.write(write)
        self._recorded = (None, message)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Thousands of documents come to life and none of them in cycles: looking for cycles meanwhile would take a quarter of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _touched(decision: Decision, applied: Applied, desired: Desired) -> tuple[int, ...]:
    """Resources that were written, removed, rejected, blocked or unblocked. Pure."""
    plan = decision.plan
    written = [entry for entry in applied.stored.values() if entry is not None]
    affected = (desired.get(key) for key in (*plan.reject, *plan.blocked))
    return tuple({entry.id for entry in (*written, *plan.remove, *affected) if entry is not None})


def _governors_first(errors: list[ManifestError]) -> list[ManifestError]:
    """What might bind jobs of others must not be among what is cut off: while it is wrong it holds them. Pure."""
    return sorted(errors, key=lambda error: not (error.kind or "").startswith("Cluster"))


class _Preview:
    """The index as it will be, as far as the rows of files and errors need it."""

    def __init__(self, index: SourceIndex, change: Change, decision: Decision) -> None:
        self._change = change
        self._rejected = decision.rejected
        self._claims = {**{key: index.claims.get(key, ()) for key in decision.rejected}, **change.claims}
        self._index = index

    def clean(self, recipe: str) -> list[FileRow]:
        """Files that were read now and are in force as a whole."""
        return [
            FileRow(path, f"{state.digest}:{recipe}", len(state.keys))
            for path, state in self._change.files.items()
            if state is not None and self._is_clean(path, state)
        ]

    def unclean(self) -> list[str]:
        """Files that have to be read again after a restart, or are gone."""
        found = {path for path, state in self._change.files.items() if state is None or not self._is_clean(path, state)}
        # A file that was fine alone may be in dispute because of another one.
        found.update(claim.path for key in self._rejected for claim in self._claims.get(key, ()) if claim.path)
        return sorted(found)

    def errors(self) -> list[ManifestError]:
        """Everything that will be wrong."""
        per_file = {**self._index.errors, **self._change.errors}
        found = [error for errors in per_file.values() for error in errors]
        found += [error for errors in self._rejected.values() for error in errors]
        return sorted(dict.fromkeys(found), key=lambda error: (error.file, error.line, error.column, error.pointer))

    def _is_clean(self, path: str, state: FileState) -> bool:
        return (
            not self._change.errors.get(path)
            and state.complete
            and not any(key in self._rejected for key in state.keys)
        )


class Stored(msgspec.Struct, frozen=True):
    """What is in force, as the database has it."""

    declared: list[DeclaredRow]
    blocked: dict[resources.Identity, tuple[str, str]]
    abandoned: list[str]
    applied: dict[str, datetime]

    @classmethod
    def read(cls, tx: Tx) -> "Stored":
        """All of it."""
        return cls(
            resources.declared(tx), resources.blocked_jobs(tx), resources.abandoned_sources(tx), resources.applied(tx)
        )

    def into(self, desired: Desired, source: str) -> None:
        """Fill the registry. `source` is served by whoever asks, whatever its row says."""
        blocked = {Key(*key): Blocked(*why) for key, why in self.blocked.items()}
        desired.load(map(entry_of, self.declared), blocked, [name for name in self.abandoned if name != source])
        desired.applied = dict(self.applied)


def read_all(snapshot: Snapshot, rules: Rules) -> list[ReadFile]:
    """Every file that changed. Pure."""
    files = [read(path, snapshot.files[path], data, rules) for path, data in snapshot.changed.items()]
    return files + [too_large(path, snapshot.files[path], size) for path, size in snapshot.oversized.items()]


def recipe_of(rules: Rules) -> str:
    """What the meaning of a file depends on besides its content. Pure, but for this program's version."""
    try:
        version = importlib.metadata.version("jobwarden")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    facts = (
        _READER,
        version,
        rules.namespace,
        sorted(rules.allowed_kinds) if rules.allowed_kinds else None,
        rules.defaults,
    )
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:12]


def entry_of(row: DeclaredRow) -> Entry:
    """A stored resource as an entry. Pure."""
    key = Key(row.kind, row.namespace, row.name)
    return Entry(key, row.source, row.digest, decode_facts(row.references), row.path, row.line or 0, row.id)


def index_of(
    source: str, recipe: str, desired: Desired, declared: Iterable[DeclaredRow], files: Iterable[FileRow]
) -> SourceIndex:
    """The index after a restart: files whose documents are all in force are known, everything else is read again. Pure."""
    index = SourceIndex()
    by_path: dict[str, list[Entry]] = {}
    for key in desired.of_source(source):
        entry = desired.entries[key]
        if entry.path is not None:
            by_path.setdefault(entry.path, []).append(entry)
    for file in files:
        digest, _, its_recipe = file.digest.rpartition(":")
        entries = by_path.get(file.path, [])
        if its_recipe != recipe or len(entries) != file.documents:
            continue
        index.files[file.path] = FileState(digest, tuple(entry.key for entry in entries))
        index.digests[file.path] = digest
        index.claims.update((entry.key, (entry,)) for entry in entries)
    index.rejected = {
        Key(row.kind, row.namespace, row.name): None for row in declared if row.rejected and row.source == source
    }
    index.unclaimed = frozenset(key for key in desired.of_source(source) if key not in index.claims)
    return index
