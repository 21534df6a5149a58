"""Cases K: what a killed controller leaves to the next one, and when a run has taken too long."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from tests.conformance.asking import causes, next_run_at, overlap, span, states
from tests.harness import Warden, once
from tests.harness.manifests import job


@pytest.mark.parametrize(("interruption", "ends"), [("Rerun", ["Crashed", "Succeeded"]), ("Fail", ["Crashed"])])
def test_S155_a_run_whose_controller_died_ends_as_its_job_says(
    each_warden: Warden, interruption: str, ends: list[str]
) -> None:
    """Crashed either way; run again exactly once, or never; what was left of it is ended first, and the schedule goes on."""
    warden = each_warden
    script = f"echo x >> {warden.work}/ran; test -e {warden.work}/again || exec sleep 600"
    schedule = {"cron": "0 0 1 1 *"}
    warden.write("job", job("fragile", script, schedule=schedule, onInterruption=interruption))
    warden.start(applied=("fragile",))
    warden.trigger("fragile").ok()
    warden.wait_for((warden.work / "ran").exists, "the run to start")
    warden.kill9()
    (warden.work / "again").touch()
    assert warden.processes()
    warden.start()
    runs = warden.wait_run("fragile", count=len(ends))
    assert states(runs) == ends
    warden.wait_for(lambda: len(warden.processes()) == 1, "the left-over process to be ended")
    following = next_run_at(warden, "fragile")
    assert following is not None
    assert following > datetime.now(UTC)
    assert warden.stop() == 0
    assert states(warden.runs("fragile")) == ends
    assert (warden.work / "ran").read_text() == "x\n" * len(ends)
    if interruption == "Rerun":
        assert causes(runs) == ["Manual", "Replay"]
        assert len({one["metadata"]["name"] for one in runs}) == 2


def test_S157_after_a_crash_only_the_queued_retry_of_a_one_shot_runs(each_warden: Warden) -> None:
    """Its instant has passed, but it has been fired."""
    warden = each_warden
    script = f"echo x >> {warden.work}/ran; test -e {warden.work}/again || exec sleep 600"
    warden.write("job", once("fragile", script, onInterruption="Rerun"))
    warden.start()
    warden.wait_for((warden.work / "ran").exists, "the run to start")
    warden.kill9()
    (warden.work / "again").touch()
    warden.run_until_idle()
    assert causes(warden.runs("fragile")) == ["Schedule", "Replay"]
    assert states(warden.runs("fragile")) == ["Crashed", "Succeeded"]


def test_S157_after_a_crash_a_missed_instant_does_not_run_beside_the_replay(warden: Warden) -> None:
    """The replay comes first, and Forbid counts it."""
    script = f"echo x >> {warden.work}/ran; test -e {warden.work}/again || exec sleep 600; sleep 2"
    warden.write("job", job("fragile", script, schedule={"every": "1s"}, onInterruption="Rerun"))
    warden.start()
    warden.wait_for((warden.work / "ran").exists, "the run to start")
    warden.kill9()
    (warden.work / "again").touch()
    back = datetime.now(UTC) + timedelta(seconds=3)
    warden.wait_for(lambda: datetime.now(UTC) > back, "an outage in which three instants pass")
    warden.start()
    runs = warden.wait_run("fragile", "Succeeded", count=2)
    assert causes(warden.runs("fragile"))[:2] == ["Schedule", "Replay"]
    assert not any(overlap(one, other) for one, other in itertools.pairwise(runs))


def test_S158_a_run_is_timed_out_after_its_timeout_and_not_before(each_warden: Warden) -> None:
    """The clock of a run starts when it starts; one within its bound is left alone."""
    warden = each_warden
    warden.write("jobs", once("slow", "exec sleep 600", timeout="2s"), once("steady", "exec sleep 3", timeout="1h"))
    warden.run_until_idle()
    slow, steady = warden.runs("slow")[0], warden.runs("steady")[0]
    assert (slow["status"]["state"], slow["status"]["reason"]) == ("TimedOut", "Timeout")
    start, end = span(slow)
    assert (end - start).total_seconds() >= 1.9
    assert steady["status"]["state"] == "Succeeded"
