"""Fixtures of what needs a node: one cluster for the whole test run, which one test at a time has for itself, and one that limits the network of Pods."""

import contextlib
import fcntl
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.controlplane import tools
from tests.harness.node import Node, image, leave_nothing, missing, policies_missing


@pytest.fixture(scope="session")
def shared_node() -> Iterator[Node]:
    """A cluster with our image on its node, shared by all workers of this test run."""
    with _cluster("jw-node-") as node:
        yield node


@pytest.fixture(scope="module")
def fenced_node() -> Iterator[Node]:
    """Likewise, with NetworkPolicies that are enforced, and DNS; it goes with the tests of its module."""
    if why := policies_missing():
        pytest.skip(why)
    policies = tools("policies")
    if policies is None:
        pytest.skip("kube-router or CoreDNS could not be built here; `tests/cluster/tools policies` shows why")
    with _cluster("jw-fenced-", policies) as node:
        yield node


@contextlib.contextmanager
def _cluster(prefix: str, policies: Path | None = None) -> Iterator[Node]:
    if why := missing():
        pytest.skip(why)
    programs, archive = tools("all"), image()
    if programs is None or archive is None:
        pytest.skip("Kubernetes or the image could not be built here; `make cluster` shows why")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    folder = Path(tempfile.gettempdir())
    leave_nothing(f"{prefix}*", folder)
    with Node(folder / f"{prefix}{run[:10]}", programs, policies=policies).shared() as node:
        # One that the chart asks for by itself, and one to move on to.
        node.load(archive, "jobwarden:0.1.0", "jobwarden:next")
        yield node


@pytest.fixture
def node(shared_node: Node) -> Iterator[Node]:
    """The cluster, for this test alone: definitions and policies belong to all of it."""
    with _alone(shared_node.folder / "turn"):
        yield shared_node


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
