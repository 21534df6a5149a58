"""What one source said last: its files with their digests, and who claims to be whom. In memory only; the `files` table is its shadow.

`plan` proposes the next state, `pipeline` takes it over after the commit. Invariant: a claim is either the version in force, or its content is
in `held`, so that nothing has to be read again when a conflict ends.
"""

from collections.abc import Iterable, Mapping

import msgspec

from controller.kinds.records import ManifestError
from controller.reconcile.read import ReadFile
from controller.reconcile.records import Claim, Document, Key

Place = tuple[Key, str, int]
"""Identity, path and line: one document of one file."""


class FileState(msgspec.Struct, frozen=True, gc=False):
    """One file: its digest, who it mentions, and whether it may hold resources that could not be told."""

    digest: str
    keys: tuple[Key, ...] = ()
    complete: bool = True


class Change(msgspec.Struct, frozen=True):
    """What a snapshot does to an index, before anybody has decided what that means.

    `files` None: gone. `claims` are complete for every key they name. `fresh` has the content of all valid documents that were read.
    """

    files: Mapping[str, FileState | None]
    errors: Mapping[str, tuple[ManifestError, ...]]
    claims: Mapping[Key, tuple[Claim, ...]]
    fresh: Mapping[Place, Document]
    complete: bool


class SourceIndex:
    """See above. `rejected` has the errors of every identity that is; None: from before a restart, unknown. `unclaimed` is owned, but not said."""

    def __init__(self) -> None:
        self.files: dict[str, FileState] = {}
        self.digests: dict[str, str] = {}
        self.claims: dict[Key, tuple[Claim, ...]] = {}
        self.errors: dict[str, tuple[ManifestError, ...]] = {}
        self.rejected: dict[Key, tuple[ManifestError, ...] | None] = {}
        self.held: dict[Place, Document] = {}
        self.unclaimed: frozenset[Key] = frozenset()
        self.incomplete: set[str] = set()

    def propose(self, read: Iterable[ReadFile], removed: Iterable[str]) -> Change:
        """What these new versions of files, and these files being gone, do. Changes nothing."""
        new = {file.path: file for file in read}
        gone = set(removed)
        touched = {key for path in (*new, *gone) if path in self.files for key in self.files[path].keys}
        touched.update(key for file in new.values() for key, _ in file.claims)
        claims: dict[Key, list[Claim]] = {
            key: [claim for claim in self.claims.get(key, ()) if claim.path not in new and claim.path not in gone]
            for key in touched
        }
        for file in new.values():
            for key, claim in file.claims:
                claims[key].append(claim)
        incomplete = (self.incomplete - gone - new.keys()) | {path for path, file in new.items() if not file.complete}
        return Change(
            files={
                **dict.fromkeys(gone),
                **{
                    path: FileState(file.digest, tuple(dict.fromkeys(key for key, _ in file.claims)), file.complete)
                    for path, file in new.items()
                },
            },
            errors={**dict.fromkeys(gone, ()), **{path: file.errors for path, file in new.items()}},
            claims={key: tuple(found) for key, found in claims.items()},
            fresh={
                (document.entry.key, document.entry.path or "", document.entry.line): document
                for file in new.values()
                for document in file.documents
            },
            complete=not incomplete,
        )

    def document(self, change: Change, claim: Claim, key: Key) -> Document | None:
        """The content of a claim, if it was read now or is held."""
        place = (key, claim.path or "", claim.line)
        return change.fresh.get(place) or self.held.get(place)

    def commit(
        self,
        change: Change,
        rejected: Mapping[Key, tuple[ManifestError, ...]],
        held: Mapping[Place, Document],
        unclaimed: frozenset[Key],
    ) -> None:
        """Take over a change that was applied, and everybody who is in dispute now."""
        for path, state in change.files.items():
            self.incomplete.discard(path)
            if state is None:
                self.files.pop(path, None)
                self.digests.pop(path, None)
            else:
                self.files[path] = state
                self.digests[path] = state.digest
                if not state.complete:
                    self.incomplete.add(path)
        for path, errors in change.errors.items():
            if errors:
                self.errors[path] = errors
            else:
                self.errors.pop(path, None)
        for key, claims in change.claims.items():
            if claims:
                self.claims[key] = claims
            else:
                self.claims.pop(key, None)
        self.rejected = dict(rejected)
        self.held = dict(held)
        self.unclaimed = unclaimed

    def all_errors(self) -> list[ManifestError]:
        """Everything that is wrong now, by file and line; each once."""
        found = [error for errors in self.errors.values() for error in errors]
        found += [error for errors in self.rejected.values() for error in errors or ()]
        return sorted(dict.fromkeys(found), key=lambda error: (error.file, error.line, error.column, error.pointer))

    def clean(self, path: str) -> bool:
        """Whether everything in the file is in force, so that it need not be read again after a restart."""
        return path not in self.errors and all(
            key not in self.rejected and len(self.claims.get(key, ())) == 1 for key in self.files[path].keys
        )
