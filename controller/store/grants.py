"""Gathers what the gates of trust look at beside the job itself, for a batch of dispatches at once."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import select

from controller.domain.abilities import Abilities
from controller.domain.governors import Governed
from controller.domain.job import word
from controller.domain.records import Dispatch, Job
from controller.domain.trust import Children, decode_grant
from controller.gates.enquiries import Finding
from controller.gates.facts import Origin, Parent, TrustFacts
from controller.store import approvals, proofs
from controller.store.resources import MOST_ERRORS
from controller.store.schema import resources, runs, sources
from controller.store.statement import Statement, among
from controller.store.store import Tx

_NOTHING: Mapping[str, Finding] = {}
_NOBODY: Mapping[str, str] = {}


_GRANTED = Statement(select(runs.c.name, runs.c.grant).where(among(runs.c.name, "names"), runs.c.grant.is_not(None)))
_PARENTS = Statement(select(runs.c.name, runs.c.job, runs.c.grant).where(among(runs.c.name, "names")))
_SOURCES = Statement(
    select(sources.c.name, sources.c.revision, sources.c.signer, sources.c.errors).where(among(sources.c.name, "names"))
)
_PATHS = Statement(select(resources.c.id, resources.c.path).where(among(resources.c.id, "ids")))


def hand_down(tx: Tx, names: Collection[str]) -> set[str]:
    """Which of these runs leave something of their identity to the runs that they trigger."""
    rows = _GRANTED.rows(tx, {"names": sorted(names)})
    grants = ((row.name, decode_grant(row.grant)) for row in rows)
    return {name for name, grant in grants if grant is not None and grant.credentials.children is not Children.Nothing}


class Testimony:
    """What is known beside the job itself: its parents' grants, where its document comes from, what people answered."""

    def __init__(self, tx: Tx, batch: Sequence[tuple[Dispatch, Job]]) -> None:
        """Read everything that the batch needs."""
        self._tx = tx
        dispatches = [dispatch for dispatch, _ in batch]
        self._parents = _parents(tx, {run for dispatch in dispatches for run in dispatch.parents})
        self._origins = _origins(tx, [job for _, job in batch])
        self._answers = approvals.get(tx, {one.escalation for one in dispatches if one.escalation is not None})

    def facts(
        self,
        dispatch: Dispatch,
        job: Job,
        governed: Governed,
        now: datetime,
        abilities: Abilities | None = None,
        found: Mapping[str, Finding] = _NOTHING,
        providers: Mapping[str, str] = _NOBODY,
    ) -> TrustFacts:
        """The world as the gates see it for this dispatch; `found` is what others outside have said about it, `providers` are `Governors.providers`."""
        schedule = job.spec.schedule
        return TrustFacts(
            now=now,
            dispatch=dispatch,
            governed=governed,
            effective_digest=job.effective_digest,
            labels=job.labels,
            spec=job.spec,
            abilities=abilities,
            target=word(job.spec.target),
            executor=job.spec.executor,
            time_zone=schedule.time_zone if schedule is not None else "UTC",
            parents=self._those_of(dispatch),
            origin=self._origins.get(job.id, Origin(job.source)),
            escalation=self._answers.get(dispatch.escalation) if dispatch.escalation is not None else None,
            found=found,
            providers=providers,
            spent=proofs.uses(self._tx, proofs.of(found.values())),
        )

    def _those_of(self, dispatch: Dispatch) -> tuple[Parent, ...]:
        """The runs that triggered it; those that history has forgotten are told as not known."""
        return tuple(self._parents.get(run, Parent(run, run, known=False)) for run in dispatch.parents)


def _parents(tx: Tx, names: Collection[str]) -> Mapping[str, Parent]:
    if not names:
        return {}
    rows = _PARENTS.rows(tx, {"names": names})
    return {row.name: Parent(row.name, row.job, decode_grant(row.grant)) for row in rows}


class _Error(msgspec.Struct, frozen=True):
    """As much of a manifest error as says where it is."""

    file: str


_errors = msgspec.json.Decoder(list[_Error])


def _origins(tx: Tx, batch: Sequence[Job]) -> Mapping[int, Origin]:
    """Where each job's document comes from, by the job's id. Who signed is told only where nothing of the job's file was refused: of a file that was, an older
    version is in force, and nobody knows who signed that.
    """
    known = {row.name: row for row in _SOURCES.rows(tx, {"names": {job.source for job in batch}})}
    refused = {name: _refused(row.errors) for name, row in known.items() if row.signer is not None and row.errors}
    paths = _paths(tx, {job.id for job in batch if job.source in refused})
    found = {}
    for job in batch:
        if job.source in known:
            row = known[job.source]
            in_doubt = job.source in refused and refused[job.source](paths.get(job.id))
            found[job.id] = Origin(row.name, row.revision, None if in_doubt else row.signer)
    return found


def _refused(errors: bytes) -> Callable[[str | None], bool]:
    """Whether something of the file at a path was refused, as far as is known."""
    known = _errors.decode(errors)
    files = {error.file for error in known}
    return lambda path: path is None or path in files or len(known) >= MOST_ERRORS


def _paths(tx: Tx, ids: Collection[int]) -> Mapping[int, str | None]:
    if not ids:
        return {}
    return {row.id: row.path for row in _PATHS.rows(tx, {"ids": ids})}
