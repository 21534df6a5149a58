"""Cases D: overlap, pools, keys, approval bounds, and what a retry carries."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.conformance.asking import account, causes, span, states, turned_away, until_file
from tests.harness import Clock, Warden, instant, job, once, pool


def test_S065_an_instant_during_a_run_is_skipped_under_forbid(each_warden: Warden) -> None:
    """No second run; each instant is accounted for, and the schedule goes on."""
    warden = each_warden
    warden.write("job", job("single", until_file(warden.work / "go"), schedule={"every": "1s"}))
    warden.start()
    warden.wait_run("single", "Running")

    def skipped() -> list[object]:
        return [one for one in account(warden, "single") if (one["state"], one.get("reason")) == ("Skipped", "Forbid")]

    warden.wait_for(lambda: len(skipped()) >= 2, "two skipped instants")
    assert states(warden.runs("single")) == ["Running"]
    (warden.work / "go").touch()
    first, second = warden.wait_run("single", "Succeeded", count=2)[:2]
    assert span(second)[0] >= span(first)[1]


def test_S065_a_request_during_a_run_is_skipped_under_forbid(warden: Warden) -> None:
    """And whoever waits for it is told why."""
    warden.write("job", once("single", until_file(warden.work / "go")))
    warden.start()
    warden.wait_run("single", "Running")
    assert warden.trigger("single", "--wait").code == 1
    assert turned_away(warden, "single") == ["Forbid"]
    assert len(warden.runs("single")) == 1


def test_S067_runs_of_one_job_overlap_under_allow(each_warden: Warden) -> None:
    """A second instant starts a second run beside the first."""
    warden = each_warden
    script = until_file(warden.work / "go")
    warden.write("job", job("many", script, schedule={"every": "1s"}, concurrency={"policy": "Allow"}))
    warden.start()
    warden.wait_run("many", "Running", count=2)
    (warden.work / "go").touch()
    warden.wait_run("many", "Succeeded", count=2)


def test_S068_a_dispatch_waits_for_a_slot_that_another_job_holds(each_warden: Warden) -> None:
    """Its instant is not lost, and a job without a pool is not held up."""
    warden = each_warden
    pools = {"pools": [{"name": "narrow"}]}
    warden.write("pool", pool("narrow"))
    warden.write("holder", once("holder", until_file(warden.work / "go"), concurrency=pools))
    warden.start(applied=("holder",))
    warden.wait_run("holder", "Running")
    warden.write("jobs", once("waits", concurrency=pools), once("free"))
    warden.wait_run("free", "Succeeded")
    waiting = warden.wait_for(
        lambda: [one for one in warden.queue("waits") if one["status"].get("reason")], "it to wait"
    )
    assert [one["status"]["reason"] for one in waiting] == ["PoolFull"]
    assert warden.runs("waits") == []
    status = warden.cli("get", "pools", "narrow", "-o", "json").ok().json["status"]
    assert (status["held"], status["waiting"]) == (1, 1)
    (warden.work / "go").touch()
    waited = warden.wait_run("waits", "Succeeded")[0]
    assert span(waited)[0] >= span(warden.runs("holder")[0])[1]


def test_S070_an_instant_is_one_run_with_one_name_however_often_the_controller_starts(each_warden: Warden) -> None:
    """Names come from job, instant and attempt; a restart makes neither a second run nor a second name."""
    warden = each_warden
    retry = {"limit": 1, "backoff": {"initial": "1s"}}
    warden.write("jobs", once("one", "exit 1", retry=retry), once("two", at="2024-02-02T00:00:00Z"))
    warden.run_until_idle()
    first = warden.runs()
    warden.run_until_idle()
    assert [one["metadata"]["name"] for one in warden.runs()] == [one["metadata"]["name"] for one in first]
    names = [one["metadata"]["name"] for one in first]
    assert len(set(names)) == 3
    assert all(re.fullmatch(rf"{one['spec']['job']}-[a-z0-9]{{8}}", one["metadata"]["name"]) for one in first), names


def test_S071_two_requests_are_two_runs(warden: Warden) -> None:
    """Without a key, asking twice means wanting it twice."""
    warden.write("job", job("asked", concurrency={"policy": "Allow"}))
    warden.run_until_idle()
    for _ in range(2):
        warden.trigger("asked").ok()
    warden.run_until_idle()
    runs = warden.runs("asked")
    assert states(runs) == ["Succeeded", "Succeeded"]
    assert len({one["metadata"]["name"] for one in runs}) == 2


def test_S073_a_second_request_with_the_same_key_does_not_run(each_warden: Warden) -> None:
    """While the first runs and after it has ended; another key is another wish."""
    warden = each_warden
    warden.write("job", job("keyed", until_file(warden.work / "go"), concurrency={"policy": "Allow"}))
    warden.start(applied=("keyed",))
    warden.trigger("keyed", "--key", "invoice-7").ok()
    warden.wait_run("keyed", "Running")
    warden.trigger("keyed", "--key", "invoice-7", "--wait")
    assert turned_away(warden, "keyed") == ["DuplicateKey"]
    (warden.work / "go").touch()
    warden.wait_run("keyed", "Succeeded")
    warden.trigger("keyed", "--key", "invoice-7", "--wait")
    assert turned_away(warden, "keyed") == ["DuplicateKey", "DuplicateKey"]
    warden.trigger("keyed", "--key", "invoice-8", "--wait").ok()
    assert states(warden.runs("keyed")) == ["Succeeded", "Succeeded"]


@pytest.mark.slow
def test_S074_a_key_is_forgotten_after_its_time(make_warden: Callable[..., Warden], clock: Clock) -> None:
    """The same wish a week later is a new wish; two days later it is not."""
    warden = make_warden(environment=clock.environment())
    warden.write("job", job("keyed"))
    warden.run_until_idle()
    counts = []
    for days in (0, 2, 8):
        clock.step_to(timedelta(days=days))
        # Nobody runs who could note the wish down: the command does, by its own clock.
        warden.cli("trigger", "keyed", "--key", "weekly", environment=clock.environment())
        warden.run_until_idle()
        counts.append(len(warden.runs("keyed")))
    assert counts == [1, 1, 2]


def test_S076_a_request_beyond_the_open_approvals_is_turned_away(each_warden: Warden) -> None:
    """It ends Skipped without a run and without a question."""
    warden = each_warden
    approval = {"required": True, "maxPending": 1}
    warden.write("job", job("gated", approval=approval, concurrency={"policy": "Allow"}))
    warden.start(applied=("gated",))
    warden.trigger("gated").ok()
    warden.wait_for(lambda: warden.approvals("gated"), "the first approval")
    assert warden.trigger("gated", "--wait").code == 1
    assert turned_away(warden, "gated") == ["ApprovalBacklogFull"]
    assert len(warden.approvals("gated")) == 1
    assert warden.runs("gated") == []


def test_S077_a_retry_carries_its_attempt_and_the_run_that_it_repeats(each_warden: Warden) -> None:
    """Instant, root and parameters stay those of the first attempt."""
    warden = each_warden
    script = f"test -e {warden.work}/again || {{ touch {warden.work}/again; exit 1; }}"
    warden.write("job", once("flaky", script, retry={"limit": 2, "backoff": {"initial": "1s"}}))
    warden.run_until_idle()
    first, second = warden.runs("flaky")
    assert states([first, second]) == ["Failed", "Succeeded"]
    assert causes([first, second]) == ["Schedule", "Retry"]
    assert (first["spec"]["attempt"], second["spec"]["attempt"]) == (1, 2)
    assert second["spec"]["retryOf"] == first["metadata"]["name"]
    assert second["spec"]["root"] == first["spec"]["root"] == first["metadata"]["name"]
    assert instant(second["spec"]["scheduledFor"]) >= instant(first["spec"]["scheduledFor"])
