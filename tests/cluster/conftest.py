"""Fixtures of the cluster tests: one API server for the whole run, a namespace for each test, and a controller that watches it."""

import contextlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import Warden
from tests.harness.controlplane import ControlPlane, tools
from tests.harness.manifests import Document, bare
from tests.harness.waiting import wait_for
from tests.harness.warden import ROOT

_PERSON = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "controller"}


def shipped(name: str) -> tuple[dict[str, Any], ...]:
    """A file of rights, for a person of ours as well."""
    documents = yaml.safe_load_all((ROOT / "manifests/kubernetes" / name).read_text(encoding="utf-8"))
    return tuple({**one, "subjects": [*one["subjects"], _PERSON]} if "subjects" in one else one for one in documents)


RIGHTS = shipped("rights.yaml")
"""What is shipped, for a person of ours as well."""
CONTROLLERS = ("system:serviceaccount:jobwarden:jobwarden", "controller")


def admission(*controllers: str) -> list[dict[str, Any]]:
    """The policies that are shipped, with these user names for the controllers, as whoever installs them adapts them."""
    documents = list(yaml.safe_load_all((ROOT / "manifests/kubernetes/admission.yaml").read_text(encoding="utf-8")))
    for one in documents:
        for variable in one["spec"].get("variables", ()):
            if variable["name"] == "controllers":
                variable["expression"] = "[" + ", ".join(f"'{name}'" for name in controllers) + "]"
    return documents


ADMISSION = tuple(admission(*CONTROLLERS))
"""What is shipped, for a person of ours as well."""


@pytest.fixture(scope="session")
def api() -> Iterator[ControlPlane]:
    """A real API server with our CRDs, shared by all workers of this test run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    programs = tools("api")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    folder = Path(tempfile.gettempdir()) / f"jw-api-{run[:12]}"
    with ControlPlane(folder, programs, *RIGHTS, *ADMISSION).shared() as plane:
        _wait_enforced(plane)
        yield plane


def _wait_enforced(plane: ControlPlane) -> None:
    """The API server notices its policies a moment after they are there."""
    probe = {
        "apiVersion": "jobwarden.dev/v1alpha1",
        "kind": "RunRequest",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"jobRef": {"name": "probe"}, "requestedBy": "nobody"},
    }

    def refused() -> bool:
        asked = plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(probe))
        return "requestedBy" in asked.err

    wait_for(refused, "the policies to be enforced")


@pytest.fixture
def namespace(api: ControlPlane) -> Iterator[str]:
    """A namespace of one's own."""
    with api.namespace() as name:
        yield name


@pytest.fixture
def cluster_warden(make_warden: Callable[..., Warden], api: ControlPlane, namespace: str) -> Warden:
    """An installation whose `run --kubernetes` finds the API server; start it with `watch(namespace)`."""
    return make_warden(environment=api.environment("controller"))


@contextlib.contextmanager
def _own_plane(*flags: str, definitions: bool = True) -> Iterator[ControlPlane]:
    programs = tools("api")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    folder = Path(tempfile.gettempdir()) / f"jw-api-{uuid.uuid4().hex[:12]}"
    with ControlPlane(folder, programs, *RIGHTS, definitions=definitions, flags=flags) as own:
        yield own


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    """A server of one's own, to be mistreated."""
    with _own_plane() as own:
        yield own


@pytest.fixture
def uncached_plane() -> Iterator[ControlPlane]:
    """A server that remembers no versions itself: what etcd has forgotten is gone."""
    with _own_plane("--watch-cache=false") as own:
        yield own


@pytest.fixture
def bare_plane() -> Iterator[ControlPlane]:
    """A server that has never heard of our kinds."""
    with _own_plane(definitions=False) as own:
        yield own


def watch(*namespaces: str, executor: str = "Local") -> list[str]:
    """Arguments that make a controller watch these namespaces, by a Lease of its own for the first of them."""
    lease = ("--lease", f"jobwarden/{namespaces[0]}")
    return [
        "--kubernetes",
        "--executor",
        executor,
        *lease,
        *(part for one in namespaces for part in ("--watch-namespace", one)),
    ]


def condition(thing: Any, kind: str) -> Document:
    """One condition of an object; empty when it is not there."""
    conditions = (thing or {}).get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def hourly(name: str, script: str = "true", **spec: Any) -> Document:
    """A job that does not run by itself while a test lasts."""
    return bare(name, schedule={"cron": "0 3 1 1 *"}, shell={"script": script}, **spec)


def verified(api: ControlPlane) -> None:
    """Wait until the policy about requests has been there for so long that its word on new ones is believed."""

    def settled() -> bool:
        found = api.get("validatingadmissionpolicybinding", "runrequests.jobwarden.dev")
        return datetime.now(UTC) - datetime.fromisoformat(found["metadata"]["creationTimestamp"]) > timedelta(seconds=7)

    wait_for(settled, "the policy to be older than the request")


def as_account(plane: ControlPlane) -> dict[str, str]:
    """A kubeconfig with a token of the account that the controller has in a cluster."""
    token = plane.kubectl("create", "token", "jobwarden", "-n", "jobwarden").ok().out.strip()
    config = yaml.safe_load((plane.folder / "controller.kubeconfig").read_text())
    config["users"][0]["user"] = {"token": token}
    path = plane.folder / "account.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return {"KUBECONFIG": str(path)}
