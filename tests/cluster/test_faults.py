"""An API server that goes away, is not there yet, knows nothing of our kinds, or refuses us: what runs goes on, and the reason is told."""

from collections.abc import Callable

import pytest

from tests.cluster.conftest import RIGHTS, watch
from tests.harness import Warden, bare, once
from tests.harness.controlplane import ControlPlane


def last_run(plane: ControlPlane, name: str) -> str | None:
    """Name of the last run that the status tells of."""
    found = plane.get("sjob", name) or {}
    last = found.get("status", {}).get("lastRun", {})
    return last.get("name")


def ready(plane: ControlPlane, name: str) -> bool:
    """Whether the object is told to be in the database."""
    return bool((plane.get("sjob", name) or {}).get("status", {}).get("ready") == "True")


@pytest.mark.slow
def test_an_outage_of_the_api_server_holds_up_no_run_and_loses_no_change(
    plane: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """Schedules go on; afterwards the status catches up, and what was deleted or made meanwhile is seen."""
    warden = make_warden(environment=plane.environment("controller"))
    plane.apply(
        bare("ticks", schedule={"every": "1s"}, shell={"script": "true"}), bare("leaves", shell={"script": "true"})
    ).ok()
    warden.start(*watch("default"))
    warden.wait_for(lambda: last_run(plane, "ticks") and ready(plane, "leaves"), "both to be known")
    plane.stop_api()
    before = len(warden.runs("ticks"))
    warden.wait_for(lambda: len(warden.runs("ticks")) > before + 5, "runs to go on")
    plane.start_api()
    plane.kubectl("delete", "sjob", "leaves").ok()
    plane.apply(once("comes")).ok()
    warden.wait_run("comes", "Succeeded", deadline=120)
    warden.wait_for(lambda: {one["metadata"]["name"] for one in warden.jobs()} == {"ticks", "comes"}, "the deletion")
    known = {one["metadata"]["name"] for one in warden.runs("ticks")}
    warden.wait_for(lambda: last_run(plane, "ticks") not in known, "the status to follow again")
    instants = [one["spec"]["scheduledFor"] for one in warden.runs("ticks")]
    assert len(instants) == len(set(instants))
    assert warden.stop() == 0


@pytest.mark.slow
def test_a_deletion_while_nobody_could_tell_is_found(plane: ControlPlane, make_warden: Callable[..., Warden]) -> None:
    """The watch that comes back tells only of what is there; the list after it tells what is not."""
    warden = make_warden(environment=plane.environment("controller"))
    plane.apply(bare("leaves", shell={"script": "true"}), bare("stays", shell={"script": "true"})).ok()
    warden.start(*watch("default"))
    warden.wait_for(lambda: ready(plane, "leaves"), "it to be known")
    assert warden.process is not None
    warden.process.send_signal(19)  # SIGSTOP: nobody reads the watch
    plane.kubectl("delete", "sjob", "leaves").ok()
    plane.stop_api()
    plane.start_api()
    warden.process.send_signal(18)
    warden.wait_for(lambda: len(warden.jobs()) == 1, "the deletion to be found", deadline=120)


@pytest.mark.slow
def test_a_server_that_comes_later_is_used_as_soon_as_it_is_there(
    plane: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """A start without it is no failure: the source says that it cannot be read, and other sources work."""
    plane.apply(once("waiting")).ok()
    plane.stop_api()
    warden = make_warden(environment=plane.environment("controller"))
    warden.write("local", once("local"))
    warden.start(*watch("default"))
    warden.wait_run("local", "Succeeded")
    source = warden.wait_for(
        lambda: next((one for one in warden.items("sources") if "cannot be reached" in str(one)), None), "the reason"
    )
    assert source["metadata"]["name"] == "kubernetes"
    plane.start_api()
    warden.wait_run("waiting", "Succeeded", deadline=180)


def test_missing_definitions_are_told_with_what_to_do(
    bare_plane: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """And nothing has to be restarted once they are there."""
    plane = bare_plane
    warden = make_warden(environment=plane.environment("controller"))
    warden.start(*watch("default"))
    warden.wait_for(lambda: "kubectl apply --server-side -f crds/" in str(warden.items("sources")), "the reason")
    plane.install_definitions()
    plane.apply(once("late")).ok()
    warden.wait_run("late", "Succeeded", deadline=240)


def test_who_may_not_list_is_told_so(plane: ControlPlane, make_warden: Callable[..., Warden]) -> None:
    """RBAC's own words, and where to look: of the Lease first, then of the objects."""
    warden = make_warden(environment=plane.environment("alice"))
    warden.start(*watch("default"))
    warden.wait_for(lambda: "Lease jobwarden/default may not be used" in str(warden.items("sources")), "the reason")
    plane.kubectl("create", "rolebinding", "alice", "-n", "jobwarden", "--role=jobwarden-election", "--user=alice").ok()
    warden.wait_for(lambda: "may not be listed" in str(warden.items("sources")), "the reason")
    assert "manifests/kubernetes/rights.yaml" in str(warden.items("sources"))


def test_who_may_not_write_status_still_runs_jobs_and_says_it_once(
    plane: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """A missing right for the status is a warning, not an outage."""
    role = next(one for one in RIGHTS if one["kind"] == "ClusterRole")
    plane.apply({**role, "rules": role["rules"][:1]}).ok()
    warden = make_warden(environment=plane.environment("controller"))
    plane.apply(once("runs")).ok()
    warden.start(*watch("default"))
    warden.wait_run("runs", "Succeeded")
    warden.wait_for(lambda: b"a status could not be written" in warden.log.read_bytes(), "the warning")
    assert warden.stop() == 0
    assert b"forbidden" in warden.log.read_bytes()
