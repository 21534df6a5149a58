"""What is on record about runs: written with their end, once, in a chain that holds on both databases, through pruning and restores."""

import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from controller.domain.job import Concurrency, ConcurrencyPolicy, History, Schedule
from controller.domain.records import Ending, Run
from controller.domain.states import RunState
from controller.domain.trust import Detail, Grant, encode_grant
from controller.evidence.bundle import Found
from controller.evidence.keys import SigningKey
from controller.evidence.verify import Verified, verify
from controller.store import backup, evidence, instances, retention, schema
from controller.store.database import open_store
from tests.evidence import SIGNER, ended, grant, new_key
from tests.harness import Postgres
from tests.integration.dispatch.world import START, World, replaced

MINUTE = timedelta(minutes=1)
YEAR = timedelta(days=365)
KEY = new_key()


def granted(world: World, given: Grant | None) -> None:
    """As if the gates had opened what runs under this grant."""
    live = schema.runs.c.state == RunState.Running.value
    world.write(lambda tx: tx.execute(update(schema.runs).where(live).values(grant=encode_grant(given))))


def ran(world: World, count: int = 1, given: Grant | None = grant()) -> list[str]:  # noqa: B008 - frozen
    """Runs of `nightly` that have ended, one after the other."""
    if not world.read(lambda tx: tx.execute(select(schema.jobs.c.id)).first()):
        world.add("nightly", schedule=Schedule(every=MINUTE), history=History(succeeded=1000))
    names = []
    for _ in range(count):
        world.wait(MINUTE)
        (opened,) = world.turn().opened
        granted(world, given)
        world.end(opened.run)
        names.append(opened.run.name)
    return names


def signed(world: World, key: SigningKey = KEY) -> None:
    """Sign everything that waits, as the loop does."""
    for signer in world.read(evidence.signers):
        waiting = world.read(lambda tx, signer=signer: evidence.unsigned(tx, signer, 1000))
        made = [(one, key.sign(evidence.Envelope(one.statement))) for one in waiting]
        world.write(lambda tx, made=made: evidence.sign(tx, made, world.now))


def chain(world: World, job: str = "nightly") -> list[evidence.Record]:
    records: list[evidence.Record] = world.read(lambda tx: evidence.page(tx, "default", job, 0, 10_000))
    return records


def examined(world: World, job: str = "nightly", *, keys: bool = True) -> Verified:
    """What `evidence verify` would say of a chain."""
    marks = world.read(lambda tx: evidence.marks(tx, "default", job))
    found = [Found("row", one) for one in (*marks, *(record.envelope for record in chain(world, job)))]
    return verify(found, [KEY.public] if keys else [])


def pruned(world: World, keep: timedelta = YEAR) -> int:
    """Prune as far as it goes now."""
    before = world.now - keep
    world.write(lambda tx: evidence.cover(tx, evidence.aged(tx, before), before, world.now))
    gone = 0
    while more := world.write(evidence.prune):
        gone += more
    return gone


def test_a_run_is_put_on_record_with_its_end(world: World) -> None:
    """In the transaction of the end, with the digest that it was opened under; and the chain holds."""
    names = ran(world, 3)
    records = chain(world)
    assert [record.run for record in records] == names
    assert [record.sequence for record in records] == [1, 2, 3]
    assert world.read(lambda tx: evidence.head(tx, "default", "nightly")) == evidence.Head(3, records[-1].digest)
    assert examined(world, keys=False).good
    assert b'"effectiveDigest":"v1:sha256:1"' in records[0].envelope.payload
    assert backup.check(world.store) == []


def test_nothing_is_recorded_where_nobody_asks_for_it(world: World) -> None:
    """Without a grant, or with the level None."""
    ran(world, 1, None)
    ran(world, 1, Grant("d"))
    assert chain(world) == []
    assert world.read(lambda tx: evidence.head(tx, "default", "nightly")) is None


def test_the_revision_is_named_only_where_the_source_says_what_ran(world: World) -> None:
    """A job that was changed while its run was open is not what the source's revision has."""
    world.write(
        lambda tx: tx.execute(
            schema.sources.insert().values(
                name="test", kind="Git", location="/g", served=True, revision="main@sha1:c0ffee"
            )
        )
    )
    ran(world)
    (opened,) = (world.wait(MINUTE), world.turn())[1].opened
    granted(world, grant())
    world.write(lambda tx: tx.execute(update(schema.jobs).values(effective_digest="v1:sha256:changed")))
    world.end(opened.run)
    first, second = (record.envelope.payload for record in chain(world))
    assert b'"revision":"main@sha1:c0ffee","source":"test"' in first
    assert b"revision" not in second


def test_a_run_is_recorded_once(world: World) -> None:
    """A second end of the same run, and a second recording of the same end, change nothing."""
    (name,) = ran(world)
    before = chain(world)
    world.turn(Ending(run=name, finished_at=world.now, exit_code=1))
    (run,) = world.runs()
    assert world.write(lambda tx: evidence.append(tx, [run, run], world.now)) == 0
    assert chain(world) == before


def test_several_runs_in_one_call_follow_each_other(world: World) -> None:
    """In the order in which they are given; each job has its own chain."""
    runs = [ended(1), ended(1, name="daily-1", job="daily"), ended(2), ended(3), ended(2, name="daily-2", job="daily")]
    assert world.write(lambda tx: evidence.append(tx, runs, world.now)) == 5
    assert [record.run for record in chain(world)] == ["nightly-1", "nightly-2", "nightly-3"]
    assert [record.run for record in chain(world, "daily")] == ["daily-1", "daily-2"]
    assert examined(world, keys=False).good
    assert examined(world, "daily", keys=False).good


def test_a_denied_run_is_put_on_record(world: World) -> None:
    """What was refused is evidence as well."""
    denied = ended(1, state=RunState.Denied, started_at=None, finished_at=None, exit_code=None)
    assert world.write(lambda tx: evidence.append(tx, [denied], world.now)) == 1
    assert b'"state":"Denied"' in chain(world)[0].envelope.payload


def test_a_failed_transaction_records_nothing(world: World) -> None:
    """The end and its statement are one commit: both or none."""

    def broken(tx: Any) -> None:
        evidence.append(tx, [ended(1)], world.now)
        raise RuntimeError("after recording")

    with pytest.raises(RuntimeError):
        world.write(broken)
    assert chain(world) == []
    ran(world)
    assert [record.sequence for record in chain(world)] == [1]


def test_signatures_are_kept_and_never_replaced(world: World) -> None:
    """Two replicas sign the same: the first one's signature stays."""
    ran(world, 3)
    signer = world.read(evidence.signers)
    assert signer == [evidence.Signer("default", SIGNER)]
    waiting = world.read(lambda tx: evidence.unsigned(tx, signer[0], 1000))
    assert world.read(evidence.waiting) == 3
    signed(world)
    assert world.read(evidence.waiting) == 0
    other = new_key()
    made = [(one, other.sign(evidence.Envelope(one.statement))) for one in waiting]
    world.write(lambda tx: evidence.sign(tx, made, world.now))
    assert world.read(evidence.signers) == []
    assert examined(world).good


def test_what_names_no_key_waits_for_nobody(world: World) -> None:
    """It is chained all the same."""
    ran(world, 2, grant(Detail.Full, None))
    assert world.read(evidence.signers) == []
    assert examined(world, keys=False).good
    assert not examined(world).good


def test_checkpoints_follow_the_chain_at_their_pace(world: World) -> None:
    """One at the beginning, none while nothing happens, none within the pace, one after it; and signed like everything else."""
    hour = timedelta(hours=1)
    ran(world, 2)
    assert world.write(lambda tx: evidence.mark_heads(tx, world.now, hour)) == 1
    assert world.write(lambda tx: evidence.mark_heads(tx, world.now, hour)) == 0
    ran(world, 1)
    assert world.write(lambda tx: evidence.mark_heads(tx, world.now, hour)) == 0
    world.wait(hour)
    assert world.write(lambda tx: evidence.mark_heads(tx, world.now, hour)) == 1
    world.wait(hour)
    assert world.write(lambda tx: evidence.mark_heads(tx, world.now, hour)) == 0
    signed(world)
    assert examined(world).good
    gone = schema.evidence.c.sequence == 3
    world.write(lambda tx: tx.execute(delete(schema.evidence).where(gone)))
    (verdict,) = examined(world).chains
    assert "its end was cut off" in verdict.problems[0].message


def test_evidence_outlives_runs_and_jobs(world: World) -> None:
    """The history of the job forgets its runs, and the job itself goes; what is on record stays, and a new job of that name goes on from it."""
    ran(world, 2)
    world.write(lambda tx: tx.execute(update(schema.runs).values(finished_at=START - YEAR)))
    while world.write(lambda tx: retention.prune_runs(tx, world.now)):
        pass
    assert world.runs() == []
    world.write(lambda tx: tx.execute(delete(schema.resources)))
    again = ended(9, job_uid="another")
    world.write(lambda tx: evidence.append(tx, [again], world.now))
    assert [record.sequence for record in chain(world)] == [1, 2, 3]
    assert examined(world, keys=False).good


def test_pruning_waits_for_a_signed_checkpoint_and_leaves_a_chain_that_holds(world: World) -> None:
    """First a checkpoint, then its signature, then what it covers goes; what is left verifies, with keys."""
    ran(world, 4)
    world.wait(YEAR)
    ran(world, 2, grant(Detail.Full))
    assert pruned(world) == 0, "nothing is signed"
    signed(world)
    assert pruned(world) == 0, "the checkpoint is not signed"
    signed(world)
    assert pruned(world) == 4
    assert [record.sequence for record in chain(world)] == [5, 6]
    assert examined(world).good
    assert backup.check(world.store) == []
    world.wait(2 * YEAR)
    pruned(world)
    signed(world)
    assert pruned(world) == 2 + 1, "and the checkpoint before"
    assert examined(world).good
    ran(world, 1)
    assert [record.sequence for record in chain(world)] == [7]
    signed(world)
    assert examined(world).good
    assert backup.check(world.store) == []


def test_what_waits_for_its_signature_is_never_pruned(world: World) -> None:
    """Its signer may be away for years."""
    ran(world, 2)
    signed(world)
    ran(world, 2)
    world.wait(2 * YEAR)
    pruned(world)
    waiting = world.read(lambda tx: evidence.unsigned(tx, evidence.Signer("default", SIGNER), 1000))
    marks = [one for one in waiting if one.why is not None]
    world.write(
        lambda tx: evidence.sign(tx, [(one, KEY.sign(evidence.Envelope(one.statement))) for one in marks], world.now)
    )
    assert pruned(world) == 2
    assert [record.sequence for record in chain(world)] == [3, 4]


def test_pruning_needs_no_signature_where_nobody_signs(world: World) -> None:
    """The chain alone then says that it was pruned."""
    ran(world, 3, grant(Detail.Summary, None))
    world.wait(2 * YEAR)
    assert pruned(world) == 3
    assert world.read(lambda tx: evidence.head(tx, "default", "nightly")).sequence == 3


def test_a_clock_that_was_set_back_does_not_tear_a_hole(world: World) -> None:
    """Only what lies before everything that has to stay goes."""
    runs = [ended(number) for number in (1, 2, 3)]
    for run, age in zip(runs, (2 * YEAR, timedelta(0), 2 * YEAR), strict=True):
        world.write(lambda tx, run=run, age=age: evidence.append(tx, [run], START - age))
    signed(world)
    pruned(world)
    signed(world)
    assert pruned(world) == 1
    assert examined(world).good


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda e: update(e).where(e.c.sequence == 2).values(statement=b"{}"), "it is no statement that can be read"),
        (lambda e: delete(e).where(e.c.sequence == 2), "sequence 2 is missing"),
        (lambda e: delete(e).where(e.c.sequence == 4), "its end was cut off"),
        (lambda e: update(e).where(e.c.sequence == 3).values(signature=b"x"), "it is not what was signed"),
    ],
)
def test_whoever_changes_rows_is_found_out(world: World, harm: Any, words: str) -> None:
    """Somebody with the database and without the key."""
    ran(world, 4)
    world.write(lambda tx: evidence.mark_heads(tx, world.now, MINUTE))
    signed(world)
    assert examined(world).good
    world.write(lambda tx: tx.execute(harm(schema.evidence)))
    verified = examined(world)
    found = [one.message for verdict in verified.chains for one in verdict.problems]
    found += [one.message for one in verified.problems]
    assert any(words in one for one in found), found


def test_db_check_sees_gaps_and_lost_ends(world: World) -> None:
    """As far as rows alone can say."""
    ran(world, 4)
    world.write(lambda tx: tx.execute(delete(schema.evidence).where(schema.evidence.c.sequence.in_((2, 4)))))
    assert backup.check(world.store) == [
        "the evidence of default/nightly ends at sequence 3, and should end at 4",
        "the evidence of default/nightly has gaps; `jobwarden evidence verify` says where",
    ]


def restore(world: World, copy: Path) -> backup.Restored:
    """The controller leaves, and somebody restores."""
    world.write(lambda tx: instances.retire(tx, world.owner))
    return backup.restore(world.store, copy, world.now, hold=False, actor="ann")


def test_a_restore_does_not_take_back_what_is_on_record(world: World, tmp_path: Path) -> None:
    """What happened after the backup happened: its evidence stays, and goes on."""
    ran(world, 2)
    backup.backup(world.store, tmp_path / "copy.db")
    names = ran(world, 2)
    signed(world)
    restore(world, tmp_path / "copy.db")
    assert len(world.runs()) == 2
    assert [record.run for record in chain(world)][2:] == names
    assert examined(world).good
    assert backup.check(world.store) == []


def test_a_restore_keeps_chains_that_were_pruned_beyond_the_backup(world: World, tmp_path: Path) -> None:
    """Where they meet cannot be looked at any more; the longer one is the later one."""
    ran(world, 2)
    backup.backup(world.store, tmp_path / "copy.db")
    ran(world, 2)
    world.wait(2 * YEAR)
    ran(world, 1)
    signed(world)
    pruned(world)
    signed(world)
    pruned(world)
    assert [record.sequence for record in chain(world)] == [5]
    restore(world, tmp_path / "copy.db")
    assert [record.sequence for record in chain(world)] == [5]
    assert examined(world).good


def test_a_restore_into_an_empty_database_says_where_the_chain_was_set_back(world: World, tmp_path: Path) -> None:
    """Nothing after the backup is left; the chain verifies, and an export of before says what is missing and why."""
    ran(world, 2)
    signed(world)
    backup.backup(world.store, tmp_path / "copy.db")
    ran(world, 2)
    signed(world)
    kept = [Found("row", record.envelope) for record in chain(world)]
    for table in evidence.TABLES:
        world.write(lambda tx, table=table: tx.execute(delete(table)))
    world.wait(MINUTE)
    restore(world, tmp_path / "copy.db")
    signed(world)
    assert [record.sequence for record in chain(world)] == [1, 2]
    assert examined(world).good
    marks = world.read(lambda tx: evidence.marks(tx, "default", "nightly"))
    now = [Found("row", one) for one in (*marks, *(record.envelope for record in chain(world)))]
    (verdict,) = verify(now, [KEY.public], kept).chains
    assert len(verdict.problems) == 2
    assert all(
        "restored at 2026-01-05T12:05:00Z from a backup that ended at sequence 2" in one.message
        for one in verdict.problems
    )


def test_what_a_restore_ends_is_put_on_record(world: World, tmp_path: Path) -> None:
    """A run that the backup believed to be open; once, if its true end is on record already."""
    world.add("nightly", schedule=Schedule(every=MINUTE))
    world.wait(MINUTE)
    (opened,) = world.turn().opened
    granted(world, grant())
    backup.backup(world.store, tmp_path / "copy.db")
    restore(world, tmp_path / "copy.db")
    (record,) = chain(world)
    assert b'"reason":"Restored","state":"Crashed"' in record.envelope.payload
    restore(world, tmp_path / "copy.db")
    assert [one.run for one in chain(world)] == [opened.run.name]
    assert backup.check(world.store) == []


class Recorder(threading.Thread):
    """One replica that records ends of its own, of two jobs, as fast as it can."""

    def __init__(self, url: str, name: str, start: threading.Event) -> None:
        super().__init__(name=name)
        self._store = open_store(url)
        self._start = start
        self.error: BaseException | None = None

    def run(self) -> None:
        self._start.wait()
        try:
            for number in range(40):
                runs = [self._run(number, job) for job in ("nightly", "daily")]
                self._store.submit(partial(_append, runs=runs)).result(60)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error
        finally:
            self._store.close()

    def _run(self, number: int, job: str) -> Run:
        return replaced(ended(number), name=f"{job}-{self.name}-{number}", job=job)


def _append(tx: Any, runs: list[Run]) -> int:
    return evidence.append(tx, runs, START)


def test_replicas_that_record_at_once_make_one_chain(postgres: Postgres) -> None:
    """Four of them, on the same two jobs, from the first statement on: no gap, no fork, nothing lost."""
    with postgres.database() as url:
        store = open_store(url)
        world = World(store)
        start = threading.Event()
        recorders = [Recorder(url, name, start) for name in ("one", "two", "three", "four")]
        for recorder in recorders:
            recorder.start()
        start.set()
        for recorder in recorders:
            recorder.join(120)
        try:
            assert [recorder.error for recorder in recorders] == [None] * 4
            for job in ("nightly", "daily"):
                assert [record.sequence for record in chain(world, job)] == list(range(1, 161))
                assert examined(world, job, keys=False).good
            assert backup.check(store) == []
        finally:
            store.close()


def test_one_turn_records_all_that_ended_in_it(world: World) -> None:
    """Many ends of one job in one transaction."""
    world.add("nightly", concurrency=Concurrency(policy=ConcurrencyPolicy.Allow), schedule=Schedule(every=MINUTE))
    for _ in range(3):
        world.wait(MINUTE)
        world.turn()
    granted(world, grant())
    live = world.live()
    assert len(live) == 3
    world.turn(*(Ending(run=run.name, finished_at=world.now, exit_code=0) for run in live))
    assert {record.run for record in chain(world)} == {run.name for run in live}
    assert examined(world, keys=False).good
