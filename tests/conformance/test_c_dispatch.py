"""Cases C: what waits to run, who takes it, and how much may wait."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.conformance.asking import causes, next_run_at, overlap, span, states, turned_away, until_file
from tests.harness import Postgres, Warden, instant, job, once, pool


def test_S053_two_controllers_on_one_database_run_every_dispatch_once(
    make_warden: Callable[..., Warden], postgres: Postgres
) -> None:
    """Whoever claims first has it; the other one takes the next."""
    with postgres.database() as url:
        one = make_warden(database=url)
        other = make_warden(database=url, manifests=one.manifests)
        names = [f"job-{number}" for number in range(30)]
        one.write("jobs", *(once(name, f"echo x >> {one.work}/{name}; sleep 0.2") for name in names))
        one.start()
        other.start()
        one.wait_for(lambda: len(one.runs(state="Succeeded")) >= len(names), "all runs to succeed", deadline=120)
        assert sorted(run["spec"]["job"] for run in one.runs()) == sorted(names)
        assert {path.name: path.read_text() for path in one.work.iterdir()} == dict.fromkeys(names, "x\n")
        assert (one.stop(), other.stop()) == (0, 0)


def test_S055_a_dispatch_waits_in_the_queue_until_it_has_ended(each_warden: Warden) -> None:
    """While it waits it says why; once its run is open it is no longer there."""
    warden = each_warden
    warden.write("job", job("held"))
    warden.start(applied=("held",))
    warden.cli("hold", "held", "--reason", "a closer look").ok()
    warden.trigger("held").ok()
    waiting = warden.wait_for(lambda: [one for one in warden.queue("held") if one["status"].get("reason")], "a reason")
    assert [(one["status"]["state"], one["status"]["reason"]) for one in waiting] == [("Pending", "Held")]
    assert warden.runs("held") == []
    warden.cli("release", "held").ok()
    warden.wait_run("held", "Succeeded")
    assert warden.queue("held") == []


def test_S058_a_run_by_hand_leaves_the_schedule_alone(each_warden: Warden) -> None:
    """Neither its request nor its failure moves the next instant."""
    warden = each_warden
    warden.write("job", job("yearly", "exit 1", schedule={"cron": "0 0 1 1 *"}, errorBackoff={"enabled": True}))
    warden.start(applied=("yearly",))
    before = warden.wait_for(lambda: next_run_at(warden, "yearly"), "a next instant")
    warden.trigger("yearly").ok()
    run = warden.wait_run("yearly", "Failed")[0]
    assert run["spec"]["cause"] == "Manual"
    assert next_run_at(warden, "yearly") == before
    assert warden.job("yearly")["spec"]["schedule"]["cron"] == "0 0 1 1 *"


def test_S058_a_run_by_hand_does_not_use_up_a_one_shot(warden: Warden) -> None:
    """The planned run is still to come."""
    warden.write("job", job("later", schedule={"at": "2040-01-01T00:00:00Z"}))
    warden.start(applied=("later",))
    warden.trigger("later", "--wait").ok()
    assert causes(warden.runs("later")) == ["Manual"]
    assert next_run_at(warden, "later") == instant("2040-01-01T00:00:00Z")
    assert warden.condition("later", "Completed").get("status") != "True"


def test_S058_a_suspended_job_runs_by_hand(warden: Warden) -> None:
    """Suspension stops the schedule, not its owner."""
    warden.write("job", job("off", schedule={"every": "1h"}, suspend=True))
    warden.start(applied=("off",))
    warden.trigger("off", "--wait").ok()
    assert causes(warden.runs("off")) == ["Manual"]


def test_S058_a_request_for_an_unknown_job_is_refused(warden: Warden) -> None:
    """With the name, and without a record."""
    warden.write("job", job("known"))
    warden.run_until_idle()
    answer = warden.trigger("unknown")
    assert answer.code == 1
    assert "unknown" in answer.err
    assert warden.queue() == []


def test_S059_a_request_beyond_the_backlog_is_turned_away(each_warden: Warden) -> None:
    """The bound counts what waits; whoever asks is told at once, and what waited before still runs."""
    warden = each_warden
    script = until_file(warden.work / "go")
    warden.write("job", job("narrow", script, concurrency={"policy": "Queue", "maxQueued": 2}))
    warden.start(applied=("narrow",))
    warden.trigger("narrow").ok()
    warden.wait_run("narrow", "Running")
    for _ in range(2):
        warden.trigger("narrow").ok()
    warden.wait_for(lambda: len(warden.queue("narrow")) == 2, "two to wait")
    answer = warden.trigger("narrow")
    assert answer.code == 1
    assert "backlog" in answer.err
    (warden.work / "go").touch()
    warden.wait_run("narrow", "Succeeded", count=3)
    assert warden.queue("narrow") == []
    assert len(warden.runs("narrow")) == 3


def test_S059_an_instant_beyond_the_backlog_is_skipped(warden: Warden) -> None:
    """Nobody is there to be told, so it is accounted for."""
    concurrency = {"policy": "Queue", "maxQueued": 1}
    warden.write(
        "job", job("narrow", until_file(warden.work / "go"), schedule={"every": "1s"}, concurrency=concurrency)
    )
    warden.start()
    warden.wait_for(lambda: "QueueFull" in turned_away(warden, "narrow"), "an instant to be skipped")
    assert len(warden.queue("narrow")) == 1
    assert states(warden.runs("narrow")) == ["Running"]


def test_S061_what_waits_for_a_slot_looks_again_in_bounded_time_and_is_woken_by_a_free_one(each_warden: Warden) -> None:
    """The deferral grows with the backlog, never beyond five minutes, and nobody sleeps it out when the slot is free."""
    warden = each_warden
    pools = {"pools": [{"name": "one"}]}
    names = [f"waits-{number:02}" for number in range(14)]
    warden.write("pool", pool("one"))
    warden.write("holder", once("holder", until_file(warden.work / "go"), concurrency=pools))
    warden.start(applied=("holder",))
    warden.wait_run("holder", "Running")
    warden.write("jobs", *(once(name, concurrency=pools) for name in names))

    def deferred() -> list[timedelta]:
        items = [one for one in warden.queue() if one["status"].get("reason") == "PoolFull"]
        return (
            [instant(one["spec"]["notBefore"]) - datetime.now(UTC) for one in items] if len(items) == len(names) else []
        )

    delays = warden.wait_for(deferred, "all to wait for the pool")
    assert max(delays) <= timedelta(minutes=5)
    planned = {one["spec"]["job"]: instant(one["spec"]["notBefore"]) for one in warden.queue()}
    (warden.work / "go").touch()
    for name in names:
        run = warden.wait_run(name, "Succeeded")[0]
        assert span(run)[0] <= planned[name] + timedelta(seconds=60)
    assert warden.queue() == []


def test_S062_every_dispatch_asks_for_its_own_approval(each_warden: Warden) -> None:
    """An approval answers one dispatch: a second one has a second question, and both are open at once."""
    warden = each_warden
    warden.write("job", job("gated", approval={"required": True}, concurrency={"policy": "Allow"}))
    warden.start(applied=("gated",))
    for _ in range(2):
        warden.trigger("gated").ok()
    approvals = warden.wait_for(lambda: len(found := warden.approvals("gated")) == 2 and found, "two approvals")
    assert len({one["spec"]["dispatch"] for one in approvals}) == 2
    assert states(approvals) == ["Pending", "Pending"]
    assert warden.runs("gated") == []
    warden.cli("approve", approvals[0]["metadata"]["name"]).ok()
    warden.wait_run("gated", "Succeeded")
    assert len(warden.runs("gated")) == 1
    assert [one["status"]["state"] for one in warden.queue("gated")] == ["AwaitingApproval"]


def test_S064_queued_dispatches_follow_one_at_a_time_and_in_order(each_warden: Warden) -> None:
    """Each end lets exactly one in."""
    warden = each_warden
    parameters = [{"name": "number"}]
    script = f"{until_file(warden.work / 'go')}; echo $JOBWARDEN_PARAM_NUMBER >> {warden.work}/order"
    warden.write("job", job("serial", script, parameters=parameters, concurrency={"policy": "Queue"}))
    warden.start(applied=("serial",))
    for number in range(4):
        warden.trigger("serial", "-p", f"number={number}").ok()
    warden.wait_run("serial", "Running")
    warden.wait_for(lambda: len(warden.queue("serial")) == 3, "three to wait")
    (warden.work / "go").touch()
    runs = warden.wait_run("serial", "Succeeded", count=4)
    assert (warden.work / "order").read_text().split() == ["0", "1", "2", "3"]
    assert not any(overlap(one, other) for one, other in itertools.pairwise(runs))
