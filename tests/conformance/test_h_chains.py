"""Cases H: retries, and what runs because something else ended."""

import itertools
import re
from datetime import timedelta

import pytest

from tests.conformance.asking import assert_accepted, assert_refused, causes, problems, span, states, until_file
from tests.harness import Warden, instant, job, once
from tests.harness.manifests import child


def test_S128_a_failure_is_tried_again_with_growing_pauses_until_the_limit(each_warden: Warden) -> None:
    """Three retries make four attempts, the pause doubles, and the fourth failure is final."""
    warden = each_warden
    warden.write("job", once("hopeless", "exit 1", retry={"limit": 3, "backoff": {"initial": "1s"}}))
    warden.run_until_idle()
    runs = warden.runs("hopeless")
    assert states(runs) == ["Failed"] * 4
    assert [one["spec"]["attempt"] for one in runs] == [1, 2, 3, 4]
    pauses = [span(later)[0] - span(earlier)[1] for earlier, later in itertools.pairwise(runs)]
    assert all(pause >= timedelta(seconds=2**number - 0.1) for number, pause in enumerate(pauses)), pauses


@pytest.mark.parametrize(
    ("backoff", "pause"),
    [({}, 30), ({"initial": "1m"}, 60)],
    ids=["default", "initial"],
)
def test_S128_the_first_pause_is_what_the_job_says(warden: Warden, backoff: dict[str, str], pause: int) -> None:
    """Half a minute by default."""
    warden.write("job", once("fails", "exit 1", retry={"limit": 3, "backoff": backoff}))
    warden.start()
    failed = warden.wait_run("fails", "Failed")[0]
    retry = warden.wait_for(lambda: warden.queue("fails"), "the retry to wait")[0]
    assert (retry["spec"]["cause"], retry["spec"]["attempt"]) == ("Retry", 2)
    waits = instant(retry["spec"]["notBefore"]) - span(failed)[1]
    assert abs(waits - timedelta(seconds=pause)) < timedelta(seconds=2)


def test_S128_no_pause_is_longer_than_the_maximum(warden: Warden) -> None:
    """The second one would be 20 s."""
    backoff = {"initial": "2s", "factor": 10, "max": "15s"}
    warden.write("job", once("fails", "exit 1", retry={"limit": 3, "backoff": backoff}))
    warden.start()
    failed = warden.wait_run("fails", "Failed", count=2)[1]
    retry = warden.wait_for(lambda: warden.queue("fails"), "the second retry to wait")[0]
    assert abs(instant(retry["spec"]["notBefore"]) - span(failed)[1] - timedelta(seconds=15)) < timedelta(seconds=2)


def test_S130_a_failure_child_waits_for_the_last_attempt(each_warden: Warden) -> None:
    """It runs once, and is linked to the run that settled it."""
    warden = each_warden
    warden.write(
        "jobs",
        once("parent", "exit 1", retry={"limit": 1, "backoff": {"initial": "2s"}}),
        child("on-failure", "parent", when="Failed"),
        child("on-success", "parent"),
        child("on-end", "parent", when="Finished"),
    )
    warden.start(applied=("parent",))
    parents = warden.wait_run("parent", "Failed", count=2)
    last = parents[1]["metadata"]["name"]
    for name in ("on-failure", "on-end"):
        run = warden.wait_run(name, "Succeeded")[0]
        assert run["spec"]["cause"] == "Chain"
        assert run["spec"]["triggeredBy"] == [last]
        assert run["spec"]["root"] == parents[0]["metadata"]["name"]
        assert span(run)[0] >= span(parents[1])[1]
    assert {one["spec"]["job"] for one in warden.runs()} == {"parent", "on-failure", "on-end"}
    assert len(warden.runs("on-failure")) == 1


def test_S131_a_backlog_of_one_leaves_room_for_a_retry(each_warden: Warden) -> None:
    """The dispatch that runs no longer waits, so it does not count against its own retry."""
    warden = each_warden
    warden.write(
        "jobs",
        job("parent", "exit 1", retry={"limit": 1, "backoff": {"initial": "1s"}}, concurrency={"maxQueued": 1}),
        child("on-failure", "parent", when="Failed"),
    )
    warden.run_until_idle()
    warden.trigger("parent").ok()
    warden.run_until_idle()
    assert causes(warden.runs("parent")) == ["Manual", "Retry"]
    assert len(warden.runs("on-failure")) == 1


def test_S133_a_one_shot_that_waits_for_its_retry_is_not_due_itself(each_warden: Warden) -> None:
    """Not even for a controller that starts meanwhile."""
    warden = each_warden
    script = f"echo x >> {warden.work}/ran; exit 1"
    warden.write("job", once("one-shot", script, retry={"limit": 1, "backoff": {"initial": "5s"}}))
    warden.start()
    warden.wait_run("one-shot", "Failed")
    warden.kill9()
    warden.run_until_idle()
    assert causes(warden.runs("one-shot")) == ["Schedule", "Retry"]
    assert (warden.work / "ran").read_text() == "x\nx\n"


def test_S136_a_condition_decides_whether_a_child_runs(each_warden: Warden) -> None:
    """Text is compared with its case; what fails is false; without a condition the child always runs."""
    warden = each_warden
    conditions = {
        "same-case": "outputs['parent'].stdout.contains('alert')",
        "other-case": "outputs['parent'].stdout.contains('ALERT')",
        "at-start": "outputs['parent'].stdout.startsWith('alert')",
        "exit-code": "parents['parent'].exitCode == 0 && parents['parent'].state == 'Succeeded'",
        "value": "outputs['parent'].values['level'] == '95'",
        "no-such-value": "outputs['parent'].values['nothing'] == 'x'",
        "no-such-parent": "parents['stranger'].exitCode == 0",
        "parameter": "parameters['colour'] == 'red'",
    }
    warden.write(
        "jobs",
        once("parent", "echo alert at 95%; echo level=95 >> $JOBWARDEN_OUTPUT"),
        child("always", "parent"),
        *(child(name, "parent", trigger={"if": text}) for name, text in conditions.items() if name != "parameter"),
        child(
            "parameter",
            "parent",
            trigger={"if": conditions["parameter"]},
            parameters=[{"name": "colour", "default": "red"}],
        ),
    )
    warden.run_until_idle()
    ran = {one["spec"]["job"] for one in warden.runs()} - {"parent"}
    assert ran == {"always", "same-case", "at-start", "exit-code", "value", "parameter"}


def test_S137_a_delayed_child_waits_in_the_queue_from_the_end_of_its_parent(each_warden: Warden) -> None:
    """A minute ahead, and it knows whose child it is."""
    warden = each_warden
    warden.write("jobs", once("parent"), child("later", "parent", trigger={"delay": "60s"}))
    warden.start()
    parent = warden.wait_run("parent", "Succeeded")[0]
    waiting = warden.wait_for(lambda: warden.queue("later"), "the child to wait")[0]
    assert waiting["spec"]["cause"] == "Chain"
    assert waiting["spec"]["triggeredBy"] == [parent["metadata"]["name"]]
    assert waiting["spec"]["root"] == parent["metadata"]["name"]
    delay = instant(waiting["spec"]["notBefore"]) - span(parent)[1]
    assert abs(delay - timedelta(seconds=60)) < timedelta(seconds=2)


def test_S139_a_chain_may_be_ten_deep_and_not_eleven(warden: Warden) -> None:
    """The eleventh level is refused with its place; the ten above it are fine."""
    chain = [job("level-0"), *(child(f"level-{depth}", f"level-{depth - 1}") for depth in range(1, 11))]
    assert_accepted(warden, *chain)
    found = problems(warden, {"level-11": child("level-11", "level-10")})
    assert "10" in found["level-11"]
    assert "/spec/trigger/after" in found["level-11"]


def test_S139_a_job_may_not_follow_itself(warden: Warden) -> None:
    """Refused where it says so."""
    assert_refused(warden, child("loop", "loop"), "/spec/trigger/after/0/job")


def test_S139_a_cycle_of_three_is_refused_in_each_of_them(warden: Warden) -> None:
    """With the way round it."""
    found = problems(warden, {"a": child("a", "c"), "b": child("b", "a"), "c": child("c", "b"), "d": job("d")})
    assert [name for name, problem in found.items() if problem] == ["a", "b", "c"]
    assert "/spec/trigger/after" in found["a"]
    assert re.search(r"\bb\b.*\bc\b", found["a"])


def test_S139_moving_a_job_counts_what_hangs_below_it(warden: Warden) -> None:
    """A whole subtree is moved, so its depth counts."""
    left = [job("left-0"), *(child(f"left-{depth}", f"left-{depth - 1}") for depth in range(1, 7))]
    right = [child("right-0", "left-6"), *(child(f"right-{depth}", f"right-{depth - 1}") for depth in range(1, 5))]
    found = problems(warden, {one["metadata"]["name"]: one for one in [*left, *right]})
    assert "right-4" in [name for name, problem in found.items() if problem]


def test_S140_cancelling_a_root_ends_all_of_its_chain(each_warden: Warden) -> None:
    """What runs is ended, what waits never starts, and the jobs themselves stay as they are."""
    warden = each_warden
    never = until_file(warden.work / "never")
    warden.write(
        "jobs",
        once("root"),
        child("left", "root", never),
        child("right", "root", never),
        child("delayed", "root", trigger={"delay": "1h"}),
        child("below", "left"),
    )
    warden.start()
    root = warden.wait_run("root", "Succeeded")[0]["metadata"]["name"]
    for name in ("left", "right"):
        warden.wait_run(name, "Running")
    warden.wait_for(lambda: warden.queue("delayed"), "the delayed child to wait")
    warden.cli("cancel", "--root", root).ok()
    for name in ("left", "right"):
        warden.wait_run(name, "Cancelled")
    warden.wait_for(lambda: warden.queue() == [], "nothing to wait any more")
    warden.wait_for(lambda: len(warden.processes()) == 1, "only the controller to be left")
    assert warden.runs("below") == []
    assert all(not one["spec"].get("suspend") for one in warden.jobs())


def test_S140_cancelling_one_run_leaves_its_siblings_alone(warden: Warden) -> None:
    """Without `--root` it is that run only."""
    script = until_file(warden.work / "go")
    warden.write("jobs", once("root"), child("left", "root", script), child("right", "root", script))
    warden.start()
    left = warden.wait_run("left", "Running")[0]["metadata"]["name"]
    warden.wait_run("right", "Running")
    warden.cli("cancel", left).ok()
    warden.wait_run("left", "Cancelled")
    assert states(warden.runs("right")) == ["Running"]
    (warden.work / "go").touch()
    warden.wait_run("right", "Succeeded")
