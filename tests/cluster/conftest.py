"""Fixtures of the cluster tests: one API server for the whole run, a namespace for each test, and a controller that watches it."""

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import Warden
from tests.harness.controlplane import ControlPlane, tools
from tests.harness.warden import ROOT

_SHIPPED = list(yaml.safe_load_all((ROOT / "manifests/kubernetes/rights.yaml").read_text(encoding="utf-8")))
_PERSON = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "controller"}
RIGHTS: tuple[dict[str, Any], ...] = tuple(
    {**one, "subjects": [*one["subjects"], _PERSON]} if "subjects" in one else one for one in _SHIPPED
)
"""What is shipped, for a person of ours as well."""


@pytest.fixture(scope="session")
def api() -> Iterator[ControlPlane]:
    """A real API server with our CRDs, shared by all workers of this test run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    programs = tools("api")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    with ControlPlane(Path(tempfile.gettempdir()) / f"jw-api-{run[:12]}", programs).shared() as plane:
        plane.apply(*RIGHTS).ok()
        yield plane


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
def _own_plane(*, definitions: bool = True) -> Iterator[ControlPlane]:
    programs = tools("api")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    folder = Path(tempfile.gettempdir()) / f"jw-api-{uuid.uuid4().hex[:12]}"
    with ControlPlane(folder, programs, definitions=definitions) as own:
        own.apply(*RIGHTS).ok()
        yield own


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    """A server of one's own, to be mistreated."""
    with _own_plane() as own:
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
