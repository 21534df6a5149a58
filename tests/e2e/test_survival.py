"""What waits survives: for a person, for a hold to be lifted, for its next attempt, for its place in a chain. All through kill -9."""

import pytest

from tests.e2e.accounts import Account, marking, marks
from tests.harness import Warden, job, once
from tests.harness.manifests import child


def crash(warden: Warden) -> None:
    """Die, and come back."""
    warden.kill9()
    warden.start()


def test_a_job_held_for_approval_survives_a_crash_and_runs_once_approved(each_warden: Warden) -> None:
    """The question is the same one, and is asked once."""
    warden = each_warden
    warden.write("job", once("careful", marking(warden.work), approval={"required": True}))
    warden.start()
    asked = warden.wait_for(lambda: warden.approvals("careful"), "the question")[0]["metadata"]["name"]
    crash(warden)
    assert [one["metadata"]["name"] for one in warden.approvals("careful")] == [asked]
    assert marks(warden.work) == []
    warden.cli("approve", asked).ok()
    warden.wait_run("careful", "Succeeded")
    crash(warden)
    assert warden.stop() == 0
    account = Account(warden)
    account.check()
    assert account.times_run("careful") == 1


def test_a_hold_survives_a_crash(warden: Warden) -> None:
    """Nothing fires while held; after the release the schedule goes on from there, and the instants under the hold are told as one range."""
    warden.write("job", job("tick", marking(warden.work), schedule={"every": "1s", "catchUp": {"policy": "All"}}))
    warden.start()
    warden.wait_run("tick", "Succeeded")
    warden.cli("hold", "tick", "--reason", "looking around").ok()
    warden.wait_for(
        lambda: not [one for one in warden.runs("tick") if one["status"]["state"] == "Running"], "it to be quiet"
    )
    before = len(marks(warden.work))
    crash(warden)
    crash(warden)
    warden.cli("get", "sources").ok()
    assert warden.job("tick")["status"].get("nextRunAt") is None
    assert len(marks(warden.work)) == before
    warden.cli("release", "tick").ok()
    warden.wait_for(lambda: len(marks(warden.work)) > before, "it to go on")
    instants = [when for _, _, when in marks(warden.work)]
    assert len(instants) == len(set(instants))


def test_a_retry_that_waits_survives_a_crash(each_warden: Warden) -> None:
    """It keeps its instant and its number, and there is one of it."""
    warden = each_warden
    warden.write(
        "job",
        once(
            "flaky",
            marking(warden.work, '[ "$JOBWARDEN_ATTEMPT" -gt 1 ]'),
            retry={"limit": 1, "backoff": {"initial": "10s"}},
        ),
    )
    warden.start()
    waiting = warden.wait_for(lambda: warden.queue("flaky"), "the retry to wait")
    assert [one["spec"]["cause"] for one in waiting] == ["Retry"]
    crash(warden)
    after = warden.queue("flaky") or warden.queue("flaky", ended=True)[-1:]
    assert [one["metadata"]["name"] for one in after] == [waiting[0]["metadata"]["name"]]
    assert [one["spec"]["notBefore"] for one in after] == [waiting[0]["spec"]["notBefore"]]
    warden.wait_run("flaky", "Succeeded")
    assert warden.stop() == 0
    account = Account(warden)
    account.check()
    assert account.states("flaky") == ["Failed", "Succeeded"]


@pytest.mark.slow
def test_a_chain_in_flight_survives_a_crash_at_every_link(each_warden: Warden) -> None:
    """Each link is cut short once and replayed; the chain ends whole, as one tree."""
    warden = each_warden
    names = ["first", "second", "third"]

    def work(name: str) -> str:
        cut = warden.work / f"cut-{name}"
        return marking(warden.work, f"if [ ! -e {cut} ]; then touch {cut}; exec sleep 600; fi")

    warden.write(
        "jobs",
        job("first", work("first"), onInterruption="Rerun"),
        child("second", "first", work("second"), onInterruption="Rerun"),
        child("third", "second", work("third"), onInterruption="Rerun"),
    )
    warden.start(applied=("first", "second", "third"))
    warden.trigger("first").ok()
    for name in names:
        warden.wait_for((warden.work / f"cut-{name}").exists, f"{name} to run")
        crash(warden)
    warden.wait_run("third", "Succeeded")
    assert warden.stop() == 0
    account = Account(warden)
    account.check()
    for name in names:
        assert account.states(name) == ["Crashed", "Succeeded"], name
        assert account.times_run(name) == 2
    assert len({run["spec"]["root"] for run in account.runs}) == 1


def test_a_delayed_child_survives_a_crash(warden: Warden) -> None:
    """`trigger.delay` counts from the parent's end, not from the restart, and the child runs once."""
    warden.write(
        "jobs",
        once("parent", marking(warden.work)),
        child("later", "parent", marking(warden.work), trigger={"delay": "5s"}),
    )
    warden.start()
    waiting = warden.wait_for(lambda: warden.queue("later"), "the child to wait")
    crash(warden)
    warden.wait_run("later", "Succeeded")
    done = warden.queue("later", ended=True)
    assert [one["metadata"]["name"] for one in done] == [waiting[0]["metadata"]["name"]]
    assert warden.stop() == 0
    Account(warden).check()


@pytest.mark.parametrize("policy", ["Queue", "Forbid", "Replace"])
def test_overlap_rules_hold_across_a_crash(warden: Warden, policy: str) -> None:
    """A replay counts as the run that it repeats: what came after it waits, is skipped, or takes its place."""
    cut = warden.work / "cut"
    warden.write(
        "job",
        job(
            "narrow",
            marking(warden.work, f"if [ ! -e {cut} ]; then touch {cut}; exec sleep 600; fi"),
            onInterruption="Rerun",
            concurrency={"policy": policy},
        ),
    )
    warden.start(applied=("narrow",))
    warden.trigger("narrow").ok()
    warden.wait_for(cut.exists, "it to run")
    warden.kill9()
    warden.trigger("narrow")
    warden.run_until_idle()
    account = Account(warden)
    account.check()
    states = account.states("narrow")
    asked = [one["status"]["state"] for one in account.dispatches if one["spec"]["cause"] == "Manual"]
    if policy == "Forbid":
        assert sorted(asked) in (["Done", "Skipped"], ["Done", "Done"])
    assert states[0] == "Crashed"
    assert states[-1] == "Succeeded"
