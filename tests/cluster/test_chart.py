"""The chart, against a real API server: what it renders is accepted, what it grants is what is needed, and it installs, upgrades and goes. Pods that run are in node/."""

import base64
import contextlib
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.kinds.configuration import parse_configuration
from controller.kubernetes.admission import SHIPPED, judge
from controller.kubernetes.podspec import NETWORK_LABEL
from tests.cluster.conftest import as_account
from tests.harness import Warden, job, wait_for
from tests.harness.controlplane import ControlPlane, tools
from tests.harness.warden import ROOT

CHART = ROOT / "charts/jobwarden"
DEFINITIONS = sorted(
    path.name.removeprefix("jobwarden.dev_").removesuffix(".yaml") for path in (ROOT / "crds").iterdir()
)

# Enough of the Prometheus operator for the API server to judge a ServiceMonitor.
_SERVICE_MONITOR = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}

_RUNS = [{"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": NETWORK_LABEL, "operator": "Exists"}]}}]
_PROXY = {
    "enabled": True,
    "replicas": 3,
    "port": 8888,
    "from": _RUNS,
    "egress": [{"ports": [{"port": 443}]}],
    "resources": {"requests": {"cpu": "10m"}},
}
_EVERYTHING = {
    "image": {"repository": "registry.example/team/jobwarden", "tag": "1.2.3", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "pull"}],
    "executors": ["Kubernetes", "Local"],
    "jobs": {"image": "registry.example/tools:7"},
    "pods": {
        "allow": {"hostPaths": True, "serviceAccounts": ["deployer"]},
        "networkPoliciesEnforced": True,
        "egressProxy": _PROXY,
    },
    "authorization": {"subjectAccessReviews": True},
    "settings": {"allowEnv": ["TOKEN"], "runLog": {"limit": "1Mi"}},
    "limits": {"running": 12},
    "replicas": 3,
    "database": {"postgresql": {"existingSecret": "database", "key": "uri"}},
    "admission": {"controllers": ["system:serviceaccount:elsewhere:jobwarden"]},
    "serviceAccount": {"name": "somebody", "annotations": {"a": "b"}},
    "metrics": {"port": 8080, "serviceMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "p"}}},
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 443}]}],
    },
    "podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"},
    "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"note": "x"},
    "podLabels": {"team": "x"},
    "extraEnv": [{"name": "TOKEN", "value": "t"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "everything": _EVERYTHING,
    "a claim that is there": {"database": {"sqlite": {"existingClaim": "mine"}}, "history": {"existingSecret": "ours"}},
    "ephemeral": {
        "database": {"sqlite": {"ephemeral": True}},
        "executors": ["Local"],
        "history": {"enabled": False},
    },
    "another's account": {"serviceAccount": {"create": False, "name": "theirs"}, "rbac": {"aggregate": False}},
    "a way out": {
        "pods": {"networkPoliciesEnforced": True, "egressProxy": {"enabled": True, "existingSecret": "passes"}},
    },
    "named": {"fullnameOverride": "warden", "networkPolicy": {"enabled": True}, "metrics": {"port": 9999}},
}


@pytest.fixture(autouse=True)
def _helm() -> None:
    if tools("helm") is None:
        pytest.skip("helm could not be installed here; `tests/cluster/tools helm` shows why")


@contextlib.contextmanager
def _own_plane(*, definitions: bool) -> Iterator[ControlPlane]:
    """A server on which nothing of ours is, but the definitions if asked for."""
    programs = tools("api")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    folder = Path(tempfile.gettempdir()) / f"jw-api-{uuid.uuid4().hex[:12]}"
    with ControlPlane(folder, programs, definitions=definitions) as own:
        yield own


@pytest.fixture(scope="module")
def released() -> Iterator[ControlPlane]:
    """A server with a release that watches two namespaces."""
    with _own_plane(definitions=False) as plane:
        for name in ("team-a", "team-b", "other"):
            plane.kubectl("create", "namespace", name).ok()
        plane.helm("install", *_release(), "--create-namespace", "--set", "watch.namespaces={team-a,team-b}").ok()
        wait_for(lambda: plane.kubectl("explain", "sjob").code == 0, "the kinds to be known")
        yield plane


def values(folder: Path, said: dict[str, Any]) -> str:
    """A file of values."""
    path = folder / "values.json"
    path.write_text(json.dumps(said))
    return f"--values={path}"


@pytest.mark.parametrize("name", VARIANTS)
def test_every_object_is_accepted(api: ControlPlane, namespace: str, tmp_path: Path, name: str) -> None:
    """An API server takes whatever the chart renders, in a dry run, with no field that it does not know."""
    api.apply(_SERVICE_MONITOR).ok()
    api.kubectl("wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com").ok()
    said = VARIANTS[name] | {"watch": {"namespaces": [namespace] if name == "everything" else []}}
    if name == "everything":
        said["credentials"] = {"secrets": {namespace: ["a", "b"]}, "serviceAccounts": {namespace: ["ledger"]}}
    rendered = api.helm("template", "release", str(CHART), "--namespace", namespace, values(tmp_path, said)).ok().out
    documents = [one for one in yaml.safe_load_all(rendered) if one]
    kinds = [one["kind"] for one in documents]
    assert kinds.count("CustomResourceDefinition") == len(DEFINITIONS)
    assert ("ServiceMonitor" in kinds, "NetworkPolicy" in kinds) == (
        name == "everything",
        name in ("everything", "named", "a way out"),
    )
    # In a dry run nobody makes the account that a Pod names.
    api.apply(*(one for one in documents if one["kind"] == "ServiceAccount"), namespace=namespace).ok()
    applied = api.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"),
        *("-n", namespace, "-f", "-"),
        stdin=rendered,
    )
    assert applied.code == 0, applied.text
    assert len(applied.out.splitlines()) == len(kinds)


@pytest.mark.parametrize("name", VARIANTS)
def test_its_pods_pass_the_restricted_standard(api: ControlPlane, namespace: str, tmp_path: Path, name: str) -> None:
    """A namespace that enforces Pod Security "restricted" takes the controller's Pod, that of `helm test` and the proxy's."""
    api.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted").ok()
    rendered = api.helm("template", "release", str(CHART), "-n", namespace, values(tmp_path, VARIANTS[name])).ok().out
    pods = list(_pods(yaml.safe_load_all(rendered)))
    assert len(pods) == (3 if name in ("everything", "a way out") else 2)
    api.kubectl("create", "serviceaccount", "default", "-n", namespace).ok()
    for number, pod in enumerate(pods):
        # Accounts and priorities of their own are not there; the standard is about the rest.
        spec = {key: value for key, value in pod.items() if key not in ("serviceAccountName", "priorityClassName")}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": spec}
        api.kubectl("create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(body)).ok()


def _pods(documents: Iterator[Any]) -> Iterator[dict[str, Any]]:
    for one in documents:
        if one and one["kind"] == "Deployment":
            yield one["spec"]["template"]["spec"]
        elif one and one["kind"] == "Pod":
            yield one["spec"]


def test_lint_finds_nothing(api: ControlPlane) -> None:
    """`helm lint --strict` is content."""
    assert "0 chart(s) failed" in api.helm("lint", "--strict", str(CHART)).ok().out


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"replicas": "two"}, "replicas: Invalid type. Expected: integer"),
        ({"image": {"repositori": "x"}}, "image: Additional property repositori is not allowed"),
        ({"imgae": {}}, "Additional property imgae is not allowed"),
        ({"executors": ["Docker"]}, 'executors.0 must be one of the following: "Kubernetes", "Local"'),
        ({"executors": []}, "executors: Array must have at least 1 items"),
        ({"watch": {"namespaces": ["Team_A"]}}, "watch.namespaces.0: Does not match pattern"),
        ({"metrics": {"port": 80}}, "metrics.port: Must be greater than or equal to 1024"),
        ({"database": {"sqlite": {"size": "big"}}}, "database.sqlite.size: Does not match pattern"),
        ({"admission": {"controllers": ["x'] + ['y"]}}, "admission.controllers.0: Does not match pattern"),
        ({"settings": {"executors": ["Local"]}}, "settings.executors"),
        ({"credentials": {"secrets": {"team-a": []}}}, "credentials.secrets.team-a: Array must have at least 1 items"),
        ({"credentials": {"secrets": {"team-a": ["*"]}}}, "credentials.secrets.team-a.0: Does not match pattern"),
        (
            {"credentials": {"serviceAccounts": {"team-c": ["x"]}}, "watch": {"namespaces": ["team-a"]}},
            "credentials.serviceAccounts.team-c: no provider of that namespace is looked at",
        ),
        ({"replicas": 2}, "replicas: several controllers need PostgreSQL; set database.postgresql.existingSecret"),
        (
            {"strategy": "RollingUpdate"},
            "strategy: RollingUpdate has two controllers at a time, which needs PostgreSQL",
        ),
        ({"database": {"sqlite": {"ephemeral": True, "existingClaim": "x"}}}, "ephemeral and existingClaim exclude"),
        ({"pods": {"egressProxy": {"enabled": True}}}, "without NetworkPolicies Pods would go round it"),
        ({"pods": {"egressProxy": {"port": 80}}}, "pods.egressProxy.port: Must be greater than or equal to 1024"),
        ({"pods": {"egressProxy": {"key": "x"}}}, "pods.egressProxy: Additional property key is not allowed"),
    ],
)
def test_values_that_are_wrong_are_refused_with_words(
    api: ControlPlane, tmp_path: Path, said: dict[str, Any], words: str
) -> None:
    """The message names the value, and what is wrong with it."""
    refused = api.helm("template", "release", str(CHART), values(tmp_path, said))
    assert refused.code != 0
    assert words in refused.text


@pytest.fixture
def empty() -> Iterator[ControlPlane]:
    """A server that has never heard of us."""
    with _own_plane(definitions=False) as plane:
        yield plane


@pytest.fixture
def defined() -> Iterator[ControlPlane]:
    """A server to which somebody has applied crds/."""
    with _own_plane(definitions=True) as plane:
        yield plane


@pytest.mark.slow
def test_helm_installs_upgrades_and_goes_and_leaves_the_definitions(empty: ControlPlane) -> None:
    """One life of a release: its definitions survive it with everybody's objects, and the next release of that name takes them up again."""
    plane = empty
    assert plane.helm("install", *_release(), "--create-namespace").ok().out.count("exec deploy/jobwarden") == 1
    wait_for(lambda: plane.kubectl("explain", "sjob").code == 0, "the kinds to be known")
    plane.apply(job("nightly", schedule={"every": "1h"})).ok()
    # People who follow the README: the same definitions by kubectl, over those of the release.
    plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds")).ok()
    plane.helm("upgrade", *_release(), "--set", "replicas=0").ok()
    assert plane.get("deployment", "jobwarden", "jobwarden")["spec"]["replicas"] == 0
    plane.helm("uninstall", "jobwarden", "-n", "jobwarden").ok()
    assert _everything_of_the_release(plane) == {"CustomResourceDefinition", "PersistentVolumeClaim"}
    assert plane.get("scheduledjob", "nightly") is not None
    plane.helm("install", *_release()).ok()
    assert _owner(plane, "scheduledjobs") == "jobwarden"


def test_definitions_of_others_are_left_alone(defined: ControlPlane) -> None:
    """Where `kubectl apply -f crds/` came first, the release neither takes them over nor removes them, and says whose they are."""
    plane = defined
    notes = plane.helm("install", *_release(), "--create-namespace", "--set", "crds.keep=false").ok().out
    assert "scheduledjobs.jobwarden.dev is not this release's" in notes
    plane.helm("upgrade", *_release(), "--set", "crds.keep=false").ok()
    plane.helm("uninstall", "jobwarden", "-n", "jobwarden").ok()
    assert _owner(plane, "scheduledjobs") is None
    assert plane.get("crd", "scheduledjobs.jobwarden.dev") is not None


def test_the_rights_are_those_that_are_needed_and_no_others(
    released: ControlPlane, make_warden: Callable[..., Warden]
) -> None:
    """As the account of the release a controller watches two namespaces and takes their jobs; it may read no Secret, make no Pod, and do nothing elsewhere."""
    plane = released
    may = _may(plane, "system:serviceaccount:jobwarden:jobwarden")
    assert may("create", "jobs.batch", "team-a")
    assert may("create", "secrets", "team-b")
    assert may("update", "leases.coordination.k8s.io/jobwarden", "jobwarden")
    for verb, what in (
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("update", "scheduledjobs.jobwarden.dev"),
    ):
        assert not may(verb, what, "team-a"), (verb, what)
    for what in ("scheduledjobs.jobwarden.dev", "pods", "jobs.batch"):
        assert not may("list", what, "other"), what
    assert not may("create", "subjectaccessreviews.authorization.k8s.io", "team-a")

    warden = make_warden(environment=as_account(plane))
    watched = ("--watch-namespace", "team-a", "--watch-namespace", "team-b")
    warden.start("--kubernetes", "--executor", "Local", *watched, "--lease", "jobwarden/jobwarden")
    plane.apply(job("asked", schedule={"every": "1h"}), namespace="team-b").ok()
    plane.kubectl("wait", "-n", "team-b", "sjob/asked", "--for=condition=Ready", "--timeout=55s", deadline=60).ok()
    warden.stop()


def test_providers_get_single_secrets_and_accounts_by_name(
    released: ControlPlane,
) -> None:
    """Where the values say so and only there; without, the controller may read no Secret and make no token."""
    plane = released
    may = _may(plane, "system:serviceaccount:jobwarden:jobwarden")
    for what in ("secrets/api", "serviceaccounts/ledger"):
        assert not may("get" if what.startswith("secrets") else "create", what, "team-a")
    said = {"secrets": {"team-a": ["api"]}, "serviceAccounts": {"team-a": ["ledger"], "jobwarden": ["own"]}}
    rendered = plane.helm(
        *("template", *_release(), "--set", "watch.namespaces={team-a,team-b}"),
        *("--show-only", "templates/credentials.yaml", "--set-json", f"credentials={json.dumps(said)}"),
    )
    plane.kubectl("apply", "-f", "-", stdin=rendered.ok().out).ok()
    wait_for(lambda: may("get", "secrets/api", "team-a"), "the Role to be in force")
    token = ("create", "serviceaccounts/{}", "--subresource=token")
    for name, namespace, allowed in (
        ("ledger", "team-a", True),
        ("default", "team-a", False),
        ("ledger", "team-b", False),
        ("own", "jobwarden", True),
    ):
        verb, what, part = token
        user = "--as=system:serviceaccount:jobwarden:jobwarden"
        asked = plane.kubectl("auth", "can-i", verb, what.format(name), part, "-n", namespace, user)
        assert (asked.out.strip() == "yes") == allowed, (name, namespace)
    assert not may("get", "secrets/other", "team-a")
    assert not may("list", "secrets", "team-a")
    plane.kubectl("delete", "-f", "-", stdin=rendered.out).ok()


def test_network_policies_are_made_only_where_they_are_enforced(api: ControlPlane) -> None:
    """No right that is not used; the right is that of the manifest for those who install without the chart."""
    right = {("networking.k8s.io", "networkpolicies", verb) for verb in ("list", "create")}
    plain = api.helm("template", "jobwarden", str(CHART)).ok().out
    assert not right & _granted(yaml.safe_load_all(plain))
    told = api.helm("template", "jobwarden", str(CHART), "--set", "pods.networkPoliciesEnforced=true").ok().out
    assert right <= _granted(yaml.safe_load_all(told))
    assert "networkPoliciesEnforced: true" in told
    assert "fenceCheckImage: jobwarden:0.1.0" in told
    believed = api.helm(
        *("template", "jobwarden", str(CHART), "--set", "pods.networkPoliciesEnforced=true,pods.fenceCheck=false")
    )
    assert "fenceCheck" not in believed.ok().out
    manifest = (ROOT / "manifests/kubernetes/networkpolicies.yaml").read_text(encoding="utf-8")
    assert _granted(yaml.safe_load_all(manifest)) == right


@pytest.mark.parametrize("said", [{}, {"existingSecret": "passes"}, {"port": 8888}, {"from": _RUNS}], ids=str)
def test_the_controller_and_its_egress_proxy_mean_the_same(
    api: ControlPlane, tmp_path: Path, said: dict[str, Any]
) -> None:
    """Name, port, labels and key of one are those of the other; the proxy has no rights, and one port. Whoever has just begun may talk to it, as nobody is named."""
    wanted = {"pods": {"networkPoliciesEnforced": True, "egressProxy": {"enabled": True, **said}}}
    rendered = api.helm("template", "release", str(CHART), "-n", "here", values(tmp_path, wanted)).ok().out
    there = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(rendered) if one}
    found = parse_configuration("x", there["ConfigMap", "release-jobwarden"]["data"]["jobwarden.yaml"].encode())
    assert found.configuration is not None, found.errors
    proxy = found.configuration.settings.pods.egress_proxy
    assert proxy is not None
    name, _, rest = proxy.host.partition(".")
    service, deployment = there["Service", name], there["Deployment", name]
    pod, controller = (there["Deployment", one]["spec"]["template"] for one in (name, "release-jobwarden"))
    assert (rest, proxy.namespace, service["metadata"]["namespace"]) == ("here.svc", "here", "here")
    labels = pod["metadata"]["labels"].items()
    for selector in (proxy.pod_labels, service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels
    assert not there["Service", "release-jobwarden"]["spec"]["selector"].items() <= labels
    (container,) = pod["spec"]["containers"]
    assert proxy.port == service["spec"]["ports"][0]["port"] == container["ports"][0]["containerPort"]
    assert f"--listen=0.0.0.0:{proxy.port}" in container["args"]
    assert f"--key-file={proxy.key_file}" in container["args"]
    assert _secret_at(pod, proxy.key_file) == _secret_at(controller, proxy.key_file) == said.get("existingSecret", name)
    assert (("Secret", name) in there) == ("existingSecret" not in said)
    assert pod["spec"]["automountServiceAccountToken"] is False
    policy = there["NetworkPolicy", name]["spec"]
    assert policy["podSelector"]["matchLabels"] == service["spec"]["selector"]
    assert policy["ingress"] == [{"ports": [{"port": "proxy"}], **({"from": said["from"]} if "from" in said else {})}]


def _secret_at(template: dict[str, Any], path: str) -> str:
    """The Secret that is mounted where a file is."""
    (container,) = template["spec"]["containers"]
    [name] = [one["name"] for one in container["volumeMounts"] if one["mountPath"] == path.rpartition("/")[0]]
    [secret] = [one["secret"]["secretName"] for one in template["spec"]["volumes"] if one["name"] == name]
    return str(secret)


def test_the_key_of_the_egress_proxy_is_made_once(released: ControlPlane) -> None:
    """An upgrade keeps it, or the passes of runs that go on would be worth nothing; it is long, and not that of another release."""
    plane = released
    sets = ("watch.namespaces={team-a,team-b}", "pods.networkPoliciesEnforced=true", "pods.egressProxy.enabled=true")
    release = (*_release(), *(part for one in sets for part in ("--set", one)))

    def key() -> Any:
        return (plane.get("secret", "jobwarden-egress", "jobwarden") or {}).get("data", {}).get("key")

    plane.helm("upgrade", *release).ok()
    first = key()
    assert len(base64.b64decode(first)) == 64
    plane.helm("upgrade", *release, "--set", "pods.egressProxy.replicas=1").ok()
    assert key() == first
    assert first not in plane.helm("template", *release).ok().out
    plane.helm("upgrade", *_release(), "--set", sets[0]).ok()
    assert key() is None


def test_rights_of_the_manifests_are_in_the_chart(api: ControlPlane) -> None:
    """manifests/kubernetes/rights.yaml and the chart do not drift apart, nor does what goes beyond it."""
    render = ("template", "jobwarden", str(CHART), "-n", "jobwarden")
    rendered = api.helm(*render).ok().out
    shipped = yaml.safe_load_all((ROOT / "manifests/kubernetes/rights.yaml").read_text())
    more = _granted(yaml.safe_load_all((ROOT / "manifests/kubernetes/access-reviews.yaml").read_text()))
    asking = api.helm(*render, "--set", "authorization.subjectAccessReviews=true").ok().out
    assert _granted(yaml.safe_load_all(asking)) == _granted(yaml.safe_load_all(rendered)) | more
    assert not more <= _granted(yaml.safe_load_all(rendered))
    # The chart makes the Lease itself.
    assert _granted(shipped) - _granted(yaml.safe_load_all(rendered)) <= {("coordination.k8s.io", "leases", "create")}


def test_the_policies_of_a_release_are_those_that_a_controller_believes(released: ControlPlane) -> None:
    """As the API server has them, with the defaults that it adds, and the names of this release's controllers."""
    for name in SHIPPED:
        policy = released.get("validatingadmissionpolicy", name)
        binding = released.get("validatingadmissionpolicybinding", name)
        found = judge(name, policy, binding)
        assert (found.mark != "", found.problem) == (True, "")


def test_people_get_what_their_role_says(released: ControlPlane) -> None:
    """Viewer, editor, requester and approver can be bound in a namespace; an approver may not ask for runs, nor a requester decide."""
    plane = released
    for person, role in (("alice", "approver"), ("bob", "requester"), ("carol", "viewer")):
        name = f"jobwarden-{role}"
        plane.kubectl("create", "rolebinding", role, f"--clusterrole={name}", f"--user={person}", "-n", "default").ok()
    alice, bob, carol = (_may(plane, name) for name in ("alice", "bob", "carol"))
    wait_for(lambda: alice("approve", "scheduledjobs.jobwarden.dev", "default"), "the binding to be in force")
    assert alice("patch", "approvals.jobwarden.dev", "default")
    assert not alice("create", "runrequests.jobwarden.dev", "default")
    assert bob("create", "runrequests.jobwarden.dev", "default")
    assert not bob("approve", "scheduledjobs.jobwarden.dev", "default")
    assert not bob("update", "scheduledjobs.jobwarden.dev", "default")
    assert carol("watch", "approvals.jobwarden.dev", "default")
    assert not carol("patch", "approvals.jobwarden.dev", "default")


@pytest.mark.parametrize(("executors", "aggregated"), [("{Kubernetes}", True), ("{Kubernetes,Local}", False)])
def test_who_may_edit_a_namespace_may_edit_its_jobs_unless_they_run_in_the_controller(
    api: ControlPlane, executors: str, aggregated: bool
) -> None:
    """With the executor Local a job is a program in the controller's container: that right is given by name only."""
    rendered = api.helm("template", "jobwarden", str(CHART), "--set", f"executors={executors}").ok().out
    [editor] = [one for one in yaml.safe_load_all(rendered) if one and one["metadata"]["name"] == "jobwarden-editor"]
    assert ("rbac.authorization.k8s.io/aggregate-to-edit" in editor["metadata"]["labels"]) == aggregated


def _release() -> tuple[str, ...]:
    return ("jobwarden", str(CHART), "--namespace", "jobwarden")


def _everything_of_the_release(plane: ControlPlane) -> set[str]:
    """Kinds of all objects that carry the release's label."""
    kinds = "deployments,services,configmaps,serviceaccounts,persistentvolumeclaims,roles,rolebindings,clusterroles,clusterrolebindings"
    more = "leases,customresourcedefinitions,validatingadmissionpolicies,validatingadmissionpolicybindings,secrets"
    found = plane.kubectl("get", f"{kinds},{more}", "-A", "-l", "app.kubernetes.io/instance=jobwarden", "-o", "json")
    # A claim that something may use goes when nobody does; here nobody looks.
    return {one["kind"] for one in found.ok().json["items"]}


def _owner(plane: ControlPlane, plural: str) -> str | None:
    """The release that a definition belongs to."""
    metadata = plane.get("crd", f"{plural}.jobwarden.dev")["metadata"]
    name = metadata.get("annotations", {}).get("meta.helm.sh/release-name")
    return None if name is None else str(name)


def _may(plane: ControlPlane, user: str) -> Callable[[str, str, str], bool]:
    def may(verb: str, what: str, namespace: str) -> bool:
        return plane.kubectl("auth", "can-i", verb, what, "-n", namespace, f"--as={user}").out.strip() == "yes"

    return may


def _granted(documents: Iterator[Any]) -> set[tuple[str, str, str]]:
    found = set()
    for one in documents:
        if one and one["kind"] in ("ClusterRole", "Role"):
            for rule in one["rules"]:
                for group in rule["apiGroups"]:
                    found |= {(group, what, verb) for what in rule["resources"] for verb in rule["verbs"]}
    return found
