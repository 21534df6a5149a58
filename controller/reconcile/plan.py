"""From what a source says to what has to change (step 3). Pure.

`decide` looks only at what a snapshot touched and at what was in dispute. Invariants: nothing is removed that the source does not own, nothing at
all while any of its files may hold what could not be told, and whoever is rejected stays as it was.
"""

from collections.abc import Iterable, Mapping

import msgspec

from controller.domain.reasons import Reason
from controller.kinds.records import ManifestError
from controller.reconcile import check
from controller.reconcile.desired import Desired, View
from controller.reconcile.index import Change, Place, SourceIndex
from controller.reconcile.read import error_of
from controller.reconcile.records import Blocked, Broken, Claim, Document, Entry, Key, Plan, Problem


class Decision(msgspec.Struct, frozen=True):
    """The plan, and what the index has to remember.

    `rejected` and `held` are who is rejected and the content of those who wait for a conflict to end; `unclaimed` is what the source owns and no
    longer says; `reread` are paths whose content is needed after all and known by nobody.
    """

    plan: Plan
    rejected: Mapping[Key, tuple[ManifestError, ...]]
    held: Mapping[Place, Document]
    unclaimed: frozenset[Key]
    reread: frozenset[str]


def decide(source: str, index: SourceIndex, change: Change, desired: Desired) -> Decision:
    """What has to change. Pure.

    Shape: `plan.reject` names only identities whose errors changed (an empty tuple: not rejected any more); `rejected` names all.
    """
    sorting = _Sorting(source, index, change, desired)
    for key in sorting.open_questions():
        sorting.sort(key)
    sorting.judge_together()
    return sorting.decision()


class _Sorting:
    """Puts every identity that was touched or is in dispute into its heap. Lives for one call of `decide`."""

    def __init__(self, source: str, index: SourceIndex, change: Change, desired: Desired) -> None:
        self._source = source
        self._index = index
        self._change = change
        self._desired = desired
        self._wanted: dict[Key, Document] = {}
        self._move: list[Entry] = []
        self._remove: list[Entry] = []
        self._orphan: list[Entry] = []
        self._rejected: dict[Key, tuple[ManifestError, ...]] = {}
        self._held: dict[Place, Document] = {}
        self._unclaimed: set[Key] = set()
        self._reread: set[str] = set()
        self._by_file: dict[str, dict[Key, list[ManifestError]]] = {}

    def open_questions(self) -> Iterable[Key]:
        """What was touched, what was in dispute, and what the source owns but no longer says: bounded by what changed or is wrong."""
        disputed = {key for key, _, _ in self._index.held}
        return sorted(self._change.claims.keys() | self._index.rejected.keys() | disputed | self._index.unclaimed)

    def sort(self, key: Key) -> None:
        """Decide about one identity by its claims."""
        claims = self._change.claims.get(key, self._index.claims.get(key, ()))
        here = self._desired.get(key)
        if not claims:
            if here is not None and here.source == self._source:
                self._gone(here)
        elif len(claims) > 1:
            self._reject_all(key, claims, self._duplicates(key, claims))
        elif isinstance(claims[0], Broken):
            self._rejected[key] = self._said_of(key, claims[0].path)
        else:
            self._single(key, claims[0], here)

    def _gone(self, here: Entry) -> None:
        if self._change.complete and not here.facts.kept:
            self._remove.append(here)
            return
        self._unclaimed.add(here.key)
        if here.facts.kept and here.path is not None:
            self._orphan.append(here)

    def _said_of(self, key: Key, path: str) -> tuple[ManifestError, ...]:
        """The errors that one file's own reading gave about one identity."""
        if path not in self._by_file:
            found: dict[Key, list[ManifestError]] = {}
            for error in self._change.errors.get(path, self._index.errors.get(path, ())):
                if error.kind is not None and error.name is not None:
                    found.setdefault(Key(error.kind, error.namespace or "", error.name), []).append(error)
            self._by_file[path] = found
        return tuple(self._by_file[path].get(key, ()))

    def _single(self, key: Key, claim: Entry, here: Entry | None) -> None:
        if here is not None and here.source not in (self._source, *self._desired.abandoned):
            self._reject_all(key, (claim,), self._conflict(key, here))
        elif here is not None and claim.same_content(here):
            if (claim.path, claim.line) != (here.path, here.line):
                self._move.append(msgspec.structs.replace(here, path=claim.path, line=claim.line))
        else:
            document = self._index.document(self._change, claim, key)
            if document is None:
                self._reread.add(claim.path or "")
            else:
                self._wanted[key] = document

    def _duplicates(self, key: Key, claims: Iterable[Claim]) -> Problem:
        places = ", ".join(f"{claim.path}:{claim.line}" for claim in claims)
        return Problem(
            "/metadata/name",
            Reason.DuplicateResource,
            f"{key} is declared more than once: {places}",
            "Keep one of them; until then none of them counts",
        )

    def _conflict(self, key: Key, here: Entry) -> Problem:
        return Problem(
            "/metadata/name",
            Reason.OwnershipConflict,
            f"{key} is declared by source {self._source} and belongs to source {here.source}"
            + (f" ({here.path}:{here.line})" if here.path else ""),
            "Remove it from one of the two sources, or force a namespace upon one of them",
        )

    def _reject_all(self, key: Key, claims: Iterable[Claim], problem: Problem) -> None:
        errors: list[ManifestError] = []
        for claim in claims:
            if isinstance(claim, Broken):
                errors += self._said_of(key, claim.path)
                continue
            document = self._index.document(self._change, claim, key)
            if document is not None:
                errors.append(error_of(document, problem))
                self._held[key, claim.path or "", claim.line] = document
            else:
                errors.append(_unread(claim, problem))
        self._rejected[key] = (*self._rejected.get(key, ()), *errors)

    # all together

    def judge_together(self) -> None:
        """Reject whoever cannot be accepted with the others, until the rest can: a rejected one stays as it was, which may matter to others."""
        while self._wanted:
            changes = self._changes()
            moved = [key for key in self._wanted if self._has_moved(key)]
            found = check.jobs_together(View(self._desired, changes), moved, self._wanted)
            if not found:
                return
            for key, problems in found.items():
                document = self._wanted.pop(key)
                for problem in problems:
                    self._reject_all(key, (document.entry,), problem)

    def _has_moved(self, key: Key) -> bool:
        here = self._desired.get(key)
        return here is None or here.facts.parents != self._wanted[key].entry.facts.parents

    def _changes(self) -> dict[Key, Entry | None]:
        changes: dict[Key, Entry | None] = {entry.key: None for entry in self._remove}
        changes.update((key, document.entry) for key, document in self._wanted.items())
        return changes

    def decision(self) -> Decision:
        """The heaps as a plan."""
        create = tuple(document for key, document in self._wanted.items() if self._desired.get(key) is None)
        update = tuple(
            msgspec.structs.replace(document, entry=msgspec.structs.replace(document.entry, id=here.id))
            for key, document in self._wanted.items()
            if (here := self._desired.get(key)) is not None
        )
        before = self._index.rejected
        plan = Plan(
            source=self._source,
            create=create,
            update=update,
            move=tuple(self._move),
            remove=tuple(self._remove),
            orphan=tuple(self._orphan),
            keep=len(self._desired.of_source(self._source)) - len(update) - len(self._remove),
            reject={
                **{key: () for key in before if key not in self._rejected},
                **{key: errors for key, errors in self._rejected.items() if before.get(key) != errors},
            },
            blocked=self._blocked(),
        )
        return Decision(plan, self._rejected, self._held, frozenset(self._unclaimed), frozenset(self._reread))

    def _blocked(self) -> dict[Key, Blocked | None]:
        """Jobs of any source that have to wait now, or need not wait any more. Those that are new or changed are all named."""
        changes = self._changes()
        if not changes:
            return {}
        view = View(self._desired, changes)
        moved = [key for key in self._wanted if self._has_moved(key)] + [entry.key for entry in self._remove]
        found: dict[Key, Blocked | None] = {}
        for key in check.to_look_at(view, changes, moved):
            entry = view.get(key)
            why = check.blocked_of(view, entry) if entry is not None else None
            if why != self._desired.blocked.get(key):
                found[key] = why
        return found


def _unread(claim: Entry, problem: Problem) -> ManifestError:
    """An error about a version that is in force and was not read again: its line is known, its columns are not."""
    return ManifestError(
        file=claim.path or "",
        line=claim.line,
        column=1,
        reason=problem.reason,
        message=problem.message,
        hint=problem.hint,
        pointer=problem.pointer,
        kind=claim.key.kind,
        namespace=claim.key.namespace or None,
        name=claim.key.name,
    )
