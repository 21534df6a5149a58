"""A store with jobs in it and a clock moved by hand, for tests of the dispatcher's transactions: no processes, no files, no waiting."""

import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import insert, select

from controller.base import ids
from controller.dispatch.cycle import Turn, Turned, turn
from controller.dispatch.knowledge import Knowledge
from controller.domain import job as jobspec
from controller.domain.job import JobSpec, Schedule, ShellTarget
from controller.domain.records import Approval, Dispatch, Ending, Job, Run
from controller.schedule import plan
from controller.store import instances, schema
from controller.store import jobs as job_store
from controller.store.rows import approval_of, dispatch_of, run_of
from controller.store.store import Store, Tx

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class World:
    """One store, one clock, one controller instance called `me`."""

    def __init__(self, store: Store, owner: str = "me") -> None:
        self.store = store
        self.owner = owner
        self.now = START
        self.knowledge = Knowledge()
        self._ids = itertools.count(1)
        self._rows = itertools.count(1)

    def new_id(self, now: datetime) -> str:
        """Ids that sort by when they were made, the same in every test."""
        return f"{int(now.timestamp()):012d}-{next(self._ids):06d}"

    def write(self, function: Callable[[Tx], Any]) -> Any:
        """Run one committed transaction."""
        return self.store.submit(function).result(30)

    def read(self, function: Callable[[Tx], Any]) -> Any:
        """Look."""
        return self.store.read_now(function)

    def wait(self, span: timedelta | float) -> None:
        """Move the clock."""
        self.now += span if isinstance(span, timedelta) else timedelta(seconds=span)

    def add(self, name: str, *, namespace: str = "default", uid: str | None = None, **spec: Any) -> int:
        """Put a job into the store as reconcile would; its schedule starts now."""
        resolved = JobSpec(target=spec.pop("target", ShellTarget("true")), **spec)
        row = next(self._rows)
        uid = uid or f"uid-{row}"
        key = f"{namespace}/{name}"
        digest = f"v1:sha256:{row}"
        schedule: Schedule | None = resolved.schedule
        through = plan.starting_point(schedule, self.now) if schedule else self.now
        following = plan.next_fire(schedule, key, through, self.now) if schedule and not resolved.suspend else None

        def put(tx: Tx) -> None:
            tx.execute(
                insert(schema.resources).values(
                    id=row,
                    kind="ScheduledJob",
                    namespace=namespace,
                    name=name,
                    uid=uid,
                    generation=1,
                    source="test",
                    document=b"{}",
                    digest=digest,
                    created_at=self.now,
                    updated_at=self.now,
                )
            )
            tx.execute(
                insert(schema.jobs).values(
                    id=row,
                    uid=uid,
                    namespace=namespace,
                    name=name,
                    source="test",
                    generation=1,
                    spec=jobspec.encode(resolved),
                    schedule_text="",
                    target="shell",
                    suspend=resolved.suspend,
                    fire_digest=digest,
                    effective_digest=digest,
                    created_at=self.now,
                    anchor_at=self.now,
                    fired_through=through,
                    next_fire_at=following,
                )
            )
            for parent in resolved.trigger.after if resolved.trigger else ():
                tx.execute(
                    insert(schema.triggers).values(
                        child_id=row, namespace=namespace, parent=parent.job, when=parent.when.value
                    )
                )

        self.write(put)
        return row

    def pool(self, name: str, slots: int, namespace: str = "default") -> None:
        """Add a pool."""
        row = next(self._rows)

        def put(tx: Tx) -> None:
            tx.execute(
                insert(schema.resources).values(
                    id=row,
                    kind="ResourcePool",
                    namespace=namespace,
                    name=name,
                    uid=f"uid-{row}",
                    generation=1,
                    source="test",
                    document=b"{}",
                    digest="x",
                    created_at=self.now,
                    updated_at=self.now,
                )
            )
            tx.execute(insert(schema.pools).values(id=row, namespace=namespace, name=name, slots=slots))

        self.write(put)

    def turn(self, *endings: Ending, slots: int = 100, owner: str | None = None, fire: bool = True) -> Turned:
        """One turn of the dispatcher."""
        given = Turn(
            now=self.now, owner=owner or self.owner, host="here", slots=slots, endings=endings, look=True, fire=fire
        )

        def alive(tx: Tx) -> None:
            known = tx.execute(select(schema.instances.c.id).where(schema.instances.c.id == given.owner)).first()
            if known is None:
                instances.register(tx, given.owner, "here", "boot", 1, self.now, timedelta(days=1))

        self.write(alive)
        return self.write(lambda tx: turn(tx, given, self.new_id, self.knowledge))

    def turns(self, *endings: Ending) -> list[str]:
        """Turn until nothing opens; the jobs of the runs that were opened, in order."""
        opened = []
        turned = self.turn(*endings)
        while turned.opened:
            opened += [entry.run.job for entry in turned.opened]
            turned = self.turn()
        return opened

    def end(self, run: Run | str, code: int = 0, **how: Any) -> Turned:
        """End a run, with an exit code unless told how, in a turn of its own."""
        name = run if isinstance(run, str) else run.name
        facts: dict[str, Any] = (
            {"exit_code": code, **how} if not how.get("interrupted") and "signal" not in how else how
        )
        return self.turn(Ending(run=name, finished_at=self.now, **facts))

    def runs(self, job: str | None = None) -> list[Run]:
        """All runs, oldest first."""
        query = select(schema.runs).order_by(schema.runs.c.created_at, schema.runs.c.attempt, schema.runs.c.name)
        found = [run_of(row) for row in self.read(lambda tx: tx.execute(query).all())]
        return [run for run in found if job in (None, run.job)]

    def live(self, job: str | None = None) -> list[Run]:
        """Open runs."""
        return [run for run in self.runs(job) if run.state == "Running"]

    def dispatches(self, job: str | None = None) -> list[Dispatch]:
        """All dispatches, oldest first."""
        query = select(schema.dispatches).order_by(schema.dispatches.c.created_at, schema.dispatches.c.id)
        found = [dispatch_of(row) for row in self.read(lambda tx: tx.execute(query).all())]
        return [dispatch for dispatch in found if job in (None, dispatch.job)]

    def approvals(self) -> list[Approval]:
        """All approvals, oldest first."""
        query = select(schema.approvals).order_by(schema.approvals.c.created_at, schema.approvals.c.name)
        return [approval_of(row) for row in self.read(lambda tx: tx.execute(query).all())]

    def job(self, name: str, namespace: str = "default") -> Job:
        """One job."""
        found = self.read(lambda tx: job_store.get(tx, namespace, name))
        assert found is not None
        return found

    def held(self, pool: str) -> int:
        """Slots of a pool that are held."""
        query = select(schema.pools.c.held).where(schema.pools.c.name == pool)
        return self.read(lambda tx: tx.execute(query).scalar_one())

    def outbox(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        """Notifications: event, job, payload."""
        query = select(schema.outbox).order_by(schema.outbox.c.created_at, schema.outbox.c.id)
        return [(row.event, row.job, json.loads(row.payload)) for row in self.read(lambda tx: tx.execute(query).all())]


def at(instant: datetime, **more: Any) -> Schedule:
    """A one-shot schedule."""
    return Schedule(at=instant, **more)


def replaced(spec: Any, **fields: Any) -> Any:
    """A changed copy of a record."""
    return msgspec.structs.replace(spec, **fields)


__all__ = ["START", "World", "at", "ids", "replaced"]
