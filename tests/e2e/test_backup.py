"""A backup taken while everything runs, and what a restore of it brings back: the past, and nothing of it again."""

import os
import signal
from collections import Counter

from tests.e2e.accounts import Account, marking, marks
from tests.harness import Warden, job, once
from tests.harness.manifests import child

QUEUE = {"policy": "Queue", "maxQueued": 1000}


def busy(warden: Warden) -> None:
    """One-shots, a schedule, a chain, a retry that waits, a question, and something that runs for long."""
    warden.write(
        "jobs",
        *(once(f"one-{number}", marking(warden.work, "sleep 0.3")) for number in range(20)),
        job("tick", marking(warden.work), schedule={"every": "1s", "catchUp": {"policy": "All"}}, concurrency=QUEUE),
        once("parent", marking(warden.work)),
        child("kid", "parent", marking(warden.work), trigger={"delay": "1h"}),
        once("flaky", marking(warden.work, "false"), retry={"limit": 3, "backoff": {"initial": "1h"}}),
        once("careful", marking(warden.work), approval={"required": True}),
        once("long", marking(warden.work, "exec sleep 600"), onInterruption="Rerun"),
    )


def test_a_backup_under_load_is_whole_and_its_restore_fires_nothing_again(each_warden: Warden) -> None:
    """One-shots stay done, what was open is told as ended, waiting work is cancelled, the schedule starts at now."""
    warden = each_warden
    busy(warden)
    warden.start("--max-running", "8")
    warden.wait_for(lambda: "long" in {name for name, _, _ in marks(warden.work)}, "the long one to run")
    warden.wait_for(
        lambda: warden.approvals("careful") and warden.queue("kid") and warden.queue("flaky"), "something to wait"
    )
    warden.wait_for(lambda: len({name for name, _, _ in marks(warden.work)}) >= 24, "the one-shots to run")
    copy = warden.folder / "copy.db"
    refused = warden.cli("db", "restore", str(copy))
    assert refused.code != 0
    warden.cli("db", "backup", str(copy)).ok()
    held = warden.cli("db", "restore", str(copy))
    assert held.code in (1, 3), f"a restore under a running controller\n{held}"
    warden.kill9()
    for pid in warden.processes():
        os.kill(pid, signal.SIGKILL)
    if "postgresql" in warden.environment.get("JOBWARDEN_DB", ""):
        # The lease of the dead controller has to run out: until then nobody can know that it is dead.
        warden.wait_for(lambda: warden.cli("db", "restore", str(copy)).code == 0, "the restore to be possible")
    else:
        warden.cli("db", "restore", str(copy)).ok()
    warden.cli("db", "check").ok()
    before = Counter(name for name, _, _ in marks(warden.work))
    ticks = {when for name, _, when in marks(warden.work) if name == "tick"}
    warden.start()
    warden.wait_for(lambda: len(marks(warden.work)) >= sum(before.values()) + 3, "the schedule to go on")
    again = Counter(name for name, _, _ in marks(warden.work)) - before
    assert set(again) == {"tick"}, again
    instants = [when for name, _, when in marks(warden.work) if name == "tick"]
    assert len(instants) == len(set(instants))
    assert ticks < set(instants)
    assert warden.queue("kid") == warden.queue("flaky") == []
    assert [one["status"]["state"] for one in warden.approvals("careful")] == ["Cancelled"]
    assert [one["status"]["state"] for one in warden.runs("long")] == ["Crashed"]
    assert warden.stop() == 0
    assert Account(warden).warden.cli("db", "check").ok()


def test_a_restore_with_hold_starts_nothing_until_it_is_released(warden: Warden) -> None:
    """Every job is held; released, a job goes on from now."""
    warden.write(
        "jobs", job("tick", marking(warden.work), schedule={"every": "1s"}), once("done", marking(warden.work))
    )
    warden.start()
    warden.wait_for(lambda: len(marks(warden.work)) >= 3, "some runs")
    copy = warden.folder / "copy.db"
    warden.cli("db", "backup", str(copy)).ok()
    assert warden.stop() == 0
    warden.cli("db", "restore", str(copy), "--hold").ok()
    before = len(marks(warden.work))
    warden.start()
    assert warden.job("tick")["status"].get("nextRunAt") is None
    warden.cli("trigger", "done").ok()
    warden.wait_for(lambda: warden.queue("done"), "the asked one to wait")
    assert len(marks(warden.work)) == before
    warden.cli("release", "tick").ok()
    warden.wait_for(lambda: len(marks(warden.work)) >= before + 2, "it to go on")
    assert {name for name, _, _ in marks(warden.work)[before:]} == {"tick"}
    assert warden.stop() == 0
