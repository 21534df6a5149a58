"""Events on objects: `kubectl describe` tells the story, repeats are series, and nothing is told twice or says what a job has written."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.conftest import RIGHTS, watch
from tests.harness import Warden, bare, once, wait_for
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import Document


@pytest.fixture
def warden(cluster_warden: Warden, namespace: str) -> Warden:
    """A controller that watches the namespace."""
    return cluster_warden.start(*watch(namespace))


def events(api: ControlPlane, namespace: str, name: str, reason: str | None = None) -> list[Any]:
    """Events on an object, oldest first."""
    found = api.kubectl("get", "events.v1.events.k8s.io", "-n", namespace, "-o", "json").ok().json["items"]
    mine = [one for one in found if one["regarding"]["name"] == name and reason in (None, one["reason"])]
    return sorted(mine, key=lambda one: one["eventTime"])


def reasons(api: ControlPlane, namespace: str, name: str) -> list[str]:
    """What they say, in a word each."""
    return [one["reason"] for one in events(api, namespace, name)]


def failing(name: str, **more: Any) -> Document:
    """A job that fails once, is tried again, and says what nobody else shall read."""
    return once(
        name, "echo hunter2; echo hunter2 >&2; exit 3", retry={"limit": 1, "backoff": {"initial": "1s"}}, **more
    )


def test_describe_tells_the_story_of_a_job(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """Started, failed, tried again: on the object, from us, without a word of its output."""
    api.apply(failing("broken"), namespace=namespace).ok()
    warden.wait_for(lambda: len(events(api, namespace, "broken", "Failed")) == 2, "both ends to be told")
    assert reasons(api, namespace, "broken") == ["Started", "Failed", "Retrying", "Started", "Failed"]
    told = events(api, namespace, "broken")
    assert {one["reportingController"] for one in told} == {"jobwarden.dev/controller"}
    assert all(one["reportingInstance"] and one["action"] for one in told)
    assert {one["type"] for one in told if one["reason"] == "Failed"} == {"Warning"}
    assert {one["regarding"]["uid"] for one in told} == {api.get("sjob", "broken", namespace)["metadata"]["uid"]}
    runs = [one["metadata"]["name"] for one in warden.items("runs", "-n", namespace)]
    assert all(any(run in one["note"] for run in runs) for one in told)
    assert "with exit code 3" in events(api, namespace, "broken", "Failed")[0]["note"]
    text = api.kubectl("describe", "sjob", "broken", "-n", namespace).ok().out
    shown = text[text.index("Events:") :]
    assert "jobwarden.dev/controller" in shown
    assert shown.count("has ended as Failed with exit code 3") == 2
    assert "hunter2" not in str(told)


def test_what_repeats_is_counted_in_a_series(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """A job that runs every second has some Events, and then one whose count grows."""
    api.apply(bare("ticks", schedule={"every": "1s"}, shell={"script": "true"}), namespace=namespace).ok()
    counted = warden.wait_for(
        lambda: [one for one in events(api, namespace, "ticks", "Succeeded") if one.get("series")], "a series"
    )
    assert counted[0]["series"]["count"] >= 2
    assert counted[0]["note"].startswith("And more like this: ")
    done = len(warden.runs())
    warden.wait_for(lambda: len(warden.items("runs", "-n", namespace)) > done + 5, "more runs")
    assert len(events(api, namespace, "ticks", "Succeeded")) <= 6


def test_refusals_and_suspensions_are_told_once_also_over_a_restart(
    api: ControlPlane, namespace: str, warden: Warden
) -> None:
    """InvalidSpec for each refused version, Suspended and Resumed for each change, and no word of what was told before."""
    never = bare("never", schedule={"cron": "0 0 31 2 *"}, shell={"script": "true"})
    api.apply(never, bare("rests", schedule={"every": "1h"}, shell={"script": "true"}), namespace=namespace).ok()
    [refusal] = warden.wait_for(lambda: events(api, namespace, "never", "InvalidSpec"), "the refusal")
    assert "/spec/schedule/cron" in refusal["note"]
    assert refusal["type"] == "Warning"
    api.kubectl("wait", "sjob/rests", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
    for suspend, reason in ((True, "Suspended"), (False, "Resumed")):
        patch = json.dumps({"spec": {"suspend": suspend}})
        api.kubectl("patch", "sjob", "rests", "-n", namespace, "--type=merge", "-p", patch).ok()
        warden.wait_for(lambda reason=reason: events(api, namespace, "rests", reason), reason)
    assert warden.stop() == 0
    before = {name: reasons(api, namespace, name) for name in ("never", "rests")}
    warden.start(*watch(namespace))
    api.apply(once("after"), namespace=namespace).ok()
    wait_for(lambda: "Succeeded" in reasons(api, namespace, "after"), "the restarted one to tell of something")
    assert {name: reasons(api, namespace, name) for name in before} == before


def test_other_sources_and_missed_instants(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """A job of a file has no Events, whatever its name; skips are told with their reason."""
    warden.write("local", once("local", metadata={"namespace": namespace}))
    slow = bare(
        "slow",
        schedule={"every": "1s"},
        shell={"script": "sleep 600"},
        concurrency={"policy": "Forbid"},
    )
    api.apply(slow, namespace=namespace).ok()
    [skip, *_] = warden.wait_for(lambda: events(api, namespace, "slow", "Skipped"), "a skip")
    assert skip["type"] == "Normal"
    assert "The instant " in skip["note"]
    assert warden.items("runs", "-n", namespace)
    assert events(api, namespace, "local") == []


def test_without_the_right_to_post_jobs_run_and_it_is_said_once(
    plane: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """Events are a courtesy: a refusal is a warning, not an outage."""
    role = next(one for one in RIGHTS if one["kind"] == "ClusterRole")
    rules = [one for one in role["rules"] if one["apiGroups"] != ["events.k8s.io"]]
    plane.apply({**role, "rules": rules}).ok()
    warden = make_warden(environment=plane.environment("controller"))
    plane.apply(*(once(f"runs-{number}") for number in range(5))).ok()
    warden.start(*watch("default"))
    for number in range(5):
        warden.wait_run(f"runs-{number}", "Succeeded")
    warden.wait_for(lambda: b"an event could not be posted" in warden.log.read_bytes(), "the warning")
    assert warden.stop() == 0
    assert warden.log.read_bytes().count(b"an event could not be posted") == 1
