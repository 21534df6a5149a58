"""Fixtures of what needs a node: one cluster for the whole test run, which one test at a time has for itself."""

import contextlib
import fcntl
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.controlplane import tools
from tests.harness.node import Node, image, leave_nothing, missing

_PREFIX = "jw-node-"


@pytest.fixture(scope="session")
def shared_node() -> Iterator[Node]:
    """A cluster with our image on its node, shared by all workers of this test run."""
    if why := missing():
        pytest.skip(why)
    programs, archive = tools("all"), image()
    if programs is None or archive is None:
        pytest.skip("Kubernetes or the image could not be built here; `make cluster` shows why")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    folder = Path(tempfile.gettempdir())
    leave_nothing(f"{_PREFIX}*", folder)
    with Node(folder / f"{_PREFIX}{run[:10]}", programs).shared() as node:
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
