"""Cases O: where the reference was defective, and what has to happen instead."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.asking import assert_refused, causes, next_run_at, overlap, pause_after, states, until_file
from tests.harness import Warden, instant, job, once, pool
from tests.harness.manifests import child


def test_S188_a_job_that_cannot_start_holds_nobody_up(each_warden: Warden) -> None:
    """Each broken one fails for its own reason, again and again, and its neighbours run."""
    warden = each_warden
    warden.write(
        "jobs",
        once("no-folder", workingDir="/no/such/folder"),
        once("no-shell", shell={"script": "true", "shell": "/no/such/shell"}),
        once("not-executable", shell={"script": "true", "shell": "/etc/passwd"}),
        once("no-variable", env=[{"name": "X", "valueFrom": {"fileRef": {"path": "/no/such/file"}}}]),
        once("good"),
        job("periodic", schedule={"every": "1s"}),
    )
    warden.start()
    broken = ("no-folder", "no-shell", "not-executable", "no-variable")
    for name in broken:
        run = warden.wait_run(name)[0]
        assert (run["status"]["state"], run["status"]["reason"]) == ("Failed", "StartFailed")
        assert "/" in run["status"]["message"]
    warden.wait_run("good", "Succeeded")
    warden.wait_run("periodic", "Succeeded", count=2)


def test_S190_a_child_that_had_to_wait_runs_when_it_can(each_warden: Warden) -> None:
    """Deferred is not lost, and it stays the same dispatch."""
    warden = each_warden
    pools = {"pools": [{"name": "narrow"}]}
    warden.write("pool", pool("narrow"))
    warden.write("holder", once("holder", until_file(warden.work / "go"), concurrency=pools))
    warden.start(applied=("holder",))
    warden.wait_run("holder", "Running")
    warden.write("jobs", once("parent"), child("child", "parent", concurrency=pools))
    waiting = warden.wait_for(
        lambda: [one for one in warden.queue("child") if one["status"].get("reason") == "PoolFull"], "the child to wait"
    )
    (warden.work / "go").touch()
    run = warden.wait_run("child", "Succeeded")[0]
    assert run["spec"]["triggeredBy"] == waiting[0]["spec"]["triggeredBy"]
    assert len(warden.runs("child")) == 1


def test_S191_a_small_output_limit_is_accepted_and_harms_no_later_edit(warden: Warden) -> None:
    """What is accepted stays acceptable."""
    warden.write("job", once("small", "echo 1234567890", output={"keep": "128"}))
    warden.start(applied=("small",))
    warden.wait_run("small", "Succeeded")
    warden.write("job", once("small", "echo 1234567890", output={"keep": "128"}, description="edited"))
    warden.wait_for(lambda: warden.job("small")["spec"].get("description") == "edited", "the edit")
    assert warden.condition("small", "Ready")["status"] == "True"


def test_S193_jobs_in_different_pools_run_side_by_side(each_warden: Warden) -> None:
    """One long run is no reason for another one to wait."""
    warden = each_warden
    warden.write("pools", pool("red"), pool("blue"))
    warden.write(
        "jobs",
        once("one", "sleep 3", concurrency={"pools": [{"name": "red"}]}),
        once("two", "sleep 3", concurrency={"pools": [{"name": "blue"}]}),
    )
    warden.run_until_idle()
    assert overlap(warden.runs("one")[0], warden.runs("two")[0])


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_S194_the_zone_of_the_host_moves_no_instant(make_warden: Callable[..., Warden], zone: str) -> None:
    """A failing job's next instant is never before its schedule's, whatever the machine calls the hour."""
    warden = make_warden(environment={"TZ": zone})
    start = datetime.now(UTC).replace(microsecond=0)
    warden.write("job", job("fails", "exit 1", schedule={"every": "2s"}, errorBackoff={"enabled": True}))
    warden.write("noon", job("noon", "exit 1", schedule={"cron": "0 12 * * *"}, errorBackoff={"enabled": True}))
    warden.start(applied=("fails", "noon"))
    run = warden.wait_run("fails", "Failed")[0]
    ended = instant(run["status"]["finishedAt"])
    assert ended >= start
    assert 28 <= pause_after(warden, "fails", ended).total_seconds() <= 35
    noon = next_run_at(warden, "noon")
    assert noon is not None
    assert (noon.hour, noon.minute) == (12, 0)
    assert warden.trigger("noon", "--wait").code == 1
    assert next_run_at(warden, "noon") == noon


def test_S196_a_timeout_is_tried_again_like_any_failure(each_warden: Warden) -> None:
    """One retry is two attempts, whoever ended the first."""
    warden = each_warden
    warden.write("job", once("slow", "exec sleep 600", timeout="1s", retry={"limit": 1, "backoff": {"initial": "1s"}}))
    warden.run_until_idle()
    assert states(warden.runs("slow")) == ["TimedOut", "TimedOut"]
    assert causes(warden.runs("slow")) == ["Schedule", "Retry"]


def test_S196_a_script_that_talks_of_a_timeout_has_failed_with_its_exit_code(warden: Warden) -> None:
    """What it prints says nothing about how it ended."""
    warden.write("job", once("talks", "echo connection timed out >&2; exit 4"))
    warden.run_until_idle()
    status = warden.runs("talks")[0]["status"]
    assert (status["state"], status["reason"], status["exitCode"]) == ("Failed", "ExitCode", 4)


def test_S197_an_approval_outlasts_a_wait_for_a_slot(each_warden: Warden) -> None:
    """Who has agreed is not asked again."""
    warden = each_warden
    pools = {"pools": [{"name": "narrow"}]}
    warden.write("pool", pool("narrow"))
    warden.write("holder", once("holder", until_file(warden.work / "go"), concurrency=pools))
    warden.start(applied=("holder",))
    warden.wait_run("holder", "Running")
    warden.write("gated", once("gated", concurrency=pools, approval={"required": True}))
    approval = warden.wait_for(lambda: warden.approvals("gated"), "an approval")[0]
    warden.cli("approve", approval["metadata"]["name"]).ok()
    warden.wait_for(
        lambda: [one["status"].get("reason") for one in warden.queue("gated")] == ["PoolFull"],
        "it to wait for the pool",
    )
    (warden.work / "go").touch()
    warden.wait_run("gated", "Succeeded")
    assert states(warden.approvals("gated")) == ["Approved"]


SUBJECT = {"kind": "Service", "principal": "payroll"}


def test_S206_what_this_version_cannot_enforce_is_refused(warden: Warden) -> None:
    """Never accepted and ignored; nor is what nobody is there to attest."""
    assert_refused(warden, job("bold", agent={}), "/spec/agent", "not supported")
    bold = job("bold", identity={"subject": SUBJECT, "attestation": "tpm"})
    assert_refused(warden, bold, "/spec/identity/attestation", "the identity has none")


def test_S206_a_limit_that_cannot_be_kept_refuses_the_run_or_is_told(warden: Warden) -> None:
    """A shell command does not tell what it costs: blocked where the contract blocks, told where it warns."""
    warden.write(
        "jobs",
        once("blocked", trustContract={"maxCost": "2.50"}),
        once("warned", trustContract={"maxCost": "2.50", "enforcement": "Warn"}),
    )
    warden.run_until_idle()
    assert {one["spec"]["job"]: one["status"]["state"] for one in warden.runs()} == {
        "blocked": "Denied",
        "warned": "Succeeded",
    }
    for name in ("blocked", "warned"):
        (run,) = warden.runs(name)
        told = warden.cli("trust", "explain", run["metadata"]["name"]).ok().out
        assert "maxCost cannot be enforced" in told


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image": "alpine"}, "only Pods have it"),
        ({"image": "alpine", "executor": "Kubernetes"}, "does not run jobs with the executor Kubernetes"),
    ],
)
def test_S206_what_this_controller_cannot_do_is_refused(warden: Warden, fields: dict[str, Any], words: str) -> None:
    """A place to run that its settings do not name is no place, and is not replaced by another one."""
    warden.write("bold", once("bold", **fields))
    warden.start()
    warden.wait_for(lambda: words in warden.log.read_text(encoding="utf-8"), "the refusal")
    assert warden.runs() == []


def test_S208_a_child_that_does_not_match_takes_nobody_elses_place(warden: Warden) -> None:
    """Every child that matches runs, however many there are."""
    names = [f"child-{number:02}" for number in range(30)]
    warden.write(
        "jobs",
        once("parent"),
        child("first", "parent", trigger={"if": "false"}),
        *(child(name, "parent") for name in names),
    )
    warden.run_until_idle()
    assert sorted(one["spec"]["job"] for one in warden.runs()) == [*names, "parent"]


@pytest.mark.parametrize(
    "verb",
    [
        ("hold", "stranger", "--reason", "why not"),
        ("release", "stranger"),
        ("cancel", "stranger"),
        ("cancel", "--root", "stranger"),
        ("describe", "job", "stranger"),
        ("explain", "stranger"),
        ("history", "stranger"),
        ("logs", "stranger"),
        ("tree", "stranger"),
    ],
    ids=lambda verb: "-".join(verb[:2]),
)
def test_S209_a_verb_about_something_unknown_fails_and_names_it(warden: Warden, verb: tuple[str, ...]) -> None:
    """Nobody is told of a success that was none."""
    warden.write("job", job("known"))
    warden.run_until_idle()
    answer = warden.cli(*verb)
    assert answer.code == 1, str(answer)
    assert "stranger" in answer.err
