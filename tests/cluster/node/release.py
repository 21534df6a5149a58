"""A release of the chart on a node, as tests install, ask and remove it."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from tests.harness import wait_for
from tests.harness.node import Node
from tests.harness.warden import ROOT, Result

CHART = ROOT / "charts/jobwarden"
SAFE = {
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
}
"""A container that passes the strictest of the Pod Security Standards."""


class Release:
    """One release in a namespace of its own, which watches that namespace only unless it is told otherwise."""

    def __init__(self, node: Node, name: str) -> None:
        self.node, self.name = node, name

    def install(self, *said: str, verb: str = "install") -> Result:
        """`helm install --wait` with values."""
        sets = (part for one in (f"fullnameOverride={self.name}", *said) for part in ("--set", one))
        command = (verb, self.name, str(CHART), "-n", self.name, "--create-namespace", "--wait", "--timeout", "180s")
        done = self.node.helm(*command, *sets)
        assert done.code == 0, f"{done.text}\n{self.story()}"
        return done

    def upgrade(self, *said: str) -> Result:
        """`helm upgrade --wait` with values."""
        return self.install(*said, verb="upgrade")

    def cli(self, *arguments: str) -> Result:
        """The command, in the controller's container."""
        return self.node.kubectl("-n", self.name, "exec", f"deploy/{self.name}", "--", "jobwarden", *arguments)

    def runs(self, name: str, namespace: str) -> list[dict[str, Any]]:
        """The runs of a job, oldest first; empty while nobody answers."""
        done = self.cli("get", "runs", "--job", name, "-n", namespace, "-o", "json")
        items = done.json["items"] if done.code == 0 else []
        return sorted(items, key=lambda one: str(one["metadata"]["creationTimestamp"]))

    def wait_run(self, name: str, namespace: str, state: str) -> dict[str, Any]:
        """Wait for a run in this state."""

        def found() -> dict[str, Any] | None:
            return next((one for one in self.runs(name, namespace) if one["status"]["state"] == state), None)

        return wait_for(found, f"a run of {name} that is {state}", context=self.story)

    def wait_ready(self, name: str, namespace: str) -> None:
        """Wait until the controller has a job."""
        self.node.kubectl(
            *("wait", f"sjob/{name}", "-n", namespace, "--for=condition=Ready", "--timeout=60s"), deadline=90
        ).ok()

    def pods(self) -> list[dict[str, Any]]:
        """The controller's Pods that are not on their way out."""
        label = f"app.kubernetes.io/name=jobwarden,app.kubernetes.io/instance={self.name}"
        found = self.node.kubectl("get", "pods", "-n", self.name, "-l", label, "-o", "json").ok().json["items"]
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def wait_replaced(self, pod: dict[str, Any]) -> None:
        """Wait until another Pod is there in the place of one, and ready."""
        wait_for(
            lambda: [one for one in self.pods() if one["metadata"]["uid"] != pod["metadata"]["uid"]],
            "another Pod",
            context=self.story,
        )
        status = ("rollout", "status", f"deploy/{self.name}", "-n", self.name, "--timeout=120s")
        done = self.node.kubectl(*status, deadline=150)
        assert done.code == 0, self.story()

    def story(self) -> str:
        """What somebody would look at when it does not work."""
        asked = (
            ("get", "all,pvc,events", "-n", self.name),
            ("describe", "pods", "-n", self.name),
            ("logs", f"deploy/{self.name}", "-n", self.name, "--tail=40"),
        )
        return "\n".join(self.node.kubectl(*one).text for one in asked)


@contextlib.contextmanager
def release(node: Node, prefix: str) -> Iterator[Release]:
    """A release that is gone afterwards, with its namespace."""
    made = Release(node, f"{prefix}-{uuid.uuid4().hex[:6]}")
    try:
        yield made
    finally:
        node.helm("uninstall", made.name, "-n", made.name, "--ignore-not-found")
        node.kubectl("delete", "namespace", made.name, "--ignore-not-found", "--timeout=60s", deadline=90)


def make_namespace(node: Node) -> str:
    """For jobs, for as long as the node is there."""
    name = f"jobs-{uuid.uuid4().hex[:6]}"
    node.kubectl("create", "namespace", name).ok()
    # What runs here passes the strictest of the Pod Security Standards.
    node.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted").ok()
    return name


@contextlib.contextmanager
def a_namespace(node: Node) -> Iterator[str]:
    """For jobs. What is in it goes with it: here somebody finalises namespaces."""
    name = make_namespace(node)
    yield name
    node.kubectl("delete", "namespace", name, "--timeout=60s", deadline=90)
