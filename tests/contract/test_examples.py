"""The examples keep what their first comment promises. Nearly all of them run in one controller at once, as they would for somebody who tries them."""

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from controller.domain.resolve import job_spec
from controller.schedule import plan
from tests.harness import Clock, Receiver, Warden, instant
from tests.harness.warden import ROOT

EXAMPLES = ROOT / "manifests/examples"
ALONE = {"catch-up", "on-interruption", "removal"}
"""Examples that a controller of their own plays: something has to be done to it."""
Document = dict[str, Any]


class Stage:
    """The examples, running, and what they talk to."""

    def __init__(self, warden: Warden, receiver: Receiver) -> None:
        self.warden, self.receiver = warden, receiver

    def runs(self, job: str, *states: str, namespace: str = "default") -> list[Document]:
        """The runs of one job, oldest first."""
        items = self.warden.cli("get", "runs", "--job", job, "-n", namespace, "-o", "json").ok().json["items"]
        found = [one for one in items if not states or one["status"]["state"] in states]
        return sorted(found, key=lambda one: (one["metadata"]["creationTimestamp"], one["spec"]["attempt"]))

    def wait_runs(self, job: str, *states: str, count: int = 1, namespace: str = "default") -> list[Document]:
        """Wait for so many runs of one job in these states (any end if none is named)."""
        wanted = states or ("Succeeded", "Failed", "TimedOut", "Cancelled", "Crashed")

        def found() -> list[Document]:
            runs = self.runs(job, *wanted, namespace=namespace)
            return runs if len(runs) >= count else []

        return self.warden.wait_for(found, f"{count} runs of {job} in {wanted}")

    def wait_dispatch(self, job: str, state: str, reason: str) -> Document:
        """Wait for a dispatch of one job that ended so."""

        def found() -> Document | None:
            items = self.warden.cli("get", "queue", "--all", "--job", job, "-o", "json").ok().json["items"]
            ended = (one["status"] for one in items)
            return next((one for one in ended if (one["state"], one["reason"]) == (state, reason)), None)

        return self.warden.wait_for(found, f"a dispatch of {job} that is {state}, {reason}")

    def wait_condition(self, job: str, kind: str, status: str = "True") -> Document:
        """Wait for a condition of one job."""

        def found() -> Document | None:
            condition = self.warden.condition(job, kind)
            return condition if condition.get("status") == status else None

        return self.warden.wait_for(found, f"{job} to be {kind}={status}")

    def printed(self, job: str) -> str:
        """What the latest run of one job printed."""
        return self.warden.cli("logs", job).ok().out


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One controller with all examples that need no controller of their own."""
    with Receiver() as receiver, Warden(environment=_secrets(receiver)) as warden:
        for file in EXAMPLES.glob("*.yaml"):
            if file.stem not in ALONE:
                shutil.copy(file, warden.manifests)
        warden.start("--config", str(EXAMPLES / "jobwarden.yaml"), applied=("tick", "wobbly"))
        yield Stage(warden, receiver)


def _secrets(receiver: Receiver) -> dict[str, str]:
    return {
        "EXAMPLE_TOKEN": "correct-horse",
        "EXAMPLE_WEBHOOK_URL": receiver.url("/on-call"),
        "EXAMPLE_WEBHOOK_KEY": "whsec_YmF0dGVyeSBzdGFwbGU=",
        "EXAMPLE_APPRISE_URL": receiver.url("/chat").replace("http:", "json:"),
    }


def _schedule(file: str, job: str) -> tuple[Any, str]:
    found = next(
        one
        for one in yaml.safe_load_all((EXAMPLES / f"{file}.yaml").read_text())
        if one is not None and one["metadata"]["name"] == job
    )
    return job_spec(found["spec"]).schedule, f"default/{job}"


def _second(run: Document) -> float:
    return instant(run["spec"]["scheduledFor"]).timestamp()


def _overlaps(runs: list[Document]) -> int:
    """The most runs that were open at one moment."""
    edges: list[tuple[datetime, int]] = []
    for run in runs:
        status = run["status"]
        if status["startedAt"] and status["finishedAt"]:
            edges += [(instant(status["startedAt"]), 1), (instant(status["finishedAt"]), -1)]
    most = now = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most


# All of them


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_every_manifest_is_valid_and_can_be_planned(command: str, warden: Warden) -> None:
    """`validate` and `plan` have nothing to object to in manifests/, quickstart and examples together."""
    result = warden.cli(command, str(ROOT / "manifests")).ok()
    assert "hint:" not in result.text


def test_every_example_has_a_test_and_begins_with_what_it_shows() -> None:
    """A file that nobody tests, or that does not say what it is about, is no example."""
    tests = Path(__file__).read_text()
    for file in sorted(EXAMPLES.rglob("*.yaml")):
        first, second = file.read_text().splitlines()[:2]
        assert first.startswith("# yaml-language-server: $schema="), file
        assert (file.parent / first.partition("=")[2]).resolve().is_file(), f"{file} names a schema that does not exist"
        assert re.match(r"# [A-Z].{30,}", second), f"{file} does not say what it shows"
        assert f"{file.relative_to(EXAMPLES)}" in tests, f"no test names {file.relative_to(EXAMPLES)}"


# When


def test_cron(stage: Stage) -> None:
    """cron.yaml: `tick` every other second, `early` at half past two, `hashed` once an hour in its own minute."""
    assert all(_second(run) % 2 == 0 for run in stage.wait_runs("tick", "Succeeded", count=2))
    assert stage.warden.job("early")["status"]["nextRunAt"].endswith("T02:30:00Z")
    schedule, key = _schedule("cron", "hashed")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert len({one.minute for one in plan.preview(schedule, key, start, start, 24)}) == 1


def test_nightly(stage: Stage) -> None:
    """nightly.yaml: at two in Berlin, whatever the season, and at once when somebody asks."""
    local = instant(stage.warden.job("nightly")["status"]["nextRunAt"]).astimezone(ZoneInfo("Europe/Berlin"))
    assert (local.hour, local.minute) == (2, 0)
    stage.warden.trigger("nightly").ok()
    (run,) = stage.wait_runs("nightly", "Succeeded")
    assert run["status"]["outputs"] == {"rows": "42"}
    assert stage.printed("nightly") == f"counted for {run['metadata']['name']}\n"


def test_crons(stage: Stage) -> None:
    """crons.yaml: it fires when any expression does, and once where two name the same instant."""
    seconds = [_second(run) for run in stage.wait_runs("twofold", "Succeeded", count=4)]
    assert len(seconds) == len(set(seconds))
    assert all(second % 2 == 0 or second % 3 == 0 for second in seconds)
    assert any(second % 2 for second in seconds)


def test_every(stage: Stage) -> None:
    """every.yaml: instants stand on a grid of three seconds that begins at `startAt`."""
    origin = instant("2026-01-01T00:00:01Z").timestamp()
    runs = stage.wait_runs("grid", "Succeeded", count=2)
    assert all((_second(run) - origin) % 3 == 0 for run in runs)
    printed = runs[1]["status"]["output"]["stdout"]
    assert re.search(r"this one is \S+\+00:00, the one before was \S+\+00:00", printed)


def test_at(stage: Stage) -> None:
    """at.yaml: `remembered` runs once, `expired` is Missed, both are Completed."""
    assert len(stage.wait_runs("remembered", "Succeeded")) == 1
    stage.wait_dispatch("expired", "Missed", "DeadlineExceeded")
    for job in ("remembered", "expired"):
        stage.wait_condition(job, "Completed")
    assert stage.runs("expired") == []


def test_time_zone(stage: Stage) -> None:
    """time-zone.yaml: runs see Berlin's time; 02:30 happens once on both days of the year on which clocks are set; `*` hours follow real time."""
    stage.wait_runs("berlin", "Succeeded")
    assert re.search(r"\+0[12]:00$", stage.printed("berlin").strip())
    fixed, key = _schedule("time-zone", "half-past-two")
    spring, autumn = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert plan.preview(fixed, key, spring, spring, 2) == [
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),  # 03:00 in Berlin, the first instant after the gap
        datetime(2026, 3, 30, 0, 30, tzinfo=UTC),
    ]
    assert plan.preview(fixed, key, autumn, autumn, 2) == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),  # 02:30 in summer time, the first of two
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]
    moving, key = _schedule("time-zone", "half-hourly")
    found = plan.preview(moving, key, spring, spring, 48)
    assert {after - before for before, after in itertools.pairwise(found)} == {timedelta(minutes=30)}


def test_jitter(stage: Stage) -> None:
    """jitter.yaml: starts lie up to a second after instants that stand on the grid, not all of them on it."""
    runs = stage.wait_runs("scattered", "Succeeded", count=4)
    assert all(_second(run) % 2 == 0 for run in runs)
    late = [instant(run["status"]["startedAt"]).timestamp() - _second(run) for run in runs]
    assert min(late) >= 0
    assert max(late) > 0.05


def test_window(stage: Stage) -> None:
    """window.yaml: what is over is Completed and never runs; what has not begun waits for its first day."""
    stage.wait_condition("campaign", "Completed")
    assert stage.runs("campaign") == []
    assert stage.warden.job("next-century")["status"]["nextRunAt"].startswith("2100-01-01T09:00:00")


def test_starting_deadline(stage: Stage) -> None:
    """starting-deadline.yaml: who waits longer than two seconds is Missed; others run, one at a time."""
    stage.wait_dispatch("impatient", "Missed", "DeadlineExceeded")
    assert _overlaps(stage.wait_runs("impatient", "Succeeded", count=2)) == 1


@pytest.mark.slow
def test_catch_up(make_warden: Callable[..., Warden], clock: Clock) -> None:
    """catch-up.yaml: after some hours without a controller None runs nothing, Latest one, All the last three."""
    warden = make_warden(environment=clock.environment())
    shutil.copy(EXAMPLES / "catch-up.yaml", warden.manifests)
    warden.start(applied=("forgets", "latest", "all")).stop()
    clock.step_to(timedelta(hours=5, minutes=30))
    warden.start()
    assert len(warden.wait_run("all", "Succeeded", count=3)) == 3
    assert len(warden.wait_run("latest", "Succeeded")) == 1
    for job, count in (("all", 2), ("latest", 4), ("forgets", 5)):
        [missed] = [one for one in warden.queue(job, ended=True) if one["status"]["state"] == "Missed"]
        assert missed["spec"]["count"] == count, job
    assert warden.runs("forgets") == []


def test_error_backoff(stage: Stage) -> None:
    """error-backoff.yaml: instants are left out while it fails, recorded as Skipped, ErrorBackoff."""
    stage.wait_dispatch("broken", "Skipped", "ErrorBackoff")
    assert len(stage.runs("broken", "Failed")) >= 1


def test_priority(stage: Stage) -> None:
    """priority.yaml: of two that are due at once, the urgent one goes first."""
    [urgent], [leisurely] = stage.wait_runs("urgent"), stage.wait_runs("leisurely")
    assert instant(urgent["status"]["startedAt"]) < instant(leisurely["status"]["startedAt"])


def test_pause(stage: Stage) -> None:
    """pause.yaml: neither fires, and both say why."""
    assert stage.wait_condition("suspended", "Suspended")["reason"] == "Suspended"
    assert "the disk is being replaced" in stage.wait_condition("held", "Suspended")["message"]
    assert stage.runs("suspended") == stage.runs("held") == []


# After what


def test_chain_any(stage: Stage) -> None:
    """chain-any.yaml: one after the other, with a delay, in one tree; nothing that waits for a failure runs."""
    [cleaned] = stage.wait_runs("clean-up", "Succeeded")
    [extracted], [loaded] = stage.runs("extract"), stage.runs("load")
    assert cleaned["spec"]["root"] == loaded["spec"]["root"] == extracted["metadata"]["name"]
    assert instant(cleaned["status"]["startedAt"]) - instant(loaded["status"]["finishedAt"]) >= timedelta(seconds=1)
    assert stage.runs("alarm") == []
    tree = stage.warden.cli("tree", extracted["metadata"]["name"]).ok().out
    assert all(job in tree for job in ("extract", "load", "clean-up"))


def test_chain_all(stage: Stage) -> None:
    """chain-all.yaml: one run after both parents have succeeded, naming both."""
    [published] = stage.wait_runs("publish", "Succeeded")
    parents = {stage.runs(job)[0]["metadata"]["name"]: stage.runs(job)[0] for job in ("build", "check")}
    assert set(published["spec"]["triggeredBy"]) == set(parents)
    assert all(one["status"]["finishedAt"] <= published["status"]["startedAt"] for one in parents.values())


def test_condition(stage: Stage) -> None:
    """condition.yaml: 42 is heavy, so `heavy` runs and `light` is Skipped, ConditionFalse."""
    stage.wait_runs("heavy", "Succeeded")
    stage.wait_dispatch("light", "Skipped", "ConditionFalse")
    assert stage.runs("light") == []


def test_parent_output(stage: Stage) -> None:
    """parent-output.yaml: child and grandchild are given the name that `snapshot` wrote."""
    stage.wait_runs("register", "Succeeded")
    assert stage.printed("verify") == "verified snapshot-4711\n"
    assert stage.printed("register") == "registered snapshot-4711 on shelf A\n"


# What


def test_exec(stage: Stage) -> None:
    """exec.yaml: arguments arrive exactly as they are written."""
    stage.wait_runs("exactly", "Succeeded")
    assert stage.printed("exactly") == "$HOME is not expanded\ntwo  blanks\n*\n"


def test_shell(stage: Stage) -> None:
    """shell.yaml: both streams are recorded, and nothing of the controller's environment leaks in."""
    [run] = stage.wait_runs("script", "Succeeded")
    assert run["status"]["output"]["stdout"].startswith(f"in /tmp, run {run['metadata']['name']} of default/script")
    assert run["status"]["output"]["stderr"] == "and to standard error\n"
    names = run["status"]["output"]["stdout"].splitlines()[1].split()
    assert "EXAMPLE_TOKEN" not in names
    assert "XDG_STATE_HOME" not in names


def test_watchdog_check(stage: Stage) -> None:
    """watchdog-check.yaml: `copying` is Completed after its task has ended, `hanging` raises an alert."""
    stage.wait_condition("copying", "Completed")
    assert stage.runs("copying")[0]["status"]["reason"] == "WatchEnded"
    assert {run["status"]["reason"] for run in stage.wait_runs("hanging", "Succeeded")} == {"Stuck"}


def test_watchdog_job(stage: Stage) -> None:
    """watchdog-job.yaml: `minder` is Stuck while a run of `slow-one` is silent or takes too long, and that run goes on."""

    def stuck() -> Document | None:
        return next((one for one in stage.runs("minder") if one["status"]["reason"] == "Stuck"), None)

    found = stage.warden.wait_for(stuck, "minder to find slow-one stuck")
    assert "slow-one-" in found["status"]["message"]
    stage.wait_runs("slow-one", "Succeeded")


def test_environment(stage: Stage) -> None:
    """environment.yaml: values arrive from the manifest, the job, the controller's environment and a file, and the secret is shown nowhere."""
    [run] = stage.wait_runs("informed", "Succeeded")
    assert run["status"]["output"]["stdout"] == "mode careful, team data, machine known\na token of 13 characters\n"
    described = stage.warden.cli("describe", "job", "informed").ok().text
    assert "correct-horse" not in described + str(run)


def test_on_request(stage: Stage) -> None:
    """on-request.yaml: parameters are checked, and a key runs once."""
    trigger = ("report-for", "-p", "day=2026-01-31", "--key", "report-2026-01-31")
    stage.warden.trigger(*trigger, "--wait").ok()
    assert stage.printed("report-for") == "a pdf for 2026-01-31\n"
    assert "report-2026-01-31" in stage.warden.trigger(*trigger).ok().out
    assert len(stage.runs("report-for")) == 1
    assert "day" in stage.warden.trigger("report-for").err
    assert stage.warden.trigger("report-for", "-p", "day=tomorrow").code == 1


# Under which limits


def test_timeout(stage: Stage) -> None:
    """timeout.yaml: it ends as TimedOut, after it was asked to end, and nothing of it is left."""
    [run] = stage.wait_runs("endless", "TimedOut")
    assert run["status"]["output"]["stdout"] == "asked to end, and did not listen\n"
    mark = f"JOBWARDEN_RUN_ID={run['metadata']['name']}".encode()
    assert not [path for path in Path("/proc").glob("[0-9]*/environ") if mark in _environ(path).split(b"\0")]


def _environ(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_concurrency(stage: Stage) -> None:
    """concurrency.yaml: Forbid skips, Allow overlaps, Replace ends the old one, Queue runs them one after the other."""
    stage.wait_dispatch("forbids", "Skipped", "Forbid")
    assert _overlaps(stage.wait_runs("forbids", "Succeeded", count=2)) == 1
    assert _overlaps(stage.wait_runs("allows", "Succeeded", count=3)) >= 2
    assert _overlaps(stage.wait_runs("replaces", "Cancelled", count=2)) == 1
    assert _overlaps(stage.wait_runs("queues", "Succeeded", count=3)) == 1


def test_pools(stage: Stage) -> None:
    """pools.yaml: all three run, and never more than two slots are held."""
    greedy = stage.wait_runs("greedy", "Succeeded", count=2)
    others = stage.wait_runs("modest", "Succeeded", count=2) + stage.wait_runs("frugal", "Succeeded", count=2)
    assert _overlaps(greedy + greedy + others) <= 2


def test_cluster_pool(stage: Stage) -> None:
    """cluster-pool.yaml: jobs of two namespaces share one slot."""
    letters = stage.wait_runs("letters", "Succeeded", count=2)
    invoices = stage.wait_runs("invoices", "Succeeded", count=2, namespace="reporting")
    assert _overlaps(letters + invoices) == 1


def test_retry(stage: Stage) -> None:
    """retry.yaml: three attempts, one by rule, and a failure that does not matter."""
    stage.wait_runs("shaky", "Succeeded")
    assert [(run["spec"]["attempt"], run["status"]["state"]) for run in stage.runs("shaky")] == [
        (1, "Failed"),
        (2, "Failed"),
        (3, "Succeeded"),
    ]
    [harmless] = stage.wait_runs("harmless", "Succeeded")
    assert (harmless["status"]["reason"], harmless["status"]["exitCode"]) == ("Ignored", 4)
    assert len(stage.wait_runs("hopeless", "Failed")) == 1
    waiting = stage.warden.cli("get", "queue", "--job", "hopeless", "-o", "json").ok().json["items"]
    assert waiting == []


def test_on_interruption(make_warden: Callable[..., Warden]) -> None:
    """on-interruption.yaml: after kill -9 of the controller one job is run again and the other is not."""
    warden = make_warden()
    shutil.copy(EXAMPLES / "on-interruption.yaml", warden.manifests)
    warden.start()
    warden.wait_run("at-most-once", "Running")
    warden.wait_run("at-least-once", "Running")
    warden.kill9()
    warden.start()
    warden.wait_run("at-least-once", "Succeeded")
    assert [run["status"]["state"] for run in warden.runs("at-least-once")] == ["Crashed", "Succeeded"]
    assert [run["status"]["state"] for run in warden.runs("at-most-once")] == ["Crashed"]


# With people


def test_approval(stage: Stage) -> None:
    """approval.yaml: one waits for a yes, its child asks again, and a question that nobody answers is answered by its policy."""
    stage.wait_runs("overdue-question", "Succeeded")
    for job in ("release-notes", "rollout"):
        stage.warden.wait_for(lambda job=job: stage.warden.approvals(job), f"{job} to ask")
        assert stage.runs(job) == []
        stage.warden.cli("approve", job, "--reason", "looks good").ok()
        stage.wait_runs(job, "Succeeded")


def test_notifications(stage: Stage) -> None:
    """notifications.yaml: the webhook hears of second failures and of recoveries, the apprise service of successes, and no secret is shown."""

    def heard() -> list[Document]:
        found = stage.receiver.deliveries("/on-call")
        return found if {"Failed", "Recovered"} <= {_event(one) for one in found} else []

    messages = stage.warden.wait_for(heard, "the webhook to hear of a failure and a recovery")
    assert {_event(one) for one in messages} == {"Failed", "Recovered"}
    stage.warden.wait_for(lambda: stage.receiver.deliveries("/chat"), "the apprise service to hear of a success")
    shown = stage.warden.cli("get", "targets", "-o", "yaml").ok().text + stage.warden.log.read_text()
    assert "whsec_" not in shown
    assert stage.receiver.url("/on-call") not in shown


def _event(message: Document) -> str:
    return str(message["data"]["event"])


def test_alerts(stage: Stage) -> None:
    """alerts.yaml: `stale` is Overdue for lack of success, `lengthy` while its run takes too long."""
    assert stage.wait_condition("stale", "Overdue")["reason"] == "NoSuccess"
    assert stage.wait_condition("lengthy", "Overdue")["reason"] == "RunsTooLong"
    assert stage.warden.condition("daily", "Overdue")["status"] == "False"


def test_history(stage: Stage) -> None:
    """history.yaml: the database has the last kibibyte, the run log everything."""
    [run, *_] = stage.wait_runs("chatty", "Succeeded")
    output = run["status"]["output"]
    assert len(output["stdout"]) == 1024
    assert output["truncated"] is True
    log = stage.warden.cli("logs", run["metadata"]["name"]).ok().out
    assert log.splitlines() == [f"line {number} of five hundred" for number in range(1, 501)]


def test_removal(make_warden: Callable[..., Warden]) -> None:
    """removal.yaml: without its documents one run is cancelled, one goes on, and the protected job stays."""
    warden = make_warden()
    shutil.copy(EXAMPLES / "removal.yaml", warden.manifests)
    warden.start(applied=("protected",))
    warden.wait_run("fleeting", "Running")
    warden.wait_run("lingering", "Running")
    warden.remove("removal")
    warden.wait_run("fleeting", "Cancelled")
    warden.wait_run("lingering", "Succeeded")
    assert [one["metadata"]["name"] for one in warden.jobs()] == ["protected"]


# Configuration


def test_the_configuration_allows_what_the_examples_need(stage: Stage) -> None:
    """jobwarden.yaml: without it, a reference to the controller's environment is refused."""
    allowed = yaml.safe_load((EXAMPLES / "jobwarden.yaml").read_text())["settings"]["allowEnv"]
    named = set(re.findall(r"EXAMPLE_[A-Z_]+", "".join(file.read_text() for file in EXAMPLES.glob("*.yaml"))))
    assert set(allowed) == named == set(_secrets(stage.receiver))


def test_several_sources(make_warden: Callable[..., Warden]) -> None:
    """several-sources/jobwarden.yaml, several-sources/platform/pools.yaml and several-sources/team/jobs.yaml: a team's job runs in its namespace with
    the platform's pool; the pool that it may not declare is refused by name and line."""
    warden = make_warden()
    warden.start("--config", str(EXAMPLES / "several-sources/jobwarden.yaml"))
    stage = Stage(warden, Receiver())
    stage.wait_runs("chores", "Succeeded", namespace="team")
    assert {one["metadata"]["name"] for one in warden.items("sources")} >= {"platform", "team"}
    assert warden.cli("describe", "pool", "sneaky-pool").code == 1
    assert "sneaky-pool" in warden.log.read_text()
