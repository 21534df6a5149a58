"""Cases G: what a run leaves behind, and what a watchdog makes of its check."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.conformance.asking import next_run_at, states, told
from tests.harness import Receiver, Warden, bare, once, webhook
from tests.harness.manifests import Document, rfc3339


def watchdog(name: str, script: str, *, every: str = "1s", **watch: object) -> Document:
    """A watchdog over something outside, that tells the target `team` about alerts and failures."""
    return bare(
        name,
        watchdog={"check": {"script": script}, **watch},
        schedule={"every": every},
        notifications=[{"events": ["Alert", "Failed", "Succeeded"], "targetRef": {"name": "team"}}],
    )


def test_S116_a_script_that_exits_with_7_failed_with_7(each_warden: Warden) -> None:
    """Both streams are kept apart, exactly as printed, and the message names the code."""
    warden = each_warden
    warden.write("job", once("seven", "printf 'out 1\\n  out 2'; printf 'err\\n' >&2; exit 7"))
    warden.run_until_idle()
    status = warden.runs("seven")[0]["status"]
    assert (status["state"], status["reason"], status["exitCode"]) == ("Failed", "ExitCode", 7)
    assert (status["output"]["stdout"], status["output"]["stderr"]) == ("out 1\n  out 2", "err\n")
    assert "7" in status["message"]


def test_S116_a_script_that_succeeds_exits_with_0(warden: Warden) -> None:
    """A number like any other."""
    warden.write("job", once("fine", "echo done"))
    warden.run_until_idle()
    status = warden.runs("fine")[0]["status"]
    assert (status["state"], status["exitCode"], status["output"]["stdout"]) == ("Succeeded", 0, "done\n")


def test_S118_output_beyond_what_the_database_keeps_is_in_the_run_log(each_warden: Warden) -> None:
    """The tail is in the run's status with the size of all of it; `logs` gives everything."""
    warden = each_warden
    script = "i=0; while [ $i -lt 1000 ]; do echo line-$i; i=$((i+1)); done; echo trouble >&2"
    warden.write("job", once("chatty", script, output={"keep": "1Ki"}))
    warden.run_until_idle()
    run = warden.runs("chatty")[0]
    everything = [f"line-{number}" for number in range(1000)]
    output = run["status"]["output"]
    assert output["truncated"] is True
    assert output["bytes"] == len("\n".join(everything)) + 1 + len("trouble\n")
    assert len(output["stdout"].encode()) <= 1024
    assert output["stdout"].endswith("line-998\nline-999\n")
    assert output["stderr"] == "trouble\n"
    log = warden.cli("logs", run["metadata"]["name"]).ok()
    assert [line for line in log.out.splitlines() if "line-" in line] == everything


def test_S119_no_character_is_split_where_output_is_cut(warden: Warden) -> None:
    """Whatever the limit, the tail is valid text and fits it."""
    script = "i=0; while [ $i -lt 700 ]; do printf 'é€😀'; i=$((i+1)); done"
    limits = range(1024, 1033)
    warden.write("jobs", *(once(f"cut-{limit}", script, output={"keep": str(limit)}) for limit in limits))
    warden.run_until_idle()
    for limit in limits:
        tail = warden.runs(f"cut-{limit}")[0]["status"]["output"]["stdout"]
        assert limit - 4 < len(tail.encode()) <= limit
        assert set(tail) == set("é€😀")
        assert tail in "é€😀" * 700


@pytest.mark.parametrize("says", ["echo all is well", 'echo \'{"status": "running"}\''], ids=["words", "json"])
def test_S121_a_check_that_succeeds_means_that_the_work_goes_on(warden: Warden, receiver: Receiver, says: str) -> None:
    """Nobody is alerted, and the next check comes."""
    warden.write("all", watchdog("guard", says), webhook("team", receiver.url("/team")))
    warden.start(applied=("guard",))
    runs = warden.wait_run("guard", count=2)
    assert set(states(runs)) == {"Succeeded"}
    assert warden.condition("guard", "Completed").get("status") != "True"
    assert next_run_at(warden, "guard") is not None
    assert ("Alert", "guard") not in told(receiver, "/team")


def test_S122_a_check_that_reports_the_end_completes_the_watchdog(each_warden: Warden, receiver: Receiver) -> None:
    """Even when it logs around its report; the watchdog stays and says Completed, and the controller has nothing left to do."""
    warden = each_warden
    report = '{"terminal": true, "status": "done", "summary": "imported 12 rows"}'
    script = f"echo checking...; echo '{report}'; echo bye"
    warden.write("all", watchdog("guard", script), webhook("team", receiver.url("/team")))
    warden.run_until_idle()
    runs = warden.runs("guard")
    assert states(runs) == ["Succeeded"]
    assert "imported 12 rows" in runs[0]["status"]["message"]
    assert warden.condition("guard", "Completed")["status"] == "True"
    assert told(receiver, "/team") == [("Succeeded", "guard")]


def test_S124_a_check_that_exits_with_1_alerts_once_an_episode(each_warden: Warden, receiver: Receiver) -> None:
    """The watchdog's own run is fine; it is the watched work that is stuck, and it is told once."""
    warden = each_warden
    script = f"test -e {warden.work}/well && exit 0; echo no sign of life; exit 1"
    warden.write("all", watchdog("guard", script), webhook("team", receiver.url("/team")))
    warden.start(applied=("guard",))

    def alerts() -> int:
        return told(receiver, "/team").count(("Alert", "guard"))

    warden.wait_for(lambda: alerts() == 1, "an alert")
    stuck = warden.wait_run("guard", count=3)
    assert set(states(stuck)) == {"Succeeded"}
    assert alerts() == 1
    (warden.work / "well").touch()
    warden.wait_for(lambda: warden.runs("guard")[-1]["status"].get("reason") == "StillRunning", "a good check")
    (warden.work / "well").unlink()
    warden.wait_for(lambda: alerts() == 2, "the alert of a second episode")


def test_S124_work_that_takes_too_long_is_stuck_whatever_its_check_says(warden: Warden, receiver: Receiver) -> None:
    """Not to know (exit 2) does not hide that the time is over."""
    began = rfc3339(datetime.now(UTC) - timedelta(hours=2))
    warden.write(
        "all",
        watchdog("late", "exit 2", startedAt=began, maxDuration="1h"),
        watchdog("unsure", "exit 2", startedAt=began, maxDuration="30d"),
        watchdog("odd", "exit 7", startedAt=began, maxDuration="30d"),
        webhook("team", receiver.url("/team")),
    )
    warden.start(applied=("late", "unsure", "odd"))
    warden.wait_for(lambda: ("Alert", "late") in told(receiver, "/team"), "the alert")
    assert set(states(warden.wait_run("late", count=2))) == {"Succeeded"}
    assert set(states(warden.wait_run("unsure", count=2))) == {"Succeeded"}
    assert set(states(warden.wait_run("odd", count=2))) == {"Failed"}
    alerted = [job for event, job in told(receiver, "/team") if event == "Alert"]
    assert alerted == ["late"]
