"""kubectl apply, edit, annotate, delete: objects become runs, and what happened stands in their status."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.cluster.conftest import condition, hourly, watch
from tests.harness import Warden, once
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import Document, bare


@pytest.fixture
def warden(cluster_warden: Warden, namespace: str) -> Warden:
    """A controller that watches the namespace of the test."""
    return cluster_warden.start(*watch(namespace))


def run_of(api: ControlPlane, namespace: str, name: str) -> Document:
    """The last run in the status of a job; empty when there is none."""
    return dict((api.get("sjob", name, namespace) or {}).get("status", {}).get("lastRun", {}))


def test_an_applied_job_runs_and_its_status_tells(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """`kubectl apply`, `kubectl wait`, `kubectl get sjob`: as users do it."""
    api.apply(once("hello", "echo hello"), hourly("later"), namespace=namespace).ok()
    api.kubectl("wait", "sjob/hello", "sjob/later", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
    warden.wait_for(lambda: run_of(api, namespace, "hello").get("state") == "Succeeded", "the run to be told")
    found = api.get("sjob", "hello", namespace)
    last = found["status"]["lastRun"]
    assert set(last) == {"name", "state", "reason", "exitCode", "startedAt", "finishedAt"}
    assert (last["exitCode"], last["reason"]) == (0, "Completed")
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    table = api.kubectl("get", "sjob", "-n", namespace).ok().out.splitlines()
    assert table[0].split() == ["NAME", "SCHEDULE", "TARGET", "SUSPEND", "READY", "LAST", "NEXT", "AGE"]
    assert "True" in table[1]
    assert "Succeeded" in table[1]
    assert "<invalid>" not in "".join(table)


def test_nothing_is_written_to_what_people_own(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """No annotation, no finalizer, no field of the spec: the status alone, by its own field manager."""
    api.apply(once("hello"), namespace=namespace).ok()
    before = api.get("sjob", "hello", namespace)
    warden.wait_for(lambda: run_of(api, namespace, "hello"), "the run to be told")
    after = json.loads(api.kubectl("get", "sjob", "hello", "-n", namespace, "-o", "json", "--show-managed-fields").out)
    assert after["spec"] == before["spec"]
    assert set(after["metadata"]["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}
    assert "finalizers" not in after["metadata"]
    ours = [one for one in after["metadata"]["managedFields"] if one["manager"].startswith("jobwarden")]
    assert [(one["manager"], one["operation"], one["subresource"], list(one["fieldsV1"])) for one in ours] == [
        ("jobwarden-status", "Apply", "status", ["f:status"])
    ]


def test_a_job_that_cannot_be_is_stalled_with_the_reason_and_others_go_on(
    api: ControlPlane, namespace: str, warden: Warden
) -> None:
    """What only the controller can judge is accepted by the API server and told in the conditions; mending it is enough."""
    broken = hourly("broken")
    broken["spec"]["schedule"]["cron"] = "0 0 31 2 *"
    api.apply(broken, once("sound"), namespace=namespace).ok()
    warden.wait_for(
        lambda: condition(api.get("sjob", "broken", namespace), "Stalled").get("status") == "True", "the refusal"
    )
    ready = condition(api.get("sjob", "broken", namespace), "Ready")
    assert ready["status"] == "False"
    assert "/spec/schedule/cron" in ready["message"]
    assert "//" not in ready["message"]
    assert "1:" not in ready["message"]
    warden.wait_for(lambda: run_of(api, namespace, "sound").get("state") == "Succeeded", "the other one to run")
    api.apply(hourly("broken"), namespace=namespace).ok()
    api.kubectl("wait", "sjob/broken", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
    mended = api.get("sjob", "broken", namespace)
    assert mended["status"]["observedGeneration"] == mended["metadata"]["generation"] == 2
    assert condition(mended, "Stalled")["status"] == "False"


def test_the_last_good_version_goes_on_while_a_newer_one_is_refused(
    api: ControlPlane, namespace: str, warden: Warden
) -> None:
    """An edit that makes no sense changes nothing of what runs, and says so."""
    api.apply(hourly("job", "echo first > $HOME/out"), namespace=namespace).ok()
    api.kubectl("wait", "sjob/job", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
    patch = '{"spec": {"schedule": {"timeZone": "Nowhere/Land"}}}'
    api.kubectl("patch", "sjob", "job", "-n", namespace, "--type=merge", "-p", patch).ok()
    warden.wait_for(
        lambda: condition(api.get("sjob", "job", namespace), "Stalled").get("status") == "True", "the refusal"
    )
    found = api.get("sjob", "job", namespace)
    assert found["status"]["observedGeneration"] == 2
    assert "Nowhere/Land" in condition(found, "Ready")["message"]
    warden.cli("trigger", "job", "-n", namespace, "--wait").ok()
    warden.wait_for(lambda: run_of(api, namespace, "job").get("state") == "Succeeded", "the old version to have run")


def test_an_annotation_asks_once_for_a_run(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """`kubectl annotate … run-requested-at`: each new value is one run, and the first one seen with its object is none."""
    first = hourly("asked")
    first["metadata"]["annotations"] = {"jobwarden.dev/run-requested-at": "before"}
    api.apply(first, namespace=namespace).ok()
    api.kubectl("wait", "sjob/asked", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
    for count, value in enumerate(("one", "two"), start=1):
        said = f"jobwarden.dev/run-requested-at={value}"
        api.kubectl("annotate", "sjob", "asked", said, "--overwrite", "-n", namespace).ok()
        warden.wait_for(
            lambda count=count: len(warden.items("runs", "-n", namespace)) == count, f"{count} runs", deadline=30
        )
    assert [one["spec"]["cause"] for one in warden.items("runs", "-n", namespace)] == ["Manual", "Manual"]


def handled(api: ControlPlane, namespace: str, name: str) -> Any:
    """`status.lastHandled` of a job."""
    return (api.get("sjob", name, namespace) or {}).get("status", {}).get("lastHandled")


def annotate(api: ControlPlane, namespace: str, name: str, what: str) -> None:
    """`kubectl annotate`, over what is there."""
    api.kubectl("annotate", "sjob", name, f"jobwarden.dev/{what}", "--overwrite", "-n", namespace).ok()


def test_what_annotations_ask_for_is_obeyed_once_and_told_in_the_status(
    api: ControlPlane, namespace: str, warden: Warden
) -> None:
    """Run, cancel and reconcile; a value that was taken away and put back is no new one, nor is one that a restart finds."""
    asked = hourly("asked", "sleep 600")
    asked["metadata"]["annotations"] = {"jobwarden.dev/cancel-requested-at": "before"}
    api.apply(asked, namespace=namespace).ok()
    warden.wait_for(
        lambda: handled(api, namespace, "asked") == {"cancelRequestedAt": "before"}, "what came with it to be noted"
    )
    annotate(api, namespace, "asked", "run-requested-at=one")
    warden.wait_for(lambda: run_states(warden, namespace) == ["Running"], "the run")
    annotate(api, namespace, "asked", "cancel-requested-at=two")
    warden.wait_for(lambda: run_states(warden, namespace) == ["Cancelled"], "the end of the run")
    annotate(api, namespace, "asked", "reconcile-requested-at=three")
    said = {"runRequestedAt": "one", "cancelRequestedAt": "two", "reconcileRequestedAt": "three"}
    warden.wait_for(lambda: handled(api, namespace, "asked") == said, "all of them to be told")
    annotate(api, namespace, "asked", "run-requested-at-")
    assert warden.stop() == 0
    annotate(api, namespace, "asked", "run-requested-at=one")
    before = api.get("sjob", "asked", namespace)["metadata"]
    warden.start(*watch(namespace))
    annotate(api, namespace, "asked", "reconcile-requested-at=four")
    warden.wait_for(
        lambda: handled(api, namespace, "asked") == {**said, "reconcileRequestedAt": "four"}, "the restarted one"
    )
    assert run_states(warden, namespace) == ["Cancelled"]
    after = api.get("sjob", "asked", namespace)["metadata"]
    assert {**after["annotations"], "jobwarden.dev/reconcile-requested-at": "three"} == before["annotations"]
    assert "finalizers" not in after


def run_states(warden: Warden, namespace: str) -> list[str]:
    """States of all runs in a namespace."""
    return [one["status"]["state"] for one in warden.items("runs", "-n", namespace)]


def test_a_deleted_job_is_gone_and_its_run_is_cancelled(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """`kubectl delete` ends what runs of it."""
    api.apply(once("long", "sleep 600"), namespace=namespace).ok()
    warden.wait_for(lambda: warden.items("runs", "-n", namespace), "it to run")
    api.kubectl("delete", "sjob", "long", "-n", namespace).ok()
    warden.wait_for(
        lambda: [one["status"]["state"] for one in warden.items("runs", "-n", namespace)] == ["Cancelled"], "the end"
    )
    assert warden.items("jobs", "-n", namespace) == []


def test_a_restart_writes_nothing_and_runs_nothing_again(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """What was told stands; only what was deleted meanwhile goes."""
    api.apply(once("done"), hourly("idle"), hourly("leaves"), namespace=namespace).ok()
    warden.wait_for(lambda: run_of(api, namespace, "done").get("state") == "Succeeded", "the run to be told")
    for name in ("idle", "leaves"):
        api.kubectl("wait", f"sjob/{name}", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
    assert warden.stop() == 0
    before = {name: api.get("sjob", name, namespace)["metadata"]["resourceVersion"] for name in ("done", "idle")}
    api.kubectl("delete", "sjob", "leaves", "-n", namespace).ok()
    warden.start(*watch(namespace))
    warden.wait_for(
        lambda: {one["metadata"]["name"] for one in warden.items("jobs", "-n", namespace)} == {"done", "idle"},
        "the deletion to be seen",
    )
    warden.cli("reconcile", "kubernetes").ok()
    warden.write("marker", once("marker"))
    warden.wait_run("marker")
    assert {name: api.get("sjob", name, namespace)["metadata"]["resourceVersion"] for name in before} == before
    assert len(warden.items("runs", "-n", namespace)) == 1


def test_a_next_run_is_an_instant_that_kubectl_can_count_down_to(
    api: ControlPlane, namespace: str, warden: Warden
) -> None:
    """The NEXT column and `nextRunAt` follow the schedule."""
    api.apply(bare("soon", schedule={"every": "1h"}, shell={"script": "true"}), namespace=namespace).ok()
    api.kubectl("wait", "sjob/soon", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
    found = api.get("sjob", "soon", namespace)
    said = datetime.fromisoformat(found["status"]["nextRunAt"])
    created = datetime.fromisoformat(found["metadata"]["creationTimestamp"])
    assert timedelta(minutes=50) < said - created < timedelta(minutes=70)


def test_an_object_that_another_source_has_declared_is_told_so(
    api: ControlPlane, namespace: str, warden: Warden
) -> None:
    """The first owner keeps it; the object gets the conflict as its status, and not the status of the other one."""
    warden.write("local", hourly("same", "true", metadata={"namespace": namespace}))
    warden.wait_for(lambda: warden.items("jobs", "-n", namespace), "the file to be applied")
    api.apply(hourly("same"), namespace=namespace).ok()
    warden.wait_for(
        lambda: condition(api.get("sjob", "same", namespace), "Stalled").get("status") == "True", "the conflict"
    )
    ready = condition(api.get("sjob", "same", namespace), "Ready")
    assert ready["reason"] == "OwnershipConflict"
    assert "belongs to source manifests" in ready["message"]
    warden.remove("local")
    api.kubectl("wait", "sjob/same", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
