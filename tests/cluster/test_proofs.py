"""Proofs of authority in a cluster: they lie in a Secret of whoever asks, and the controller reads what its rights say."""

import base64
import json
from datetime import UTC, datetime

import pytest

from tests.cluster.conftest import condition, verified, watch
from tests.cluster.test_requests import create, request
from tests.harness import Warden, proofs, wait_for
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import Document, document, job

KEY = proofs.key("Ed25519")


def secret(name: str, proof: str) -> Document:
    """A Secret with a proof in its key `jwt`."""
    data = {"jwt": base64.b64encode(proof.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def allow(api: ControlPlane, namespace: str, *secrets: str) -> None:
    """The controller may read these Secrets of the namespace, and no others."""
    named = [f"--resource-name={name}" for name in secrets]
    api.kubectl("create", "role", "proofs", "--verb=get", "--resource=secrets", *named, "-n", namespace).ok()
    api.kubectl("create", "rolebinding", "proofs", "--role=proofs", "--user=controller", "-n", namespace).ok()
    may = ("auth", "can-i", "get", f"secrets/{secrets[0]}", "-n", namespace)
    wait_for(lambda: api.kubectl(*may, as_user="controller").code == 0, "the right to be known")


@pytest.mark.slow
def test_a_request_brings_its_proof_in_a_secret(cluster_warden: Warden, api: ControlPlane, namespace: str) -> None:
    """A good one is good for one run; one that is expired, missing or out of the controller's reach refuses the run, and its text is nowhere."""
    verified(api)
    now = datetime.now(UTC)
    good = proofs.token(proofs.claims(now, jti="only-once"), KEY, "EdDSA")
    late = proofs.token(proofs.claims(now, exp=int(now.timestamp()) - 300), KEY, "EdDSA")
    rule = {"name": "alice", "if": 'proof.subject == "alice"', "decision": "Permit"}
    proof = {"methods": ["JWT"], "issuer": proofs.ISSUER, "audience": proofs.AUDIENCE, "required": True}
    proof["jwks"] = {"keySet": json.dumps(proofs.public(KEY))}
    allow(api, namespace, "good", "late", "missing")
    api.apply(secret("good", good), secret("late", late), secret("hidden", good), namespace=namespace).ok()
    cluster_warden.start(*watch(namespace))
    api.apply(
        document("AuthorizationPolicy", "proven", {"proof": proof, "rules": [rule]}),
        job("deploy", authorizationPolicyRef={"name": "proven"}, concurrency={"policy": "Allow"}),
        namespace=namespace,
    ).ok()
    api.kubectl("wait", "sjob/deploy", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()

    def ask(name: str, secret: str) -> None:
        proof_from = {"secretKeyRef": {"name": secret, "key": "jwt"}}
        assert create(api, namespace, request(name, "deploy", proofFrom=proof_from)) == ""

    def end(name: str) -> tuple[str, str]:
        """What became of a request, and why."""
        over = ("--for=condition=Finished", "--timeout=115s")
        api.kubectl("wait", f"rreq/{name}", *over, "-n", namespace, deadline=120).ok()
        told = api.get("rreq", name, namespace)
        run = cluster_warden.cli("get", "runs", told["status"]["runName"], "-n", namespace, "-o", "json").ok().json
        return condition(told, "Finished")["reason"], run["status"].get("reason", "")

    ask("first", "good")
    assert end("first")[0] == "Succeeded"
    for name, there in (("again", "good"), ("expired", "late"), ("nowhere", "missing"), ("forbidden", "hidden")):
        ask(name, there)
    assert create(api, namespace, request("without", "deploy")) == ""
    assert end("again") == ("Denied", "ProofReplayed")
    assert end("expired") == ("Denied", "ProofExpired")
    assert end("without") == ("Denied", "ProofMissing")
    # Either may be put right any moment, so they are asked for again for a minute.
    assert end("nowhere") == ("Denied", "ProofNotChecked")
    assert end("forbidden") == ("Denied", "ProofNotChecked")
    shown = api.kubectl("get", "rreq,sjob,authzpol,events", "-n", namespace, "-o", "yaml").text
    everything = shown + cluster_warden.log.read_text() + cluster_warden.cli("get", "runs", "-A", "-o", "yaml").text
    assert "ProofExpired" in everything
    assert good.split(".")[2] not in everything
    assert late.split(".")[2] not in everything
