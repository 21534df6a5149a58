"""What the controller costs an API server: one write for what is new, none for what is not."""

import re
from collections.abc import Callable

from tests.cluster.conftest import watch
from tests.harness import Warden, bare, once
from tests.harness.controlplane import ControlPlane

MANY = 200


def status_writes(plane: ControlPlane) -> int:
    """How many statuses of jobs the API server was asked to write, by its own count."""
    metrics = plane.kubectl("get", "--raw", "/metrics").ok().out
    lines = [
        line
        for line in metrics.splitlines()
        if line.startswith("apiserver_request_total{") and 'subresource="status"' in line and "scheduledjobs" in line
    ]
    return sum(int(re.findall(r"} (\d+)", line)[0]) for line in lines)


def ready(plane: ControlPlane) -> int:
    """How many jobs are told to be ready, as the API server selects them."""
    found = plane.kubectl("get", "sjob", "--field-selector", "status.ready=True", "-o", "name").ok()
    return len(found.out.split())


def test_each_object_is_written_once_and_a_restart_writes_nothing(
    plane: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """Status is no heartbeat: what nobody touches costs an API server nothing."""
    warden = make_warden(environment=plane.environment("controller"))
    plane.apply(*(bare(f"idle-{number}", shell={"script": "true"}) for number in range(MANY))).ok()
    warden.start(*watch("default"))
    warden.wait_for(lambda: ready(plane) == MANY, "all to be ready")
    assert status_writes(plane) == MANY
    warden.stop()
    warden.start(*watch("default"))
    warden.cli("reconcile", "kubernetes").ok()
    warden.write("marker", once("marker"))
    warden.wait_run("marker")
    assert status_writes(plane) == MANY


def test_a_run_costs_at_most_two_writes(plane: ControlPlane, make_warden: Callable[..., Warden]) -> None:
    """That it runs, and how it ended; what is over at once is one."""
    warden = make_warden(environment=plane.environment("controller"))
    plane.apply(bare("ticks", schedule={"every": "2s"}, shell={"script": "sleep 0.2"})).ok()
    warden.start(*watch("default"))
    runs = warden.wait_run("ticks", "Succeeded", count=5)
    assert warden.stop() == 0
    assert status_writes(plane) <= 1 + 2 * (len(warden.runs("ticks")) + 1)
    told = (plane.get("sjob", "ticks") or {})["status"]["lastRun"]["name"]
    assert told in {one["metadata"]["name"] for one in warden.runs("ticks")[len(runs) - 1 :]}
