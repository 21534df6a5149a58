"""The small company of manifests/trust-cluster, played with kubectl as people use it: a real API server and real Jobs; the test is the kubelet."""

import base64
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from controller.kubernetes import fence
from tests.cluster.conftest import ADMISSION, RIGHTS, as_account, condition, verified
from tests.cluster.test_providers import review
from tests.cluster.test_trust import events_of
from tests.harness import Warden, wait_for
from tests.harness.controlplane import tools
from tests.harness.manifests import Document
from tests.harness.simulated import Simulated
from tests.harness.warden import ROOT

COMPANY = ROOT / "manifests/trust-cluster"
PAYMENT = {
    "apiVersion": "jobwarden.dev/v1alpha1",
    "kind": "RunRequest",
    "metadata": {"name": "pay"},
    "spec": {"jobRef": {"name": "pay-invoice"}, "requestedBy": "alice"},
}
BOB = {"spec": {"decisions": {"bob": {"decision": "Approved", "reason": "the sum is right"}}}}


class Company:
    """The cluster with the company in it, and its controller, which has the rights of its own account and those that the company grants."""

    def __init__(self, cluster: Simulated, warden: Warden, folder: Path) -> None:
        self.cluster, self.warden, self.folder = cluster, warden, folder

    def start(self, *arguments: str) -> None:
        """Start the controller."""
        kinds = ("--kubernetes", "--executor", "Kubernetes", "--job-image", "busybox:1.37")
        self.warden.start(*kinds, "--lease", "jobwarden/jobwarden", *arguments)

    def move_in(self) -> None:
        """As the files say."""
        key = ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / "key.pem").write_bytes(key.private_bytes(*form))
        (self.folder / "public.pem").write_bytes(public)
        secret = ("secret", "generic", "bookkeeping-evidence", f"--from-file=key={self.folder / 'key.pem'}")
        self.cluster.kubectl("create", *secret).ok()
        self.cluster.kubectl("apply", "-f", str(COMPANY)).ok()
        for kind in ("sjob", "identityprofile", "credentialprovider", "clustertrustcontract"):
            self.cluster.kubectl("wait", kind, "--all", "--for=condition=Ready", "--timeout=60s").ok()

    def ask(self, *jobs: str) -> None:
        """Ask for runs."""
        mark = f"jobwarden.dev/run-requested-at={uuid.uuid4().hex}"
        self.cluster.kubectl("annotate", "sjob", *jobs, mark, "--overwrite").ok()

    def trust_of(self, job: str) -> Any:
        """What `kubectl get -o yaml` shows of the last verdict."""
        return ((self.cluster.get("sjob", job) or {}).get("status") or {}).get("trust")

    def run_of(self, job: str, *states: str) -> str:
        """The newest run of a job in one of these states."""
        return str(self.warden.wait_run(job, *states)[0]["metadata"]["name"])

    def begun(self, job: str) -> tuple[str, Document]:
        """The run of a job, and its Pod, which has begun."""
        run = self.run_of(job, "Running")
        name = self.cluster.pod_of(run, "default")
        self.cluster.begin(name, "default")
        return run, dict(self.cluster.get("pod", name))

    def finish(self, pod: Document) -> None:
        """The Pod has ended well."""
        self.cluster.finish(pod["metadata"]["name"], "default")

    def token(self, run: str) -> str:
        """What the Pod of a run is given, by whoever may read its Secret."""
        text = "{.items[0].data.*}"
        found = self.cluster.kubectl("get", "secrets", "-l", f"jobwarden.dev/run={run}", "-o", f"jsonpath={text}").ok()
        return base64.b64decode(found.out).decode()

    def told(self, run: str) -> str:
        """`trust explain`."""
        return self.warden.cli("-n", "default", "trust", "explain", run).ok().out


@pytest.fixture
def company(make_warden: Callable[..., Warden], tmp_path: Path) -> Iterator[Company]:
    """A cluster of one's own: its contract binds jobs of all controllers."""
    programs = tools("all")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    folder = Path(tempfile.gettempdir()) / f"jw-sim-{uuid.uuid4().hex[:12]}"
    more = (ROOT / "manifests/kubernetes/networkpolicies.yaml").read_text(encoding="utf-8")
    with Simulated(folder, programs, *RIGHTS, *ADMISSION, more) as cluster:
        yield Company(cluster, make_warden(environment=as_account(cluster)), tmp_path)


@pytest.mark.slow
def test_the_company_lives_in_a_cluster_as_its_documents_say(company: Company) -> None:
    """A token for each run and for nobody else, a child, two that are refused and say why, one that a second person approves, evidence that can be checked."""
    company.start()
    company.move_in()
    verified(company.cluster)
    company.ask("close-books", "train-forecast", "vendor-tool", "exchange-rates")
    run = a_token_for_the_ledger_in_a_restricted_pod(company)
    its_child_has_the_other_half_of_the_same_account(company)
    those_that_are_refused_say_why(company)
    a_second_person_approves_with_kubectl(company)
    the_evidence_is_signed_and_a_changed_byte_is_found(company, run)
    with_a_network_plugin_that_is_vouched_for_the_boxed_job_runs(company)


def a_token_for_the_ledger_in_a_restricted_pod(company: Company) -> str:
    """It is good for that audience alone, and for ten minutes; the Pod has nothing else."""
    run, pod = company.begun("close-books")
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert (spec["automountServiceAccountToken"], spec["securityContext"]["runAsNonRoot"]) == (False, True)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    token = company.token(run)
    said = review(company.cluster, token, "ledger.example.org", "reports.example.org")
    assert said["audiences"] == ["ledger.example.org"]
    assert said["user"]["username"] == "system:serviceaccount:default:bookkeeper"
    assert token not in json.dumps(pod)
    company.finish(pod)
    company.warden.wait_run("close-books", "Succeeded")
    told = company.told(run)
    assert "ClusterTrustContract bookkeeping asks for Supervised, and the run is Supervised" in told
    assert "it runs in a box: profile Restricted" in told
    assert token not in told
    return run


def its_child_has_the_other_half_of_the_same_account(company: Company) -> None:
    """For reports, and not for the ledger."""
    run, pod = company.begun("publish-report")
    said = review(company.cluster, company.token(run), "ledger.example.org", "reports.example.org")
    assert said["audiences"] == ["reports.example.org"]
    company.finish(pod)
    company.warden.wait_run("publish-report", "Succeeded")
    assert "system:serviceaccount:default:bookkeeper (Supervised, scopes reports.example.org)" in company.told(run)


def those_that_are_refused_say_why(company: Company) -> None:
    """In the status, in Events, and in words; nothing of them was started."""
    for job, reason, words in (
        ("train-forecast", "TrustInsufficient", "asks for Supervised, and the run is only Restricted"),
        ("vendor-tool", "BoxNotEnforceable", "nobody vouches that the network plug-in (CNI) of the cluster enforces"),
        ("exchange-rates", "BoxNotEnforceable", "set settings.pods.egressProxy of the controller"),
    ):
        run = company.run_of(job, "Denied")
        assert words in company.told(run)
        assert wait_for(lambda job=job: company.trust_of(job), "the verdict")["reason"] == reason
        told = wait_for(
            lambda job=job: [one for one in events_of(company.cluster, "Denied") if one["regarding"]["name"] == job],
            "the Event",
        )
        assert reason in told[0]["note"]
        assert company.cluster.get("job", run, "default") is None
    checked = company.warden.cli("-n", "default", "trust", "check", "train-forecast")
    assert (checked.code, "would be refused: TrustInsufficient" in checked.out) == (1, True)


def a_second_person_approves_with_kubectl(company: Company) -> None:
    """alice asks and may not approve; bob may, in his own name."""
    cluster = company.cluster
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(PAYMENT), as_user="alice").ok()

    def asked() -> Any:
        found = json.loads(cluster.kubectl("get", "appr", "-o", "json", as_user="alice").ok().out)["items"]
        return next((one for one in found if condition(one, "Guarded").get("status") == "True"), None)

    approval = company.warden.wait_for(asked, "the question")
    assert approval["spec"]["policyRef"] == {
        "kind": "AuthorizationPolicy",
        "name": "two-people",
        "rule": "payments-by-hand",
    }
    name = f"appr/{approval['metadata']['name']}"
    own = {"spec": {"decisions": {"alice": {"decision": "Approved"}}}}
    refused = cluster.kubectl("patch", name, "--type", "merge", "-p", json.dumps(own), as_user="alice")
    assert "forbidden" in refused.err.lower()
    cluster.kubectl("patch", name, "--type", "merge", "-p", json.dumps(BOB), as_user="bob").ok()
    run, pod = company.begun("pay-invoice")
    company.finish(pod)
    cluster.kubectl("wait", "rreq/pay", "--for=condition=Finished", "--timeout=60s").ok()
    assert "approved by bob" in company.told(run)


def the_evidence_is_signed_and_a_changed_byte_is_found(company: Company, run: str) -> None:
    """With the key of a Secret that the controller may read by its name, and no other one."""
    warden, key = company.warden, ("--key", str(company.folder / "public.pem"))
    warden.wait_for(lambda: warden.cli("-n", "default", "evidence", "verify", run, *key).code == 0, "the signature")
    exported = company.folder / "books.intoto.jsonl"
    warden.cli("-n", "default", "evidence", "export", "--job", "close-books", "-o", str(exported)).ok()
    warden.cli("evidence", "verify", str(exported), *key).ok()
    data = bytearray(exported.read_bytes())
    data[data.index(b'"payload"') + 30] ^= 1
    exported.write_bytes(data)
    assert warden.cli("evidence", "verify", str(exported), *key).code == 1


def with_a_network_plugin_that_is_vouched_for_the_boxed_job_runs(company: Company) -> None:
    """Behind a NetworkPolicy that was there before it; and not while another policy lets something through for it."""
    cluster, warden = company.cluster, company.warden
    warden.stop()
    config = company.folder / "jobwarden.yaml"
    settings = "settings: {pods: {networkPoliciesEnforced: true}}"
    config.write_text(f"apiVersion: jobwarden.dev/v1alpha1\nkind: ControllerConfiguration\n{settings}\n")
    dns = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "dns-for-all"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]},
    }  # fmt: skip
    cluster.apply(dns).ok()
    company.start("--config", str(config))
    company.ask("vendor-tool")
    [failed] = warden.wait_run("vendor-tool", "Failed")
    assert "NetworkPolicies add up: dns-for-all in the namespace default" in failed["status"]["message"]
    cluster.kubectl("delete", "networkpolicy", "dns-for-all").ok()
    company.ask("vendor-tool")
    run, pod = company.begun("vendor-tool")
    there = cluster.get("networkpolicy", fence.SHUT.name, "default")
    assert there["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert (there["spec"]["policyTypes"], there["spec"].keys() & {"ingress", "egress"}) == (
        ["Ingress", "Egress"],
        set(),
    )
    company.finish(pod)
    warden.wait_run("vendor-tool", "Succeeded")
    assert "profile Isolated, network None" in company.told(run)
