"""The table of ends: what one ended execution means for its run, its job, its children and its audience (design 03)."""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from controller.domain.job import Backoff, Interruption, NotificationEvent, RetryAction
from controller.domain.reasons import Reason
from controller.domain.records import Dispatch, Job, LastRun, OutboxItem, Run
from controller.domain.states import RUN, Cause, DispatchState, RunState, step
from controller.finalise import chain, outcome, tell
from controller.finalise.facts import EndFacts, Finalisation, JobChange
from controller.finalise.outcome import Outcome

MOST_REPLAYS = 5
"""A run that keeps killing its controller is not tried for ever (weakness W09)."""

_TOLD: dict[RunState, NotificationEvent] = {
    RunState.Succeeded: NotificationEvent.Succeeded,
    RunState.Failed: NotificationEvent.Failed,
    RunState.TimedOut: NotificationEvent.TimedOut,
    RunState.Crashed: NotificationEvent.Failed,
}


def decide(facts: EndFacts, new_id: Callable[[datetime], str]) -> Finalisation:
    """Everything that this end causes. Pure, but for the ids."""
    by = facts.run.cancel_requested_by
    if facts.ending.interrupted is not None and by is not None:
        # Somebody wanted it to end, and it has: an interruption in between does not bring it back.
        wanted = msgspec.structs.replace(facts.ending, interrupted=None, cancelled_by=by)
        facts = msgspec.structs.replace(facts, ending=wanted)
    ended = outcome.of(facts.spec, facts.ending)
    run = _ended_run(facts, ended)
    if facts.job is None:
        return Finalisation(run)
    follow_up = _follow_up(facts, run, ended, new_id)
    if follow_up is not None or run.state is RunState.Cancelled:
        return Finalisation(run, _unjudged(facts, run), follow_up)
    change = _judged(facts, run, ended)
    children = () if ended.watch is not None else chain.triggered(facts, run, new_id)
    return Finalisation(run, change, None, children, _outbox(facts, run, ended, change, new_id))


def _ended_run(facts: EndFacts, ended: Outcome) -> Run:
    ending = facts.ending
    note = ending.note if ended.watch is None else None
    message = "; ".join(part for part in (ended.message, note) if part)
    return msgspec.structs.replace(
        facts.run,
        state=step(RUN, facts.run.state, ended.state),
        reason=ended.reason,
        message=message or None,
        started_at=ending.started_at or facts.run.started_at,
        finished_at=ending.finished_at,
        exit_code=ending.exit_code,
        signal=ending.signal,
        outputs=ending.outputs,
        output=ending.output,
    )


def _follow_up(facts: EndFacts, run: Run, ended: Outcome, new_id: Callable[[datetime], str]) -> Dispatch | None:
    """The next attempt: a replay of what was interrupted, or a retry of what failed."""
    if run.state is RunState.Crashed:
        if facts.spec.on_interruption is Interruption.Rerun and run.replays < MOST_REPLAYS:
            return _again(facts, run, Cause.Replay, timedelta(0), run.replays + 1, new_id)
        return None
    retries = run.attempt - 1 - run.replays
    wanted = ended.failure is not None and ended.action is not RetryAction.Fail
    if not wanted or retries >= facts.spec.retry.limit:
        return None
    return _again(
        facts, run, Cause.Retry, backoff(facts.spec.retry.backoff, retries + 1, run.name), run.replays, new_id
    )


def backoff(policy: Backoff, attempt: int, salt: str) -> timedelta:
    """Delay before the `attempt`-th retry (from 1); jitter is stable for the same salt. Pure. Source: case S128."""
    longest = policy.max.total_seconds()
    # factor ** attempt overflows long before a limit of 20 retries reaches a century.
    delay = min(longest, policy.initial.total_seconds() * min(policy.factor ** (attempt - 1), 1e9))
    share = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:4], "big") / 2**32
    return timedelta(seconds=delay) + policy.jitter * share


def _again(
    facts: EndFacts, run: Run, cause: Cause, delay: timedelta, replays: int, new_id: Callable[[datetime], str]
) -> Dispatch:
    return Dispatch(
        id=new_id(facts.now),
        job_id=run.job_id,
        namespace=run.namespace,
        job=run.job,
        cause=cause,
        state=DispatchState.Pending,
        scheduled_for=run.scheduled_for,
        not_before=facts.now + delay,
        created_at=facts.now,
        priority=facts.spec.priority,
        attempt=run.attempt + 1,
        replays=replays,
        root=run.root,
        retry_of=run.name,
        previous=run.previous,
        parents=run.parents,
        parameters=run.parameters,
        approval=run.approval,
        escalation=run.escalation,
        actor=run.actor,
        presented=run.grant.presented if run.grant is not None else None,
    )


def _last(run: Run, facts: EndFacts) -> LastRun:
    return LastRun(run.name, run.state, run.reason, run.exit_code, run.started_at, facts.ending.finished_at)


def _unjudged(facts: EndFacts, run: Run) -> JobChange:
    """An end that says nothing about the job's health: cancelled, or about to be tried again."""
    assert facts.job is not None
    job = facts.job
    return JobChange(_last(run, facts), job.consecutive_errors, job.healthy, job.last_success_at, job.alert_episode)


def _judged(facts: EndFacts, run: Run, ended: Outcome) -> JobChange:
    assert facts.job is not None
    job = facts.job
    good = run.state is RunState.Succeeded
    errors = 0 if good else job.consecutive_errors + 1
    return JobChange(
        last_run=_last(run, facts),
        consecutive_errors=errors,
        healthy=good,
        last_success_at=facts.ending.finished_at if good else job.last_success_at,
        alert_episode=ended.watch.episode if ended.watch is not None else job.alert_episode,
        completed=ended.reason is Reason.WatchEnded,
    )


def _in_a_row(event: NotificationEvent, before: Job, after: JobChange) -> int:
    """How many failures the news is about: for a recovery those that it ends."""
    return before.consecutive_errors if event is NotificationEvent.Recovered else after.consecutive_errors


def _outbox(
    facts: EndFacts, run: Run, ended: Outcome, change: JobChange, new_id: Callable[[datetime], str]
) -> tuple[OutboxItem, ...]:
    assert facts.job is not None
    if not facts.spec.notifications:
        return ()
    events = [_TOLD[run.state]]
    if run.state is RunState.Succeeded and facts.job.consecutive_errors:
        events.append(NotificationEvent.Recovered)
    if ended.watch is not None and ended.watch.episode not in {None, facts.job.alert_episode}:
        events.append(NotificationEvent.Alert)
    return tuple(
        item
        for event in events
        for item in tell.items(
            facts.spec,
            tell.of_run(event, run, facts.spec.description, facts.now, _in_a_row(event, facts.job, change)),
            run.name,
            facts.now,
            new_id,
        )
    )
