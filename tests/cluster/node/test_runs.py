"""Runs as Pods that really run: what a container does, what is done to it, and who has allowed it, is what the account says."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.conftest import verified
from tests.cluster.node.release import SAFE, Release, a_namespace, release
from tests.cluster.test_approvals import decide, gated, told, trusted
from tests.cluster.test_requests import create, finished, request
from tests.harness import Warden, bare, job, wait_for
from tests.harness.node import BUSYBOX, Node

pytestmark = [pytest.mark.slow, pytest.mark.heavy]


@pytest.fixture
def installed(node: Node) -> Iterator[tuple[Release, str]]:
    """A release whose jobs have busybox as their image, and a namespace for them that enforces Pod Security."""
    with release(node, "runs") as one, a_namespace(node) as namespace:
        one.install("database.sqlite.ephemeral=true", f"jobs.image={BUSYBOX}", f"watch.namespaces={{{namespace}}}")
        yield one, namespace


def test_what_becomes_of_a_container_is_what_the_account_says(node: Node, installed: tuple[Release, str]) -> None:
    """Exit code, output, memory, time, a Secret, an image that is not there, a Pod that may not be or is evicted: each run ends with the reason that fits."""
    one, namespace = installed
    node.kubectl("create", "secret", "generic", "access", "-n", namespace, "--from-literal=token=open-sesame").ok()
    jobs = {
        "fails": job("fails", "echo printed; exit 3"),
        "greedy": job("greedy", "tail /dev/zero", resources={"limits": {"memory": "32Mi"}}),
        "endless": job("endless", "sleep 300", timeout="5s", terminationGracePeriod="1s"),
        "secret": job("secret", 'test "$TOKEN" = open-sesame && id -u', env=[_from_secret()]),
        "nowhere": bare("nowhere", pod=_template({"name": "main", "image": "nowhere:1", **_NO_PULL, **SAFE})),
        "unsafe": bare("unsafe", pod=_template({"name": "main", "image": BUSYBOX}), startTimeout="5s"),
        "evicted": job("evicted", "sleep 300", terminationGracePeriod="1s", retry={"limit": 2}),
        "moved": job("moved", "sleep 300", terminationGracePeriod="1s", onInterruption="Rerun"),
        "boxed": job("boxed", _PROBES, trustContract=_BOXED),
        "bare-in-a-box": bare(
            "bare-in-a-box",
            pod=_template(
                {
                    "name": "main",
                    "image": BUSYBOX,
                    "command": ["sh", "-c", _PROBES],
                    "securityContext": {"runAsUser": 1000},
                }
            ),
            trustContract=_BOXED,
        ),
        "templated": bare("templated", pod=_template({"name": "main", "image": BUSYBOX, "command": ["date"], **SAFE})),
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
    for name, user in (("boxed", 65532), ("bare-in-a-box", 1000)):
        one.wait_run(name, namespace, "Succeeded")
        assert one.cli("logs", name, "-n", namespace).ok().out == _CONFINED.format(user=user)
    nowhere = one.wait_run("nowhere", namespace, "Failed")
    assert nowhere["status"]["reason"] == "ImagePull"
    unsafe = one.wait_run("unsafe", namespace, "Failed")
    assert "PodSecurity" in str(unsafe["status"]), unsafe["status"]

    for name in ("evicted", "moved"):
        evict(node, namespace, one.wait_run(name, namespace, "Running")["metadata"]["name"])
        crashed = one.wait_run(name, namespace, "Crashed")["status"]
        assert (crashed["reason"], "EvictionByEvictionAPI" in crashed["message"]) == ("Evicted", True), crashed
    again = one.wait_run("moved", namespace, "Running")
    assert again["spec"]["cause"] == "Replay"
    # An eviction is no failure, of which a retry could make up for: `onInterruption` alone decides.
    assert [run["status"]["state"] for run in one.runs("evicted", namespace)] == ["Crashed"]


def evict(node: Node, namespace: str, run: str) -> None:
    """What `kubectl drain` does to the Pod of a run, once its container runs."""
    label = ("-l", f"jobwarden.dev/run={run}", "-n", namespace)
    node.kubectl("wait", "pod", *label, "--for=condition=Ready", "--timeout=60s", deadline=90).ok()
    pod = node.kubectl("get", "pods", *label, "-o", "name").ok().out.strip().removeprefix("pod/")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    where = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    node.kubectl("create", "--raw", where, "-f", "-", stdin=json.dumps(eviction)).ok()


def test_a_run_waits_for_the_approval_of_somebody_else(
    node: Node, installed: tuple[Release, str], make_warden: Callable[..., Warden]
) -> None:
    """One person asks and may approve, but not that; another one patches; the Pod runs, and its log comes through the API server. All with the roles that are shipped."""
    one, namespace = installed
    for role, person in (("requester", "alice"), ("approver", "alice"), ("approver", "bob")):
        _bind(node, namespace, "clusterrole", f"{one.name}-{role}", person)
    _bind(node, one.name, "role", f"{one.name}-history", "bob")
    verified(node)
    node.apply(gated("promote", "echo into production", allowSelf=False), namespace=namespace).ok()
    one.wait_ready("promote", namespace)

    forged = create(node, namespace, request("now", "promote", by="bob"), as_user="alice")
    assert "set it to your own user name, alice" in forged
    assert create(node, namespace, request("now", "promote", by="alice"), as_user="alice") == ""
    name = wait_for(lambda: trusted(node, namespace), "the approval", context=one.story)["metadata"]["name"]
    decide(node, namespace, name, "alice")
    own = "somebody else has to approve"
    wait_for(lambda: own in told(node, namespace, name, "Decided"), "the asker's own word to be refused")
    assert one.runs("promote", namespace) == []

    decide(node, namespace, name, "bob")
    ended = wait_for(lambda: finished(node, namespace, "now"), "the run to end", context=one.story)
    assert ended["reason"] == "Succeeded"
    assert len(one.runs("promote", namespace)) == 1
    place = ("--context", "test", "-n", namespace, "--controller-namespace", one.name)
    log = make_warden().cli("logs", "promote", *place, environment=node.environment("bob"))
    assert log.ok().out.strip() == "into production"


def _bind(node: Node, namespace: str, kind: str, role: str, person: str) -> None:
    """Give a role that is shipped to somebody, in one namespace."""
    made = ("create", "rolebinding", f"{role}-{person}", "-n", namespace, f"--{kind}={role}", f"--user={person}")
    node.kubectl(*made).ok()


_BOXED = {"box": {"profile": "Restricted"}}
_PROBES = """
for place in / /etc /usr /bin /var /home; do touch $place/x 2>/dev/null && echo "wrote below $place"; done
echo 1 > /tmp/a && echo 2 > ~/b && cat /tmp/a ~/b
test -e /var/run/secrets && echo "there is a token"
grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status
id -u
"""
_CONFINED = "1\n2\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n{user}\n"
"""What they print in a box: the system cannot be written, /tmp and home can, there is no token, no capability, no new privilege, and a filter."""

_NO_PULL = {"imagePullPolicy": "Never"}


def _template(container: dict[str, Any]) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [container]}}}


def _from_secret() -> dict[str, Any]:
    return {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "access", "key": "token"}}}
