"""What a run sees of the world."""

import re
from datetime import UTC, datetime

from controller.executors.environment import RunFacts, build, inherited, trace_parent

FACTS = RunFacts(
    run="report-abc12345",
    job="report",
    namespace="team-a",
    root_run="extract-xyz98765",
    attempt=2,
    time_zone="Europe/Berlin",
    scheduled_for=datetime(2026, 7, 1, 6, 0, tzinfo=UTC),
    previous_scheduled_for=datetime(2026, 1, 1, 7, 0, tzinfo=UTC),
    triggered_by=("extract-xyz98765", "load-def00000"),
    output_path="/state/outputs/report-abc12345",
    parameters={"day": "2026-07-01", "row_count": "12"},
)

CONTROLLER = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/jobs",
    "USER": "jobs",
    "LOGNAME": "jobs",
    "SHELL": "/bin/bash",
    "LANG": "de_DE.UTF-8",
    "LC_ALL": "C.UTF-8",
    "LC_TIME": "C",
    "TZ": "UTC",
    "TMPDIR": "/var/tmp",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "JOBWARDEN_DB": "postgresql://user:password@host/db",
    "PYTHONPATH": "/opt",
    "LD_PRELOAD": "/x.so",
    "LCX": "no locale",
    "PATHEXT": "no path",
}


def test_only_the_listed_variables_of_the_controller_are_inherited() -> None:
    """Passwords in the controller's environment, its own settings and loader tricks stay with it."""
    names = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_TIME", "TZ", "TMPDIR"}
    assert inherited(CONTROLLER) == {name: CONTROLLER[name] for name in names}
    assert inherited({}) == {}


def test_a_run_is_told_who_it_is() -> None:
    """Every variable of the contract, instants in the zone of the schedule with its offset on that day."""
    environment = build({}, {}, FACTS)
    trace = environment.pop("TRACEPARENT")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace)
    assert environment == {
        "JOBWARDEN_RUN_ID": "report-abc12345",
        "JOBWARDEN_JOB": "report",
        "JOBWARDEN_NAMESPACE": "team-a",
        "JOBWARDEN_ROOT_RUN": "extract-xyz98765",
        "JOBWARDEN_ATTEMPT": "2",
        "JOBWARDEN_SCHEDULED_FOR": "2026-07-01T08:00:00+02:00",
        "JOBWARDEN_PREVIOUS_SCHEDULED_FOR": "2026-01-01T08:00:00+01:00",
        "JOBWARDEN_TRIGGERED_BY": "extract-xyz98765,load-def00000",
        "JOBWARDEN_OUTPUT": "/state/outputs/report-abc12345",
        "JOBWARDEN_PARAM_DAY": "2026-07-01",
        "JOBWARDEN_PARAM_ROW_COUNT": "12",
    }


def test_what_there_is_nothing_to_say_about_is_empty_but_there() -> None:
    """A script under `set -u` may ask for all of them."""
    facts = RunFacts(run="a-1", job="a", namespace="default", root_run="a-1", attempt=1, output_path="/o")
    environment = build({}, {}, facts)
    assert environment["JOBWARDEN_SCHEDULED_FOR"] == ""
    assert environment["JOBWARDEN_PREVIOUS_SCHEDULED_FOR"] == ""
    assert environment["JOBWARDEN_TRIGGERED_BY"] == ""


def test_declared_variables_win_over_inherited_ones_and_lose_to_the_controllers_own() -> None:
    """A job may set its PATH; it may not pose as another run, which would make recovery end the wrong processes."""
    declared = {
        "PATH": "/opt/bin",
        "GREETING": "hello $HOME",
        "JOBWARDEN_RUN_ID": "somebody-else",
        "JOBWARDEN_INVENTED": "x",
        "TRACEPARENT": "x",
    }
    environment = build({"PATH": "/bin", "HOME": "/home"}, declared, FACTS)
    assert environment["PATH"] == "/opt/bin"
    assert environment["HOME"] == "/home"
    assert environment["GREETING"] == "hello $HOME"
    assert environment["JOBWARDEN_RUN_ID"] == "report-abc12345"
    assert "JOBWARDEN_INVENTED" not in environment
    assert environment["TRACEPARENT"] == trace_parent("team-a", "extract-xyz98765", "report-abc12345")


def test_runs_of_one_chain_share_a_trace_and_have_their_own_spans() -> None:
    """Derived from names alone: after a restart of the controller it is still the same trace."""
    first, second = trace_parent("ns", "root-1", "root-1"), trace_parent("ns", "root-1", "child-1")
    assert first.split("-")[1] == second.split("-")[1]
    assert first.split("-")[2] != second.split("-")[2]
    assert trace_parent("ns", "root-1", "child-1") == second
    assert trace_parent("other", "root-1", "root-1").split("-")[1] != first.split("-")[1]
