"""Several controllers on one PostgreSQL and one API server: one reconciles and writes status, all run jobs, and whoever dies is replaced."""

import itertools
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from tests.cluster.conftest import watch
from tests.cluster.test_events import events
from tests.cluster.test_faults import last_run, ready
from tests.harness import Postgres, Warden, bare, instant, once, wait_for
from tests.harness.controlplane import ControlPlane

NAME = "jobwarden-replicas"
TAKE_OVER = 90.0  # generous: ten seconds is the Lease's own duration


@pytest.fixture
def replicas(
    plane: ControlPlane, make_warden: Callable[..., Warden], postgres: Postgres
) -> Iterator[Callable[[int], list[Warden]]]:
    """Starts that many controllers on one database, all of which watch the namespace `default`."""
    with postgres.database() as url:
        made: list[Warden] = []

        def start(count: int) -> list[Warden]:
            made.extend(make_warden(database=url, environment=plane.environment("controller")) for _ in range(count))
            for one in made:
                one.start(*watch("default"))
            return made

        yield start
        for one in made:
            one.close()


def holder(plane: ControlPlane) -> str:
    """Who holds the Lease; empty: nobody."""
    lease = plane.get("lease", "default", "jobwarden") or {}
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def leader(plane: ControlPlane, among: list[Warden]) -> Warden | None:
    """The controller that holds the Lease."""
    held = holder(plane)
    return next((one for one in among if held and f"me={held}" in one.log.read_text()), None)


def ticking(**more: object) -> object:
    """A job that fires every second, of which no instant may be lost."""
    return bare(
        "ticks",
        schedule={"every": "1s", "catchUp": {"policy": "All"}},
        shell={"script": "true"},
        concurrency={"policy": "Allow", "maxQueued": 1000},
        history={"succeeded": 10_000, "failed": 10_000},
        **more,
    )


def instants(warden: Warden) -> list[str]:
    """What has fired, in order."""
    return sorted(one["spec"]["scheduledFor"] for one in warden.queue("ticks", ended=True))


def follows(plane: ControlPlane, warden: Warden) -> None:
    """The status tells of runs that are newer than all that there are now."""
    known = {one["metadata"]["name"] for one in warden.runs("ticks")}
    warden.wait_for(lambda: last_run(plane, "ticks") not in {None, *known}, "the status to follow", deadline=TAKE_OVER)


def balanced(plane: ControlPlane, warden: Warden) -> None:
    """Every second had its one dispatch, and no second has two."""
    plane.apply(ticking(suspend=True)).ok()
    warden.wait_for(lambda: warden.job("ticks")["spec"]["suspend"], "it to be suspended", deadline=TAKE_OVER)
    warden.wait_for(lambda: not warden.queue("ticks"), "the queue to be empty", deadline=TAKE_OVER)
    found = [instant(one) for one in instants(warden)]
    assert len(found) == len(set(found)), "an instant fired twice"
    gaps = [(one, other) for one, other in itertools.pairwise(found) if other - one != timedelta(seconds=1)]
    assert gaps == []


@pytest.mark.slow
def test_another_replica_takes_over_when_the_leader_is_killed(
    plane: ControlPlane, replicas: Callable[[int], list[Warden]]
) -> None:
    """kill -9: the schedule goes on, no instant is lost or doubled, and status and changes are the other one's business."""
    plane.apply(ticking()).ok()
    both = replicas(2)
    first = wait_for(lambda: leader(plane, both), "a leader")
    other = next(one for one in both if one is not first)
    follows(plane, other)
    first.kill9()
    wait_for(lambda: leader(plane, [other]), "the other one to lead", deadline=TAKE_OVER, context=other.story)
    follows(plane, other)
    plane.apply(once("late")).ok()
    other.wait_run("late", "Succeeded", deadline=TAKE_OVER)
    balanced(plane, other)
    assert other.stop() == 0
    assert holder(plane) == ""


@pytest.mark.slow
def test_three_replicas_share_the_work_and_one_of_them_leads(
    plane: ControlPlane, replicas: Callable[[int], list[Warden]]
) -> None:
    """Whoever is stopped gives the Lease up; what followers run is in the status as well."""
    plane.apply(ticking()).ok()
    three = replicas(3)
    for _ in range(2):
        now = wait_for(lambda: leader(plane, three), "a leader")
        follows(plane, now)
        assert now.stop() == 0
        three.remove(now)
        wait_for(lambda: leader(plane, three), "another leader", deadline=TAKE_OVER)
    follows(plane, three[0])
    balanced(plane, three[0])


@pytest.mark.slow
def test_a_leader_that_cannot_renew_steps_down_and_comes_back(
    plane: ControlPlane, replicas: Callable[[int], list[Warden]]
) -> None:
    """Without an API server nobody leads, and jobs go on; with it one leads again, and changes are seen."""
    plane.apply(ticking()).ok()
    both = replicas(2)
    first = wait_for(lambda: leader(plane, both), "a leader")
    follows(plane, first)
    plane.stop_api()
    said = "does not lead any more"
    first.wait_for(lambda: said in first.log.read_text(), "it to step down", deadline=TAKE_OVER)
    before = len(instants(first))
    first.wait_for(lambda: len(instants(first)) > before + 3, "jobs to go on")
    plane.start_api()
    plane.apply(once("late")).ok()
    first.wait_run("late", "Succeeded", deadline=TAKE_OVER)
    follows(plane, first)
    balanced(plane, first)


@pytest.mark.slow
def test_a_leader_that_was_frozen_writes_nothing_that_another_has_overtaken(
    plane: ControlPlane, replicas: Callable[[int], list[Warden]]
) -> None:
    """It wakes up, finds another leader, and what it had in hand does not undo what happened meanwhile."""
    plane.apply(bare("edited", schedule={"every": "1h"}, shell={"script": "true"})).ok()
    both = replicas(2)
    first = wait_for(lambda: leader(plane, both), "a leader")
    other = next(one for one in both if one is not first)
    other.wait_for(lambda: ready(plane, "edited"), "it to be ready")
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: leader(plane, [other]), "the other one to lead", deadline=TAKE_OVER, context=other.story)
        plane.apply(bare("edited", schedule={"every": "2h"}, shell={"script": "true"})).ok()
        other.wait_for(lambda: other.job("edited")["spec"]["schedule"]["every"] == "2h", "the change")
    finally:
        first.process.send_signal(signal.SIGCONT)
    plane.apply(once("late")).ok()
    other.wait_run("late", "Succeeded", deadline=TAKE_OVER)
    assert other.job("edited")["spec"]["schedule"]["every"] == "2h"
    assert leader(plane, [other]) is other


def test_what_a_follower_runs_is_in_the_status_and_in_its_own_events(
    plane: ControlPlane, replicas: Callable[[int], list[Warden]]
) -> None:
    """It hands the news to the leader, who writes the status; the Event says whose doing it was."""
    plane.apply(bare("asked", shell={"script": "true"})).ok()
    both = replicas(2)
    first = wait_for(lambda: leader(plane, both), "a leader")
    other = next(one for one in both if one is not first)
    other.wait_for(lambda: ready(plane, "asked"), "it to be ready")

    def ran_there() -> str | None:
        other.cli("trigger", "asked", "--wait").ok()
        run = str(other.runs("asked")[-1]["metadata"]["name"])
        return run if f"run={run}" in other.log.read_text() else None

    run = other.wait_for(ran_there, "a run of the follower")
    other.wait_for(lambda: last_run(plane, "asked") == run, "the status")
    [told] = other.wait_for(
        lambda: [one for one in events(plane, "default", "asked", "Succeeded") if run in one["note"]], "the Event"
    )
    assert f"instance={told['reportingInstance'].rpartition('_')[2]}" in other.log.read_text()


def test_a_follower_that_is_asked_to_reconcile_says_that_it_may_not(
    plane: ControlPlane, replicas: Callable[[int], list[Warden]]
) -> None:
    """Nothing would be read, so nobody is told that it was."""
    both = replicas(2)
    first = wait_for(lambda: leader(plane, both), "a leader")
    other = next(one for one in both if one is not first)
    asked = other.cli("reconcile")
    assert (asked.code, "reconciled by another controller; ask that one" in asked.err) == (1, True), asked
    first.cli("reconcile").ok()
