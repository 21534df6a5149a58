"""Cases E: proofs of authority, from the file that somebody names to the decision that is kept with the run."""

import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.test_e_trust import decided, policy, rule
from tests.harness import Warden, job, proofs
from tests.harness.issuer import Issuer
from tests.harness.manifests import Document, document, once
from tests.harness.proofs import Authority

PERMIT = rule("proof.verified", "Permit")
SECRET = "canary-shared-secret-of-the-proofs-that-nobody-ever-sees-0123456789"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as opened:
        yield opened


@pytest.fixture
def folder(warden: Warden) -> Path:
    """Where proofs lie, and what the controller may read."""
    made = warden.folder / "proofs"
    made.mkdir()
    settings = {"allowFiles": [str(made)]}
    config = {"apiVersion": "jobwarden.dev/v1alpha1", "kind": "ControllerConfiguration", "settings": settings}
    (warden.folder / "jobwarden.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return made


def start(warden: Warden, *applied: str) -> None:
    """With the settings that let it read proofs."""
    warden.start("--config", str(warden.folder / "jobwarden.yaml"), applied=applied)


def gated(name: str, proof: Document, **more: Any) -> list[Document]:
    """A job and its policy."""
    spec = {"authorizationPolicyRef": {"name": name}, **more}
    return [policy(name, PERMIT, proof={"required": True, **proof}), job(name, **spec)]


def proved(warden: Warden, name: str, proof: Path | None) -> Document:
    """The run that a request with this proof leads to, once it has ended."""
    with_proof = ("--proof-file", str(proof)) if proof is not None else ()
    answer = warden.cli("trigger", name, "--wait", "-o", "json", *with_proof)
    found: Document = json.loads(answer.out)
    assert found["kind"] == "Run", answer
    return found


def test_S086_a_proof_is_verified_and_what_is_none_is_refused_with_its_reason(
    warden: Warden, issuer: Issuer, folder: Path
) -> None:
    """By each method; a reference that leads nowhere is no proof, and neither is the shape of one."""
    root = Authority(datetime.now(UTC))
    hmac = document("CredentialProvider", "hmac", {"file": {"keys": {"secret": str(folder / "secret")}}})
    (folder / "secret").write_text(SECRET, encoding="utf-8")
    shared = {"secretFrom": {"providerRef": {"name": "hmac"}}}
    issued = {"issuer": issuer.url, "audience": "jobwarden"}
    warden.write(
        "all",
        hmac,
        *gated("jwt", {"methods": ["JWT"], **issued, "jwks": {"url": issuer.keys_url}}),
        *gated("inline", {"methods": ["JWT"], **issued, "jwks": {"keySet": json.dumps(proofs.public(issuer.key))}}),
        *gated("oidc", {"methods": ["OIDC"], **issued}),
        *gated("hmac", {"methods": ["HMAC"], "audience": "jobwarden", **shared}),
        *gated("apikey", {"methods": ["APIKey"], **shared}),
        *gated("mtls", {"methods": ["MTLS"], "audience": "jobwarden", "clientAuthorities": root.pem}),
    )
    names = ("jwt", "inline", "oidc", "hmac", "apikey", "mtls")
    start(warden, *names)
    now = datetime.now(UTC)
    statement = proofs.claims(now, **{"iss": None, "sub": None, "jobwarden.dev/job": "default/mtls"})
    good = {
        "jwt": issuer.token(),
        "inline": issuer.token(),
        "oidc": issuer.token(),
        "hmac": proofs.token(proofs.claims(now, iss=None), SECRET.encode(), "HS256"),
        "apikey": SECRET,
        "mtls": root.client(common_name="deployer").token(statement),
    }
    for name, text in good.items():
        run = proved(warden, name, written(folder, text))
        assert run["status"]["state"] == "Succeeded", (name, run["status"])
        [said] = [one for one in decided(warden, run)["outcomes"] if one["gate"] == "Proof"]
        assert (said["decision"], said["reason"]) == ("Permit", "ProofVerified")
    _, body, _ = good["jwt"].split(".")
    stranger = proofs.key("P-256", issuer.key.kid)
    bad = {
        "expired": (issuer.token(exp=time.time() - 60), "ProofExpired"),
        "for somebody else": (issuer.token(aud="other"), "ProofWrongAudience"),
        "unsigned": (f"{proofs.encoded({'alg': 'none'})}.{body}.", "ProofWrongAlgorithm"),
        "a MAC": (good["hmac"], "ProofWrongAlgorithm"),
        "another key": (proofs.token(proofs.claims(now, iss=issuer.url), stranger, "ES256"), "ProofInvalid"),
        "no token": ("a shape is no proof", "ProofInvalid"),
    }
    for what, (text, why) in bad.items():
        run = proved(warden, "jwt", written(folder, text))
        assert (run["status"]["state"], run["status"]["reason"]) == ("Denied", why), what
    assert proved(warden, "jwt", None)["status"]["reason"] == "ProofMissing"
    assert proved(warden, "jwt", folder / "nothing")["status"]["reason"] == "ProofUnreadable"
    outside = warden.folder / "outside"
    outside.write_text(good["jwt"], encoding="utf-8")
    assert proved(warden, "jwt", outside)["status"]["reason"] == "ProofUnreadable"
    for secret in (SECRET, *good.values()):
        assert_nowhere(warden, secret)


def test_S086_a_schedule_has_a_proof_only_where_its_policy_says_so(warden: Warden, folder: Path) -> None:
    """From a provider, whose credential is read when it is needed; `trust check` tells what is lacking."""
    (folder / "secret").write_text(SECRET, encoding="utf-8")
    provider = document("CredentialProvider", "key", {"file": {"keys": {"key": str(folder / "secret")}}})
    known = {"required": True, "methods": ["APIKey"], "secretFrom": {"providerRef": {"name": "key"}}}
    warden.write(
        "all",
        provider,
        policy("without", PERMIT, proof=known),
        policy("with", PERMIT, proof={**known, "proofFrom": {"providerRef": {"name": "key"}, "key": "key"}}),
        once("unproved", authorizationPolicyRef={"name": "without"}),
        once("proved", authorizationPolicyRef={"name": "with"}),
    )
    start(warden, "unproved", "proved")
    [denied] = warden.wait_run("unproved", "Denied")
    assert denied["status"]["reason"] == "ProofMissing"
    warden.wait_run("proved", "Succeeded")
    checked = warden.cli("trust", "check", "unproved")
    assert "would be refused" in checked.out
    assert "--proof-file" in checked.out
    assert "would run" in warden.cli("trust", "check", "proved").ok().out


def test_S086_a_proof_with_an_id_is_good_for_one_run_and_its_attempts(
    warden: Warden, issuer: Issuer, folder: Path
) -> None:
    """Another attempt at the same is no replay; another request is, for whichever job; a restart does not forget."""
    known = {"methods": ["OIDC"], "issuer": issuer.url, "audience": "jobwarden"}
    retry = {"limit": 1, "backoff": {"initial": "1s", "jitter": "0s"}}
    tries = f"echo x >> {warden.work}/tries; test $(wc -l < {warden.work}/tries) -gt 1"
    warden.write("all", *gated("first", known, retry=retry, shell={"script": tries}), *gated("other", known))
    start(warden, "first", "other")
    proof = written(folder, issuer.token(jti="one-1"))
    warden.cli("trigger", "first", "--wait", "--proof-file", str(proof)).ok()
    assert sorted(one["status"]["state"] for one in warden.runs("first")) == ["Failed", "Succeeded"]
    assert proved(warden, "other", proof)["status"]["reason"] == "ProofReplayed"
    warden.kill9()
    start(warden, "other")
    denied = warden.cli("trigger", "other", "--wait", "--proof-file", str(proof))
    assert "ProofReplayed" in denied.out or "used for another run" in denied.out
    assert len(warden.runs("other", state="Denied")) == 2
    assert proved(warden, "other", written(folder, issuer.token(jti="one-2")))["status"]["state"] == "Succeeded"


def test_S086_keys_that_are_changed_are_found_and_keys_that_are_gone_are_not(
    warden: Warden, issuer: Issuer, folder: Path
) -> None:
    """A token of a new key is good at once; that of a key which was taken back is not."""
    warden.write("all", *gated("oidc", {"methods": ["OIDC"], "issuer": issuer.url, "audience": "jobwarden"}))
    start(warden, "oidc")
    old = written(folder, issuer.token())
    assert proved(warden, "oidc", old)["status"]["state"] == "Succeeded"
    issuer.rotate()
    assert proved(warden, "oidc", written(folder, issuer.token()))["status"]["state"] == "Succeeded"
    assert proved(warden, "oidc", old)["status"]["reason"] == "ProofUnknownKey"


def written(folder: Path, text: str) -> Path:
    """A proof in a file of its own."""
    path = folder / f"proof-{uuid.uuid4().hex}"
    path.write_text(text + "\n", encoding="utf-8")
    return path


def assert_nowhere(warden: Warden, text: str) -> None:
    """Neither in the database nor in what was logged or can be asked for."""
    for path in (*warden.state.rglob("*"), warden.log):
        if path.is_file():
            assert text.encode() not in path.read_bytes(), path
