"""The status of a job: what each fact does to it, alone and beside every other fact."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from controller.domain.job import JobSpec, ShellTarget
from controller.domain.reasons import Reason
from controller.domain.records import Pool
from controller.domain.states import RunState
from controller.kinds.models import MODELS
from controller.status import conditions, project
from controller.store.observed import Holder, JobFacts, PoolFacts, TargetFacts
from tests.unit.status.builders import EARLIER, HOLD, NOW, REJECTION, active, facts, job, last, resource

TYPES = [
    "Ready",
    "Reconciling",
    "Stalled",
    "Suspended",
    "Running",
    "AwaitingApproval",
    "Healthy",
    "Overdue",
    "Completed",
]
SUSPENDED = JobSpec(target=ShellTarget(script="true"), suspend=True)

# Each dimension: what it changes of the job, of the resource, of the facts.
DIMENSIONS: dict[str, list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    "spec": [({}, {}, {}), ({"spec": SUSPENDED}, {}, {})],
    "hold": [({}, {}, {}), ({"hold": HOLD}, {}, {})],
    "blocked": [({}, {}, {})]
    + [({"blocked_reason": str(reason)}, {}, {}) for reason in (Reason.ReferenceNotFound, Reason.InsufficientSlots)],
    "rejection": [({}, {}, {}), ({}, {"rejection": REJECTION}, {}), ({}, {"rejection": b"not json"}, {})],
    "served": [({}, {"served": served}, {}) for served in (True, False, None)],
    "active": [({}, {}, {"active": active(count), "active_count": count}) for count in (0, 1, 27)],
    "recent": [({}, {}, {"recent": tuple(last(RunState.Failed, n) for n in range(count))}) for count in (0, 10)],
    "approvals": [({}, {}, {"approvals": tuple((f"ask-{n}", EARLIER) for n in range(count))}) for count in (0, 1, 2)],
    "last": [
        ({}, {}, {}),
        ({"last_run": last(RunState.Succeeded), "healthy": True, "last_success_at": EARLIER}, {}, {}),
        ({"last_run": last(RunState.Failed, reason="ExitCode", exit_code=3), "healthy": False}, {}, {}),
        ({"last_run": last(RunState.Succeeded), "healthy": False}, {}, {}),
        ({"healthy": False}, {}, {}),
    ],
    "overdue": [({}, {}, {}), ({"overdue_reason": "NoSuccess", "overdue_message": "m" * 5000}, {}, {})],
    "completed": [({}, {}, {}), ({"completed_at": EARLIER}, {}, {})],
    "next": [({}, {}, {}), ({"next_fire_at": NOW + timedelta(days=1)}, {}, {})],
}


def pairs() -> Iterator[JobFacts]:
    """Every pair of values of every two dimensions."""
    for one, other in itertools.combinations(DIMENSIONS.values(), 2):
        for first, second in itertools.product(one, other):
            of_job, of_resource, of_facts = ({**first[at], **second[at]} for at in range(3))
            yield facts(job=job(**of_job), resource=resource(**of_resource), **of_facts)


def conditions_of(given: JobFacts) -> dict[str, dict[str, Any]]:
    return {one["type"]: one for one in project.job_status(given, NOW).value["conditions"]}


def test_every_pair_of_facts_gives_a_whole_status_within_its_bound() -> None:
    """Nine conditions in a fixed order, each with a reason, under 4 KiB, and the same again when asked again."""
    for given in pairs():
        status = project.job_status(given, NOW)
        assert [one.type for one in status.conditions] == TYPES
        assert all(one.reason and one.reason[0].isupper() for one in status.conditions)
        assert len(msgspec.json.encode(status.value)) < project.MOST_BYTES
        assert project.job_status(given, NOW + timedelta(days=1)).value["ready"] == status.value["ready"]


def test_every_pair_of_facts_gives_what_the_schema_of_the_kind_says() -> None:
    """A status can be written to a cluster as it is: no field that is not declared, no null, no other type."""
    model = MODELS["ScheduledJob"][1]
    for given in pairs():
        value = project.job_status(given, NOW).value
        model.model_validate(value)
        assert None not in value.values()


def test_the_widest_status_loses_its_oldest_entries_and_nothing_else() -> None:
    """Twenty open runs with the longest names do not fit; the conditions stay whole."""
    given = facts(
        job=job(last_run=last(RunState.Failed), hold=HOLD, overdue_reason="NoSuccess", overdue_message="m" * 5000),
        resource=resource(rejection=REJECTION),
        active=active(20),
        active_count=20,
        recent=tuple(last(RunState.Failed, n) for n in range(10)),
        approvals=(("ask", EARLIER),),
        queued=25,
    )
    value = project.job_status(given, NOW).value
    assert len(msgspec.json.encode(value)) < project.MOST_BYTES
    assert value["activeRuns"][0]["name"] == given.active[0].name
    assert value["recentRuns"][0]["name"] == given.recent[0].name
    assert len(value["conditions"]) == len(TYPES)


@pytest.mark.parametrize(
    ("given", "ready", "reconciling", "stalled", "reason"),
    [
        (facts(), "True", "False", "False", "Accepted"),
        (facts(resource=resource(rejection=REJECTION)), "False", "False", "True", "Invalid"),
        (facts(job=job(blocked_reason="ReferenceNotFound")), "False", "True", "False", "ReferenceNotFound"),
        (facts(job=job(blocked_reason="PoolNotFound")), "False", "True", "False", "PoolNotFound"),
        (facts(job=job(blocked_reason="InsufficientSlots")), "False", "False", "True", "InsufficientSlots"),
        (facts(job=job(generation=2)), "False", "True", "False", "Superseded"),
    ],
    ids=["accepted", "rejected", "reference missing", "pool missing", "too few slots", "older generation"],
)
def test_ready_reconciling_and_stalled_follow_kstatus(
    given: JobFacts, ready: str, reconciling: str, stalled: str, reason: str
) -> None:
    """What only a person can mend is Stalled; what mends itself is Reconciling; never both."""
    found = conditions_of(given)
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == (ready, reason)
    assert (found["Reconciling"]["status"], found["Stalled"]["status"]) == (reconciling, stalled)


def test_a_rejected_version_is_told_with_file_line_and_pointer() -> None:
    """Where to look stands in the message; the generation is that of the version in force."""
    ready = conditions_of(facts(resource=resource(rejection=REJECTION)))["Ready"]
    assert ready["message"] == "jobs/a.yaml:7:3: /spec/priority: no number"
    assert ready["observedGeneration"] == 3


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        (facts(), "False", "NotSuspended"),
        (facts(job=job(spec=SUSPENDED, hold=HOLD)), "True", "Suspended"),
        (facts(job=job(hold=HOLD)), "True", "Held"),
        (facts(resource=resource(served=False)), "True", "SourceNotServed"),
        (facts(resource=resource(served=None)), "False", "NotSuspended"),
    ],
)
def test_what_stops_a_job_is_told_by_its_strongest_reason(given: JobFacts, status: str, reason: str) -> None:
    """Written suspension before a hold before a source that nobody serves."""
    found = conditions_of(given)["Suspended"]
    assert (found["status"], found["reason"]) == (status, reason)


def test_a_suspended_job_promises_no_next_run() -> None:
    """Columns must not show a time at which nothing will happen."""
    due = NOW + timedelta(hours=1)
    assert "nextRunAt" not in project.job_status(facts(job=job(spec=SUSPENDED, next_fire_at=due)), NOW).value
    assert project.job_status(facts(job=job(next_fire_at=due)), NOW).value["nextRunAt"] == "2026-03-01T13:00:00Z"


def test_a_missed_instant_makes_a_job_unhealthy_although_its_last_run_was_good() -> None:
    """Healthy says that nothing is owed, not that the last thing that ran went well."""
    found = conditions_of(facts(job=job(last_run=last(RunState.Succeeded), healthy=False)))["Healthy"]
    assert (found["status"], found["reason"]) == ("False", "DeadlineExceeded")


def test_a_condition_that_did_not_change_keeps_its_time_and_one_that_did_gets_a_new_one() -> None:
    """A second projection over remembered conditions changes only what the facts changed."""
    first = project.job_status(facts(), NOW)
    remembered = conditions.encode(first.conditions)
    later = NOW + timedelta(hours=5)
    again = project.job_status(facts(resource=resource(conditions=remembered)), later)
    assert again.conditions == first.conditions
    held = project.job_status(
        facts(job=job(hold=msgspec.structs.replace(HOLD, since=later)), resource=resource(conditions=remembered)), later
    )
    changed = {now.type for now, before in zip(held.conditions, first.conditions, strict=True) if now != before}
    assert changed == {"Suspended"}
    times = {one.type: one.last_transition_time for one in held.conditions}
    assert times["Suspended"] == "2026-03-01T17:00:00Z"


def test_a_pool_shows_who_holds_it_and_how_many_wait() -> None:
    """As its schema says."""
    pool = Pool(1, "default", "narrow", 2, 2)
    given = PoolFacts(pool, resource(kind="ResourcePool"), 3, (Holder("a-1", "default", 2),))
    value = project.pool_status(given, NOW).value
    MODELS["ResourcePool"][1].model_validate(value)
    assert (value["held"], value["waiting"]) == (2, 3)
    assert value["holders"] == [{"run": "a-1", "namespace": "default", "slots": 2}]


def test_a_target_whose_messages_are_refused_is_not_healthy_and_says_why() -> None:
    """Ready is about the document, Healthy about what happens."""
    given = TargetFacts(resource(kind="NotificationTarget"), 4, 2, "503 from the other side")
    found = {one["type"]: one for one in project.target_status(given, NOW).value["conditions"]}
    assert (found["Ready"]["status"], found["Healthy"]["status"]) == ("True", "False")
    assert "503 from the other side" in found["Healthy"]["message"]
