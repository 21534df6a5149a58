"""Gathers what the gates of trust look at beside the job itself, for a batch of dispatches at once."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from controller.domain.abilities import Abilities
from controller.domain.governors import Governed
from controller.domain.job import word
from controller.domain.records import Dispatch, Job
from controller.domain.trust import decode_grant
from controller.gates.enquiries import Finding
from controller.gates.facts import Origin, Parent, TrustFacts
from controller.store import approvals
from controller.store.schema import runs, sources
from controller.store.store import Tx

_NOTHING: Mapping[str, Finding] = {}


class Testimony:
    """What is known beside the job itself: its parents' grants, where its document comes from, what people answered."""

    def __init__(self, tx: Tx, batch: Sequence[Dispatch], origins: Collection[str]) -> None:
        """Read everything that the batch needs."""
        self._parents = _parents(tx, {run for dispatch in batch for run in dispatch.parents})
        self._origins = _origins(tx, origins)
        self._answers = approvals.get(tx, {one.escalation for one in batch if one.escalation is not None})

    def facts(
        self,
        dispatch: Dispatch,
        job: Job,
        governed: Governed,
        now: datetime,
        abilities: Abilities | None = None,
        found: Mapping[str, Finding] = _NOTHING,
    ) -> TrustFacts:
        """The world as the gates see it for this dispatch; `found` is what others outside have said about it."""
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
            origin=self._origins.get(job.source, Origin(job.source)),
            escalation=self._answers.get(dispatch.escalation) if dispatch.escalation is not None else None,
            found=found,
        )

    def _those_of(self, dispatch: Dispatch) -> tuple[Parent, ...]:
        """The runs that triggered it; those that history has forgotten are told as not known."""
        return tuple(self._parents.get(run, Parent(run, run, known=False)) for run in dispatch.parents)


def _parents(tx: Tx, names: Collection[str]) -> Mapping[str, Parent]:
    if not names:
        return {}
    query = select(runs.c.name, runs.c.job, runs.c.grant).where(runs.c.name.in_(names))
    return {row.name: Parent(row.name, row.job, decode_grant(row.grant)) for row in tx.execute(query)}


def _origins(tx: Tx, names: Collection[str]) -> Mapping[str, Origin]:
    if not names:
        return {}
    query: Any = select(sources.c.name, sources.c.revision).where(sources.c.name.in_(names))
    return {row.name: Origin(row.name, row.revision) for row in tx.execute(query)}
