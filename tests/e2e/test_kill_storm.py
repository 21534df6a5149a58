"""kill -9 of the controller at random moments, a hundred times and more: at most once, at least once, and nothing forgotten.

Decided here: a run that was committed and not yet started when the controller died counts as cut short (`Crashed`), because nobody can know; so a
job with `onInterruption: Fail` may have run zero times, and is told as interrupted. JOBWARDEN_TEST_KILLS multiplies the number of kills.
"""

import os
import random
import sys
import time

import pytest

from tests.e2e.accounts import Account, marking, marks
from tests.harness import Warden, job, once, pool
from tests.harness.manifests import child

MORE = float(os.environ.get("JOBWARDEN_TEST_KILLS", "1"))
KILLS = {"sqlite": int(50 * MORE), "postgresql": int(30 * MORE)}
SEED = int(os.environ.get("JOBWARDEN_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
HISTORY = {"succeeded": 10_000, "failed": 10_000}


def tell(words: str) -> None:
    """For the report of a test that failed."""
    sys.stdout.write(words + "\n")


def every_second(warden: Warden, *, suspend: bool = False) -> list[dict[str, object]]:
    """Two schedules that go on through everything: each instant at most once, and each instant at least once."""
    schedule = {"every": "1s", "catchUp": {"policy": "All", "limit": 100}}
    common = {
        "schedule": schedule,
        "suspend": suspend,
        "history": HISTORY,
        "concurrency": {"policy": "Queue", "maxQueued": 1000},
    }
    return [
        job("tick-fail", marking(warden.work), onInterruption="Fail", **common),
        job("tick-rerun", marking(warden.work), onInterruption="Rerun", **common),
    ]


def batch(warden: Warden, number: int, chance: random.Random) -> tuple[list[dict[str, object]], dict[str, list[str]]]:
    """A handful of jobs of every kind, with work that takes up to a second; and their names by kind."""

    def work() -> str:
        return marking(warden.work, f"sleep {chance.random():.2f}")

    narrow = {"pools": [{"name": "narrow"}]}
    names = {kind: [f"{kind}-{number}-{index}" for index in range(2)] for kind in ("fail", "rerun")}
    documents = [once(name, work(), onInterruption="Fail", concurrency=narrow) for name in names["fail"]]
    documents += [once(name, work(), onInterruption="Rerun", concurrency=narrow) for name in names["rerun"]]
    parent, kid, again = f"parent-{number}", f"child-{number}", f"retry-{number}"
    documents.append(once(parent, work(), onInterruption="Rerun"))
    documents.append(child(kid, parent, work(), when="Finished", onInterruption="Rerun"))
    flaky = marking(warden.work, '[ "$JOBWARDEN_ATTEMPT" -gt 1 ]')
    documents.append(once(again, flaky, onInterruption="Fail", retry={"limit": 1, "backoff": {"initial": "1s"}}))
    return documents, names | {"parent": [parent], "child": [kid], "retry": [again]}


def quiet(warden: Warden) -> bool:
    """Nothing runs and nothing waits."""
    return not warden.items("queue", "-A") and not [
        one for one in warden.items("runs", "-A") if one["status"]["state"] == "Running"
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments_it_keeps_every_promise(each_warden: Warden, request: pytest.FixtureRequest) -> None:
    """Fail at most once, Rerun at least once, chains and retries go on, no instant lost or doubled, pools balanced, no process left."""
    warden, chance = each_warden, random.Random(SEED)
    kills = KILLS["postgresql" if "postgresql" in request.node.name else "sqlite"]
    tell(f"seed {SEED}, {kills} kills")
    warden.write("base", pool("narrow", 3), *every_second(warden))
    names: dict[str, list[str]] = {}
    for number in range(kills):
        documents, made = batch(warden, number, chance)
        warden.write(f"batch-{number}", *documents)
        for kind, some in made.items():
            names.setdefault(kind, []).extend(some)
        before = len(marks(warden.work))
        warden._spawn(())
        # The point is to hit any moment, the start and the recovery of the one before included: half of the kills come early.
        if number % 2:
            warden.wait_for(lambda before=before: len(marks(warden.work)) > before, "it to start something")
        time.sleep(chance.uniform(0.0, 1.5))
        assert warden.process is not None
        assert warden.process.poll() is None, f"it ended by itself\n{warden.story()}"
        warden.kill9()
        if number % 20 == 19:
            warden.cli("db", "check").ok()
    warden.start(applied=(names["retry"][-1],))
    warden.write("base", pool("narrow", 3), *every_second(warden, suspend=True))
    warden.wait_for(
        lambda: all(warden.job(name)["spec"]["suspend"] for name in ("tick-fail", "tick-rerun")),
        "the ticks to be suspended",
    )
    warden.wait_for(lambda: quiet(warden), "everything to be over", deadline=240)
    assert warden.stop() == 0

    account = Account(warden)
    tell(f"{len(account.runs)} runs, {account.crashed()} cut short")
    account.check()
    assert account.crashed() > 0, "no kill has hit anything: this test tests nothing"
    account.check_fails(*names["fail"])
    account.check_reruns(*names["rerun"], *names["parent"])
    check_chains(account, names)
    for name in names["retry"]:
        assert account.states(name) in (["Failed", "Succeeded"], ["Crashed"], ["Failed", "Crashed"]), (
            name,
            account.states(name),
        )
    check_ticks(account)
    account.check_explained(
        names["fail"][0], names["rerun"][-1], names["parent"][-1], names["child"][-1], names["retry"][-1]
    )


def check_chains(account: Account, names: dict[str, list[str]]) -> None:
    """Each parent's final end made exactly one child, in the parent's chain."""
    for parent, kid in zip(names["parent"], names["child"], strict=True):
        account.check_reruns(kid)
        asked = [one for one in account.dispatches if one["spec"]["job"] == kid and one["spec"]["cause"] == "Chain"]
        assert len(asked) == 1, (kid, asked)
        assert asked[0]["spec"]["triggeredBy"] == [account.by_job[parent][-1]["metadata"]["name"]]


def check_ticks(account: Account) -> None:
    """No instant is missing, none ran twice where once is promised, and each ran where that is promised."""
    for name in ("tick-fail", "tick-rerun"):
        account.check_instants(name, 1)
    fired = [
        one for one in account.dispatches if one["spec"]["job"] == "tick-rerun" and one["spec"]["cause"] == "Schedule"
    ]
    ran = {when for name, _, when in account.marks if name == "tick-rerun"}
    exhausted = sum(run["status"]["reason"] == "ReplaysExhausted" for run in account.by_job["tick-rerun"])
    assert len({one["spec"]["scheduledFor"] for one in fired if one["status"]["state"] == "Done"}) - exhausted <= len(
        ran
    )
    instants = [when for name, _, when in account.marks if name == "tick-fail"]
    assert len(instants) == len(set(instants)), "an instant of the job that must not be repeated ran twice"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_one_shots_and_ten_kills(each_warden: Warden) -> None:
    """Each Fail job ran at most once, each Rerun job at least once, all are accounted for, and `explain` tells what happened to each."""
    warden, chance = each_warden, random.Random(SEED)
    fails, reruns = [f"fail-{number}" for number in range(500)], [f"rerun-{number}" for number in range(500)]
    work = marking(warden.work, "sleep 0.5")
    warden.write("fails", *(once(name, work, onInterruption="Fail") for name in fails))
    warden.write("reruns", *(once(name, work, onInterruption="Rerun") for name in reruns))
    for _ in range(10):
        before = len(marks(warden.work))
        warden._spawn(("--max-running", "24"))
        warden.wait_for(lambda before=before: len(marks(warden.work)) > before, "it to start something")
        time.sleep(chance.uniform(0.0, 1.5))
        warden.kill9()
    warden.run_until_idle(deadline=300)
    account = Account(warden)
    tell(f"seed {SEED}: {account.crashed()} of {len(account.runs)} runs cut short")
    account.check()
    assert account.crashed() > 0
    account.check_fails(*fails)
    account.check_reruns(*reruns)
    cut = [name for name in fails if account.states(name) == ["Crashed"]][:3] + [
        name for name in reruns if len(account.states(name)) > 1
    ][:3]
    account.check_explained(*cut, fails[0], reruns[0])
