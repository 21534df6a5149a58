"""One source, for ever: own it, bring the database in step with it, and wait for the next change.

Invariant: only the owner of a source writes what it declares; whoever does not own it looks again before the owner's lease could have run out.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from controller.base.clock import Clock
from controller.base.metrics import Metrics
from controller.domain.story import StoryEvent, StoryKind, Tell
from controller.loops.lease import LEASE
from controller.reconcile.pipeline import Outcome, Reconciler
from controller.reconcile.records import ReconcileRequested
from controller.sources.snapshot import Hint
from controller.store import serving
from controller.store.store import Store

_OWNED_BY_OTHERS = timedelta(seconds=5)
_MOST_TOLD = 20
"""Errors of one sync that are told as news; all of them are in the store."""


class SourceLoop:
    """`run` for the supervisor; `sync_now` for whoever cannot wait."""

    def __init__(
        self,
        reconciler: Reconciler,
        store: Store,
        clock: Clock,
        owner: str,
        *,
        changed: Callable[[Outcome], None],
        reconciled: Callable[[Outcome], None] = lambda _outcome: None,
        metrics: Metrics | None = None,
        tell: Tell = lambda _event: None,
    ) -> None:
        """`reconciled` is told of every sync, `changed` of those that may have changed what runs."""
        self._reconciler = reconciler
        self._source = reconciler.source
        self._store = store
        self._clock = clock
        self._owner = owner
        self._changed = changed
        self._reconciled = reconciled
        self._metrics = metrics or Metrics()
        self._tell = tell
        self._lock = asyncio.Lock()
        self._told: tuple[object, ...] | None = None
        self.synced = asyncio.Event()
        """It was read here, or belongs to another instance."""
        self.looked_after = asyncio.Event()
        """It was read here, or belongs to another instance that has outlived a lease: one that died a moment ago would not."""

    @property
    def name(self) -> str:
        """The source's name."""
        return self._source.name

    async def run(self) -> None:
        """Until cancelled. Errors: StoreUnavailable."""
        began = self._clock.monotonic()
        while not await self._claim():
            # Somebody else reconciles it; our part is to dispatch.
            self.synced.set()
            if self._clock.monotonic() - began > (LEASE + _OWNED_BY_OTHERS).total_seconds():
                self.looked_after.set()
            await asyncio.sleep(_OWNED_BY_OTHERS.total_seconds())
        await self._sync(None, first=True)
        async for hint in self._reconciler.hints():
            await self._sync(hint)

    async def sync_now(self) -> bool:
        """Look at everything now; False when another replica does that for this source. Errors: StoreUnavailable."""
        ours = await self._claim()
        if ours:
            await self._sync(None)
        return ours

    async def _claim(self, *, elected: bool = False) -> bool:
        source = self._source
        claim = partial(serving.claim, name=source.name, kind=source.kind, location=source.location)
        return await self._store.write(partial(claim, owner=self._owner, elected=elected))

    async def _sync(self, hint: Hint | None, *, first: bool = False) -> None:
        async with self._lock:
            began = self._clock.monotonic()
            outcome = await self._reconciler.sync(hint)
            took = timedelta(seconds=self._clock.monotonic() - began)
        self._metrics.source_synced(self.name, result=_result(outcome), duration=took, at=self._clock.now())
        self._report(outcome)
        self._reconciled(outcome)
        self._was_read(outcome)
        # Jobs of a source that nobody served may run again now, also where no document has changed.
        if first or outcome.changed or outcome.intents or outcome.touched:
            self._changed(outcome)
        if hint is not None and hint.paths is not None and _asked_for_more(outcome):
            await self._sync(None)

    def _was_read(self, outcome: Outcome) -> None:
        del outcome  # what cannot be read has been looked at as well
        self.synced.set()
        self.looked_after.set()

    def _report(self, outcome: Outcome) -> None:
        """Tell what is new: counts when something changed, errors when they are others than last time."""
        counts, now = outcome.counts, self._clock.now()
        if outcome.changed:
            parts = {"created": counts.created, "updated": counts.updated, "removed": counts.removed}
            words = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
            applied = StoryEvent(
                at=now, kind=StoryKind.Applied, subject=self.name, message=words, revision=outcome.revision
            )
            self._tell(applied)
        news = (outcome.unavailable, *outcome.errors)
        if news == self._told:
            return
        before, self._told = self._told, news
        if outcome.unavailable is not None:
            message = f"cannot be read, and what it declared last stays in force: {outcome.unavailable}"
            self._tell(StoryEvent(at=now, kind=StoryKind.Trouble, subject=self.name, message=message))
        elif before is not None and before[0] is not None:
            self._tell(StoryEvent(at=now, kind=StoryKind.Source, subject=self.name, message="can be read again"))
        for error in outcome.errors[:_MOST_TOLD]:
            self._tell(
                StoryEvent(
                    at=now,
                    kind=StoryKind.Rejected,
                    namespace=error.namespace,
                    job=error.name,
                    subject=error.place,
                    reason=error.reason,
                    message=": ".join(part for part in (error.pointer, error.message) if part),
                    hint=error.hint or None,
                )
            )
        if len(outcome.errors) > _MOST_TOLD:
            more = f"and {len(outcome.errors) - _MOST_TOLD} more errors; `jobwarden get sources -o yaml` lists them"
            self._tell(StoryEvent(at=now, kind=StoryKind.Rejected, subject=self.name, message=more))


def _asked_for_more(outcome: Outcome) -> bool:
    return any(isinstance(intent, ReconcileRequested) for intent in outcome.intents)


def _result(outcome: Outcome) -> str:
    if outcome.unavailable is not None:
        return "Unavailable"
    if outcome.errors:
        return "Rejected"
    return "Applied" if outcome.changed else "Unchanged"
