"""The chart as it is shipped, on a node of a real cluster: it becomes ready, runs jobs, survives what happens to Pods, and leaves when it is told to."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Postgres, job, wait_for
from tests.harness.node import Node
from tests.harness.warden import ROOT, Result

pytestmark = pytest.mark.slow

CHART = ROOT / "charts/jobwarden"


class Release:
    """One release in a namespace of its own, which watches that namespace only unless it is told otherwise."""

    def __init__(self, node: Node, name: str) -> None:
        self.node, self.name = node, name

    def install(self, *said: str, verb: str = "install") -> Result:
        """`helm install --wait` with values."""
        sets = (part for one in said for part in ("--set", one))
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


@contextlib.contextmanager
def a_namespace(node: Node) -> Iterator[str]:
    """For jobs. What is in it goes with it: here somebody finalises namespaces."""
    name = f"jobs-{uuid.uuid4().hex[:6]}"
    node.kubectl("create", "namespace", name).ok()
    # What runs here passes the strictest of the Pod Security Standards.
    node.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted").ok()
    yield name
    node.kubectl("delete", "namespace", name, "--timeout=60s", deadline=90)


def test_as_shipped_it_installs_runs_a_job_survives_its_pod_and_leaves_only_what_it_keeps(node: Node) -> None:
    """Install, helm test, a run with its log, the Pod deleted in the middle of a run, an upgrade, uninstall, and a new release that knows the old runs."""
    with release(node, "jobwarden") as one, a_namespace(node) as namespace:
        node.volume(f"{one.name}-data")
        one.install("executors={Local}")
        node.kubectl("wait", "--for=condition=Established", "crd/scheduledjobs.jobwarden.dev", "--timeout=30s").ok()
        tested = node.helm("test", one.name, "-n", one.name, "--timeout", "120s")
        assert tested.code == 0, f"{tested.text}\n{one.story()}"
        node.apply(job("hello", "echo out of a Pod", schedule={"every": "1h"}), namespace=namespace).ok()
        one.wait_ready("hello", namespace)
        asked = one.cli("trigger", "hello", "-n", namespace, "--wait")
        assert asked.code == 0, asked.text
        assert "out of a Pod" in one.cli("logs", "hello", "-n", namespace).ok().out
        lasting = job("lasting", "sleep 300", schedule={"every": "1h"})
        node.apply(lasting, namespace=namespace).ok()
        one.wait_ready("lasting", namespace)
        one.cli("trigger", "lasting", "-n", namespace).ok()
        one.wait_run("lasting", namespace, "Running")

        # As a node that goes away would: nothing is waited for.
        [pod] = one.pods()
        node.kubectl("delete", "pod", pod["metadata"]["name"], "-n", one.name, "--grace-period=0", "--force").ok()
        wait_for(
            lambda: [again for again in one.pods() if again["metadata"]["uid"] != pod["metadata"]["uid"]], "another Pod"
        )
        node.kubectl("rollout", "status", f"deploy/{one.name}", "-n", one.name, "--timeout=120s", deadline=150).ok()
        one.wait_run("lasting", namespace, "Crashed")
        one.wait_run("hello", namespace, "Succeeded")

        one.upgrade("executors={Local}", "image.tag=next", "limits.running=7")
        [pod] = one.pods()
        assert pod["spec"]["containers"][0]["image"] == "jobwarden:next"
        one.wait_run("hello", namespace, "Succeeded")

        node.helm("uninstall", one.name, "-n", one.name, "--wait").ok()
        wait_for(
            lambda: _left(node, one.name) == {"PersistentVolumeClaim"},
            "only the claim to be left",
            context=lambda: str(_left(node, one.name)),
        )
        assert node.get("sjob", "hello", namespace) is not None
        one.install("executors={Local}")
        one.wait_run("hello", namespace, "Succeeded")


def _left(node: Node, name: str) -> set[str]:
    """Kinds of what is left of a release, its definitions apart; what everybody's namespace has does not count."""
    kinds = "all,configmaps,serviceaccounts,persistentvolumeclaims,secrets,roles,rolebindings,leases,poddisruptionbudgets,networkpolicies"
    found = node.kubectl("get", kinds, "-n", name, "-o", "json").ok().json["items"]
    whole = node.kubectl(
        *("get", "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"),
        *("-l", f"app.kubernetes.io/instance={name}", "-o", "json"),
    )
    everybodys = ("default", "kube-root-ca.crt")
    return {one["kind"] for one in (*found, *whole.ok().json["items"]) if one["metadata"]["name"] not in everybodys}


def test_with_postgresql_replicas_share_one_database_and_an_upgrade_rolls(node: Node, postgres: Postgres) -> None:
    """Two Pods, the URL from a Secret, and an upgrade during which somebody always answers."""
    with postgres.database() as url, release(node, "warden") as one, a_namespace(node) as namespace:
        node.kubectl("create", "namespace", one.name).ok()
        node.kubectl(
            "create", "secret", "generic", "database", "-n", one.name, f"--from-literal=url={_reachable(node, url)}"
        ).ok()
        said = (
            "database.postgresql.existingSecret=database",
            "replicas=2",
            f"watch.namespaces={{{namespace}}}",
            "executors={Local}",
        )
        one.install(*said, "fullnameOverride=" + one.name)
        assert len(one.pods()) == 2
        node.apply(job("shared", "echo once", schedule={"every": "1h"}), namespace=namespace).ok()
        one.wait_ready("shared", namespace)
        asked = one.cli("trigger", "shared", "-n", namespace, "--key", "one", "--wait")
        assert asked.code == 0, asked.text
        one.upgrade(*said, "fullnameOverride=" + one.name, "image.tag=next")
        assert {pod["spec"]["containers"][0]["image"] for pod in one.pods()} == {"jobwarden:next"}
        assert [run["status"]["state"] for run in one.runs("shared", namespace)] == ["Succeeded"]


def _reachable(node: Node, url: str) -> str:
    """The same database, as Pods reach it."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - needed by this test alone

    parts = conninfo_to_dict(url)
    place = node.open(f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}")
    return f"postgresql://{parts['user']}@{place}/{parts['dbname']}"
