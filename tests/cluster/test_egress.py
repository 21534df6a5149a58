"""Pods whose contract lists hosts, against a real API server: what is made for one, that its pass opens the egress proxy, and that nothing is started where it would not hold."""

import base64
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from controller.executors.egress import NO_EXCEPTIONS, PROXIES
from tests.cluster.conftest import RIGHTS, shipped
from tests.cluster.test_pods import Story
from tests.harness import Warden, wait_for
from tests.harness.controlplane import tools
from tests.harness.simulated import Simulated


class Site(BaseHTTPRequestHandler):
    """A server that the contract lists."""

    def do_GET(self) -> None:
        """Says hello."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Says nothing of it."""


@pytest.fixture
def site() -> Iterator[int]:
    """Its port, on loopback."""
    with HTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The command, and what the controller's settings say of it."""
    key = tmp_path / "proxy.key"
    key.write_text(uuid.uuid4().hex * 2)
    command = [sys.executable, "-m", "controller", "egress-proxy", "--listen", "127.0.0.1:0", "--log-format", "json"]
    with subprocess.Popen([*command, "--key-file", str(key)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = yaml.safe_load(process.stderr.readline())
        port = int(told["address"].rpartition(":")[2])
        labels = {"app.kubernetes.io/name": "proxy"}
        yield {
            "host": "localhost",
            "port": port,
            "namespace": "jobwarden",
            "podLabels": labels,
            "keyFile": "proxy.key",
        }
        process.terminate()


@pytest.fixture
def story(make_warden: Callable[..., Warden]) -> Iterator[Story]:
    """A cluster of one's own, as the right to policies is given to nobody else, and a controller on one of its namespaces."""
    programs = tools("all")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    folder = Path(tempfile.gettempdir()) / f"jw-sim-{uuid.uuid4().hex[:12]}"
    documents = (*RIGHTS, *shipped("networkpolicies.yaml"))
    with Simulated(folder, programs, *documents) as cluster, cluster.namespace() as namespace:
        environment = cluster.environment("controller") | {"JOBWARDEN_NAMESPACE": namespace}
        yield Story(make_warden(environment=environment), cluster, namespace)


def told(folder: Path, **pods: Any) -> tuple[str, str]:
    """A configuration with these settings of Pods."""
    head = {"apiVersion": "jobwarden.dev/v1alpha1", "kind": "ControllerConfiguration"}
    (folder / "jobwarden.yaml").write_text(yaml.safe_dump(head | {"settings": {"pods": pods}}))
    return "--config", str(folder / "jobwarden.yaml")


def contract(*hosts: str, **box: Any) -> dict[str, Any]:
    """Of a job that may reach these."""
    return {"box": {"network": {"mode": "Restricted", "hosts": list(hosts)}, **box}}


def through(url: str, to: str) -> tuple[int, str]:
    """What a program in the Pod gets, by the URL that it is told."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": url}))
    try:
        with opener.open(to, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_pod_is_made_with_its_pass_behind_its_fence(
    story: Story, proxy: dict[str, Any], site: int, tmp_path: Path
) -> None:
    """Label, policy, variables and Secret fit together; the pass opens the real proxy for the host of the contract, and for no other one."""
    cluster, namespace = story.cluster, story.namespace
    story.start(*told(tmp_path, networkPoliciesEnforced=True, egressProxy=proxy))
    story.declare(trustContract=contract(f"localhost:{site}", profile="Restricted"))
    run = story.run()
    pod = cluster.get("pod", story.begin(run), namespace)

    [policy] = cluster.kubectl("get", "networkpolicies", "-n", namespace, "-o", "json").ok().json["items"]
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert selected.keys() == {"jobwarden.dev/network"}
    assert selected.items() <= pod["metadata"]["labels"].items()
    assert (policy["spec"]["policyTypes"], "ingress" in policy["spec"]) == (["Ingress", "Egress"], False)
    assert policy["spec"]["egress"] == [
        {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "jobwarden"}},
                    "podSelector": {"matchLabels": proxy["podLabels"]},
                }
            ],
            "ports": [{"protocol": "TCP", "port": proxy["port"]}],
        }
    ]

    (container,) = pod["spec"]["containers"]
    variables = {one["name"]: one for one in container["env"]}
    assert {variables[name].get("value", "") for name in NO_EXCEPTIONS} == {""}
    [secret] = {variables[name]["valueFrom"]["secretKeyRef"]["name"] for name in PROXIES}
    data = cluster.get("secret", secret, namespace)["data"]
    [url] = {base64.b64decode(data[name]).decode() for name in PROXIES}
    assert urlsplit(url).hostname == "127.0.0.1", "the Pod would need DNS"
    password = urlsplit(url).password
    assert password is not None
    assert password not in str(cluster.get("job", run, namespace)) + str(pod)
    assert through(url, f"http://localhost:{site}/") == (200, "hello")
    code, words = through(url, "http://example.com/")
    assert (code, "the contract of this run does not list it" in words) == (403, True)
    assert through(url.replace(password, password[:-1] + "_"), f"http://localhost:{site}/")[0] == 403
    assert through(f"http://127.0.0.1:{proxy['port']}", f"http://localhost:{site}/")[0] == 407

    cluster.finish(pod["metadata"]["name"], namespace)
    assert story.ended(run)["state"] == "Succeeded"
    wait_for(lambda: cluster.get("secret", secret, namespace) is None, "the pass to go with its run")
    shown = story.warden.cli("-n", namespace, "trust", "explain", run).ok().out
    assert f"network Restricted (localhost:{site})" in shown
    assert password not in shown + story.warden.log.read_text()


def test_it_is_not_made_where_its_fence_would_not_hold(story: Story, proxy: dict[str, Any], tmp_path: Path) -> None:
    """Without the operator's word, without a proxy, without its address, or where another policy lets something through: the run says what to do."""
    listed = contract("example.com")
    said = (
        ({}, "settings.pods.networkPoliciesEnforced"),
        ({"egressProxy": proxy}, "settings.pods.networkPoliciesEnforced"),
        ({"networkPoliciesEnforced": True}, "set settings.pods.egressProxy of the controller"),
    )
    for number, (settings, words) in enumerate(said):
        story.start(*told(tmp_path, **settings))
        story.declare(f"denied-{number}", trustContract=listed)
        run = story.run(f"denied-{number}")
        assert story.ended(run)["state"] == "Denied"
        assert words in story.warden.cli("-n", story.namespace, "trust", "explain", run).ok().out
        story.warden.stop()

    away = proxy | {"host": "nowhere.invalid"}
    story.start(*told(tmp_path, networkPoliciesEnforced=True, egressProxy=away))
    story.declare("nowhere", trustContract=listed, startTimeout="2s")
    ended = story.ended(story.run("nowhere"))
    assert (ended["state"], ended["reason"]) == ("Failed", "StartFailed")
    assert "the egress proxy nowhere.invalid (settings.pods.egressProxy.host) cannot be found" in ended["message"]
    story.warden.stop()

    dns = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "dns-for-all"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]},
    }  # fmt: skip
    story.cluster.apply(dns, namespace=story.namespace).ok()
    story.start(*told(tmp_path, networkPoliciesEnforced=True, egressProxy=proxy))
    story.declare("leaky", trustContract=listed)
    ended = story.ended(story.run("leaky"))
    assert "NetworkPolicies add up: dns-for-all" in ended["message"]
    found = story.cluster.kubectl("get", "jobs,pods,secrets", "-n", story.namespace, "-o", "name").ok().out
    assert found.strip() == ""
