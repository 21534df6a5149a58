"""Steps 6 to 9: dispatches that may be looked at are judged in order, and the verdicts carried out in the same transaction.

Invariant: a run is committed before anything is started; what a guard explained, an index or a counter guarantees, and where that says no the
dispatch is deferred and judged again.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec

from controller.base import ids
from controller.dispatch import trust
from controller.dispatch.asking import approval_for, escalation_for
from controller.dispatch.finish import stretch
from controller.dispatch.knowledge import Asked, Knowledge, wait_key
from controller.dispatch.trust import Trust
from controller.domain.job import NotificationEvent
from controller.domain.reasons import Reason
from controller.domain.records import Approval, Dispatch, Job, OutboxItem, Run
from controller.domain.states import ApprovalState, Cause, DispatchState, RunState
from controller.domain.story import StoryEvent, StoryKind
from controller.domain.trust import Grant
from controller.finalise import parameters, tell
from controller.gates.facts import Escalated, Granted, Refused, Spend, Unanswered, Withheld
from controller.guards import chain
from controller.guards.verdicts import Allow, Ask, Defer, Miss, Replace, Skip, Verdict
from controller.store import approvals, dispatches, jobs, outbox, pools, proofs, runs
from controller.store.governors import WAIT_KEY
from controller.store.runs import NewRun, OpenRun
from controller.store.store import Tx
from controller.store.world import Board, goes_first

NewId = Callable[[datetime], str]

KEY_LIFETIME = timedelta(days=7)
"""How long an idempotency key is remembered. Source: case S074."""

_NO_JOBS: Mapping[int, Job] = {}
_CONFLICT_PAUSE = timedelta(milliseconds=200)
_WITHHELD_PAUSE = timedelta(minutes=1)
_ANSWER_PAUSE = timedelta(seconds=30)
"""Whoever asked wakes the dispatch with the answer; after this somebody else asks, as that one may have died."""


class Judged(msgspec.Struct, frozen=True):
    """What became of the batch. `denied` are recorded and will not run; `touched` are its jobs; `cancels`: somebody's open runs are to be ended; `asked` is
    what somebody outside has to say first.
    """

    looked_at: int
    opened: tuple[OpenRun, ...] = ()
    denied: tuple[Run, ...] = ()
    news: tuple[StoryEvent, ...] = ()
    touched: tuple[int, ...] = ()
    cancels: bool = False
    asked: tuple[Asked, ...] = ()


def judge(
    tx: Tx,
    now: datetime,
    owner: str,
    host: str,
    most: int,
    new_id: NewId,
    known: Mapping[int, Job] = _NO_JOBS,
    knowledge: Knowledge | None = None,
) -> Judged:
    """Judge at most `most` dispatches and carry the verdicts out. `known` are jobs that this transaction has read and locked already; without `knowledge`
    nothing is known beside the database.

    Shape: `opened` are committed when the transaction is; start them only then. Errors: StoreUnavailable.
    """
    due = dispatches.due(tx, now, most)
    if not due:
        return Judged(0)
    batch = _with_jobs(tx, due, known)
    board = Board(tx, now, batch)
    gates = Trust(tx, now, batch, knowledge or Knowledge())
    bench = _Bench(tx, now, owner, host, new_id, gates)
    for dispatch, job in batch:
        bench.carry_out(chain.judge(board.facts(dispatch, job, gates.digest(job))), dispatch, job, board)
    return bench.write(len(batch))


def _with_jobs(tx: Tx, due: list[Dispatch], known: Mapping[int, Job]) -> list[tuple[Dispatch, Job]]:
    """Each dispatch with its job; one whose job went in this moment has been ended by whoever deleted it."""
    owners = {**known, **jobs.by_id(tx, {dispatch.job_id for dispatch in due} - known.keys())}
    return [(dispatch, owners[dispatch.job_id]) for dispatch in due if dispatch.job_id in owners]


class _Bench:
    """Collects what the verdicts of one batch want written, so that it is written a table at a time."""

    def __init__(self, tx: Tx, now: datetime, owner: str, host: str, new_id: NewId, gates: Trust) -> None:
        self._tx = tx
        self._gates = gates
        self._now = now
        self._owner = owner
        self._host = host
        self._new_id = new_id
        self._new: list[NewRun] = []
        self._denied: list[tuple[NewRun, Job]] = []
        self._dispatches: dict[str, Dispatch] = {}
        self._deferrals: list[dispatches.Deferral] = []
        self._ends: list[dispatches.End] = []
        self._approvals: list[Approval] = []
        self._enquiries: list[Asked] = []
        self._missed: list[int] = []
        self._told: list[OutboxItem] = []
        self._news: list[StoryEvent] = []
        self._touched: set[int] = set()
        self._cancels = False

    def carry_out(self, verdict: Verdict, dispatch: Dispatch, job: Job, board: Board) -> None:
        """Note one verdict."""
        self._touched.add(job.id)
        match verdict:
            case Allow():
                self._pass(dispatch, job, board)
            case Defer(reason, message, not_before, waits):
                self._defer(dispatch, reason, message, not_before, waits)
                board.waits(dispatch, waits)
            case Skip(reason, message):
                self._end(dispatch, job, DispatchState.Skipped, reason, message)
                board.left(dispatch, job)
            case Miss(reason, message):
                self._end(dispatch, job, DispatchState.Missed, reason, message)
                board.left(dispatch, job)
            case Ask(message):
                self._ask(approval_for(dispatch, job, message, self._now, self._gates.digest(job)), dispatch, job)
                board.asked(job)
            case Replace(message, not_before, waits):
                self._replace(dispatch, job, message, not_before, waits)

    def write(self, looked_at: int) -> Judged:
        """Write everything that was noted."""
        accepted = runs.open_all(self._tx, self._new)
        opened = [entry for entry in self._new if entry.run.name in accepted]
        for entry in opened:
            if entry.spec.notifications:
                notice = tell.of_run(NotificationEvent.Started, entry.run, entry.spec.description, self._now)
                self._told += tell.items(entry.spec, notice, entry.run.name, self._now, self._new_id)
        for entry in self._new:
            if entry.run.name not in accepted:
                self._refused(entry)
        runs.record_denied(self._tx, [entry for entry, _ in self._denied])
        ended = [*opened, *(entry for entry, _ in self._denied)]
        dispatches.done(self._tx, [(entry.run.dispatch, entry.run.name) for entry in ended], self._now)
        bounds = [(entry.run.job_id, entry.spec.alerts.max_duration) for entry in opened]
        jobs.look_by(self._tx, [(job, self._now + bound) for job, bound in bounds if bound is not None])
        waited = [entry.run.dispatch for entry in ended if self._dispatches[entry.run.dispatch].deferrals]
        dispatches.leave(self._tx, waited, self._now)
        self._follow_denials()
        dispatches.defer(self._tx, self._deferrals, self._now)
        dispatches.end(self._tx, self._ends, self._now)
        jobs.unhealthy(self._tx, self._missed)
        approvals.ask(self._tx, self._approvals)
        dispatches.await_approval(self._tx, self._approvals, self._now)
        outbox.enqueue(self._tx, self._told)
        return Judged(
            looked_at,
            tuple(OpenRun(entry.run, entry.spec) for entry in opened),
            tuple(entry.run for entry, _ in self._denied),
            tuple(self._news),
            tuple(self._touched),
            self._cancels,
            tuple(self._enquiries),
        )

    def _pass(self, dispatch: Dispatch, job: Job, board: Board) -> None:
        """All guards allow it: the gates of trust have the last word."""
        match self._gates.decide(dispatch, job):
            case None:
                self._open(dispatch, job, board, None)
            case Granted(grant, spends):
                self._open(dispatch, job, board, grant, spends)
            case Refused() as refused:
                self._deny(dispatch, job, refused)
                board.left(dispatch, job)
            case Escalated() as asked:
                self._ask(escalation_for(dispatch, job, asked, self._now), dispatch, job)
                board.asked(job)
            case Withheld(reason, message):
                self._defer(dispatch, Reason(reason), message, self._now + _WITHHELD_PAUSE, (WAIT_KEY,))
            case Unanswered(enquiries) as unanswered:
                self._enquiries += [Asked(dispatch.id, one) for one in enquiries]
                waits = (wait_key(dispatch.id),)
                self._defer(dispatch, Reason.AwaitingAnswer, unanswered.message, self._now + _ANSWER_PAUSE, waits)

    def _deny(self, dispatch: Dispatch, job: Job, refused: Refused) -> None:
        opened = run_of(dispatch, job, self._now, self._owner, self._host)
        run = trust.denied(opened, refused, self._now)
        self._dispatches[dispatch.id] = dispatch
        self._denied.append((NewRun(run, job.spec, job.effective_digest), job))
        self._told += trust.told(job, run, self._now, self._new_id)
        self._news.append(
            StoryEvent(
                at=self._now,
                kind=StoryKind.Denied,
                namespace=job.namespace,
                job=job.name,
                run=run.name,
                state=run.state,
                reason=run.reason,
                message=run.message,
                cause=run.cause,
                attempt=run.attempt,
                hint=f"jobwarden trust explain {run.name}",
            )
        )

    def _follow_denials(self) -> None:
        """What a refusal means for its job, and for whoever waited behind it."""
        for entry, job in self._denied:
            change = trust.change_of(job, entry.run, self._now)
            jobs.ended(self._tx, [(job.id, change)])
            stretch(self._tx, job, job.spec.error_backoff, change.consecutive_errors, self._now)
        freed = {chain.job_key(job.id): 1 for _, job in self._denied}
        if freed:
            dispatches.wake(self._tx, freed, self._now)

    def _open(
        self, dispatch: Dispatch, job: Job, board: Board, grant: Grant | None, spends: tuple[Spend, ...] = ()
    ) -> None:
        run = msgspec.structs.replace(run_of(dispatch, job, self._now, self._owner, self._host), grant=grant)
        if job.spec.concurrency.pools and not pools.hold(self._tx, run.name, board.wanted(job)):
            self._conflict(dispatch)
            return
        if dispatch.key is not None and not dispatches.claim_key(
            self._tx, dispatch, self._now + KEY_LIFETIME, self._now
        ):
            pools.release(self._tx, {run.name})
            self._conflict(dispatch)
            return
        if spends and not proofs.spend(self._tx, spends):
            # Another replica was faster, and the gate will see it.
            pools.release(self._tx, {run.name})
            if dispatch.key is not None:
                dispatches.unclaim_key(self._tx, dispatch)
            self._conflict(dispatch)
            return
        board.opened(dispatch, job)
        self._dispatches[dispatch.id] = dispatch
        self._new.append(NewRun(run, job.spec, job.effective_digest))

    def _refused(self, entry: NewRun) -> None:
        """The database knows of an open run that we did not see."""
        pools.release(self._tx, {entry.run.name})
        dispatch = self._dispatches[entry.run.dispatch]
        if dispatch.key is not None:
            dispatches.unclaim_key(self._tx, dispatch)
        self._conflict(dispatch)

    def _conflict(self, dispatch: Dispatch) -> None:
        """Another replica was faster; look again when it has committed."""
        self._defer(dispatch, Reason.StoreConflict, Reason.StoreConflict.sentence, self._now + _CONFLICT_PAUSE, ())

    def _defer(
        self, dispatch: Dispatch, reason: Reason, message: str, not_before: datetime, waits: tuple[str, ...]
    ) -> None:
        self._deferrals.append(dispatches.Deferral(dispatch.id, reason, message, not_before, waits))
        if dispatch.reason != reason:
            self._report(StoryKind.Waiting, dispatch, reason, message)

    def _end(self, dispatch: Dispatch, job: Job, state: DispatchState, reason: Reason, message: str) -> None:
        self._ends.append(dispatches.End(dispatch.id, state, reason, message))
        missed = state is DispatchState.Missed
        if missed:
            self._missed.append(job.id)
        event = NotificationEvent.Missed if missed else NotificationEvent.Skipped
        if job.spec.notifications:
            notice = tell.of_dispatch(event, dispatch, job.spec.description, self._now, reason, message)
            self._told += tell.items(job.spec, notice, dispatch.id, self._now, self._new_id)
        self._report(StoryKind.Missed if missed else StoryKind.Skipped, dispatch, reason, message)

    def _ask(self, approval: Approval, dispatch: Dispatch, job: Job) -> None:
        message = approval.message
        self._approvals.append(approval)
        if job.spec.notifications:
            notice = msgspec.structs.replace(
                tell.of_dispatch(
                    NotificationEvent.ApprovalRequested, dispatch, job.spec.description, self._now, None, message
                ),
                approval=approval.name,
                expires_at=approval.expires_at,
            )
            self._told += tell.items(job.spec, notice, approval.name, self._now, self._new_id)
        self._news.append(
            StoryEvent(
                at=self._now,
                kind=StoryKind.ApprovalRequested,
                namespace=job.namespace,
                job=job.name,
                subject=approval.name,
                message=message,
                hint=f"jobwarden approve {approval.name}",
                due=approval.expires_at,
            )
        )

    def _replace(
        self, dispatch: Dispatch, job: Job, message: str, not_before: datetime, waits: tuple[str, ...]
    ) -> None:
        older = [
            other
            for other in dispatches.waiting_of(self._tx, job.id)
            if other.id != dispatch.id and goes_first(other, dispatch)
        ]
        why = f"replaced by the dispatch for {dispatch.scheduled_for.isoformat()}"
        self._ends += [dispatches.End(other.id, DispatchState.Cancelled, Reason.Replaced, why) for other in older]
        for other in older:
            self._report(StoryKind.Cancelled, other, Reason.Replaced, why)
        approvals.close(self._tx, [other.id for other in older], ApprovalState.Cancelled, self._now)
        live = runs.live_of_jobs(self._tx, {job.id})
        runs.request_cancel(self._tx, {run.name for run in live}, "concurrency.policy Replace")
        self._cancels = self._cancels or bool(live)
        wait_until = not_before if live else self._now
        self._defer(dispatch, Reason.Replacing, message, wait_until, waits)

    def _report(self, kind: StoryKind, dispatch: Dispatch, reason: Reason, message: str) -> None:
        self._news.append(
            StoryEvent(
                at=self._now,
                kind=kind,
                namespace=dispatch.namespace,
                job=dispatch.job,
                reason=reason,
                message=message,
                cause=dispatch.cause,
                due=dispatch.scheduled_for,
            )
        )


def run_of(dispatch: Dispatch, job: Job, now: datetime, owner: str, host: str) -> Run:
    """The run that a dispatch opens; its name follows from job, occurrence and attempt alone. Pure."""
    scheduled = dispatch.cause is Cause.Schedule
    occurrence = dispatch.scheduled_for.isoformat() if scheduled else dispatch.id
    name = ids.run_name(job.name, job.uid, occurrence, dispatch.attempt)
    resolved = parameters.resolve(job.spec.parameters, dispatch.parameters)
    return Run(
        name=name,
        job_id=job.id,
        job_uid=job.uid,
        namespace=job.namespace,
        job=job.name,
        dispatch=dispatch.id,
        cause=dispatch.cause,
        state=RunState.Running,
        scheduled_for=dispatch.scheduled_for,
        created_at=now,
        started_at=now,
        root=dispatch.root or name,
        attempt=dispatch.attempt,
        replays=dispatch.replays,
        retry_of=dispatch.retry_of,
        previous=dispatch.previous,
        parents=dispatch.parents,
        parameters=resolved.values,
        approval=dispatch.approval,
        escalation=dispatch.escalation,
        actor=dispatch.actor,
        owner=owner,
        host=host,
    )
