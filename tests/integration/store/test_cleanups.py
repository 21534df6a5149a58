"""What has to be undone, on both databases: nothing before its run has ended, nothing lost, nothing at the same time by two."""

import threading
from datetime import timedelta

import msgspec
from sqlalchemy import delete

from controller.dispatch import requests
from controller.domain.records import Cleanup
from controller.domain.trust import Ref
from controller.store import cleanups, schema
from tests.integration.dispatch.world import START, World

VAULT = Ref("vault", "CredentialProvider")
MINUTE = timedelta(minutes=1)


def make(number: int, run: str = "none", **fields: object) -> Cleanup:
    made = Cleanup(f"id-{number}", run, VAULT, "team", b"lease/%d" % number, START + timedelta(seconds=number), START)
    return msgspec.structs.replace(made, **fields)


def record(world: World, *found: Cleanup) -> None:
    for one in found:
        world.write(lambda tx, one=one: cleanups.record(tx, one))


def claim(world: World, limit: int = 10) -> list[str]:
    return [one.id for one in world.write(lambda tx: cleanups.claim(tx, world.now, limit))]


def running(world: World) -> str:
    """The name of an open run."""
    world.add("job")
    world.write(lambda tx: requests.trigger(tx, world.now, "default", "job", {}, None, "ann"))
    (opened,) = world.turn().opened
    return opened.run.name


def test_nothing_is_due_while_its_run_is_open(world: World) -> None:
    """However the run ends, it is due then; what was recorded before the run was opened waits until its time."""
    run = running(world)
    record(world, make(1, run), make(2, "not-opened-yet", not_before=START + MINUTE))
    assert claim(world) == []
    assert world.read(cleanups.next_due) == START + MINUTE
    world.end(run, interrupted="Interrupted")
    assert world.read(cleanups.next_due) == START
    assert claim(world) == ["id-1"]
    world.wait(MINUTE / 2)
    assert claim(world) == []
    world.wait(MINUTE)
    assert sorted(claim(world)) == ["id-1", "id-2"]


def test_what_a_run_left_is_due_when_the_run_is_forgotten(world: World) -> None:
    """History may go before a provider comes back."""
    run = running(world)
    record(world, make(1, run))
    world.write(lambda tx: tx.execute(delete(schema.runs)))
    assert claim(world) == ["id-1"]


def test_a_record_comes_back_whole_and_goes_when_it_is_undone(world: World) -> None:
    """With what became known of it, and what went wrong so far."""
    record(world, make(1))
    world.write(lambda tx: cleanups.amend(tx, "id-1", b"lease/real"))
    (claimed,) = world.write(lambda tx: cleanups.claim(tx, world.now, 10))
    assert claimed == make(1, handle=b"lease/real", attempts=1, not_before=START + cleanups.LEASE)
    later = START + timedelta(hours=1)
    world.write(lambda tx: cleanups.failed(tx, "id-1", "nobody answers", later))
    assert world.read(lambda tx: cleanups.of_run(tx, "none")) == [
        make(1, handle=b"lease/real", attempts=1, not_before=later, last_error="nobody answers")
    ]
    assert [one.id for one in world.read(lambda tx: cleanups.failing(tx, 1))] == ["id-1"]
    assert world.read(lambda tx: cleanups.failing(tx, 2)) == []
    world.write(lambda tx: cleanups.undone(tx, "id-1"))
    assert world.read(lambda tx: cleanups.of_run(tx, "none")) == []
    assert world.read(cleanups.next_due) is None


def test_a_claim_that_nobody_finishes_runs_out(world: World) -> None:
    """Whoever claimed it was killed."""
    record(world, make(1))
    assert claim(world) == ["id-1"]
    assert claim(world) == []
    world.wait(cleanups.LEASE)
    assert claim(world) == ["id-1"]


def test_what_is_due_for_longest_goes_first(world: World) -> None:
    """A portion at a time."""
    record(world, *(make(n, not_before=START - timedelta(seconds=n)) for n in range(5)))
    assert sorted(claim(world, 2)) == ["id-3", "id-4"]
    assert sorted(claim(world)) == ["id-0", "id-1", "id-2"]


def test_no_two_get_the_same(world: World) -> None:
    """Several replicas at once."""
    record(world, *(make(n) for n in range(40)))
    got: list[str] = []
    lock = threading.Lock()

    def take() -> None:
        while mine := claim(world, 3):
            with lock:
                got.extend(mine)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got += claim(world)
    assert sorted(got) == sorted(f"id-{n}" for n in range(40))
