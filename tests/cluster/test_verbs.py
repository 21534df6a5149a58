"""The command against a cluster, with the rights of whoever types it: objects, requests, and what only the controller knows."""

import json
import os
import secrets
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import watch
from tests.harness import Warden, once
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import Document, bare, document
from tests.harness.warden import ROOT, Result

GROUP = "jobwarden.dev"
TOKEN = "X-Jobwarden-Token"
Cli = Callable[..., Result]


def idle(name: str, **spec: Any) -> Document:
    """A job that does not run by itself while a test lasts."""
    return bare(name, schedule={"cron": "0 3 1 1 *"}, shell={"script": "echo hello"}, **spec)


def allow(api: ControlPlane, namespace: str, person: str, *rules: Document) -> None:
    """Give somebody rights in a namespace."""
    rbac = "rbac.authorization.k8s.io"
    name = f"{person}-{secrets.token_hex(3)}"
    subject = {"apiGroup": rbac, "kind": "User", "name": person}
    role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": name, "namespace": namespace}}
    binding = {**role, "kind": "RoleBinding", "subjects": [subject]}
    reference = {"apiGroup": rbac, "kind": "Role", "name": name}
    api.apply({**role, "rules": list(rules)}, {**binding, "roleRef": reference}).ok()


def rule(resources: str, *verbs: str, group: str = GROUP) -> Document:
    """One rule of a role."""
    return {"apiGroups": [group], "resources": resources.split(), "verbs": list(verbs)}


@pytest.fixture(autouse=True)
def as_controller(request: pytest.FixtureRequest) -> None:
    """The person of the controller may write, where this test writes in its stead."""
    if "namespace" in request.fixturenames:
        api, namespace = request.getfixturevalue("api"), request.getfixturevalue("namespace")
        kinds = "scheduledjobs runrequests approvals"
        statuses = " ".join(f"{one}/status" for one in kinds.split())
        allow(api, namespace, "controller", rule(f"{kinds} {statuses}", "get", "create", "patch"))
        allow(api, namespace, "controller", rule("pods pods/status", "get", "patch", group=""))


@pytest.fixture
def cli(api: ControlPlane, make_warden: Callable[..., Warden], namespace: str) -> Cli:
    """The command, as a person of the cluster, about the namespace of the test; nothing of a controller is near it."""
    desk = make_warden()

    def ask(*arguments: str, as_user: str = "admin") -> Result:
        return desk.cli(*arguments, "--context", "test", "-n", namespace, environment=api.environment(as_user))

    return ask


def status(api: ControlPlane, namespace: str, kind: str, name: str, **fields: Any) -> None:
    """Write a status as the controller would."""
    patch = json.dumps({"status": fields})
    how = ("--subresource=status", "--type=merge", "-p", patch)
    api.kubectl("patch", kind, name, "-n", namespace, *how, as_user="controller").ok()


# Objects


def test_jobs_are_listed_as_kubectl_lists_them(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """The same columns and cells; names, selectors and documents as everywhere."""
    labelled = idle("one")
    labelled["metadata"]["labels"] = {"team": "data"}
    api.apply(labelled, idle("two"), namespace=namespace).ok()
    status(api, namespace, "sjob", "one", schedule="0 3 1 1 *", target="shell", ready="True")
    table = [line.split() for line in cli("get", "jobs").ok().out.splitlines()]
    assert table[0] == ["NAME", "SCHEDULE", "TARGET", "SUSPEND", "READY", "LAST", "NEXT", "AGE"]
    assert [row[0] for row in table[1:]] == ["one", "two"]
    assert cli("get", "jobs", "-l", "team=data", "-o", "name").ok().out == "job/one\n"
    assert cli("get", "jobs", "-A").ok().out.splitlines()[0].startswith("NAMESPACE")
    (found,) = [cli("get", "job", "one", "-o", "json").ok().json]
    assert (found["kind"], found["status"]["ready"]) == ("ScheduledJob", "True")
    assert "managedFields" not in found["metadata"]
    missing = cli("get", "job", "three")
    assert (missing.code, "'three'" in missing.err) == (1, True)


def test_describe_tells_conditions_and_events(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """As `kubectl describe`, in the form of the other places."""
    api.apply(idle("one"), namespace=namespace).ok()
    status(
        api,
        namespace,
        "sjob",
        "one",
        conditions=[{"type": "Ready", "status": "True", "reason": "Accepted", "message": "All is well."}],
    )
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "one.1", "namespace": namespace},
        "involvedObject": {"kind": "ScheduledJob", "name": "one", "namespace": namespace},
        "reason": "Started",
        "message": "one-abc is running",
        "type": "Normal",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    api.apply(event).ok()
    said = cli("describe", "job", "one").ok().out
    assert "All is well." in said
    assert "one-abc is running" in said


def test_pools_of_the_cluster_are_listed_beside_those_of_the_namespace(
    api: ControlPlane, namespace: str, cli: Cli
) -> None:
    """Who may not see those of the cluster sees the others, and is told."""
    shared = f"shared-{namespace}"
    mine = document("ResourcePool", "mine", {"slots": 2})
    api.apply(mine, namespace=namespace).ok()
    whole = document("ClusterResourcePool", shared, {"slots": 5, "allowedNamespaces": ["*"]})
    whole["metadata"].pop("namespace", None)
    api.apply(whole).ok()
    try:
        table = [line.split()[:3] for line in cli("get", "pools").ok().out.splitlines()]
        assert ["mine", "ResourcePool", "2"] in table
        assert [shared, "ClusterResourcePool", "5"] in table
        allow(api, namespace, "carol", rule("resourcepools", "list"))
        seen = cli("get", "pools", "-o", "name", as_user="carol").ok()
        assert seen.out == "pool/mine\n"
        assert "clusterresourcepools are not shown" in seen.err
    finally:
        api.kubectl("delete", "crpool", shared).ok()


def test_a_missing_right_is_named(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """RBAC's words, and the rule that would help; the answer is no."""
    api.apply(idle("one"), namespace=namespace).ok()
    refused = cli("get", "jobs", as_user="bob")
    assert refused.code == 1
    assert 'User "bob" cannot list resource "scheduledjobs"' in refused.err
    assert "apiGroups: [jobwarden.dev], resources: [scheduledjobs], verbs: [list]" in refused.err
    assert namespace in refused.err
    held = cli("hold", "one", "--reason", "no", as_user="bob")
    assert (held.code, "verbs: [patch]" in held.err) == (1, True)


def test_a_server_that_is_not_there_is_another_exit_code(make_warden: Callable[..., Warden]) -> None:
    """3, as for a controller or a database that cannot be reached; a context that is not there is 1."""
    desk = make_warden()
    config = desk.folder / "config"
    cluster = {"server": "https://127.0.0.1:1"}
    context = {"name": "gone", "context": {"cluster": "c", "user": "u"}}
    config.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [context],
            }
        ),
        encoding="utf-8",
    )
    asked = ("get", "jobs", "--context")
    assert desk.cli(*asked, "gone", environment={"KUBECONFIG": str(config)}).code == 3
    unknown = desk.cli(*asked, "other", environment={"KUBECONFIG": str(config)})
    assert (unknown.code, "'other'" in unknown.err) == (1, True)
    both = desk.cli(*asked, "gone", "--db", "sqlite:///x.db", environment={"KUBECONFIG": str(config)})
    assert both.code == 2


# Requests


def test_trigger_makes_a_request_in_ones_own_name(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """Who may create RunRequests need not see or change the job."""
    api.apply(idle("deploy", parameters=[{"name": "where"}]), namespace=namespace).ok()
    allow(api, namespace, "bob", rule("runrequests", "create"))
    made = cli("trigger", "deploy", "-p", "where=here", "--key", "k1", "-o", "json", as_user="bob").ok().json
    assert made["metadata"]["name"].startswith("deploy-")
    found = api.get("rreq", made["metadata"]["name"], namespace)
    assert found["spec"]["requestedBy"] == "bob"
    assert found["spec"]["parameters"] == {"where": "here"}
    assert found["spec"]["idempotencyKey"] == "k1"
    missing = cli("trigger", "nowhere")
    assert (missing.code, "'nowhere'" in missing.err) == (1, True)


@pytest.mark.parametrize(
    ("reason", "code"),
    [("Succeeded", 0), ("Failed", 1), ("Refused", 1)],
)
def test_trigger_waits_for_the_end_of_its_request(
    api: ControlPlane, namespace: str, make_warden: Callable[..., Warden], reason: str, code: int
) -> None:
    """The exit code is that of the work."""
    api.apply(idle("deploy"), namespace=namespace).ok()
    desk = make_warden(environment=api.environment())
    with (desk.folder / "out").open("wb") as out:
        waiting = desk._command(
            ("trigger", "deploy", "--wait", "--context", "test", "-n", namespace), desk.environment, out.fileno(), 2
        )

        def requests() -> list[Any]:
            return list(json.loads(api.kubectl("get", "rreq", "-n", namespace, "-o", "json").ok().out)["items"])

        desk.wait_for(requests, "the request")
        (made,) = requests()
        accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
        if reason == "Refused":
            accepted = {
                "type": "Accepted",
                "status": "False",
                "reason": "JobNotFound",
                "message": "there is no such job",
            }
        finished = {"type": "Finished", "status": "True", "reason": reason, "message": f"deploy-1 ended as {reason}"}
        run = {} if reason == "Refused" else {"runName": "deploy-1"}
        status(api, namespace, "rreq", made["metadata"]["name"], conditions=[accepted, finished], **run)
        assert waiting.wait(30) == code
    said = (desk.folder / "out").read_text()
    assert reason in said
    assert ("there is no such job" in said) == (reason == "Refused")


def ask(api: ControlPlane, namespace: str, name: str, job: str) -> None:
    """Make an Approval as the controller does."""
    found = api.get("sjob", job, namespace)
    owner = {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "name": job,
        "uid": found["metadata"]["uid"],
        "controller": True,
    }
    spec = {"jobRef": {"name": job}, "dispatch": f"d-{name}", "digest": "sha256:1"}
    asked = document("Approval", name, spec, ownerReferences=[owner])
    api.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(asked), as_user="controller").ok()


def test_a_decision_is_ones_own_key(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """By the name of the approval, or of a job with just one open; several have to be told apart."""
    api.apply(idle("promote"), namespace=namespace).ok()
    ask(api, namespace, "promote-1", "promote")
    allow(api, namespace, "alice", rule("approvals", "get", "list", "patch"), rule("scheduledjobs", "approve"))
    said = cli("approve", "promote", "--reason", "looks good", as_user="alice").ok()
    assert "promote-1" in said.out
    found = api.get("appr", "promote-1", namespace)
    assert found["spec"]["decisions"] == {"alice": {"decision": "Approved", "reason": "looks good"}}
    cli("reject", "promote-1").ok()
    assert api.get("appr", "promote-1", namespace)["spec"]["decisions"]["admin"] == {"decision": "Rejected"}
    ask(api, namespace, "promote-2", "promote")
    several = cli("approve", "promote", as_user="alice")
    assert (several.code, "promote-1, promote-2" in several.err) == (1, True)
    assert cli("approve", "nothing", as_user="alice").code == 1


def test_a_hold_is_an_annotation_and_its_release_takes_it_away(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """As with `kubectl annotate`, and nothing else of the object changes."""
    api.apply(idle("one"), namespace=namespace).ok()
    before = api.get("sjob", "one", namespace)
    cli("hold", "one", "--reason", "the disk is full", "--until", "2126-01-01T00:00:00Z").ok()
    held = api.get("sjob", "one", namespace)
    said = held["metadata"]["annotations"]["jobwarden.dev/hold"]
    assert said == "the disk is full until 2126-01-01T00:00:00+00:00"
    assert held["metadata"]["generation"] == before["metadata"]["generation"]
    cli("release", "one").ok()
    assert "jobwarden.dev/hold" not in api.get("sjob", "one", namespace)["metadata"]["annotations"]
    again = cli("release", "one")
    assert (again.code, "not held" in again.err) == (1, True)


def test_cancel_asks_by_annotation_for_what_it_would_end(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """A run by its name when it is all that the job has; else the job has to be named, because all of it ends."""
    api.apply(idle("one"), namespace=namespace).ok()
    key = "jobwarden.dev/cancel-requested-at"

    def asked() -> str | None:
        return (api.get("sjob", "one", namespace)["metadata"].get("annotations") or {}).get(key)

    runs = [{"name": f"one-{letter * 8}", "state": "Running"} for letter in "ab"]
    status(api, namespace, "sjob", "one", activeRuns=runs)
    refused = cli("cancel", "one-aaaaaaaa")
    assert (refused.code, "jobwarden cancel one" in refused.err, asked()) == (1, True, None)
    said = cli("cancel", "one").ok().out
    assert "one-aaaaaaaa is being cancelled" in said
    first = asked()
    assert first is not None
    status(api, namespace, "sjob", "one", activeRuns=runs[:1])
    assert "one-aaaaaaaa" in cli("cancel", "one-aaaaaaaa").ok().out
    assert cli("cancel", "one-cccccccc").code == 1
    assert cli("cancel", "--root", "one-aaaaaaaa").code == 1


def test_reconcile_is_an_annotation(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """Of the job that is named; nobody needs it for all."""
    api.apply(idle("one"), namespace=namespace).ok()
    cli("reconcile", "one").ok()
    assert "jobwarden.dev/reconcile-requested-at" in api.get("sjob", "one", namespace)["metadata"]["annotations"]
    assert cli("reconcile").code == 1


# The controller, through the API server


def own_address() -> str | None:
    """An address of this machine that an API server may pass requests to: loopback is refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") else address


class Served:
    """A controller behind a Service in the namespace of the test."""

    def __init__(self, api: ControlPlane, namespace: str, warden: Warden, address: str) -> None:
        self.token = secrets.token_hex(16)
        self.warden, self.address = warden, address
        token_file = warden.folder / "token"
        token_file.write_text(self.token + "\n", encoding="utf-8")
        with socket.socket() as free:
            free.bind((address, 0))
            self.port = free.getsockname()[1]
        warden.start(
            *watch(namespace), "--history-addr", f"{address}:{self.port}", "--history-token-file", str(token_file)
        )
        warden.wait_for(self._listens, "the history to be served")
        (service, role) = yaml.safe_load_all((ROOT / "manifests/kubernetes/history.yaml").read_text(encoding="utf-8"))
        service["spec"] = {"ports": [{"name": "history", "port": 80, "targetPort": self.port}]}
        # An API server passes requests on to Pods only, whose address it looks up.
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "controller", "namespace": namespace},
            "spec": {"containers": [{"name": "main", "image": "jobwarden"}]},
        }
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        api.apply(account, pod, namespace=namespace).ok()
        status(api, namespace, "pod", "controller", podIP=address, podIPs=[{"ip": address}])
        target = {"kind": "Pod", "name": "controller", "namespace": namespace}
        endpoints = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "jobwarden"},
            "subsets": [
                {
                    "addresses": [{"ip": address, "targetRef": target}],
                    "ports": [{"name": "history", "port": self.port}],
                }
            ],
        }
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "jobwarden-history"}}
        for one in (service, role):
            del one["metadata"]["namespace"]
        api.apply(service, endpoints, role, {**secret, "stringData": {"token": self.token}}, namespace=namespace).ok()
        api.kubectl("create", "rolebinding", "view", "--role=jobwarden-viewer", "--user=alice", "-n", namespace).ok()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) == 0


@pytest.fixture
def served(api: ControlPlane, namespace: str, cluster_warden: Warden) -> Served:
    """A controller that serves its history to alice."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback, which an API server passes nothing on to")
    return Served(api, namespace, cluster_warden, address)


def test_history_logs_and_explanations_come_through_the_api_server(
    api: ControlPlane, namespace: str, served: Served, cli: Cli
) -> None:
    """For whoever has the viewer's role, and for nobody else."""
    api.apply(once("hello", "echo out; echo err >&2"), namespace=namespace).ok()
    run = served.warden.wait_for(
        lambda: [one for one in served.warden.items("runs", "-n", namespace) if one["status"]["state"] == "Succeeded"],
        "the run",
    )[0]["metadata"]["name"]
    here = ("--controller-namespace", namespace)
    assert run in cli("history", "hello", *here, as_user="alice").ok().out
    assert run in cli("get", "runs", *here, as_user="alice").ok().out
    assert cli("logs", "hello", *here, as_user="alice").ok().out == "out\nerr\n"
    assert cli("logs", run, "-f", *here, as_user="alice").ok().out == "out\nerr\n"
    assert "Recent:" in cli("explain", "hello", *here, as_user="alice").ok().out
    assert run in cli("tree", run, *here, as_user="alice").ok().out
    assert "Succeeded" in cli("describe", "run", run, *here, as_user="alice").ok().out
    missing = cli("history", "nothing", *here, as_user="alice")
    assert (missing.code, "there is no job 'nothing'" in missing.err) == (1, True)
    refused = cli("history", "hello", *here, as_user="bob")
    assert refused.code == 1
    assert "cannot" in refused.err


def test_a_port_without_the_token_tells_nothing(api: ControlPlane, namespace: str, served: Served) -> None:
    """Neither to a neighbour in the cluster, nor through the proxy; and nothing but reading is served to anybody."""

    def ask(path: str, token: str | None, method: str = "GET") -> int:
        request = urllib.request.Request(f"http://{served.address}:{served.port}{path}", method=method)
        if token is not None:
            request.add_header(TOKEN, token)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert ask("/v1/views/jobs", served.token) == 200
    for token in (None, "", "wrong", served.token[:-1], served.token + "x"):
        for path in ("/v1/views/jobs", "/v1/logs/x", "/v1/verbs/trigger", "/nothing"):
            assert ask(path, token) == 401
    assert ask("/v1/verbs/trigger", served.token, "POST") == 404
    assert ask("/v1/events", served.token) == 404
    assert ask("/v1/views/jobs", served.token, "POST") == 405
    through = api.kubectl(
        "get", "--raw", f"/api/v1/namespaces/{namespace}/services/http:jobwarden:history/proxy/v1/views/jobs"
    )
    assert through.code != 0
    (served.warden.folder / "token").unlink()
    assert ask("/v1/views/jobs", served.token) == 401
    assert ask("/v1/views/jobs", "") == 401


@pytest.mark.parametrize("token", [None, "", "short"])
def test_a_history_that_everybody_could_read_is_not_served(
    make_warden: Callable[..., Warden], token: str | None
) -> None:
    """The controller does not start: no file, no token in it, one that could be guessed."""
    warden = make_warden()
    arguments = ["run", str(warden.manifests), "--history-addr", "127.0.0.1:0"]
    if token is not None:
        (warden.folder / "token").write_text(token, encoding="utf-8")
        arguments += ["--history-token-file", str(warden.folder / "token")]
    refused = warden.cli(*arguments)
    assert refused.code == 1
    assert "--history-token-file" in refused.text


def test_a_controller_that_cannot_be_found_is_told(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """With what is looked for, and where."""
    lost = cli("history", "one", "--controller-namespace", namespace)
    assert lost.code == 3
    assert f"in the namespace '{namespace}'" in lost.err
    assert "app.kubernetes.io/name=jobwarden" in lost.err


# kubectl


def test_kubectl_jobwarden_is_the_same_command(
    api: ControlPlane, namespace: str, make_warden: Callable[..., Warden]
) -> None:
    """The plug-in asks what kubectl would ask, and completes names."""
    desk = make_warden()
    api.apply(idle("one"), namespace=namespace).ok()
    programs = desk.folder / "bin"
    programs.mkdir()
    for name, entry in (("kubectl-jobwarden", "plugin"), ("kubectl_complete-jobwarden", "complete")):
        script = f"#!/bin/sh\nexec {sys.executable} -c 'import sys; from controller.cli import plugin; sys.exit(plugin.{entry}())' \"$@\"\n"
        (programs / name).write_text(script, encoding="utf-8")
        (programs / name).chmod(0o755)

    def kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [api._bin / "kubectl", *arguments],
            env=desk.environment | api.environment() | {"PATH": f"{programs}:{os.defpath}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
        )

    listed = kubectl("jobwarden", "get", "jobs", "-n", namespace)
    assert (listed.returncode, listed.stdout.split()[8]) == (0, "one")
    assert kubectl("jobwarden", "get", "jobs", "-o", "json", "-n", namespace).returncode == 0
    wrong = kubectl("jobwarden", "get", "jbos")
    assert (wrong.returncode, "did you mean 'jobs'" in wrong.stderr) == (2, True)
    offered = kubectl("__complete", "jobwarden", "describe", "job", "-n", namespace, "o")
    assert offered.stdout.splitlines() == ["one", ":4"]
    assert "approve" in kubectl("__complete", "jobwarden", "ap").stdout


# Import


def test_a_cronjob_is_imported_from_the_cluster(api: ControlPlane, namespace: str, cli: Cli) -> None:
    """What the API server adds and defaults is no obstacle."""
    api.kubectl(
        "create", "cronjob", "nightly", "--image=busybox", "--schedule=5/10 2 * * *", "-n", namespace, "--", "true"
    ).ok()
    found = cli("import", "cronjob", "--from-cluster", "nightly", "-o", "json")
    made = json.loads(found.out)
    assert made["metadata"] == {"name": "nightly", "namespace": namespace}
    assert made["spec"]["schedule"] == {"cron": "5-59/10 2 * * *"}
    assert made["spec"]["history"] == {"succeeded": 3, "failed": 1}
    assert made["spec"]["pod"]["template"]["spec"]["containers"][0]["image"] == "busybox"
    assert "dropped" in found.err
