"""What the cluster benchmarks count and subtract: requests of an audit log, lateness, delays, requests by runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.performance.audit import AuditLog, Request, delays, lateness, parse, tally
from tests.performance.benchmarks.c04_cronjobs import figures
from tests.performance.benchmarks.c05_takeover import check_balanced


def line(number: int = 1, **more: Any) -> dict[str, Any]:
    """One line of a log, as an API server writes it."""
    return {
        "auditID": f"id-{number}",
        "verb": "patch",
        "user": {"username": "controller"},
        "userAgent": "python-httpx2/2.16.2",
        "objectRef": {"resource": "scheduledjobs", "subresource": "status", "namespace": "a", "name": "one"},
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": "2026-01-01T00:01:00.250000Z",
        "stageTimestamp": "2026-01-01T00:01:00.300000Z",
    } | more


def request(**more: Any) -> Request:
    """One request; `received` and `answered` in seconds."""
    made = {
        "id": f"{sorted(more.items())}",
        "user": "controller",
        "agent": "python",
        "verb": "create",
        "resource": "jobs",
        "namespace": "a",
        "name": "one",
        "received": 60.0,
        "answered": 60.1,
        "code": 201,
    }
    return Request(**(made | more))


def test_a_line_is_read_with_its_subresource_and_microseconds() -> None:
    """The status of a kind is another resource than the kind."""
    one = parse(line())
    assert (one.user, one.verb, one.resource, one.namespace, one.name) == (
        "controller",
        "patch",
        "scheduledjobs/status",
        "a",
        "one",
    )
    assert one.answered - one.received == pytest.approx(0.05, abs=1e-5)
    assert one.received % 60 == pytest.approx(0.25, abs=1e-5)


def test_a_line_about_no_object_is_read_as_well() -> None:
    """Discovery and health have none, and may have no status yet."""
    bare = {key: value for key, value in line().items() if key not in {"objectRef", "responseStatus"}}
    assert (parse(bare).resource, parse(bare).done) == ("", False)


def test_who_asked_is_the_part_of_the_controller_manager() -> None:
    """All of its parts are one user; ours has a user of its own, whatever its agent is called."""
    manager = "kube-controller-manager/v1.34.2 (linux/amd64) kubernetes/abc/cronjob-controller"
    assert request(user="admin", agent=manager).component == "cronjob-controller"
    assert request(agent="python-httpx2/2.16.2").component == "controller"


def test_a_log_is_read_on_each_request_once_and_no_half_line(tmp_path: Path) -> None:
    """A watch has two lines; a line that is being written is read when it is whole."""
    path = tmp_path / "audit.log"
    log = AuditLog(path)
    assert log.requests() == []
    whole = json.dumps(line()) + "\n"
    path.write_text(whole + json.dumps(line(2))[:40])
    assert [one.id for one in log.requests()] == ["id-1"]
    path.write_text(whole + json.dumps(line(2)) + "\n" + whole)
    assert [one.id for one in log.requests()] == ["id-1", "id-2"]
    received = log.requests()[0].received
    assert (len(log.requests(since=received)), log.requests(until=received)) == (2, [])


def test_requests_are_told_apart_by_what_they_do() -> None:
    """Verb and resource."""
    asked = [request(), request(), request(verb="patch", resource="jobs/status")]
    assert tally(asked) == {"create jobs": 2, "patch jobs/status": 1}


def test_lateness_is_what_is_over_the_whole_minute() -> None:
    """An instant is a whole minute."""
    assert lateness([request(received=120.5), request(received=60.0)]) == [0.5, 0.0]


def test_a_delay_ends_with_the_first_answer_for_the_same_object() -> None:
    """What is written again later does not count, nor what another namespace has of this name."""
    begun = [request(received=10.0), request(received=11.0), request(received=20.0, name="two")]
    done = [request(answered=99.0), request(answered=10.5), request(answered=21.0, name="two")]
    assert delays(begun, [*done, request(answered=10.1, namespace="b")]) == [0.5, 1.0]
    with pytest.raises(KeyError):
        delays(begun, done[:1])


def test_requests_by_runs_count_a_request_once_for_all() -> None:
    """The scheduler's own requests, those of the job controller, and everything about the namespace."""
    jobs = {"agent": "kube-controller-manager/v1/job-controller", "user": "admin"}
    asked = [
        request(name="one", received=60.1),
        request(name="two", received=60.2),
        request(verb="update", resource="leases", namespace="elsewhere"),
        request(verb="create", resource="pods", **jobs),
        request(verb="create", resource="pods", name="p", agent="kube-scheduler/v1/scheduler", user="admin"),
        request(verb="create", resource="pods", namespace="other", **jobs),
    ]
    told = figures(asked, "a", "controller", 2)
    assert (told["value"], told["jobs"], told["all"]) == (1.5, 0.5, 2.5)
    assert told["late_p50"] == pytest.approx(200)
    with pytest.raises(RuntimeError, match="wanted 3"):
        figures(asked, "a", "controller", 3)


@pytest.mark.parametrize(
    ("seconds", "problem"), [((1, 2, 3), ""), ((1, 3), "gap"), ((1, 2, 2), "doubled"), ((), "of 0 instants")]
)
def test_an_instant_that_is_lost_or_doubled_is_an_error(seconds: tuple[int, ...], problem: str) -> None:
    """A take-over that is quick and wrong is no result."""
    runs = [{"spec": {"job": "ticks", "scheduledFor": f"2026-01-01T00:00:0{second}Z"}} for second in seconds]
    if not problem:
        check_balanced(runs)
        return
    with pytest.raises(RuntimeError, match=problem):
        check_balanced(runs)
