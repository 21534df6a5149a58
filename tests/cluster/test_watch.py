"""A watch that goes deaf, a version that is too old, too many requests, a namespace that goes, definitions that grow: through a proxy that does the mischief."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import watch
from tests.cluster.test_faults import last_run, ready
from tests.cluster.test_requests import finished, request
from tests.harness import Warden, bare, once, wait_for
from tests.harness.apiproxy import ApiProxy, answer
from tests.harness.controlplane import ControlPlane
from tests.harness.ports import free_port
from tests.harness.warden import ROOT


@pytest.fixture
def proxy(plane: ControlPlane) -> Iterator[ApiProxy]:
    """Between a controller and an API server of one's own."""
    with ApiProxy(plane) as between:
        yield between


@pytest.fixture
def warden(proxy: ApiProxy, make_warden: Callable[..., Warden]) -> Warden:
    """An installation that reaches its API server through the proxy."""
    return make_warden(environment=proxy.environment("controller"))


def probe(url: str) -> tuple[int, str]:
    """Code and text of a probe's answer; 0 while there is none."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.mark.slow
def test_a_deaf_watch_is_not_alive(plane: ControlPlane, proxy: ApiProxy, warden: Warden) -> None:
    """Connections stay open and say nothing while the API server answers: the probe says so, and stops to once they speak again."""
    address = f"127.0.0.1:{free_port()}"
    # Statuses are written all the time, of which a watch would have to tell.
    plane.apply(bare("ticks", schedule={"every": "5s"}, shell={"script": "true"})).ok()
    warden.start(*watch("default"), "--metrics-addr", address)
    warden.wait_for(lambda: probe(f"http://{address}/readyz")[0] == 200, "the controller to be ready")
    warden.wait_for(lambda: last_run(plane, "ticks"), "the job to be known")
    assert probe(f"http://{address}/healthz")[0] == 200
    assert 'leader_election_master_status{name="default"} 1.0' in probe(f"http://{address}/metrics")[1]
    proxy.silence_watches()
    plane.apply(bare("unheard", shell={"script": "true"})).ok()
    warden.cli("reconcile", "kubernetes").ok()
    wait_for(lambda: ready(plane, "unheard"), "the list to have found it all the same")
    warden.wait_for(lambda: probe(f"http://{address}/healthz")[0] == 503, "the probe to fail", deadline=180)
    assert "it has not told of changes" in probe(f"http://{address}/healthz")[1]
    proxy.mend()
    warden.wait_for(lambda: probe(f"http://{address}/healthz")[0] == 200, "the probe to pass again", deadline=180)


@pytest.mark.slow
def test_an_expired_version_makes_the_watch_begin_anew(plane: ControlPlane, proxy: ApiProxy, warden: Warden) -> None:
    """410 Gone: everything is listed again, also what was deleted meanwhile, and nothing runs twice."""
    plane.apply(once("done"), bare("leaves", shell={"script": "true"})).ok()
    warden.start(*watch("default"))
    warden.wait_for(lambda: last_run(plane, "done") and ready(plane, "leaves"), "both to be known")
    gone = {
        "kind": "Status",
        "apiVersion": "v1",
        "code": 410,
        "reason": "Expired",
        "message": "too old resource version",
    }
    expired = answer(200, "OK", json.dumps({"type": "ERROR", "object": gone}) + "\n")
    left = {"scheduledjobs": 3}

    def fault(line: str) -> bytes | None:
        if "watch=true" not in line or "/scheduledjobs?" not in line or not left["scheduledjobs"]:
            return None
        left["scheduledjobs"] -= 1
        return expired

    proxy.fault = fault
    plane.stop_api()
    plane.start_api()
    plane.kubectl("delete", "sjob", "leaves").ok()
    wait_for(lambda: proxy.answered == 3, "the watch to have been told three times", deadline=120, context=warden.story)
    plane.apply(once("late")).ok()
    warden.wait_run("late", "Succeeded", deadline=120)
    warden.wait_for(lambda: {one["metadata"]["name"] for one in warden.jobs()} == {"done", "late"}, "the deletion")
    assert len(warden.runs("done")) == 1


@pytest.mark.heavy
def test_what_happened_in_versions_that_etcd_has_forgotten_is_seen(
    uncached_plane: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """Compacted while the watch was cut, so that the API server itself says 410 Gone: what was made, changed, asked for and removed is found, once."""
    plane = uncached_plane
    with ApiProxy(plane) as proxy:
        warden = make_warden(environment=proxy.environment("controller"))
        plane.apply(
            once("done"), *(bare(name, shell={"script": "true"}) for name in ("leaves", "changes", "asked"))
        ).ok()
        plane.apply(request("before", "asked")).ok()
        warden.start(*watch("default"))
        warden.wait_for(lambda: last_run(plane, "done"), "a run to be told")
        warden.wait_for(lambda: finished(plane, "default", "before"), "the first request to end")
        warden.wait_for(lambda: ready(plane, "leaves") and ready(plane, "changes"), "the others to be known")
        proxy.silence_watches()
        plane.kubectl("delete", "sjob/leaves", "rreq/before").ok()
        plane.apply(once("comes"), bare("changes", shell={"script": "true"}, suspend=True)).ok()
        plane.apply(request("during", "asked")).ok()
        plane.compact()
        assert proxy.expired == []
        proxy.mend()
        for plural in ("scheduledjobs", "runrequests"):
            what = f"the watch of {plural} to be told that its version is gone"
            warden.wait_for(lambda part=f"/{plural}?": part in str(proxy.expired), what, deadline=300)
        warden.wait_run("comes", "Succeeded", deadline=300)
        names = {"done", "changes", "asked", "comes"}
        warden.wait_for(lambda: {one["metadata"]["name"] for one in warden.jobs()} == names, "the deletion")
        warden.wait_for(lambda: warden.job("changes")["spec"]["suspend"], "the change")
        warden.wait_for(lambda: finished(plane, "default", "during"), "the second request to end")
        assert len(warden.runs("done")) == 1
        assert len(warden.runs("asked")) == 2
        plane.apply(once("after")).ok()
        warden.wait_run("after", "Succeeded")


@pytest.mark.slow
def test_too_many_requests_delay_reports_and_nothing_else(plane: ControlPlane, proxy: ApiProxy, warden: Warden) -> None:
    """429 for every write of status and Event: jobs run, and the reports come when they are let."""
    busy = answer(
        429, "Too Many Requests", json.dumps({"kind": "Status", "code": 429, "message": "later"}), "Retry-After: 1"
    )
    storm = True
    proxy.fault = lambda line: busy if storm and line.startswith(("PATCH", "POST")) and "leases" not in line else None
    plane.apply(*(once(f"runs-{number}") for number in range(20))).ok()
    warden.start(*watch("default"))
    for number in range(20):
        warden.wait_run(f"runs-{number}", "Succeeded")
    warden.wait_for(lambda: proxy.answered > 10, "writes to have been refused")
    assert not ready(plane, "runs-0")
    storm = False
    for number in range(20):
        warden.wait_for(lambda number=number: last_run(plane, f"runs-{number}"), "its status", deadline=120)
    assert warden.stop() == 0
    assert warden.log.read_text().count("a status could not be written") <= 2


def test_a_status_that_somebody_else_has_written_becomes_ours_again(plane: ControlPlane, warden: Warden) -> None:
    """Another field manager is no obstacle, and what it said of our fields does not stay."""
    plane.apply(bare("job", shell={"script": "true"})).ok()
    warden.start(*watch("default"))
    warden.wait_for(lambda: ready(plane, "job"), "it to be ready")
    foreign = {**bare("job", shell={"script": "true"}), "status": {"queued": 77}}
    foreign["metadata"] = {"name": "job", "namespace": "default"}
    applied = plane.kubectl(
        "apply",
        "--server-side",
        "--subresource=status",
        "--force-conflicts",
        "--field-manager=somebody",
        "-f",
        "-",
        stdin=yaml.safe_dump({key: value for key, value in foreign.items() if key != "spec"}),
    )
    applied.ok()
    warden.cli("trigger", "job", "--wait").ok()
    warden.wait_for(lambda: (plane.get("sjob", "job") or {})["status"].get("queued") == 0, "the truth")


def test_definitions_that_grow_need_no_restart(plane: ControlPlane, warden: Warden) -> None:
    """A newer definition with a field more: the watch goes on, and objects with the field are read by what is known."""
    warden.start(*watch("default"))
    definition = yaml.safe_load((ROOT / "crds/jobwarden.dev_scheduledjobs.yaml").read_text(encoding="utf-8"))
    spec: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["novelty"] = {"type": "string", "maxLength": 10}
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump(definition)).ok()
    wait_for(lambda: "novelty" in plane.kubectl("explain", "sjob.spec.novelty").out, "the field to be known")
    plane.apply(once("known")).ok()
    warden.wait_run("known", "Succeeded")
    novel = once("novel")
    novel["spec"]["novelty"] = "new"
    wait_for(lambda: plane.apply(novel).code == 0, "the field to be taken")
    stalled = warden.wait_for(lambda: stalled_words(plane, "novel"), "it to be refused")
    assert "novelty" in stalled
    plane.apply(once("after")).ok()
    warden.wait_run("after", "Succeeded")


def stalled_words(plane: ControlPlane, name: str) -> str:
    """Why an object is stalled; empty while it is not."""
    conditions = (plane.get("sjob", name) or {}).get("status", {}).get("conditions", [])
    ready_words = [one["message"] for one in conditions if one["type"] == "Ready"]
    return (
        "".join(ready_words) if any(one["type"] == "Stalled" and one["status"] == "True" for one in conditions) else ""
    )


def test_a_namespace_that_is_deleted_takes_its_jobs_along(plane: ControlPlane, warden: Warden) -> None:
    """Objects go one by one while nothing may be made in it any more; Events that are refused there are no trouble."""
    plane.kubectl("create", "namespace", "doomed").ok()
    plane.apply(
        *(bare(f"job-{number}", schedule={"every": "1s"}, shell={"script": "true"}) for number in range(5)),
        namespace="doomed",
    ).ok()
    warden.start("--kubernetes", "--executor", "Local", "--lease", "jobwarden/default")
    warden.wait_for(lambda: len(warden.items("jobs", "-n", "doomed")) == 5, "the jobs")
    plane.kubectl("delete", "namespace", "doomed", "--wait=false").ok()
    # Nobody here finalises namespaces: what a namespace controller would do next.
    plane.kubectl("delete", "sjob", "--all", "-n", "doomed").ok()
    warden.wait_for(lambda: warden.items("jobs", "-n", "doomed") == [], "the jobs to go")
    plane.apply(once("elsewhere")).ok()
    warden.wait_run("elsewhere", "Succeeded")
    assert warden.stop() == 0
