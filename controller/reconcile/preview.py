"""What would happen: `jobwarden plan` and `jobwarden validate`. Nothing here writes.

Invariant: what is shown comes from the same reading and the same decisions as what `pipeline` applies.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from controller.base.errors import InvalidInput
from controller.domain.job import JobSpec
from controller.domain.resolve import Defaults
from controller.kinds.records import ManifestError
from controller.reconcile import check
from controller.reconcile.desired import Desired, View
from controller.reconcile.index import SourceIndex
from controller.reconcile.pipeline import Stored, index_of, read_all, recipe_of
from controller.reconcile.plan import decide
from controller.reconcile.read import Rules, error_of
from controller.reconcile.records import Document, Key, Plan
from controller.schedule import plan as schedules
from controller.sources.scan import Vanished, scan
from controller.sources.snapshot import MAX_FILE, Snapshot, Source
from controller.store import jobs, resources
from controller.store.store import Store

_INSTANTS = 3
_ATTEMPTS = 5


class Preview(msgspec.Struct, frozen=True):
    """What applying would do now, everything that is wrong, and the next instants of every job that would be new or different."""

    revision: str
    plan: Plan
    errors: tuple[ManifestError, ...]
    fires: Mapping[Key, tuple[datetime, ...]]


async def dry_run(source: Source, store: Store | None, now: datetime, defaults: Defaults = Defaults()) -> Preview:  # noqa: B008 - frozen
    """What `Reconciler.sync` would do; `store` None: as if the database were empty.

    Effect: none. Errors: SourceUnavailable, StoreUnavailable.
    """
    rules = Rules(source.name, source.namespace, source.allowed_kinds, defaults)
    desired, index = Desired(), SourceIndex()
    if store is not None:
        stored, files = await store.read(lambda tx: (Stored.read(tx), resources.files_of(tx, source.name)))
        stored.into(desired, source.name)
        index = index_of(source.name, recipe_of(rules), desired, stored.declared, files)
    snapshot = await source.fetch(index.digests)
    change = index.propose(read_all(snapshot, rules), snapshot.removed)
    decision = decide(source.name, index, change, desired)
    anchors = await _anchors(store, decision.plan) if store is not None else {}
    fires = {
        document.entry.key: _instants(document, document.spec, now, anchors)
        for document in (*decision.plan.create, *decision.plan.update)
        if document.spec is not None and document.spec.schedule is not None
    }
    index.commit(change, decision.rejected, decision.held, decision.unclaimed)
    return Preview(snapshot.revision, decision.plan, tuple(index.all_errors()), fires)


async def _anchors(store: Store, plan: Plan) -> dict[Key, tuple[str, datetime]]:
    """The fireDigest and anchor of the jobs that would be updated: an interval that does not change goes on as it was."""
    updated = {document.entry.id: document.entry.key for document in plan.update if document.spec is not None}
    found: dict[Key, tuple[str, datetime]] = {}
    for chunk in resources.chunks(updated):
        for number, job in (await store.read(lambda tx, chunk=chunk: jobs.by_id(tx, chunk))).items():  # type: ignore[misc]
            found[updated[number]] = (job.fire_digest, job.anchor_at)
    return found


def _instants(
    document: Document, spec: JobSpec, now: datetime, anchors: Mapping[Key, tuple[str, datetime]]
) -> tuple[datetime, ...]:
    key, schedule = document.entry.key, spec.schedule
    if schedule is None or spec.suspend:
        return ()
    digest, anchor = anchors.get(key, ("", now))
    same = digest == document.fire_digest
    after = now if same else schedules.starting_point(schedule, now)
    return tuple(schedules.preview(schedule, f"{key.namespace}/{key.name}", after, anchor if same else now, _INSTANTS))


def validate(
    paths: Iterable[Path],
    *,
    namespace: str | None = None,
    references: bool = True,
    defaults: Defaults = Defaults(),  # noqa: B008 - frozen
) -> list[ManifestError]:
    """Everything that is wrong in these files and folders taken together, by file and line.

    With `references` a name that nothing in them has is told too (reason ReferenceNotFound): not an error of the document, but nothing would run.
    Effect: none. Errors: InvalidInput naming what cannot be read.
    """
    rules = Rules("files", namespace, None, defaults)
    index, desired = SourceIndex(), Desired()
    change = index.propose(read_all(_files(paths), rules), ())
    decision = decide("files", index, change, desired)
    errors: list[ManifestError] = []
    if references:
        accepted = {document.entry.key: document.entry for document in decision.plan.create}
        view = View(desired, accepted)
        for document in decision.plan.create:
            errors += [error_of(document, problem) for problem in check.references(view, document.entry)]
    index.commit(change, decision.rejected, decision.held, decision.unclaimed)
    return sorted(
        [*index.all_errors(), *errors], key=lambda error: (error.file, error.line, error.column, error.pointer)
    )


def _files(paths: Iterable[Path]) -> Snapshot:
    """The files as a snapshot, each under the path by which its reader knows it."""
    contents: dict[str, bytes] = {}
    oversized: dict[str, int] = {}
    for full in (str(one) for path in paths for one in _listed(path)):
        try:
            size = os.stat(full).st_size  # noqa: PTH116 - text, as everywhere in this walk
            if size > MAX_FILE:
                oversized[full] = size
            else:
                contents[full] = Path(full).read_bytes()
        except OSError as error:
            raise InvalidInput(f"{full} cannot be read: {error.strerror}") from error
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
    return Snapshot("", {**digests, **{path: str(size) for path, size in oversized.items()}}, contents, (), oversized)


def _listed(path: Path) -> list[Path]:
    """The path itself if it is a file, whatever its name; else the manifests below it."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InvalidInput(f"{path} does not exist; name a file or folder of manifests")
    for _ in range(_ATTEMPTS):
        try:
            return [path / relative for relative in sorted(scan(str(path), lambda _full, _relative: None).files)]
        except Vanished as gone:
            last = gone.path
        except OSError as error:
            raise InvalidInput(f"{error.filename or path} cannot be read: {error.strerror}") from error
    raise InvalidInput(f"{last} is a link to nothing, or disappears while it is read")
