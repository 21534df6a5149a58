"""Fences that are really enforced, on a node with a NetworkPolicy engine and DNS: what a Pod with a limited network reaches, what reaches it, and what its account says.

kube-router learns of a Pod when its address is on record, so that each one is open for a moment. The chart has such a Pod wait for its fence: programs look in their first moment.
"""

import base64
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
import pytest

from tests.cluster.node.release import SAFE, Release, make_namespace
from tests.harness import bare, job, wait_for
from tests.harness.node import ADDRESS, Node

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

_IMAGE = "jobwarden:0.1.0"
_PORT = 8080
_SERVE = f"echo {{}} > /tmp/index.html && exec python -m http.server {_PORT} --directory /tmp"
_NO_NETWORK: dict[str, Any] = {"box": {"network": {"mode": "None"}}}


def _listed(*hosts: str) -> dict[str, Any]:
    return {"box": {"network": {"mode": "Restricted", "hosts": [f"{host}:{_PORT}" for host in hosts]}}}


class Place(msgspec.Struct, frozen=True):
    """A release, a namespace for its jobs, and one with two sites, `allowed` and `forbidden`, which DNS knows as `….example`."""

    release: Release
    jobs: str
    sites: str

    @property
    def node(self) -> Node:
        """Where all of it is."""
        return self.release.node

    def declare(self, *jobs: Mapping[str, Any]) -> None:
        """Apply jobs, and wait until they are known."""
        self.node.apply(*jobs, namespace=self.jobs).ok()
        for one in jobs:
            self.release.wait_ready(one["metadata"]["name"], self.jobs)

    def printed(self, name: str) -> list[Any]:
        """Run a job to its good end; the lines that it has printed, each of them JSON."""
        asked = self.release.cli("trigger", name, "-n", self.jobs, "--wait")
        said = self.release.cli("logs", name, "-n", self.jobs)
        assert asked.code == 0, f"{asked.text}\n{said.text}\n{self.release.story()}"
        return [json.loads(line) for line in said.ok().out.splitlines()]

    def begin(self, name: str) -> tuple[str, str]:
        """Start a job that lasts: its run, and its Pod, which is ready."""
        self.release.cli("trigger", name, "-n", self.jobs).ok()
        run = str(self.release.wait_run(name, self.jobs, "Running")["metadata"]["name"])
        label = ("-l", f"jobwarden.dev/run={run}", "-n", self.jobs)
        self.node.kubectl("wait", "pod", *label, "--for=condition=Ready", "--timeout=60s", deadline=90).ok()
        return run, self.node.kubectl("get", "pods", *label, "-o", "name").ok().out.strip().removeprefix("pod/")

    def end(self, run: str) -> None:
        """Cancel a run."""
        self.release.cli("cancel", run, "-n", self.jobs).ok()

    def explained(self, name: str) -> str:
        """What `trust explain` says of the newest run of a job."""
        run = self.release.runs(name, self.jobs)[-1]["metadata"]["name"]
        return self.release.cli("trust", "explain", run, "-n", self.jobs).ok().out

    def told(self, name: str) -> tuple[object, object]:
        """What the object says of the last run: decision and exit code."""
        status = self.node.get("sjob", name, self.jobs)["status"]
        return status.get("trust", {}).get("decision"), status.get("lastRun", {}).get("exitCode")

    def address(self, pod: str, namespace: str) -> str:
        """Of a Pod."""
        return str(self.node.get("pod", pod, namespace)["status"]["podIP"])

    def service(self, name: str, namespace: str) -> str:
        """The address of a Service."""
        return str(self.node.get("service", name, namespace)["spec"]["clusterIP"])

    def surroundings(self) -> dict[str, tuple[str, str, int]]:
        """What a Pod of this cluster could try to reach: how, and where."""
        there, name = self.release.name, f"{self.release.name}-egress"
        [endpoint] = self.node.get("endpoints", name, there)["subsets"][0]["addresses"]
        return {
            "neighbour": ("tcp", self.address("allowed", self.sites), _PORT),
            "service": ("tcp", self.service("allowed", self.sites), _PORT),
            "API server": ("tcp", self.service("kubernetes", "default"), 443),
            "API server on its node": ("tcp", ADDRESS, 6443),
            "kubelet": ("tcp", ADDRESS, 10250),
            "DNS": ("dns", ADDRESS, 53),
            "DNS over TCP": ("tcp", ADDRESS, 53),
            "name inside": ("name", f"allowed.{self.sites}.svc", 0),
            "name outside": ("name", "allowed.example", 0),
            "proxy": ("tcp", self.service(name, there), 3128),
            "proxy's Pod": ("tcp", endpoint["ip"], 3128),
        }


@pytest.fixture(scope="module")
def place(fenced_node: Node) -> Place:
    """The chart as it is shipped, with both words about the network said, and two sites that are there for everybody. All of it goes with its node."""
    one, jobs, sites = Release(fenced_node, "fences"), make_namespace(fenced_node), make_namespace(fenced_node)
    fenced_node.apply(
        *(document for name in ("allowed", "forbidden") for document in _site(name)), namespace=sites
    ).ok()
    said = ("pods.networkPoliciesEnforced=true", "pods.egressProxy.enabled=true", "pods.egressProxy.replicas=1")
    one.install("database.sqlite.ephemeral=true", *said)
    ready = ("wait", "pod", "--all", "-n", sites, "--for=condition=Ready", "--timeout=60s")
    fenced_node.kubectl(*ready, deadline=90).ok()
    found = Place(one, jobs, sites)
    for name in ("allowed", "forbidden"):
        fenced_node.name(f"{name}.example", found.address(name, sites))
    return found


def _site(name: str) -> tuple[dict[str, Any], ...]:
    """A Pod that says its own name to whoever asks, and a Service for it."""
    container = {
        "name": "site",
        "image": _IMAGE,
        "command": ["sh", "-c", _SERVE.format(name)],
        "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
        **SAFE,
    }
    metadata = {"name": name, "labels": {"site": name}}
    spec = {"containers": [container]}
    ports = [{"port": _PORT}]
    return (
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"site": name}, "ports": ports},
        },
    )


_TRY = """
import json, os, socket
from concurrent.futures import ThreadPoolExecutor
def reached(how, host, port):
    try:
        if how == "name":
            return bool(socket.getaddrinfo(host, None))
        kind = socket.SOCK_DGRAM if how == "dns" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as one:
            one.settimeout(3)
            one.connect((host, port))
            if how == "dns":
                one.send(bytes.fromhex("00010100000100000000000007") + b"allowed\\7example\\0" + bytes.fromhex("00010001"))
                one.recv(512)
            return True
    except OSError:
        return False
def found():
    with ThreadPoolExecutor() as pool:
        return dict(zip(tried, pool.map(lambda one: reached(*one), tried.values())))
tried = json.loads(os.environ["TRIED"])
"""
"""What programs share: what is reached of all that is around."""
_LOOK = f"""{_TRY}
print(json.dumps(found()))
"""
_ASK = f"""{_TRY}
import base64, contextlib, http.client, urllib.error, urllib.request
from urllib.parse import urlsplit
proxy = urlsplit(os.environ["HTTP_PROXY"])
good = f"{{proxy.username}}:{{proxy.password}}"
altered = good[:-1] + ("A" if good[-1] != "A" else "B")
def plain(to):
    try:
        return urllib.request.urlopen(f"http://{{to}}/", timeout=20).read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code
def tunnelled(to, shown):
    fields = {{"Proxy-Authorization": "Basic " + base64.b64encode(shown.encode()).decode()}} if shown else {{}}
    with contextlib.closing(http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=20)) as one:
        one.set_tunnel(to, headers=fields)
        try:
            one.request("GET", "/")
            return one.getresponse().read().decode().strip()
        except OSError as error:
            return int(str(error).split()[3])
listed, other = sorted(json.loads(os.environ["SITES"]))
print(json.dumps(reached(*tried["neighbour"])))
print(json.dumps([plain(listed), plain(other)]))
print(json.dumps([tunnelled(listed, good), tunnelled(other, good), tunnelled(listed, altered), tunnelled(listed, "")]))
print(json.dumps(found()))
"""


def _program(name: str, program: str, script: str, tried: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """A job whose script finds a program for Python in $PROGRAM."""
    sites = [f"{one}.example:{_PORT}" for one in ("allowed", "forbidden")]
    # Whoever has no DNS waits for it, in vain.
    patience = {"RES_OPTIONS": "timeout:1 attempts:1"}
    values = {"PROGRAM": program, "TRIED": json.dumps(tried), "SITES": json.dumps(sites), **patience}
    env = [{"name": name, "value": value} for name, value in values.items()]
    return bare(name, shell={"script": script}, env=env, schedule={"every": "24h"}, **spec)


def test_without_limits_the_neighbourhood_is_reached_and_with_none_nothing(place: Place) -> None:
    """One program, in a job that nobody limits and in one without a network, there also as a child: all that is around, and nothing. The account says which it was."""
    tried = place.surroundings()
    twice = 'python -c "$PROGRAM" && setsid --fork --wait python -c "$PROGRAM"'
    place.declare(
        _program("free", _LOOK, 'python -c "$PROGRAM"', tried),
        _program("shut", _LOOK, twice, tried, trustContract=_NO_NETWORK),
    )
    assert place.printed("free") == [dict.fromkeys(tried, True)]
    shut, child = place.printed("shut")
    assert shut == child == dict.fromkeys(tried, False)
    assert "it runs in a box: profile None, network None" in place.explained("shut")
    wait_for(lambda: place.told("shut") == ("Permit", 0), "the object to tell of its run")


def test_nobody_reaches_a_job_without_a_network(place: Place) -> None:
    """A server in a Pod is reached by a neighbour and by the controller, unless its job has no network."""
    place.declare(
        job("serves", _SERVE.format("here"), schedule={"every": "24h"}),
        job("hides", _SERVE.format("here"), schedule={"every": "24h"}, trustContract={"box": {"profile": "Isolated"}}),
    )
    for name, reached in (("serves", True), ("hides", False)):
        run, pod = place.begin(name)
        wait_for(partial(_reaches, place.node, pod, place.jobs, "127.0.0.1"), "the server", context=place.release.story)
        there = place.address(pod, place.jobs)
        if not reached:
            wait_for(partial(_misses, place.node, "allowed", place.sites, there), "the fence of the server")
        assert _reaches(place.node, "allowed", place.sites, there) == reached
        assert _reaches(place.node, f"deploy/{place.release.name}", place.release.name, there) == reached
        place.end(run)


def _reaches(node: Node, pod: str, namespace: str, host: str) -> bool:
    """Whether a Pod gets an answer of a server."""
    code = f"import urllib.request as u; u.urlopen('http://{host}:{_PORT}/', timeout=3)"
    return node.kubectl("exec", pod, "-n", namespace, "--", "python", "-c", code).code == 0


def _misses(node: Node, pod: str, namespace: str, host: str) -> bool:
    return not _reaches(node, pod, namespace, host)


def test_listed_hosts_are_reached_through_the_proxy_and_nothing_else_is(place: Place) -> None:
    """By requests and by tunnels, with the pass of the run and no other; not directly, not by name, and the proxy tells who was refused."""
    tried = place.surroundings()
    place.declare(_program("listed", _ASK, 'python -c "$PROGRAM"', tried, trustContract=_listed("allowed.example")))
    at_once, plain, tunnels, found = place.printed("listed")
    assert not at_once
    assert plain == ["allowed", 403]
    assert tunnels == ["allowed", 403, 403, 407]
    assert found == {name: name.startswith("proxy") for name in tried}
    run = place.release.runs("listed", place.jobs)[-1]["metadata"]["name"]
    there = place.release.name
    told = place.node.kubectl("logs", f"deploy/{there}-egress", "-n", there).ok().out
    refused = [line for line in map(json.loads, told.splitlines()) if line.get("run") == f"{place.jobs}/{run}"]
    assert [line["to"] for line in refused] == [f"forbidden.example:{_PORT}"]
    shown = place.explained("listed")
    assert f"network Restricted (allowed.example:{_PORT})" in shown, shown


def test_a_pass_is_good_for_as_long_as_its_run_may_last(place: Place) -> None:
    """Somebody else who may talk to the proxy goes with it where the run may, and nowhere once its time is over, whatever has become of the run."""
    short = {"startTimeout": "8s", "timeout": "12s", "terminationGracePeriod": "1s"}
    place.declare(
        job("lends", "sleep 300", schedule={"every": "24h"}, trustContract=_listed("allowed.example"), **short),
        job("borrows", "sleep 300", schedule={"every": "24h"}, trustContract=_listed("forbidden.example")),
    )
    borrower, pod = place.begin("borrows")
    lender, _ = place.begin("lends")
    [secret] = place.node.kubectl(
        *("get", "secrets", "-n", place.jobs, "-l", f"jobwarden.dev/run={lender}", "-o", "json")
    ).ok().json["items"]  # fmt: skip
    url = base64.b64decode(secret["data"]["HTTP_PROXY"]).decode()
    code = f"""
import urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{"http": "{url}"}}))
try:
    print(opener.open("http://allowed.example:{_PORT}/", timeout=20).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""

    def said() -> str:
        return place.node.kubectl("exec", pod, "-n", place.jobs, "--", "python", "-c", code).ok().out

    assert said().strip() == "allowed"
    place.end(lender)
    ended = f"the pass of the run {lender} has ended"
    wait_for(lambda: ended in said(), "the pass to end", context=said)
    place.end(borrower)


def test_a_fence_that_somebody_else_opens_is_not_relied_on(place: Place) -> None:
    """With a NetworkPolicy that lets Pods of the namespace out, both kinds of runs are refused, and say which policy it is; without it they run again."""
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "out-for-all"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }
    contracts = {"alone": _NO_NETWORK, "talks": _listed("allowed.example")}
    place.declare(*(job(name, schedule={"every": "24h"}, trustContract=one) for name, one in contracts.items()))
    place.node.apply(policy, namespace=place.jobs).ok()
    for name in contracts:
        place.release.cli("trigger", name, "-n", place.jobs).ok()
        status = place.release.wait_run(name, place.jobs, "Failed")["status"]
        assert status["reason"] == "StartFailed"
        assert "NetworkPolicies add up: out-for-all" in status["message"]
    place.node.kubectl("delete", "networkpolicy", "out-for-all", "-n", place.jobs).ok()
    for name in contracts:
        place.release.cli("trigger", name, "-n", place.jobs, "--wait").ok()
