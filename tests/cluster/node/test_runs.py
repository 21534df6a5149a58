"""Runs as Pods that really run: what a container does, and what is done to it, is what the account says."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.node.release import Release, a_namespace, release
from tests.harness import bare, job
from tests.harness.node import BUSYBOX, Node

pytestmark = [pytest.mark.slow, pytest.mark.heavy]


@pytest.fixture
def installed(node: Node) -> Iterator[tuple[Release, str]]:
    """A release whose jobs have busybox as their image, and a namespace for them that enforces Pod Security."""
    with release(node, "runs") as one, a_namespace(node) as namespace:
        one.install("database.sqlite.ephemeral=true", f"jobs.image={BUSYBOX}", f"watch.namespaces={{{namespace}}}")
        yield one, namespace


def test_what_becomes_of_a_container_is_what_the_account_says(node: Node, installed: tuple[Release, str]) -> None:
    """Exit code, output, memory, time, a Secret, an image that is not there, a Pod that may not be: each run ends with the reason that fits."""
    one, namespace = installed
    node.kubectl("create", "secret", "generic", "access", "-n", namespace, "--from-literal=token=open-sesame").ok()
    jobs = {
        "fails": job("fails", "echo printed; exit 3"),
        "greedy": job("greedy", "tail /dev/zero", resources={"limits": {"memory": "32Mi"}}),
        "endless": job("endless", "sleep 300", timeout="5s", terminationGracePeriod="1s"),
        "secret": job("secret", 'test "$TOKEN" = open-sesame && id -u', env=[_from_secret()]),
        "nowhere": bare("nowhere", pod=_template({"name": "main", "image": "nowhere:1", **_NO_PULL, **_SAFE})),
        "unsafe": bare("unsafe", pod=_template({"name": "main", "image": BUSYBOX}), startTimeout="5s"),
        "templated": bare("templated", pod=_template({"name": "main", "image": BUSYBOX, "command": ["date"], **_SAFE})),
    }
    node.apply(*jobs.values(), namespace=namespace).ok()
    for name in jobs:
        one.wait_ready(name, namespace)
        one.cli("trigger", name, "-n", namespace).ok()

    fails = one.wait_run("fails", namespace, "Failed")
    assert fails["status"]["exitCode"] == 3
    assert "printed" in one.cli("logs", "fails", "-n", namespace).ok().out
    assert one.wait_run("greedy", namespace, "Failed")["status"]["reason"] == "OOMKilled"
    one.wait_run("endless", namespace, "TimedOut")
    one.wait_run("secret", namespace, "Succeeded")
    assert one.cli("logs", "secret", "-n", namespace).ok().out.strip() == "65532"
    one.wait_run("templated", namespace, "Succeeded")
    nowhere = one.wait_run("nowhere", namespace, "Failed")
    assert nowhere["status"]["reason"] == "ImagePull"
    unsafe = one.wait_run("unsafe", namespace, "Failed")
    assert "PodSecurity" in str(unsafe["status"]), unsafe["status"]


_SAFE = {
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
}

_NO_PULL = {"imagePullPolicy": "Never"}


def _template(container: dict[str, Any]) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [container]}}}


def _from_secret() -> dict[str, Any]:
    return {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "access", "key": "token"}}}
