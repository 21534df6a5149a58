"""Replicas on one PostgreSQL database, turning at the same time: slots, exclusive jobs, keys, joins and counts hold, and nobody is forgotten."""

import random
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from functools import partial

import msgspec
from sqlalchemy import select, update

from controller.base.errors import StoreUnavailable
from controller.dispatch import recover, requests
from controller.dispatch.cycle import Turn, turn
from controller.domain.job import (
    Backoff,
    CatchUp,
    Concurrency,
    ConcurrencyPolicy,
    Join,
    Parent,
    PoolRef,
    RetryPolicy,
    Schedule,
    Trigger,
    When,
)
from controller.domain.records import Ending
from controller.domain.states import DispatchState, RunState
from controller.store import backup, schema
from controller.store.database import open_store
from tests.harness import Postgres
from tests.integration.dispatch.world import START, World

_SLOTS = 2
_POOLED = 40
_QUEUED = 20
_CHAINS = 12
_INSTANTS = 20
_LIMIT_S = 240


class Replica(threading.Thread):
    """One controller instance: turns, and ends what it has opened a few turns later."""

    def __init__(self, url: str, owner: str, world: World, done: threading.Event) -> None:
        super().__init__(name=owner)
        self.store = open_store(url)
        self._owner = owner
        self._world = world
        self._done = done
        self._random = random.Random(owner)
        self._ids = 0
        self.opened: list[str] = []
        self.troubles = 0
        self.error: BaseException | None = None

    def new_id(self, now: datetime) -> str:
        """Ids of our own."""
        self._ids += 1
        return f"{int(now.timestamp()):012d}-{self._ids:06d}-{self._owner}"

    def run(self) -> None:
        live: list[str] = []
        try:
            while not self._done.is_set() or live:
                self._turn(live)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error

    def _turn(self, live: list[str]) -> None:
        self._random.shuffle(live)
        now = self._world.now
        chosen = live[: self._random.randint(0, 4)]
        given = Turn(
            now=now,
            owner=self._owner,
            host=self._owner,
            slots=0 if self._done.is_set() else self._random.choice([2, 4, 8]),
            endings=[Ending(run=run, finished_at=now, exit_code=int(self._random.random() < 0.2)) for run in chosen],
            look=True,
        )
        try:
            turned = self.store.submit(lambda tx: turn(tx, given, self.new_id)).result(60)
        except StoreUnavailable:
            # A deadlock that the database has broken: nothing happened, and the same is tried again.
            self.troubles += 1
            return
        for decision in turned.finished:
            live.remove(decision.run.name)
        self.opened += [entry.run.name for entry in turned.opened]
        live += [entry.run.name for entry in turned.opened]
        if not turned.opened and not turned.finished:
            time.sleep(0.005)


def _prepare(world: World) -> None:
    world.pool("pool", _SLOTS)
    many = Concurrency(policy=ConcurrencyPolicy.Allow, max_queued=1000)
    pooled = msgspec.structs.replace(many, pools=(PoolRef("pool"),))
    for number in range(3):
        world.add(f"pooled-{number}", concurrency=pooled)
    world.add("queued", concurrency=Concurrency(policy=ConcurrencyPolicy.Queue, max_queued=1000))
    world.add(
        "instants",
        schedule=Schedule(every=timedelta(minutes=1), catch_up=CatchUp.All),
        concurrency=Concurrency(policy=ConcurrencyPolicy.Forbid, max_queued=1000),
        retry=RetryPolicy(limit=1, backoff=Backoff(initial=timedelta(0))),
    )
    world.add("root", concurrency=many)
    for side in ("left", "right"):
        world.add(side, concurrency=many, trigger=Trigger((Parent("root", When.Finished),)))
    both = (Parent("left", When.Finished), Parent("right", When.Finished))
    world.add("joined", concurrency=many, trigger=Trigger(both, join=Join.All))


def _ask(world: World) -> None:
    wanted = [*[f"pooled-{number % 3}" for number in range(_POOLED)], *["queued"] * _QUEUED, *["root"] * _CHAINS]
    random.Random(1).shuffle(wanted)
    for job in wanted:
        ask = partial(
            requests.trigger, now=world.now, namespace="default", name=job, parameters={}, key=None, actor="ann"
        )
        world.write(partial(ask, new_id=world.new_id))


def test_replicas_that_race_keep_every_promise(postgres: Postgres) -> None:
    """Two replicas share pools, queues, an exclusive schedule and joins; at the end everything has run exactly as often as it should."""
    with postgres.database() as url:
        store = open_store(url)
        world = World(store)
        done = threading.Event()
        replicas = [Replica(url, name, world, done) for name in ("one", "two")]
        try:
            for replica in replicas:
                begin = partial(recover.start_up, owner=replica.name, host=replica.name, boot_id="b", pid=1)
                world.write(partial(begin, now=world.now, lease=timedelta(hours=1)))
            _prepare(world)
            _ask(world)
            world.wait(timedelta(minutes=_INSTANTS))
            for replica in replicas:
                replica.start()
            _watch(world, done)
        finally:
            done.set()
            for replica in replicas:
                if replica.ident is not None:
                    replica.join(60)
                replica.store.close()
        try:
            assert [replica.error for replica in replicas] == [None, None]
            _check(world, replicas)
        finally:
            store.close()


def _watch(world: World, done: threading.Event) -> None:
    """Look at what must always hold while they race; let time pass, as fallbacks of lines that nobody was woken for need some."""
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline:
        time.sleep(0.05)
        live = Counter(run.job for run in world.live())
        assert live["queued"] <= 1, live
        assert live["instants"] <= 1, live
        assert live["pooled-0"] + live["pooled-1"] + live["pooled-2"] <= _SLOTS, live
        assert world.held("pool") <= _SLOTS
        waiting = [one for one in world.dispatches() if one.state is DispatchState.Pending]
        if not waiting and not live:
            return
        # The clock moves a little, so that what fell between two commits comes again; the schedule stays where it is.
        world.wait(0.5)
        _stop_the_schedule(world)
    raise AssertionError(
        f"still waiting: {[(one.job, one.reason, one.not_before) for one in waiting]}, running: {live}"
    )


def _stop_the_schedule(world: World) -> None:
    """After the first look the schedule has fired what it owes; it owes nothing more."""
    jobs = schema.jobs
    fired = jobs.c.fired_through > START
    world.write(lambda tx: tx.execute(update(jobs).where(jobs.c.name == "instants", fired).values(next_fire_at=None)))


def _check(world: World, replicas: list[Replica]) -> None:
    assert backup.check(world.store) == []
    assert world.held("pool") == 0
    runs = world.runs()
    assert all(run.state in {RunState.Succeeded, RunState.Failed} for run in runs)
    assert sorted(run.name for run in runs) == sorted(name for replica in replicas for name in replica.opened)
    assert all(replica.opened for replica in replicas), "both took part"
    count = Counter(run.job for run in runs)
    assert count["pooled-0"] + count["pooled-1"] + count["pooled-2"] == _POOLED
    assert count["queued"] == _QUEUED
    assert (count["root"], count["left"], count["right"], count["joined"]) == (_CHAINS,) * 4
    roots = Counter(run.root for run in runs if run.job == "joined")
    assert set(roots.values()) == {1}
    retries = sum(run.attempt > 1 for run in runs)
    assert count["instants"] == _INSTANTS + retries
    failed = sum(run.state is RunState.Failed and run.job != "instants" for run in runs)
    assert failed, "some have failed, or the test has tried nothing"
    waits = world.read(lambda tx: tx.execute(select(schema.waits)).all())
    assert waits == []
