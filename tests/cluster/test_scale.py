"""Many at once, with nodes that are played: thousands of objects, a thousand Pods, and a controller that dies in the middle."""

import asyncio
import json
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.kubernetes.connection import connect
from tests.cluster.conftest import RIGHTS, watch
from tests.harness import Warden
from tests.harness.controlplane import ControlPlane, tools
from tests.harness.manifests import document, job
from tests.harness.simulated import Simulated

pytestmark = pytest.mark.slow

_OBJECTS = 5000
_RUNS = 1000
_AT_ONCE = 16


@pytest.fixture
def kwok() -> Iterator[Simulated]:
    """A cluster whose Pods run and succeed by themselves."""
    programs = tools("all")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    folder = Path(tempfile.gettempdir()) / f"jw-kwok-{uuid.uuid4().hex[:12]}"
    with Simulated(folder, programs, *RIGHTS, kwok=True) as cluster:
        yield cluster


@pytest.fixture
def place(kwok: Simulated) -> str:
    """A namespace that goes with its server: to delete what is in it takes longer than the test."""
    kwok.kubectl("create", "namespace", "many").ok()
    return "many"


def create(
    cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch, namespace: str, documents: list[dict[str, Any]]
) -> None:
    """As `kubectl create`, many at once."""
    monkeypatch.setenv("KUBECONFIG", cluster.environment()["KUBECONFIG"])

    async def main() -> None:
        room = asyncio.Semaphore(_AT_ONCE)
        async with connect().http() as http:

            async def one(document: dict[str, Any]) -> None:
                async with room:
                    path = f"/apis/jobwarden.dev/v1alpha1/namespaces/{namespace}/{document['kind'].lower()}s"
                    (await http.post(path, json=document)).raise_for_status()

            await asyncio.gather(*map(one, documents))

    asyncio.run(main())


@pytest.mark.heavy
def test_thousands_of_objects_are_taken_up(
    kwok: Simulated, place: str, monkeypatch: pytest.MonkeyPatch, make_warden: Callable[..., Warden]
) -> None:
    """Every one is Ready; a restart writes none of them again."""
    create(kwok, monkeypatch, place, [job(f"job-{number}") for number in range(_OBJECTS)])
    warden = make_warden(environment=kwok.environment("controller") | {"JOBWARDEN_NAMESPACE": place})
    warden.start(*watch(place))

    def ready() -> bool:
        where = ("-n", place, "--field-selector", "status.ready=True", "-o", "name")
        return len(kwok.kubectl("get", "sjob", *where).ok().out.splitlines()) == _OBJECTS

    warden.wait_for(ready, "all of them to be Ready", deadline=600)
    versions = _versions(kwok, place)
    warden.stop()
    warden.start(*watch(place))
    warden.trigger("job-0").ok()
    warden.wait_run("job-0", "Succeeded")
    changed = {name for name, version in _versions(kwok, place).items() if versions[name] != version}
    assert changed <= {"job-0"}


def test_a_status_stays_small_however_long_a_job_lives(
    api: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch, cluster_warden: Warden
) -> None:
    """Under 4 KiB after five hundred runs, and nothing of ours in what its author owns."""
    cluster_warden.start(*watch(namespace))
    queue = {"policy": "Queue", "maxQueued": 1000}
    api.apply(job("busy", concurrency=queue, description="x" * 1000), namespace=namespace).ok()
    api.kubectl("wait", "sjob/busy", "-n", namespace, "--for=condition=Ready", "--timeout=55s").ok()
    spec = {"jobRef": {"name": "busy"}, "requestedBy": "admin"}
    create(api, monkeypatch, namespace, [document("RunRequest", f"busy-{number}", spec) for number in range(500)])

    def finished() -> bool:
        table = "custom-columns=F:.status.conditions[?(@.type=='Finished')].status"
        found = api.kubectl("get", "rreq", "-n", namespace, "-o", table, "--no-headers").ok().out.split()
        return found.count("True") == 500

    cluster_warden.wait_for(finished, "all of them to have run", deadline=600)
    busy = api.get("sjob", "busy", namespace)
    assert len(json.dumps(busy["status"])) < 4096
    assert len(busy["status"]["recentRuns"]) == 10
    assert set(busy["metadata"].get("annotations", {})) <= {"kubectl.kubernetes.io/last-applied-configuration"}
    assert "finalizers" not in busy["metadata"]


def _versions(cluster: Simulated, namespace: str) -> dict[str, str]:
    listed = cluster.kubectl(
        "get",
        "sjob",
        "-n",
        namespace,
        "-o",
        "custom-columns=N:.metadata.name,V:.metadata.resourceVersion",
        "--no-headers",
    )
    return dict(line.split() for line in listed.ok().out.splitlines())


@pytest.mark.heavy
def test_a_thousand_pods_run_once_each_although_the_controller_dies(
    kwok: Simulated, place: str, monkeypatch: pytest.MonkeyPatch, make_warden: Callable[..., Warden]
) -> None:
    """One Job for each instant and no more; nothing is lost, and only so many Jobs are kept."""
    warden = make_warden(environment=kwok.environment("controller") | {"JOBWARDEN_NAMESPACE": place})
    arguments = [*watch(place, executor="Kubernetes"), "--job-image", "x"]
    warden.start(*arguments)
    at = (datetime.now(UTC) + timedelta(seconds=20)).strftime("%Y-%m-%dT%H:%M:%SZ")
    # What a kill finds between commit and Job may run again: that is what Rerun means.
    spec = {"schedule": {"at": at}, "onInterruption": "Rerun"}
    create(kwok, monkeypatch, place, [job(f"job-{number}", **spec) for number in range(_RUNS)])
    warden.wait_for(lambda: len(warden.runs(state="Succeeded")) > _RUNS // 10, "some to have run", deadline=300)
    warden.kill9()
    warden.start(*arguments)

    def all_done() -> bool:
        done = Counter(one["spec"]["job"] for one in warden.runs(state="Succeeded"))
        return len(done) == _RUNS

    warden.wait_for(all_done, "all to have run", deadline=600)
    runs = warden.runs()
    assert (
        Counter(one["spec"]["job"] for one in runs if one["status"]["state"] == "Succeeded").most_common(1)[0][1] == 1
    )
    names = {one["metadata"]["name"] for one in runs}
    jobs = json.loads(kwok.kubectl("get", "jobs", "-n", place, "-o", "json").ok().out)["items"]
    assert {one["metadata"]["name"] for one in jobs} <= names
    instants = Counter((one["spec"]["job"], one["spec"]["cause"]) for one in runs)
    assert all(count == 1 for (_, cause), count in instants.items() if cause == "Schedule")
