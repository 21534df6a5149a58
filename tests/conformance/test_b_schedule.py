"""Cases B: when a job fires, and what becomes of it afterwards. Arithmetic is asked of `plan`, with windows that start where the test wants."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.conformance.asking import (
    assert_accepted,
    assert_fires_at,
    assert_refused,
    first_instants,
    next_run_at,
    pause_after,
    problems,
    span,
    states,
    until_file,
    upcoming,
)
from tests.harness import Clock, Warden, instant, job, once
from tests.harness.manifests import Document, child, rfc3339

NEW_YORK = "America/New_York"


def test_S031_a_job_that_becomes_a_child_has_no_next_instant_until_it_is_a_root_again(warden: Warden) -> None:
    """Either way the edit alone decides."""
    warden.write("parent", job("parent"))
    warden.write("moved", job("moved", schedule={"cron": "0 0 1 1 *"}))
    warden.start(applied=("parent", "moved"))
    warden.wait_for(lambda: next_run_at(warden, "moved"), "a first next instant")
    warden.write("moved", child("moved", "parent"))
    warden.wait_for(lambda: next_run_at(warden, "moved") is None, "the child to have no next instant")
    warden.write("moved", job("moved", schedule={"cron": "0 0 1 1 *"}))
    assert warden.wait_for(lambda: next_run_at(warden, "moved"), "a new next instant") > datetime.now(UTC)


def test_S032_a_child_never_fires_by_time(warden: Warden) -> None:
    """It has no instants, and a controller with nothing else to do has nothing to do."""
    warden.write("jobs", job("parent"), child("child", "parent"))
    warden.run_until_idle()
    assert warden.runs() == []
    assert upcoming(warden, "child") == []


def test_S034_an_instant_with_an_offset_means_that_instant(warden: Warden) -> None:
    """It is shown in UTC, the job is due at it, and the run carries it."""
    warden.write("future", job("future", schedule={"at": "2040-03-10T09:30:00-04:00"}))
    warden.write("past", once("past", at="2024-03-10T09:30:00-04:00"))
    warden.start(applied=("future", "past"))
    run = warden.wait_run("past", "Succeeded")[0]
    assert instant(run["spec"]["scheduledFor"]) == instant("2024-03-10T13:30:00Z")
    assert next_run_at(warden, "future") == instant("2040-03-10T13:30:00Z")
    assert warden.runs("future") == []


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("1h30m", timedelta(minutes=90)),
    ],
)
def test_S035_a_duration_is_as_long_as_it_says(warden: Warden, text: str, length: timedelta) -> None:
    """Seen as the distance between the instants of `every`."""
    start = instant("2040-01-01T00:00:00Z")
    anchor = {"every": text, "startAt": rfc3339(start)}
    warden.write("job", job("periodic", schedule=anchor))
    warden.start(applied=("periodic",))
    following = warden.wait_for(lambda: upcoming(warden, "periodic"), "next instants")
    assert following[:2] == [start, start + length]


def test_S035_a_duration_without_a_unit_or_without_sense_is_refused(warden: Warden) -> None:
    """A bare number could be anything."""
    wrong = {"bare": "15", "number": 15, "word": "invalid", "month": "1mo", "negative": "-5s"}
    found = problems(warden, {name: job(name, timeout=value) for name, value in wrong.items()})
    assert all("/spec/timeout" in problem for problem in found.values()), found


def test_S037_a_wall_time_that_the_spring_gap_swallows_fires_at_the_first_instant_after_it(warden: Warden) -> None:
    """Once that day, at 03:00 local, and at 02:30 again the day after."""
    schedule = {"cron": "30 2 * * *", "timeZone": NEW_YORK}
    assert_fires_at(warden, schedule, "2027-03-13T07:30:00Z", "2027-03-14T07:00:00Z", "2027-03-15T06:30:00Z")


def test_S037_a_wildcard_hour_loses_nothing_across_the_spring_gap(warden: Warden) -> None:
    """01:30 and 03:00 local are half an hour apart."""
    schedule = {"cron": "*/30 * * * *", "timeZone": NEW_YORK}
    assert_fires_at(warden, schedule, "2027-03-14T06:30:00Z", "2027-03-14T07:00:00Z", "2027-03-14T07:30:00Z")


def test_S038_a_wall_time_that_exists_twice_fires_once_at_the_first(warden: Warden) -> None:
    """01:30 daylight time, and not again an hour later."""
    schedule = {"cron": "30 1 * * *", "timeZone": NEW_YORK}
    assert_fires_at(warden, schedule, "2027-11-06T05:30:00Z", "2027-11-07T05:30:00Z", "2027-11-08T06:30:00Z")


def test_S038_a_wildcard_hour_follows_real_time_through_the_repeated_hour(warden: Warden) -> None:
    """No hour of the night is left out."""
    schedule = {"cron": "0 * * * *", "timeZone": NEW_YORK}
    every_hour = [f"2027-11-07T0{hour}:00:00Z" for hour in (4, 5, 6, 7, 8)]
    assert_fires_at(warden, schedule, *every_hour)


def test_S040_the_last_day_of_the_month_and_the_nth_weekday_are_understood(warden: Warden) -> None:
    """Month ends and second Fridays."""
    assert_fires_at(
        warden, {"cron": "0 0 L * *"}, "2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"
    )
    assert_fires_at(
        warden, {"cron": "0 0 * * 5#2"}, "2027-01-08T00:00:00Z", "2027-02-12T00:00:00Z", "2027-03-12T00:00:00Z"
    )


@pytest.mark.parametrize(
    ("expression", "hint"),
    [("5/10 * * * *", "5-59/10"), ("0 0 * *", "field"), ("0 0 LW * *", "LW"), ("60 * * * *", ""), ("0 0 * * 5#6", "")],
)
def test_S040_what_the_grammar_does_not_know_is_refused_with_a_hint(warden: Warden, expression: str, hint: str) -> None:
    """The hint names what to write instead, where there is something."""
    assert_refused(warden, job("odd", schedule={"cron": expression}), "/spec/schedule/cron", hint)


def test_S041_a_date_that_does_not_exist_is_refused(warden: Warden) -> None:
    """A job that can never fire is a mistake, and the author is there to hear it."""
    assert_refused(warden, job("never", schedule={"cron": "0 0 30 2 *"}), "/spec/schedule/cron")


def test_S041_a_schedule_whose_window_has_passed_is_accepted_and_completed(warden: Warden) -> None:
    """It has no next instant and is never due."""
    over = job(
        "over", schedule={"cron": "0 0 * * *", "startAt": "2023-01-01T00:00:00Z", "endAt": "2023-02-01T00:00:00Z"}
    )
    assert_accepted(warden, over)
    warden.run_until_idle()
    assert warden.runs("over") == []
    assert next_run_at(warden, "over") is None
    assert warden.condition("over", "Completed")["status"] == "True"


def failing(name: str, schedule: Document, **error_backoff: object) -> Document:
    return (
        job(name, "exit 1", schedule=schedule, errorBackoff=error_backoff)
        if error_backoff
        else job(name, "exit 1", schedule=schedule)
    )


@pytest.mark.slow
def test_S043_a_failing_job_pauses_longer_with_every_error(make_warden: Callable[..., Warden], clock: Clock) -> None:
    """Half a minute, one, five, fifteen minutes, an hour, and no longer: with a clock that is moved to each next instant."""
    warden = make_warden(environment=clock.environment())
    warden.write("job", failing("fails", {"every": "1s"}, enabled=True))
    offset, slack = timedelta(0), timedelta(seconds=2)
    for number, pause in enumerate((30, 60, 300, 900, 3600, 3600), 1):
        warden.start()
        ended = span(warden.wait_run("fails", "Failed", count=number)[-1])[1]
        seen = datetime.now(UTC) + offset
        following = ended + pause_after(warden, "fails", ended)
        assert warden.stop() == 0
        # The pause begins when the end is recorded: after the end itself, and before anybody sees it.
        assert ended - slack <= following - timedelta(seconds=pause) <= seen + slack, number
        offset = following - datetime.now(UTC) + timedelta(seconds=1)
        clock.step_to(offset)


def test_S043_the_pause_after_errors_has_a_ceiling_and_is_off_unless_asked_for(warden: Warden) -> None:
    """`max` bounds it; without `enabled` the schedule goes on as it is."""
    warden.write("jobs", failing("capped", {"every": "1s"}, enabled=True, max="3s"), failing("plain", {"every": "1s"}))
    warden.start()
    plain = warden.wait_run("plain", "Failed", count=3)
    assert instant(plain[2]["spec"]["scheduledFor"]) - instant(plain[0]["spec"]["scheduledFor"]) < timedelta(seconds=30)
    capped = warden.wait_run("capped", "Failed", count=3)
    for earlier, later in itertools.pairwise(capped):
        assert timedelta(seconds=2.9) <= span(later)[0] - span(earlier)[1] < timedelta(seconds=29)


def test_S044_after_an_error_the_later_of_schedule_and_pause_counts(warden: Warden) -> None:
    """A rare schedule keeps its instant; a frequent one waits the pause out."""
    warden.start()
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
    warden.write(
        "jobs",
        failing("rare", {"every": "1h", "startAt": rfc3339(start)}, enabled=True),
        failing("frequent", {"every": "2s", "startAt": rfc3339(start)}, enabled=True),
    )
    warden.wait_run("rare", "Failed")
    ended = span(warden.wait_run("frequent", "Failed")[0])[1]
    assert next_run_at(warden, "rare") == start + timedelta(hours=1)
    following = warden.wait_for(lambda: (at := next_run_at(warden, "frequent")) and at > ended and at, "the pause")
    assert timedelta(seconds=29) <= following - ended <= timedelta(seconds=33)


@pytest.mark.parametrize("script", ["true", "exit 3"])
def test_S046_no_end_of_a_run_removes_its_job(warden: Warden, script: str) -> None:
    """A one-shot is Completed and keeps its evidence, however it ended; only its author removes it."""
    warden.write("jobs", once("one-shot", script), job("on-request", script))
    warden.run_until_idle()
    warden.trigger("on-request")
    warden.run_until_idle()
    assert {one["metadata"]["name"] for one in warden.jobs()} == {"one-shot", "on-request"}
    assert len(warden.runs("one-shot")) == 1
    assert warden.condition("one-shot", "Completed")["status"] == "True"
    assert warden.condition("on-request", "Completed").get("status") != "True"


def test_S047_a_job_that_is_removed_while_it_runs_is_cancelled_and_not_recreated(each_warden: Warden) -> None:
    """Nothing of it goes on, nothing fails, and the controller carries on with others."""
    warden = each_warden
    warden.write("gone", once("gone", f"touch {warden.work}/started; {until_file(warden.work / 'never')}"))
    warden.start()
    warden.wait_for((warden.work / "started").exists, "the run to start")
    warden.remove("gone")
    warden.wait_for(lambda: warden.jobs() == [], "the job to be gone")
    warden.wait_for(lambda: len(warden.processes()) == 1, "only the controller to be left")
    warden.write("next", once("next"))
    warden.wait_run("next", "Succeeded")
    assert [one["metadata"]["name"] for one in warden.jobs()] == ["next"]


def test_S047_an_orphaned_run_ends_by_itself(warden: Warden) -> None:
    """With `deletionPolicy: Orphan` the work is finished although its job is gone."""
    script = f"touch {warden.work}/started; {until_file(warden.work / 'go')}; touch {warden.work}/finished"
    warden.write("gone", once("gone", script, deletionPolicy="Orphan"))
    warden.start()
    warden.wait_for((warden.work / "started").exists, "the run to start")
    warden.remove("gone")
    warden.wait_for(lambda: warden.jobs() == [], "the job to be gone")
    (warden.work / "go").touch()
    warden.wait_for((warden.work / "finished").exists, "the run to end by itself")
    assert warden.stop() == 0
    assert warden.jobs() == []


def test_S049_a_suspended_job_is_never_tidied_away(warden: Warden) -> None:
    """However far its next instant is."""
    warden.write("job", job("yearly", schedule={"cron": "0 0 1 1 *"}, suspend=True))
    for _ in range(2):
        warden.run_for("1s")
    assert [one["metadata"]["name"] for one in warden.jobs()] == ["yearly"]
    assert states(warden.runs()) == []
    assert first_instants(warden, {"cron": "0 0 1 1 *"}, "2027-06-01T00:00:00Z") == [instant("2028-01-01T00:00:00Z")]
