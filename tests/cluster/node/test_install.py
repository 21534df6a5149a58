"""The chart as it is shipped, on a node of a real cluster: it becomes ready, runs jobs, survives what happens to Pods, and leaves when it is told to."""

import pytest

from tests.cluster.node.release import a_namespace, release
from tests.harness import Postgres, job, wait_for
from tests.harness.node import Node

pytestmark = [pytest.mark.slow, pytest.mark.heavy]


def test_as_shipped_it_installs_runs_jobs_survives_its_pod_and_leaves_only_what_it_keeps(node: Node) -> None:
    """Install, helm test, a run with its log, the controller's Pod gone in the middle of a run, an upgrade, uninstall, and a new release that knows the old runs."""
    with release(node, "jobwarden") as one, a_namespace(node) as namespace:
        node.volume(f"{one.name}-data")
        one.install()
        tested = node.helm("test", one.name, "-n", one.name, "--timeout", "120s")
        assert tested.code == 0, f"{tested.text}\n{one.story()}"

        node.apply(job("hello", "echo out of a Pod", schedule={"every": "1h"}), namespace=namespace).ok()
        node.apply(job("lasting", "echo begun; sleep 300", schedule={"every": "1h"}), namespace=namespace).ok()
        one.wait_ready("hello", namespace)
        asked = one.cli("trigger", "hello", "-n", namespace, "--wait")
        assert asked.code == 0, asked.text
        assert "out of a Pod" in one.cli("logs", "hello", "-n", namespace).ok().out
        one.wait_ready("lasting", namespace)
        one.cli("trigger", "lasting", "-n", namespace).ok()
        run = one.wait_run("lasting", namespace, "Running")["metadata"]["name"]
        node.kubectl("wait", "pod", "-l", f"jobwarden.dev/run={run}", "-n", namespace, "--for=condition=Ready").ok()

        # As a node that goes away would: nothing is waited for, and what runs elsewhere runs on.
        [pod] = one.pods()
        node.kubectl("delete", "pod", pod["metadata"]["name"], "-n", one.name, "--grace-period=0", "--force").ok()
        one.wait_replaced(pod)
        one.wait_run("hello", namespace, "Succeeded")
        one.wait_run("lasting", namespace, "Running")
        one.upgrade("image.tag=next", "limits.running=7")
        [pod] = one.pods()
        assert pod["spec"]["containers"][0]["image"] == "jobwarden:next"
        one.wait_run("lasting", namespace, "Running")
        assert "begun" in one.cli("logs", run, "-n", namespace).ok().out
        one.cli("cancel", run, "-n", namespace).ok()
        one.wait_run("lasting", namespace, "Cancelled")

        node.helm("uninstall", one.name, "-n", one.name, "--wait").ok()
        kept = {"PersistentVolumeClaim"}
        wait_for(lambda: _left(node, one.name) == kept, "only the claim to be left", deadline=90, context=one.story)
        assert node.get("sjob", "hello", namespace) is not None
        one.install()
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
        said = ("database.postgresql.existingSecret=database", "replicas=2", f"watch.namespaces={{{namespace}}}")
        one.install(*said)
        assert len(one.pods()) == 2
        node.apply(job("shared", "echo once", schedule={"every": "1h"}), namespace=namespace).ok()
        one.wait_ready("shared", namespace)
        asked = one.cli("trigger", "shared", "-n", namespace, "--key", "one", "--wait")
        assert asked.code == 0, asked.text
        one.upgrade(*said, "image.tag=next")
        assert {pod["spec"]["containers"][0]["image"] for pod in one.pods()} == {"jobwarden:next"}
        assert [run["status"]["state"] for run in one.runs("shared", namespace)] == ["Succeeded"]


def _reachable(node: Node, url: str) -> str:
    """The same database, as Pods reach it."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - needed by this test alone

    parts = conninfo_to_dict(url)
    place = node.open(f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}")
    return f"postgresql://{parts['user']}@{place}/{parts['dbname']}"


def test_the_egress_proxy_lets_out_whoever_shows_a_pass_of_its_release(node: Node) -> None:
    """As the chart runs it: ready with the key that it shares with the controller, reached over its Service; what the pass does not list, and who has none, stays inside."""
    with release(node, "egress") as one:
        proxy = ("pods.networkPoliciesEnforced=true", "pods.egressProxy.enabled=true", "pods.egressProxy.replicas=1")
        one.install("database.sqlite.ephemeral=true", *proxy)
        there, inside = (node.get("service", name, one.name)["spec"] for name in (f"{one.name}-egress", one.name))
        place = f"{there['clusterIP']}:{there['ports'][0]['port']}"
        code = ("python", "-c", _ASK, place, inside["clusterIP"])
        said = node.kubectl("-n", one.name, "exec", f"deploy/{one.name}", "--", *code)
        assert said.code == 0, f"{said.text}\n{one.story()}"
        assert said.out.split() == ["200", "403", "403", "407"]
        log = node.kubectl("logs", f"deploy/{one.name}-egress", "-n", one.name).ok().out
        assert '"run":"here/a-1"' in log


def test_a_word_about_the_network_that_is_not_true_lets_no_job_out(node: Node) -> None:
    """Nothing enforces NetworkPolicies here, whatever the values say: a run whose contract limits its network is not started, and says what can be reached; others run."""
    with release(node, "claims") as one, a_namespace(node) as namespace:
        one.install(
            "database.sqlite.ephemeral=true", f"watch.namespaces={{{namespace}}}", "pods.networkPoliciesEnforced=true"
        )
        node.apply(
            job("limited", schedule={"every": "24h"}, trustContract={"box": {"network": {"mode": "None"}}}),
            job("free", schedule={"every": "24h"}),
            namespace=namespace,
        ).ok()
        for name in ("limited", "free"):
            one.wait_ready(name, namespace)
            one.cli("trigger", name, "-n", namespace).ok()
        one.wait_run("free", namespace, "Succeeded")
        status = one.wait_run("limited", namespace, "Failed")["status"]
        assert status["reason"] == "StartFailed"
        assert "the fence of this Pod does not hold: 10.0.0.1:443 can be reached" in status["message"]
        assert "networkPoliciesEnforced" in status["message"]


_ASK = """
import sys, time, urllib.error, urllib.request
from pathlib import Path
from controller.executors import egress_pass
proxy, inside = sys.argv[1:]
made = egress_pass.Pass("a-1", "here", (inside,), int(time.time()) + 600)
shown = egress_pass.sign(made, egress_pass.keys(Path("/etc/jobwarden-egress/key")))
for user, to in ((f"jobwarden:{shown}@", inside), (f"jobwarden:{shown}@", "127.0.0.1"), (f"jobwarden:{shown}x@", inside), ("", inside)):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://{user}{proxy}"}))
    try:
        print(opener.open(f"http://{to}:9090/healthz", timeout=20).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
"""Asks for the controller's own probe through the proxy: with a pass for it, with one that lists something else, with one that was changed, and with none."""
