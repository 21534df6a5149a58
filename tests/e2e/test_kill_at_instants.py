"""kill -9 at chosen instants: before and after commits, starts of processes, their reaping, and in the middle of a recovery.

Between commit and start nobody can know whether the work was done, so `Fail` work counts as cut short and is not repeated; between the end of a
process and the commit of its end likewise, though its work was done. `Rerun` work is repeated in both.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.accounts import Account, marking, marks
from tests.harness import Warden, job, once, pool
from tests.harness.manifests import child
from tests.harness.warden import ROOT

SCRIPT = Path(__file__).with_name("crashpoints.py")
DIED = -9


def run_with_trap(warden: Warden, trap: str, *arguments: str) -> int:
    """Run the controller until it dies at the instant or is done; gives its exit code."""
    with warden.log.open("ab") as log:
        return subprocess.run(
            [sys.executable, str(SCRIPT), trap, "run", str(warden.manifests), "--until-idle", *arguments],
            env=warden.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=False,
            timeout=180,
        ).returncode


def write_jobs(warden: Warden) -> None:
    """One of each: work of both guarantees, a chain, a pool, a retry."""
    narrow = {"pools": [{"name": "narrow"}]}
    warden.write(
        "jobs",
        pool("narrow", 1),
        once("fail", marking(warden.work), onInterruption="Fail", concurrency=narrow),
        once("rerun", marking(warden.work, "sleep 0.2"), onInterruption="Rerun", concurrency=narrow),
        child("child", "rerun", marking(warden.work), when="Finished", onInterruption="Rerun"),
        once(
            "flaky",
            marking(warden.work, '[ "$JOBWARDEN_ATTEMPT" -gt 1 ]'),
            retry={"limit": 1, "backoff": {"initial": "1s"}},
        ),
        job("asked", marking(warden.work)),
    )


def check(warden: Warden) -> None:
    """Everything holds, whatever happened before."""
    account = Account(warden)
    account.check()
    account.check_fails("fail")
    account.check_reruns("rerun", "child")
    chained = [one for one in account.dispatches if one["spec"]["job"] == "child" and one["spec"]["cause"] == "Chain"]
    assert len(chained) == 1, chained
    assert account.states("flaky") in (["Failed", "Succeeded"], ["Crashed"], ["Failed", "Crashed"])
    account.check_explained("fail", "rerun", "child", "flaky")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("point", "counts"),
    [
        ("before-commit", (1, 2, 4, 7, 10)),
        ("after-commit", (1, 2, 4, 7, 10)),
        ("before-spawn", (1, 3)),
        ("after-spawn", (1, 3)),
        ("after-reap", (1, 3)),
    ],
)
def test_dying_at_a_chosen_instant_breaks_no_promise(make_warden, point: str, counts: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    """Whatever the controller was doing: the next start puts everything right."""
    reached = 0
    for count in counts:
        warden = make_warden()
        write_jobs(warden)
        code = run_with_trap(warden, f"{point}:{count}")
        assert code in (DIED, 0), warden.story()
        reached += code == DIED
        warden.run_until_idle()
        check(warden)
        warden.close()
    assert reached >= min(2, len(counts)), f"{point} was reached {reached} times: this test tests nothing"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "trap", ["before-commit:2", "after-commit:2", "before-commit:4", "after-commit:4", "before-signal:1"]
)
def test_dying_again_while_recovering_breaks_no_promise(warden: Warden, trap: str) -> None:
    """A recovery that is cut short is taken up by the next one."""
    first = warden.work / "first"
    hang = f"if [ ! -e {first} ]; then touch {first}; exec sleep 600; fi"
    warden.write(
        "jobs",
        once("rerun", marking(warden.work, hang), onInterruption="Rerun"),
        once("fail", marking(warden.work, "exec sleep 600"), onInterruption="Fail"),
    )
    warden.start()
    warden.wait_for(lambda: len(marks(warden.work)) == 2, "both to run")
    warden.kill9()
    assert run_with_trap(warden, trap) in (DIED, 0)
    warden.run_until_idle()
    account = Account(warden)
    account.check()
    # The second death may have hit the replay.
    assert account.states("rerun") in (["Crashed", "Succeeded"], ["Crashed", "Crashed", "Succeeded"])
    assert account.states("fail") == ["Crashed"]
    assert account.times_run("fail") == 1
    assert account.times_run("rerun") >= 2


@pytest.mark.timeout(300)
def test_dying_at_chosen_instants_on_postgresql_breaks_no_promise(make_warden, postgres) -> None:  # type: ignore[no-untyped-def]
    """The same on PostgreSQL, one death after the other; the orphans are resolved once the leases of the dead have run out."""
    with postgres.database() as url:
        warden = make_warden(database=url)
        write_jobs(warden)
        reached = [
            run_with_trap(warden, trap)
            for trap in ("before-spawn:1", "after-commit:5", "after-spawn:1", "after-reap:1", "before-commit:3")
        ]
        assert DIED in reached, warden.story()
        warden.run_until_idle()
        check(warden)
        warden.close()
