"""Steps 11 and 12: what ended is decided by `finalise` and written in the same transaction; what follows are new dispatches.

Also here: the schedule of a job that keeps failing is stretched, which takes `schedule` and `finalise` together.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from controller.domain.job import ErrorBackoff
from controller.domain.reasons import Reason
from controller.domain.records import Ending, Job
from controller.domain.states import Cause, DispatchState, RunState
from controller.domain.story import StoryEvent, StoryKind
from controller.finalise.decide import decide
from controller.finalise.facts import EndFacts, Finalisation, JobChange
from controller.schedule import plan
from controller.store import ends, jobs
from controller.store.store import Tx

NewId = Callable[[datetime], str]


class Finished(msgspec.Struct, frozen=True):
    """The decisions, and their news."""

    decided: tuple[Finalisation, ...] = ()
    news: tuple[StoryEvent, ...] = ()


def finish(tx: Tx, endings: Sequence[Ending], owner: str, now: datetime, new_id: NewId) -> Finished:
    """Finish those of the runs that are still ours. Errors: StoreUnavailable; then nothing of it has happened."""
    decided: list[Finalisation] = []
    news: list[StoryEvent] = []
    waiting = list(endings)
    while waiting:
        facts, waiting = ends.gather(tx, waiting, owner, now)
        decisions = _decide(tx, facts, now, new_id)
        for fact, decision in zip(facts, decisions, strict=True):
            news += _news(fact, decision, now)
        decided += decisions
        if not facts:
            break
    return Finished(tuple(decided), tuple(news))


def _decide(tx: Tx, facts: Sequence[EndFacts], now: datetime, new_id: NewId) -> list[Finalisation]:
    """Decide a batch of ends and write what follows."""
    decided: list[Finalisation] = []
    jobs_now: dict[int, Job] = {}
    for fact in facts:
        # Of two ends of one job the second sees what the first has made of it.
        job = jobs_now.get(fact.job.id) if fact.job is not None else None
        decision = decide(fact if job is None else msgspec.structs.replace(fact, job=job), new_id)
        decided.append(decision)
        if fact.job is not None and decision.job is not None:
            jobs_now[fact.job.id] = _after(fact.job, decision.job)
    ends.apply(tx, decided, now, {fact.run.name for fact in facts if fact.spec.concurrency.pools})
    for fact, decision in zip(facts, decided, strict=True):
        if fact.job is not None and decision.job is not None and decision.job.completed:
            jobs.complete(tx, fact.job.id, now)
            jobs.bury(tx, [fact.job], now)
        change = decision.job
        judged = decision.follow_up is None and decision.run.state is not RunState.Cancelled
        if fact.job is not None and change is not None and judged:
            stretch(tx, fact.job, fact.spec.error_backoff, change.consecutive_errors, now)
    jobs.look_again(tx, [fact.job.id for fact in facts if fact.job is not None and _alerted(fact)], now)
    return decided


def _after(job: Job, change: JobChange) -> Job:
    """The job as its next end finds it."""
    return msgspec.structs.replace(
        job,
        consecutive_errors=change.consecutive_errors,
        healthy=change.healthy,
        last_success_at=change.last_success_at,
        alert_episode=change.alert_episode,
    )


def _alerted(fact: EndFacts) -> bool:
    alerts = fact.spec.alerts
    return alerts.no_success_for is not None or alerts.max_duration is not None or alerts.finish_by is not None


def stretch(tx: Tx, job: Job, policy: ErrorBackoff, errors: int, now: datetime) -> None:
    """Hold back the schedule of a job that keeps failing. Source: cases S043, S044, S194."""
    if not policy.enabled or not errors or job.next_fire_at is None:
        return
    until = now + plan.error_backoff(errors, policy.max)
    if until > job.next_fire_at:
        jobs.stretch(tx, job, until, until)


def _news(fact: EndFacts, decision: Finalisation, now: datetime) -> list[StoryEvent]:
    run = decision.run
    began, ended = run.started_at, run.finished_at
    news = [
        StoryEvent(
            at=ended or now,
            kind=StoryKind.RunFinished,
            namespace=run.namespace,
            job=run.job,
            run=run.name,
            state=run.state,
            reason=run.reason,
            message=run.message,
            cause=run.cause,
            attempt=run.attempt,
            exit_code=run.exit_code,
            seconds=(ended - began).total_seconds() if began is not None and ended is not None else None,
        )
    ]
    follow_up = decision.follow_up
    if follow_up is not None:
        again = "replayed" if follow_up.cause is Cause.Replay else "retried"
        news.append(
            StoryEvent(
                at=now,
                kind=StoryKind.Retrying,
                namespace=run.namespace,
                job=run.job,
                run=run.name,
                attempt=follow_up.attempt,
                due=follow_up.not_before,
                message=f"will be {again}",
            )
        )
    news += [
        StoryEvent(
            at=now,
            kind=StoryKind.Skipped,
            cause=child.cause,
            namespace=child.namespace,
            job=child.job,
            reason=child.reason,
            message=child.message,
        )
        for child in decision.children
        if child.state is DispatchState.Skipped
    ]
    if run.reason == Reason.Stuck and _new_trouble(fact, decision):
        news.append(
            StoryEvent(
                at=now, kind=StoryKind.Alert, namespace=run.namespace, job=run.job, run=run.name, message=run.message
            )
        )
    return news


def _new_trouble(fact: EndFacts, decision: Finalisation) -> bool:
    """Whether a watchdog has found trouble that it had not found last time: told once an episode, like the notification."""
    return fact.job is None or decision.job is None or decision.job.alert_episode != fact.job.alert_episode
