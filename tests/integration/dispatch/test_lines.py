"""Nobody waits who could run, and nobody turns in circles: who is woken when somebody leaves a line, for whatever reason."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from controller.dispatch import requests
from controller.domain.job import (
    ApprovalPolicy,
    Backoff,
    Concurrency,
    ConcurrencyPolicy,
    Notification,
    NotificationEvent,
    PoolRef,
    RetryPolicy,
    Schedule,
)
from controller.domain.records import Dispatch
from controller.domain.states import DispatchState
from controller.store import dispatches, runs, schema
from tests.integration.dispatch.world import World

_POOLED = Concurrency(pools=(PoolRef("pool"),))


def ask(world: World, job: str, **how: Any) -> Dispatch:
    """Trigger a job; a moment later than whoever came before."""
    world.wait(0.001)
    key = how.pop("key", None)
    asked: Dispatch = world.write(
        lambda tx: requests.trigger(tx, world.now, "default", job, {}, key, "ann", new_id=world.new_id, **how)
    )
    return asked


def change(world: World, job: str, **columns: Any) -> None:
    """Change a row of a job, as reconcile would."""
    world.write(lambda tx: tx.execute(update(schema.jobs).where(schema.jobs.c.name == job).values(**columns)))


def verb(world: World, function: Callable[..., Any], *words: Any) -> None:
    """A person does something."""
    world.write(lambda tx: function(tx, world.now, "default", *words))


def pending(world: World, job: str) -> Dispatch:
    """The only waiting dispatch of a job."""
    (found,) = (one for one in world.dispatches(job) if one.state is DispatchState.Pending)
    return found


def test_a_rejection_lets_the_next_in_the_queue_run(world: World) -> None:
    """Whoever waits behind a question does not wait for its fallback when the answer is no."""
    queue = Concurrency(policy=ConcurrencyPolicy.Queue)
    world.add("job", concurrency=queue, approval=ApprovalPolicy(required=True))
    for _ in range(2):
        ask(world, "job")
        world.turns()
    first, second = world.approvals()
    verb(world, requests.approve, second.name, "ann")
    assert world.turns() == []
    verb(world, requests.reject, first.name, "ann")
    assert world.turns() == ["job"]


def test_cancelling_a_retry_lets_whoever_waits_behind_it_run(world: World) -> None:
    """A retry in its backoff stands in no line, and still somebody waits for it."""
    world.add(
        "job",
        concurrency=Concurrency(policy=ConcurrencyPolicy.Queue),
        retry=RetryPolicy(limit=3, backoff=Backoff(initial=timedelta(hours=1), max=timedelta(hours=1))),
    )
    ask(world, "job")
    world.turns()
    world.end(world.live()[0], 1)
    ask(world, "job")
    assert world.turns() == []
    retry = next(one for one in world.dispatches() if one.cause == "Retry")
    verb(world, requests.cancel_dispatch, retry.id, "ann")
    assert world.turns() == ["job"]


def _line(world: World, first: Concurrency = _POOLED) -> None:
    """A pool of one slot, taken by `holder`; `first` and `second` wait for it in this order."""
    world.pool("pool", 1)
    world.add("holder", concurrency=_POOLED)
    world.add("first", concurrency=first)
    world.add("second", concurrency=_POOLED)
    ask(world, "holder")
    assert world.turns() == ["holder"]
    for job in ("first", "second"):
        ask(world, job)
        assert world.turns() == []


def test_a_slot_that_the_first_in_line_may_not_take_goes_to_the_next(world: World) -> None:
    """A hold in a line holds up nobody else."""
    _line(world)
    verb(world, requests.hold, "first", "why", None, "ann")
    world.end(world.live("holder")[0])
    assert [run.job for run in world.live()] == ["second"] or world.turns() == ["second"]


def test_a_job_that_must_not_run_stands_in_nobodys_way(world: World) -> None:
    """Its source is not served, or something that it names is gone: the line goes past it."""
    _line(world)
    change(world, "first", blocked_reason="SourceNotServed", blocked_message="gone")
    world.end(world.live("holder")[0])
    assert [run.job for run in world.live()] == ["second"] or world.turns() == ["second"]
    change(world, "first", blocked_reason=None)
    world.end(world.live("second")[0])
    assert [run.job for run in world.live()] == ["first"] or world.turns() == ["first"]


def test_whoever_leaves_one_line_for_another_passes_the_slot_on(world: World) -> None:
    """A slot is offered to somebody whose job is busy; the next in line gets it."""
    _line(world, Concurrency(policy=ConcurrencyPolicy.Queue, pools=(PoolRef("pool"),)))
    # The job of the first in line becomes busy otherwise: an older dispatch of it waits for a person.
    older = pending(world, "first")
    world.write(
        lambda tx: dispatches.insert_all(
            tx,
            [
                Dispatch(
                    id="0-older",
                    job_id=older.job_id,
                    namespace="default",
                    job="first",
                    cause=older.cause,
                    state=DispatchState.AwaitingApproval,
                    scheduled_for=older.scheduled_for - timedelta(hours=1),
                    not_before=older.scheduled_for - timedelta(hours=1),
                    created_at=world.now,
                )
            ],
        )
    )
    world.end(world.live("holder")[0])
    assert [run.job for run in world.live()] == ["second"] or world.turns() == ["second"]


def test_a_release_has_everything_that_was_deferred_looked_at(world: World) -> None:
    """What waited for a slot when the hold came runs at once when it goes and the slot is free."""
    _line(world)
    verb(world, requests.hold, "first", "why", None, "ann")
    world.end(world.live("holder")[0])
    world.turns()
    world.end(world.live("second")[0])
    assert world.turns() == []
    verb(world, requests.release, "first", "ann")
    assert world.turns() == ["first"]


def test_a_backfill_older_than_a_retry_replaces_it_and_does_not_spin(world: World) -> None:
    """What goes first by rank is replaced, also when its instant is newer."""
    world.add(
        "job",
        concurrency=Concurrency(policy=ConcurrencyPolicy.Replace),
        retry=RetryPolicy(limit=3, backoff=Backoff(initial=timedelta(hours=1), max=timedelta(hours=1))),
    )
    ask(world, "job")
    world.turns()
    world.end(world.live()[0], 1)
    backfill = ask(world, "job", scheduled_for=world.now - timedelta(days=1))
    world.turn()
    world.turn()
    assert [run.dispatch for run in world.live()] == [backfill.id]
    assert [one.reason for one in world.dispatches() if one.cause == "Retry"] == ["Replaced"]


def test_a_dispatch_that_becomes_too_late_while_it_waits_makes_its_job_unhealthy(world: World) -> None:
    """Missed is missed, whether found at the instant or in the queue."""
    world.pool("pool", 1)
    world.add("holder", concurrency=_POOLED)
    ask(world, "holder")
    world.turns()
    world.add(
        "late",
        schedule=Schedule(every=timedelta(hours=1), starting_deadline=timedelta(minutes=1)),
        concurrency=_POOLED,
    )
    world.wait(timedelta(hours=1))
    world.turns()
    world.wait(timedelta(minutes=2))
    world.turns()
    assert [one.state for one in world.dispatches("late")] == [DispatchState.Missed]
    assert world.job("late").healthy is False


def test_a_key_that_another_replica_has_just_used_is_a_duplicate_and_no_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard did not see it, the table did: nothing runs twice, nothing breaks, no slot is lost."""
    world.pool("pool", 1)
    world.add("job", concurrency=_POOLED)
    ask(world, "job", key="once")
    assert world.turns() == ["job"]
    world.end(world.live()[0])
    with monkeypatch.context() as blind:
        blind.setattr(dispatches, "key_holders", lambda *_: {})
        ask(world, "job", key="once")
        assert world.turn().opened == ()
    assert (pending(world, "job").reason, world.held("pool")) == ("StoreConflict", 0)
    world.wait(1)
    assert world.turns() == []
    assert world.dispatches("job")[-1].reason == "DuplicateKey"


def test_a_run_that_the_database_refuses_is_not_told_as_started_and_gives_its_key_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica has an open run of an exclusive job that we do not see."""
    started = Notification(target="mail", events=(NotificationEvent.Started,))
    world.add("job", concurrency=Concurrency(policy=ConcurrencyPolicy.Queue), notifications=(started,))
    ask(world, "job")
    assert world.turns() == ["job"]
    with monkeypatch.context() as blind:
        blind.setattr(runs, "live_counts", lambda *_: {})
        ask(world, "job", key="mine")
        assert world.turn().opened == ()
    assert [event for event, _, _ in world.outbox()] == ["Started"]
    world.end(world.live()[0])
    world.wait(1)
    assert world.turns() == ["job"] or world.live("job")
    assert len(world.outbox()) == 2


def test_the_same_question_may_be_asked_again(world: World) -> None:
    """A change and its way back while a dispatch waits: two questions about one digest, and no error."""
    world.pool("pool", 1)
    world.add("holder", concurrency=_POOLED)
    ask(world, "holder")
    world.turns()
    world.add("job", concurrency=_POOLED, approval=ApprovalPolicy(required=True))
    ask(world, "job")
    digest = world.job("job").effective_digest
    for now_it_is in ("v1:sha256:other", digest, digest):
        world.wait(300)
        world.turn()
        question = world.approvals()[-1]
        if question.state == "Pending":
            verb(world, requests.approve, question.name, "ann")
        world.turn()
        change(world, "job", effective_digest=now_it_is)
    assert [question.digest for question in world.approvals()] == [digest, "v1:sha256:other", digest]


def test_a_line_is_read_only_as_far_as_it_matters(world: World) -> None:
    """With a thousand in line, waking one costs one row, not a thousand."""
    _line(world)
    found = world.read(lambda tx: dispatches.waiters(tx, {"pool:default/pool": 1, "pool:default/none": 1}))
    assert [waiter.dispatch for waiter in found] == [pending(world, "first").id]
