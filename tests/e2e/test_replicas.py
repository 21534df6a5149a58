"""Several replicas on one PostgreSQL: each run once, whoever dies or freezes, and the schedule goes on.

Decided here: a replica that was frozen for longer than its lease finds that it was declared gone, ends what it runs, and stops with an error; whoever
supervises it starts it again. What it had open has been told as interrupted by another replica, once.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.accounts import Account, marking, marks
from tests.harness import Postgres, Warden, job, once, pool, wait_for

Make = Callable[..., Warden]
LEASE = 15.0
HISTORY = {"succeeded": 10_000, "failed": 10_000}


@pytest.fixture
def replicas(make_warden: Make, postgres: Postgres) -> Iterator[list[Warden]]:
    """Three installations on one database and one folder of manifests, none of them started."""
    with postgres.database() as url:
        first = make_warden(database=url)
        made = [first, *(make_warden(database=url, manifests=first.manifests) for _ in range(2))]
        yield made
        for one in made:
            one.close()


def ticking(first: Warden, *, suspend: bool = False) -> list[dict[str, Any]]:
    """Two schedules a second: one that may overlap, one that queues."""
    schedule = {"every": "1s", "catchUp": {"policy": "All"}}
    common = {"schedule": schedule, "suspend": suspend, "history": HISTORY}
    return [
        job("tick", marking(first.work), concurrency={"policy": "Allow", "maxQueued": 1000}, **common),
        job("tock", marking(first.work), concurrency={"policy": "Queue", "maxQueued": 1000}, **common),
    ]


def busiest(replicas: list[Warden], folder: Warden) -> Warden:
    """The replica under which most of the processes run."""
    return max(replicas, key=lambda one: len(one.processes()))


def wind_up(replicas: list[Warden]) -> Account:
    """Let no more ticks come, let everything end, stop those that live, and see that the books balance."""
    first, living = replicas[0], [one for one in replicas if one.process is not None]
    first.write("ticks", *ticking(first, suspend=True))
    wait_for(
        lambda: all(living[0].job(name)["spec"]["suspend"] for name in ("tick", "tock")),
        "the ticks to be suspended",
        deadline=90,
    )
    wait_for(lambda: not living[0].queue(), "the queue to be empty", deadline=120, context=living[0].story)
    for one in living:
        assert one.stop() == 0, one.story()
    account = Account(first)
    account.check()
    for one in replicas:
        assert one.processes() == []
    for name in ("tick", "tock"):
        account.check_instants(name, 1)
        instants = [when for job_name, _, when in account.marks if job_name == name]
        assert len(instants) == len(set(instants)), name
    return account


@pytest.mark.timeout(300)
def test_three_replicas_run_everything_once(replicas: list[Warden]) -> None:
    """Two hundred one-shots in a pool and two schedules a second, shared out, without a slot too many."""
    first = replicas[0]
    names = [f"one-{number}" for number in range(200)]
    narrow = {"pools": [{"name": "narrow"}]}
    count = f"ls {first.work}/busy-* 2>/dev/null | wc -l >> {first.work}/counts"
    work = marking(first.work, f"touch {first.work}/busy-$$; {count}; sleep 0.1; rm {first.work}/busy-$$")
    first.write("pool", pool("narrow", 5))
    first.write("jobs", *(once(name, work, onInterruption="Fail", concurrency=narrow) for name in names))
    first.write("ticks", *ticking(first))
    for one in replicas:
        one._spawn(())
    wait_for(
        lambda: {name for name, _, _ in marks(first.work)} >= set(names),
        "everything to run",
        deadline=180,
        context=first.story,
    )
    wait_for(lambda: all(one["status"]["state"] != "Running" for one in first.runs()), "everything to end")
    account = wind_up(replicas)
    account.check_fails(*names)
    assert account.crashed() == 0
    assert max(int(line) for line in (first.work / "counts").read_text().split()) <= 5
    shared = [sum(" started " in line for line in one.log.read_text().splitlines()) for one in replicas]
    assert sum(count > 5 for count in shared) >= 2, f"only one replica did the work: {shared}"


@pytest.mark.timeout(300)
def test_when_the_busiest_replica_dies_the_others_take_over(replicas: list[Warden]) -> None:
    """Within its lease: its runs are ended and told, its source is served by another, no instant is lost or doubled, the others' runs go on."""
    first = replicas[0]
    again = first.work / "again"
    hang = marking(first.work, f"while [ ! -e {again} ]; do sleep 0.5; done")
    fails, reruns = [f"fail-{n}" for n in range(6)], [f"rerun-{n}" for n in range(6)]
    first.write("ticks", *ticking(first))
    first.start(applied=("tick",))
    for one in replicas[1:]:
        one.start()
    first.write(
        "jobs",
        *(once(n, hang, onInterruption="Fail") for n in fails),
        *(once(n, hang, onInterruption="Rerun") for n in reruns),
    )
    wait_for(
        lambda: len([name for name, _, _ in marks(first.work) if name[0] in "fr"]) == 12, "all to run", deadline=90
    )
    # The replica that serves the source is among the dead: the first to come has it.
    victims = [first] if busiest(replicas, first) is first else [first, busiest(replicas, first)]
    for one in victims[:1]:
        one.kill9()
    died = time.monotonic()
    survivor = replicas[1]
    crashed = wait_for(
        lambda: [one for one in survivor.runs() if one["status"]["state"] == "Crashed"] or not first.processes(),
        "the dead one's runs to be told as interrupted",
        deadline=90,
        context=survivor.story,
    )
    sys.stdout.write(f"taken over {time.monotonic() - died:.1f} s after its death (lease {LEASE:g} s)\n")
    again.touch()
    wait_for(lambda: not first.processes(), "what it left to be ended", deadline=90)
    first.write("late", once("late", marking(first.work), onInterruption="Fail"))
    wait_for(
        lambda: [m for m in marks(first.work) if m[0] == "late"],
        "another replica to serve the source",
        deadline=90,
        context=survivor.story,
    )
    wait_for(
        lambda: all(one["status"]["state"] != "Running" for one in survivor.runs()), "everything to end", deadline=90
    )
    account = wind_up(replicas)
    account.check_fails(*fails)
    account.check_reruns(*reruns)
    assert crashed
    survived = [name for name in fails if account.states(name) == ["Succeeded"]]
    cut = [name for name in fails if account.states(name) == ["Crashed"]]
    sys.stdout.write(f"{len(cut)} of {len(fails)} were its own\n")
    assert len(survived) + len(cut) == len(fails)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_replica_that_was_frozen_longer_than_its_lease_finishes_nothing_twice(replicas: list[Warden]) -> None:
    """Its runs were told as interrupted by another; when it wakes up, it changes nothing of that, and runs nothing twice."""
    first, second = replicas[:2]
    again = first.work / "again"
    hang = marking(first.work, f"test -e {again} || exec sleep 600")
    first.write("ticks", *ticking(first))
    first.write("jobs", once("fail", hang, onInterruption="Fail"), once("rerun", hang, onInterruption="Rerun"))
    first.start(applied=("tick", "fail", "rerun"))
    wait_for(
        lambda: {"fail", "rerun"} <= {name for name, _, _ in marks(first.work)}, "both to run", context=first.story
    )
    second.start()
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    again.touch()
    wait_for(
        lambda: [one for one in second.runs("rerun") if one["status"]["state"] == "Succeeded"],
        "the other to take over",
        deadline=90,
        context=second.story,
    )
    told = {one["metadata"]["name"]: one["status"] for one in second.runs() if one["spec"]["job"] in ("fail", "rerun")}
    first.process.send_signal(signal.SIGCONT)
    code = first.wait_ended(deadline=90)
    assert code != 0
    after = {one["metadata"]["name"]: one["status"] for one in second.runs() if one["spec"]["job"] in ("fail", "rerun")}
    assert after == told
    account = wind_up(replicas)
    assert account.states("fail") == ["Crashed"]
    assert account.states("rerun") == ["Crashed", "Succeeded"]
