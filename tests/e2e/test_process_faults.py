"""Processes that misbehave: floods, deafness to TERM, daemons, commands that are not there."""

from pathlib import Path

from tests.e2e.accounts import Account, marking, marks
from tests.harness import Warden, bare, job, once
from tests.harness.manifests import LONG_AGO

AT_ONCE = {"schedule": {"at": LONG_AGO}}


def test_a_flood_of_200_mb_is_bounded_everywhere_and_holds_up_nobody(warden: Warden) -> None:
    """Memory, row and run log stay within their limits; the run is told as truncated; a neighbour runs meanwhile."""
    warden.write(
        "jobs",
        once("flood", "head -c 200000000 /dev/zero | tr '\\\\0' x; echo; echo the end"),
        once("neighbour", marking(warden.work)),
    )
    warden.start()
    warden.wait_run("neighbour", "Succeeded")
    run = warden.wait_run("flood", deadline=120)[0]
    output = run["status"]["output"]
    assert run["status"]["state"] == "Succeeded", run["status"]
    assert output["truncated"]
    assert output["bytes"] > 200_000_000
    assert len(output["stdout"]) <= 64 * 1024
    assert output["stdout"].endswith("the end\n")
    assert warden.process is not None
    status = Path(f"/proc/{warden.process.pid}/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 400_000, f"the controller grew to {peak} KiB"
    logs = sum(file.stat().st_size for file in warden.state.rglob("*") if file.is_file())
    assert logs < 200_000_000
    warden.cli("logs", run["metadata"]["name"]).ok()
    assert warden.stop() == 0


def test_a_timeout_ends_the_whole_tree_also_when_it_ignores_term(warden: Warden) -> None:
    """Children, grandchildren in sessions of their own, and whoever is deaf: all are gone when the run counts as ended."""
    deaf = "trap '' TERM; (trap '' TERM; while true; do sleep 1; done) & setsid sh -c 'trap \"\" TERM; while true; do sleep 1; done' & while true; do sleep 1; done"
    warden.write("job", once("deaf", marking(warden.work, deaf), timeout="2s", terminationGracePeriod="1s"))
    warden.start()
    run = warden.wait_run("deaf")[0]
    assert run["status"]["state"] == "TimedOut"
    warden.wait_for(lambda: len(warden.processes()) == 1, "everything of it to be gone")
    assert warden.stop() == 0


def test_a_cancel_ends_the_whole_tree(each_warden: Warden) -> None:
    """The run is told as cancelled by somebody; nothing of it is left."""
    warden = each_warden
    warden.write("job", once("long", marking(warden.work, "sleep 600 & setsid sleep 600 & sleep 600")))
    warden.start()
    warden.wait_for(lambda: len(marks(warden.work)) == 1, "it to run")
    name = warden.wait_run("long", "Running")[0]["metadata"]["name"]
    warden.cli("cancel", name).ok()
    run = warden.wait_run("long", "Cancelled")[0]
    assert run["status"]["cancelRequestedBy"]
    warden.wait_for(lambda: len(warden.processes()) == 1, "everything of it to be gone")
    assert warden.stop() == 0


def test_a_double_fork_does_not_outlive_an_interrupted_run(warden: Warden) -> None:
    """A child in a session of its own, whose parent has gone, is found by its environment after a kill -9 and ended."""
    daemon = "(setsid sh -c 'while true; do sleep 1; done' </dev/null >/dev/null 2>&1 &); exec sleep 600"
    warden.write("job", once("demon", marking(warden.work, daemon), onInterruption="Fail"))
    warden.start()
    warden.wait_for(lambda: len(warden.processes()) >= 4, "the daemon to run")
    warden.kill9()
    assert len(warden.processes()) >= 2
    warden.start()
    warden.wait_run("demon", "Crashed")
    warden.wait_for(lambda: len(warden.processes()) == 1, "the daemon to be ended")
    assert warden.stop() == 0
    Account(warden).check()


def test_what_cannot_be_started_says_so_and_what_to_do(warden: Warden) -> None:
    """Command not found, a shell that is not executable or missing, a working directory that is not there: Failed, StartFailed, in words."""
    plain = warden.work / "plain"
    plain.write_text("not a program")
    plain.chmod(0o644)
    jobs = {
        "not-found": {"exec": {"command": ["/no/such/program"]}},
        "not-in-path": {"exec": {"command": ["surely-no-such-program"]}},
        "bad-shell": {"shell": {"script": "true", "shell": str(plain)}},
        "no-shell": {"shell": {"script": "true", "shell": "/no/such/shell"}},
        "no-folder": {"shell": {"script": "true"}, "workingDir": "/no/such/folder"},
    }
    warden.write(
        "jobs", *(bare(name, **AT_ONCE, **spec) for name, spec in jobs.items()), once("good", marking(warden.work))
    )
    warden.run_until_idle()
    for name in jobs:
        (run,) = warden.runs(name)
        assert (run["status"]["state"], run["status"]["reason"]) == ("Failed", "StartFailed"), run["status"]
        assert run["status"]["message"], name
    assert "/no/such/program" in warden.runs("not-found")[0]["status"]["message"]
    assert "executable" in warden.runs("bad-shell")[0]["status"]["message"]
    (inside,) = warden.runs("good")
    assert inside["status"]["state"] == "Succeeded"


def test_a_command_that_the_shell_cannot_find_fails_with_its_exit_code(warden: Warden) -> None:
    """127, as the shell says, with its words in the output."""
    warden.write("job", once("typo", "surely-no-such-command"))
    warden.run_until_idle()
    (run,) = warden.runs("typo")
    assert (run["status"]["state"], run["status"]["exitCode"]) == ("Failed", 127)
    assert "not found" in run["status"]["output"]["stderr"]


def test_a_job_that_kills_its_own_controller_does_not_do_it_twice(warden: Warden) -> None:
    """The worst of all jobs: `Fail` keeps it from being run again at every start."""
    warden.write("job", once("assassin", marking(warden.work, "kill -9 $PPID; sleep 600"), onInterruption="Fail"))
    warden._spawn(())
    assert warden.wait_ended() == -9
    warden.run_until_idle()
    account = Account(warden)
    account.check()
    assert account.states("assassin") == ["Crashed"]
    assert account.times_run("assassin") == 1


def test_thousands_of_descriptors_and_a_closed_standard_output_harm_nobody(warden: Warden) -> None:
    """A child that closes everything, and one that leaves a pipe open in a background process, both end."""
    warden.write(
        "jobs",
        once("closes", marking(warden.work, "exec >&- 2>&- <&-; sleep 0.2")),
        once("keeps", marking(warden.work, "sleep 600 & echo started"), terminationGracePeriod="1s"),
        job("unused"),
    )
    warden.run_until_idle()
    account = Account(warden)
    account.check()
    assert account.states("closes") == account.states("keeps") == ["Succeeded"]
