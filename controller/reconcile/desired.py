"""What all sources together declare: one light entry a resource, and who names whom.

Every reconciler of a controller shares one. It mirrors the `resources` table: it is filled from there and changed only after a commit.
Invariant: looking at what a change touches costs what the change is large, not what there is.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime

from controller.reconcile.records import CLUSTER_POOL, JOB, Blocked, Entry, Key


def names(entry: Entry) -> Iterator[Key]:
    """Everything that a resource refers to; may repeat. Pure."""
    facts, home = entry.facts, entry.key.namespace
    for job in (*facts.parents, *facts.outputs):
        yield Key(JOB, home, job)
    if facts.watched is not None:
        yield Key(JOB, home, facts.watched)
    for kind, name, _slots in facts.pools:
        yield Key(kind, "" if kind == CLUSTER_POOL else home, name)
    for kind, name in facts.targets:
        yield Key(kind, "" if kind.startswith("Cluster") else home, name)
    for kind, name, _pointer in facts.trust:
        yield Key(kind, "" if kind.startswith("Cluster") else home, name)


class Desired:
    """The registry. `lock` is held from planning to the commit, so that two sources never plan on the same state.

    `applied` tells when each source was last applied, as far as the registry knows of it.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.entries: dict[Key, Entry] = {}
        self.blocked: dict[Key, Blocked] = {}
        self.abandoned: frozenset[str] = frozenset()
        self.applied: dict[str, datetime] = {}
        self._users: dict[Key, set[Key]] = {}
        self._of_source: dict[str, set[Key]] = {}
        self._listeners: list[Callable[[frozenset[Key]], None]] = []

    def load(self, entries: Iterable[Entry], blocked: Mapping[Key, Blocked], abandoned: Iterable[str] = ()) -> None:
        """Start from what the database holds. `abandoned` are sources that nobody serves: what they own may be taken over."""
        self.entries.clear()
        self._users.clear()
        self._of_source.clear()
        for entry in entries:
            self._put(entry)
        self.blocked = dict(blocked)
        self.abandoned = frozenset(abandoned)

    def get(self, key: Key) -> Entry | None:
        """The resource in force."""
        return self.entries.get(key)

    def users(self, key: Key) -> Iterable[Key]:
        """Who names `key`, whether it exists or not."""
        return self._users.get(key, ())

    def of_source(self, source: str) -> Collection[Key]:
        """What a source owns."""
        return self._of_source.get(source, ())

    def listen(self, listener: Callable[[frozenset[Key]], None]) -> None:
        """Call `listener` with the keys that came, went or changed owner, after each commit."""
        self._listeners.append(listener)

    def commit(self, changes: Mapping[Key, Entry | None], blocked: Mapping[Key, Blocked | None]) -> None:
        """Take over what was committed; None: the resource is gone."""
        stirred = set()
        for key, entry in changes.items():
            before = self.entries.get(key)
            if before is not None:
                self._drop(before)
            if entry is not None:
                self._put(entry)
            if before is None or entry is None or before.source != entry.source:
                stirred.add(key)
        for key, why in blocked.items():
            if why is None:
                self.blocked.pop(key, None)
            else:
                self.blocked[key] = why
        for key in changes:
            if key not in self.entries:
                self.blocked.pop(key, None)
        if stirred:
            for listener in self._listeners:
                listener(frozenset(stirred))

    def _put(self, entry: Entry) -> None:
        self.entries[entry.key] = entry
        self._of_source.setdefault(entry.source, set()).add(entry.key)
        for named in names(entry):
            self._users.setdefault(named, set()).add(entry.key)

    def _drop(self, entry: Entry) -> None:
        del self.entries[entry.key]
        self._of_source[entry.source].discard(entry.key)
        for named in names(entry):
            users = self._users.get(named)
            if users is not None:
                users.discard(entry.key)
                if not users:
                    del self._users[named]


class View:
    """The registry as it would be after `changes`; None: the resource would be gone. Changes nothing."""

    def __init__(self, base: Desired, changes: Mapping[Key, Entry | None]) -> None:
        self._base = base
        self._changes = changes
        self._users: dict[Key, set[Key]] = {}
        for entry in changes.values():
            if entry is not None:
                for named in names(entry):
                    self._users.setdefault(named, set()).add(entry.key)

    def get(self, key: Key) -> Entry | None:
        """The resource as it would be."""
        return self._changes[key] if key in self._changes else self._base.get(key)

    def users(self, key: Key) -> set[Key]:
        """Who would name `key`."""
        before = {user for user in self._base.users(key) if user not in self._changes}
        return before | self._users.get(key, set())
