"""Verbs in a cluster and what a controller makes of them: the same story as over the control socket."""

from typing import Any

import pytest

from tests.cluster import conftest
from tests.cluster.conftest import watch
from tests.cluster.test_verbs import Cli, as_controller, cli, idle
from tests.harness import Warden
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import bare

__all__ = ["as_controller", "cli"]  # fixtures

# RunRequests and Approvals mean something to a controller that has these.
pytest.importorskip("controller.kubernetes.run_requests")


def status(api: ControlPlane, namespace: str, name: str) -> Any:
    """What the controller says of a job."""
    return api.get("sjob", name, namespace).get("status") or {}


@pytest.fixture
def warden(api: ControlPlane, namespace: str, cluster_warden: Warden) -> Warden:
    """A controller that watches the namespace of the test, and believes requests."""
    conftest.verified(api)
    return cluster_warden.start(*watch(namespace))


def apply(api: ControlPlane, namespace: str, *jobs: Any) -> None:
    """Apply jobs and wait until they are accepted."""
    api.apply(*jobs, namespace=namespace).ok()
    names = [f"sjob/{one['metadata']['name']}" for one in jobs]
    api.kubectl("wait", *names, "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()


def test_trigger_waits_for_the_work_and_has_its_exit_code(
    api: ControlPlane, namespace: str, warden: Warden, cli: Cli
) -> None:
    """0 when it succeeded, also for a second request with the same key; 1 when it failed or could not be."""
    apply(api, namespace, idle("good"), bare("bad", shell={"script": "exit 3"}))
    first = cli("trigger", "good", "--wait", "--key", "k").ok()
    assert "Succeeded" in first.out
    assert first.out.split()[0] == cli("trigger", "good", "--wait", "--key", "k").ok().out.split()[0]
    failed = cli("trigger", "bad", "--wait")
    assert (failed.code, "exit code 3" in failed.out) == (1, True)
    refused = cli("trigger", "good", "--wait", "-p", "colour=red")
    assert (refused.code, "colour" in refused.out) == (1, True)


def test_a_run_is_cancelled_and_a_job_held_and_released(
    api: ControlPlane, namespace: str, warden: Warden, cli: Cli
) -> None:
    """By annotations, which the controller obeys."""
    apply(api, namespace, bare("slow", shell={"script": "sleep 600"}))
    cli("trigger", "slow").ok()
    active = warden.wait_for(lambda: status(api, namespace, "slow").get("activeRuns"), "it to run")
    cli("cancel", active[0]["name"]).ok()
    warden.wait_for(
        lambda: status(api, namespace, "slow").get("lastRun", {}).get("state") == "Cancelled", "the cancellation"
    )
    cli("hold", "slow", "--reason", "the disk is full").ok()
    warden.wait_for(lambda: "the disk is full" in cli("describe", "job", "slow").out, "the hold")
    cli("release", "slow").ok()
    warden.wait_for(lambda: "the disk is full" not in cli("describe", "job", "slow").out, "the release")


def test_an_approval_lets_the_run_begin(api: ControlPlane, namespace: str, warden: Warden, cli: Cli) -> None:
    """By the name of the job."""
    apply(api, namespace, idle("gated", approval={"required": True}))
    cli("trigger", "gated").ok()
    warden.wait_for(lambda: cli("get", "approvals", "-o", "name").out, "the question")
    cli("approve", "gated", "--reason", "it is fine").ok()
    warden.wait_for(lambda: status(api, namespace, "gated").get("lastRun", {}).get("state") == "Succeeded", "the run")
