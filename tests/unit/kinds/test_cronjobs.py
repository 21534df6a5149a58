"""A CronJob becomes a ScheduledJob, and nothing of it is silently lost."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.kinds.cronjobs import JOB, Imported, Level, convert, found_in
from controller.schedule.kubernetes import timing

TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}


def cronjob(job: Mapping[str, Any] = {}, metadata: Mapping[str, Any] = {}, **spec: Any) -> dict[str, Any]:
    """A CronJob with further fields."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", **metadata},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": TEMPLATE, **job}}, **spec},
    }


def told(found: Imported, pointer: str) -> list[Level]:
    """The levels of what is said about a field or what is in it."""
    return [one.level for one in found.remarks if one.pointer == pointer or one.pointer.startswith(pointer + "/")]


def spec_of(*arguments: Any, **spec: Any) -> Any:
    """The spec that comes of a CronJob with these fields."""
    return convert(cronjob(*arguments, **spec), timing).document["spec"]


# Where each field that is carried over is found again.
CARRIED: Mapping[str, Callable[[Any], Any]] = {
    "/spec/schedule": lambda spec: spec.get("schedule", {}).get("cron"),
    "/spec/timeZone": lambda spec: spec.get("schedule", {}).get("timeZone"),
    "/spec/suspend": lambda spec: spec.get("suspend"),
    "/spec/concurrencyPolicy": lambda spec: spec["concurrency"]["policy"],
    "/spec/successfulJobsHistoryLimit": lambda spec: spec.get("history", {}).get("succeeded"),
    "/spec/failedJobsHistoryLimit": lambda spec: spec.get("history", {}).get("failed"),
    f"{JOB}/backoffLimit": lambda spec: spec["retry"]["limit"],
    f"{JOB}/template": lambda spec: spec.get("pod", {}).get("template"),
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
RULE = st.fixed_dictionaries(
    {"action": st.sampled_from(["FailJob", "Ignore", "Count", "FailIndex"])},
    optional={
        "onExitCodes": st.fixed_dictionaries(
            {"operator": st.sampled_from(["In", "NotIn"]), "values": st.lists(st.integers(0, 300), max_size=4)},
            optional={"containerName": st.just("main")},
        ),
        "onPodConditions": st.lists(
            st.fixed_dictionaries({"type": st.sampled_from(["DisruptionTarget", "ConfigIssue"])}), max_size=2
        ),
        "somethingNew": st.just(1),
    },
)
SPEC = {
    "schedule": st.sampled_from(["0 3 * * *", "@daily", "TZ=UTC 0 3 * * *", "5/10 * * * *", "nonsense"]),
    "timeZone": st.sampled_from(["UTC", "Europe/Berlin"]),
    "suspend": st.booleans(),
    "concurrencyPolicy": st.sampled_from(["Allow", "Forbid", "Replace", "Queue"]),
    "startingDeadlineSeconds": st.integers(0, 10**6),
    "successfulJobsHistoryLimit": st.integers(0, 20_000),
    "failedJobsHistoryLimit": st.integers(0, 20_000),
    "somethingNew": anything,
}
WORK = {
    "backoffLimit": st.integers(0, 40),
    "activeDeadlineSeconds": st.integers(0, 10**9),
    "ttlSecondsAfterFinished": st.integers(0, 10**6),
    "completions": st.integers(0, 3),
    "parallelism": st.integers(0, 3),
    "completionMode": st.sampled_from(["Indexed", "NonIndexed"]),
    "suspend": st.booleans(),
    "backoffLimitPerIndex": st.integers(0, 3),
    "maxFailedIndexes": st.integers(0, 3),
    "podReplacementPolicy": st.sampled_from(["Failed", "TerminatingOrFailed"]),
    "managedBy": st.sampled_from(["kubernetes.io/job-controller", "kueue.x-k8s.io"]),
    "selector": st.just({"matchLabels": {"a": "b"}}),
    "manualSelector": st.booleans(),
    "successPolicy": st.just({"rules": [{"succeededCount": 1}]}),
    "podFailurePolicy": st.fixed_dictionaries({"rules": st.lists(RULE, max_size=4)}),
    "somethingNew": anything,
}


@st.composite
def cronjobs(draw: st.DrawFn) -> dict[str, Any]:
    """CronJobs with any of their fields, in bounds and beyond, and now and then of no use."""
    job = draw(st.fixed_dictionaries({}, optional={name: one | anything for name, one in WORK.items()}))
    spec = draw(st.fixed_dictionaries({}, optional={name: one | anything for name, one in SPEC.items()}))
    return cronjob(job, **spec)


def set_fields(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """The fields of a mapping that say something."""
    for name, one in value.items():
        if one is not None:
            yield f"{pointer}/{name}", one


@given(cronjobs())
@settings(max_examples=100, deadline=None)
def test_every_field_is_in_the_result_or_in_the_report(document: dict[str, Any]) -> None:
    """Whatever is set: as it was, or told."""
    found = convert(document, timing)
    spec = found.document["spec"]
    fields = [*set_fields(document["spec"], "/spec"), *set_fields(document["spec"]["jobTemplate"]["spec"], JOB)]
    for pointer, value in fields:
        if pointer == "/spec/jobTemplate" or value == {} or (pointer.endswith("Policy") and isinstance(value, dict)):
            continue  # told of by what is in them
        carried = pointer in CARRIED and CARRIED[pointer](spec) == value
        assert carried or told(found, pointer), pointer


@given(cronjobs())
@settings(max_examples=60, deadline=None)
def test_every_rule_of_a_failure_policy_is_a_rule_here_or_told(document: dict[str, Any]) -> None:
    """Rules keep their order, and those that are left out say so."""
    policy = document["spec"]["jobTemplate"]["spec"].get("podFailurePolicy")
    rules = policy.get("rules") if isinstance(policy, dict) else None
    if not isinstance(rules, list):
        return
    found = convert(document, timing)
    kept = list(found.document["spec"]["retry"].get("rules", []))
    for index, rule in enumerate(rules):
        codes = rule.get("onExitCodes", {}).get("values") if isinstance(rule, dict) else None
        plain = codes and not rule.get("onPodConditions")
        if kept and plain and kept[0]["exitCodes"] == sorted(set(codes)) and rule["action"] in ("FailJob", "Count"):
            kept.pop(0)
        else:
            assert told(found, f"{JOB}/podFailurePolicy/rules/{index}")
    assert kept == []


@given(st.dictionaries(st.sampled_from(["apiVersion", "kind", "metadata", "spec", "status", "x"]), anything))
def test_no_document_is_too_strange(document: dict[str, Any]) -> None:
    """Nothing raises, and what is not understood is told."""
    found = convert(document, timing)
    assert found.document["kind"] == "ScheduledJob"
    assert not found.whole


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({}, {"limit": 6, "backoff": {"initial": "10s", "factor": 2, "max": "6m"}}),
        ({"backoffLimit": 0}, {"limit": 0}),
        ({"backoffLimit": 40}, {"limit": 20, "backoff": {"initial": "10s", "factor": 2, "max": "6m"}}),
    ],
)
def test_retries_are_written_as_kubernetes_makes_them(given_: dict[str, Any], expected: dict[str, Any]) -> None:
    """Also where nothing is said; more than there can be is told."""
    found = convert(cronjob(given_), timing)
    assert found.document["spec"]["retry"] == expected
    assert (Level.Lost in told(found, f"{JOB}/backoffLimit")) == (given_.get("backoffLimit") == 40)


def test_the_default_of_kubernetes_is_written_where_ours_is_another() -> None:
    """Overlap is allowed there unless it is forbidden, and forbidden here."""
    assert spec_of()["concurrency"] == {"policy": "Allow"}
    assert spec_of(concurrencyPolicy="Replace")["concurrency"] == {"policy": "Replace"}


def test_ends_of_pods_become_rules_and_a_disruption_a_replay() -> None:
    """`Ignore` of Kubernetes does not count a failure; ours calls it a success, which it is not."""
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42, 7]}},
        {"action": "Count", "onExitCodes": {"operator": "In", "values": [1]}},
    ]
    spec = spec_of({"podFailurePolicy": {"rules": rules}})
    assert spec["onInterruption"] == "Rerun"
    assert spec["retry"]["rules"] == [{"exitCodes": [7, 42], "action": "Fail"}, {"exitCodes": [1], "action": "Retry"}]


def test_marks_of_other_tools_do_not_come_along_and_people_s_own_do() -> None:
    """A label that says `Helm made me` would be a lie on an object that Helm did not make."""
    metadata = {
        "namespace": "team-a",
        "uid": "1234",
        "labels": {"team": "data", "app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "why"},
        "ownerReferences": [{"kind": "App"}],
    }
    found = convert(cronjob(metadata=metadata), timing)
    assert found.document["metadata"] == {
        "name": "nightly",
        "namespace": "team-a",
        "labels": {"team": "data"},
        "annotations": {"note": "why"},
    }
    assert told(found, "/metadata/ownerReferences") == [Level.Lost]
    assert told(found, "/metadata/labels/app.kubernetes.io~1managed-by") == [Level.Dropped]


@pytest.mark.parametrize("name", ["a" * 53, "dotted.name", "Upper"])
def test_a_name_that_cannot_be_is_told(name: str) -> None:
    """It stands as it is: whoever renames a job decides what it is called."""
    found = convert(cronjob(metadata={"name": name}), timing)
    assert found.name == name
    assert told(found, "/metadata/name") == [Level.Lost]


def test_a_template_is_pasted_as_it_is() -> None:
    """But for what an API server puts into an empty one."""
    template = {"metadata": {"creationTimestamp": None}, **TEMPLATE}
    assert spec_of({"template": template})["pod"] == {"template": TEMPLATE}
    labelled = {"metadata": {"creationTimestamp": None, "labels": {"a": "b"}}, **TEMPLATE}
    assert spec_of({"template": labelled})["pod"]["template"]["metadata"] == {"labels": {"a": "b"}}


def test_lists_give_each_of_their_items() -> None:
    """`kubectl get -o yaml` writes a List, clients write a CronJobList whose items do not say what they are."""
    bare = {"metadata": {"name": "a"}, "spec": {}}
    typed = {"apiVersion": "batch/v1", "kind": "CronJobList", "items": [bare]}
    plain = {"apiVersion": "v1", "kind": "List", "items": [cronjob(), {"kind": "Service", "apiVersion": "v1"}, typed]}
    assert [ours for _, ours in found_in(plain)] == [True, False, True]
