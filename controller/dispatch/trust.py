"""Step 8: what governs a dispatch is gathered, the gates decide, and a refusal is recorded as a run that never started.

`judge` asks for every dispatch that all guards allow. Invariant: where nothing governs and the job says nothing of trust, nothing is read but what the runs that triggered it leave to it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from controller.dispatch.knowledge import Knowledge
from controller.domain.abilities import confines
from controller.domain.governors import Governed
from controller.domain.job import NotificationEvent
from controller.domain.records import Dispatch, Job, LastRun, OutboxItem, Run
from controller.domain.states import RunState
from controller.finalise import tell
from controller.finalise.facts import JobChange
from controller.gates import pipeline
from controller.gates.facts import Answer, Refused
from controller.store.grants import Testimony, hand_down
from controller.store.store import Tx


class Trust:
    """The gates for one batch."""

    def __init__(
        self,
        tx: Tx,
        now: datetime,
        batch: Sequence[tuple[Dispatch, Job]],
        knowledge: Knowledge,
    ) -> None:
        """The abilities of this host are asked for only where a contract wants something of it."""
        self._now = now
        self._knowledge = knowledge
        governors = knowledge.registry.current(tx)
        self._governed = {job.id: knowledge.registry.governing(job) for _, job in batch}
        self._heirs = self._handed(tx, [dispatch for dispatch, job in batch if self._governed[job.id] is None])
        looked_at = [(dispatch, job) for dispatch, job in batch if self._of(dispatch, job) is not None]
        self._testimony = Testimony(tx, looked_at) if looked_at else None
        self._providers = governors.providers() if looked_at else {}

    def _handed(self, tx: Tx, ungoverned: Sequence[Dispatch]) -> frozenset[str]:
        """Those of them whom the runs that triggered them leave something, by their ids: a child that says nothing of trust is bound by that all the same."""
        parents = {run for dispatch in ungoverned for run in dispatch.parents}
        handing = hand_down(tx, parents) if parents else set()
        return frozenset(dispatch.id for dispatch in ungoverned if not handing.isdisjoint(dispatch.parents))

    def _of(self, dispatch: Dispatch, job: Job) -> Governed | None:
        governed = self._governed[job.id]
        return Governed() if governed is None and dispatch.id in self._heirs else governed

    def digest(self, job: Job) -> str:
        """What people approve: the job with everything that governs it."""
        governed = self._governed[job.id]
        return governed.digest(job.effective_digest) if governed is not None else job.effective_digest

    def decide(self, dispatch: Dispatch, job: Job) -> Answer | None:
        """What the gates say; None: there is nothing to say."""
        governed = self._of(dispatch, job)
        if governed is None or self._testimony is None:
            return None
        boxed = any(confines(one.box) for _, one in governed.contracts)
        abilities = self._knowledge.abilities() if boxed else None
        found = self._knowledge.found(dispatch.id)
        facts = self._testimony.facts(dispatch, job, governed, self._now, abilities, found, self._providers)
        return pipeline.decide(facts)


def denied(run: Run, refused: Refused, now: datetime) -> Run:
    """The run that was refused: ended as it is written. Pure."""
    return msgspec.structs.replace(
        run,
        state=RunState.Denied,
        reason=refused.reason,
        message=refused.message,
        started_at=None,
        finished_at=now,
        owner=None,
        host=None,
        grant=refused.grant,
    )


def change_of(job: Job, run: Run, now: datetime) -> JobChange:
    """What a refusal means for its job: one more failure, and never another attempt (design 03, "What each end causes"). Pure."""
    return JobChange(
        last_run=LastRun(run.name, run.state, run.reason, None, None, now),
        consecutive_errors=job.consecutive_errors + 1,
        healthy=False,
        last_success_at=job.last_success_at,
        alert_episode=job.alert_episode,
    )


def told(job: Job, run: Run, now: datetime, new_id: Callable[[datetime], str]) -> tuple[OutboxItem, ...]:
    """Who hears of a refusal. Pure, but for the ids."""
    if not job.spec.notifications:
        return ()
    notice = tell.of_run(NotificationEvent.Denied, run, job.spec.description, now, job.consecutive_errors + 1)
    return tell.items(job.spec, notice, run.name, now, new_id)
