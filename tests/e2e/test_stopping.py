"""Stopping and starting: one controller a SQLite file, draining, impatience, and a controller that was frozen.

Decided here: the first Ctrl-C (or SIGTERM) opens nothing more and waits for what runs; the second interrupts what runs, as `onInterruption` says; the third
leaves at once, and what it leaves behind is ended and accounted for by the next start.
"""

import os
import signal
import time

import pytest

from tests.e2e.accounts import Account, marking, marks
from tests.harness import Warden, job, once


def send(warden: Warden, number: signal.Signals) -> None:
    """A signal to the controller alone."""
    assert warden.process is not None
    warden.process.send_signal(number)


def test_a_second_controller_on_one_file_is_refused_and_told_who_holds_it(make_warden) -> None:  # type: ignore[no-untyped-def]
    """Exit code 3, with process id and host of the first, which goes on as if nothing had happened."""
    first = make_warden()
    first.write("job", job("steady", marking(first.work)))
    first.start(applied=("steady",))
    file = first.state / "jobwarden" / "jobwarden.db"
    assert file.exists()
    assert first.process is not None
    refused = first.cli("run", str(first.manifests), "--db", f"sqlite:///{file}")
    assert refused.code == 3, refused
    assert str(first.process.pid) in refused.err
    assert os.uname().nodename in refused.err
    first.trigger("steady", "--wait").ok()
    first.kill9()
    first.start()
    first.trigger("steady", "--wait").ok()
    assert first.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_what_runs_and_opens_nothing_more(warden: Warden, number: signal.Signals) -> None:
    """What runs ends by itself and is told so; what waits is still there for the next start, which runs it once."""
    gate = warden.work / "gate"
    warden.write(
        "jobs",
        once("runs", marking(warden.work, f"while [ ! -e {gate} ]; do sleep 0.1; done")),
        job("waits", marking(warden.work)),
    )
    warden.start()
    warden.wait_for(lambda: len(marks(warden.work)) == 1, "the run to start")
    send(warden, number)
    warden.wait_for(
        lambda: "drain" in warden.log.read_text().lower() or "waiting for" in warden.log.read_text(),
        "it to say that it drains",
    )
    asked = warden.trigger("waits")
    gate.touch()
    assert warden.wait_ended() == 0
    assert [one["status"]["state"] for one in warden.runs("runs")] == ["Succeeded"]
    assert warden.runs("waits") == []
    warden.run_until_idle()
    account = Account(warden)
    account.check()
    assert account.times_run("runs") == 1
    assert account.times_run("waits") == (1 if asked.code == 0 else 0)


def test_the_second_signal_interrupts_what_runs(warden: Warden) -> None:
    """`Fail` work is over, `Rerun` work runs again at the next start, and nothing is left behind meanwhile."""
    again = warden.work / "again"
    hang = marking(warden.work, f"test -e {again} || exec sleep 600")
    warden.write("jobs", once("fail", hang, onInterruption="Fail"), once("rerun", hang, onInterruption="Rerun"))
    warden.start()
    warden.wait_for(lambda: len(marks(warden.work)) == 2, "both to run")
    send(warden, signal.SIGINT)
    warden.wait_for(lambda: "waiting for" in warden.log.read_text(), "it to say that it drains")
    send(warden, signal.SIGINT)
    assert warden.wait_ended() == 0
    assert warden.processes() == []
    again.touch()
    warden.run_until_idle()
    account = Account(warden)
    account.check()
    assert account.states("fail") == ["Crashed"]
    assert account.states("rerun") == ["Crashed", "Succeeded"]
    assert account.times_run("rerun") == 2


def test_the_third_signal_leaves_at_once_and_the_next_start_puts_it_right(each_warden: Warden) -> None:
    """Even while a child ignores TERM: nothing stays open for ever, nothing is left running."""
    warden = each_warden
    again = warden.work / "again"
    stubborn = f"test -e {again} && exit; trap '' TERM INT; while true; do sleep 1; done"
    common = {"terminationGracePeriod": "5m"}
    warden.write(
        "jobs",
        once("fail", marking(warden.work, stubborn), onInterruption="Fail", **common),
        once("rerun", marking(warden.work, stubborn), onInterruption="Rerun", **common),
    )
    warden.start()
    warden.wait_for(lambda: len(marks(warden.work)) == 2, "both to run")
    send(warden, signal.SIGINT)
    warden.wait_for(lambda: "waiting for" in warden.log.read_text(), "it to say that it drains")
    assert warden.process is not None
    while warden.process.poll() is None:
        send(warden, signal.SIGINT)
        time.sleep(0.5)
    warden.wait_ended()
    again.touch()
    warden.run_until_idle()
    account = Account(warden)
    account.check()
    assert account.states("fail") == ["Crashed"]
    assert account.states("rerun") == ["Crashed", "Succeeded"]


def test_a_frozen_controller_goes_on_where_it_was(warden: Warden) -> None:
    """SIGSTOP for some seconds is an outage: what ended meanwhile is told, and no instant fires twice."""
    schedule = {"every": "1s", "catchUp": {"policy": "All"}}
    warden.write(
        "jobs", job("tick", marking(warden.work), schedule=schedule), once("long", marking(warden.work, "sleep 2"))
    )
    warden.start()
    warden.wait_for(lambda: len(marks(warden.work)) >= 3, "some runs")
    send(warden, signal.SIGSTOP)
    time.sleep(4)
    send(warden, signal.SIGCONT)
    seen = len(marks(warden.work))
    warden.wait_for(lambda: len(marks(warden.work)) > seen + 3, "it to go on")
    warden.write(
        "jobs",
        job("tick", marking(warden.work), schedule=schedule, suspend=True),
        once("long", marking(warden.work, "sleep 2")),
    )
    warden.wait_for(lambda: warden.job("tick")["spec"].get("suspend"), "the ticks to be suspended")
    warden.wait_for(lambda: not warden.queue(), "the queue to be empty")
    assert warden.stop() == 0
    account = Account(warden)
    account.check()
    account.check_instants("tick", 1)
    assert account.states("long") == ["Succeeded"]
    instants = [when for name, _, when in account.marks if name == "tick"]
    assert len(instants) == len(set(instants))
