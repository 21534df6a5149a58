"""The small company of manifests/trust does what its comments promise."""

import base64
import json
import re

from tests.harness import Warden
from tests.harness.warden import ROOT


def test_the_company_runs_as_its_documents_say(warden: Warden) -> None:
    """One job with a token and its child with half of it, two refused for what they lack, one that waits for a second person, one in a box; and each story is told."""
    for path in sorted((ROOT / "manifests/trust").glob("*.yaml")):
        warden.write(path.stem, path.read_text(encoding="utf-8"))
    warden.start(applied=("nightly-books", "payment"))
    warden.trigger("payment").ok()
    for job, does, scopes in (
        ("nightly-books", "the books are closed", "ledger.read ledger.write"),
        ("balance", "the report is written", "ledger.read"),
    ):
        [run, *_] = warden.wait_run(job, "Succeeded")
        told = warden.cli("trust", "explain", run["metadata"]["name"]).ok().out
        who = f"spiffe://example.org/finance/ledger (Supervised, scopes {scopes}, attested urn:example:department:finance)"
        assert f"Identity:   Service {who}" in told
        assert "ClusterTrustContract finance asks for Supervised, and the run is Supervised" in told
        assert "vouched for by ClusterCredentialProvider ledger-issuer" in told
        printed = run["status"]["output"]["stdout"]
        assert re.fullmatch(rf"{does} with \*\*\* for {scopes} until \d\d:\d\d\n", printed), printed
    [stranger, *_] = warden.wait_run("stranger", "Succeeded", "Denied")
    if stranger["status"]["state"] == "Succeeded":
        assert stranger["status"]["output"]["stdout"] == "that was all of the home folder\nthere is no network\n"
    else:
        assert stranger["status"]["reason"] == "BoxNotEnforceable"
    for job, why in (
        ("summary", "balance says credentialPolicy.children: None (the default), so the run has no identity"),
        ("forecast", "ClusterTrustContract finance asks for Supervised, and the run is only Restricted"),
    ):
        [run, *_] = warden.wait_run(job, "Denied")
        assert why in warden.cli("trust", "explain", run["metadata"]["name"]).ok().out
    checked = warden.cli("trust", "check", "forecast")
    assert (checked.code, "would be refused: TrustInsufficient" in checked.out) == (1, True)
    assert (
        "vouched for by ClusterCredentialProvider ledger-issuer"
        in warden.cli("trust", "check", "nightly-books").ok().out
    )
    assert warden.cli("trust", "check", "stranger").out.startswith("stranger would ")
    assert warden.job("forecast")["status"]["trust"] == {
        "decision": "Deny",
        "reason": "TrustInsufficient",
        "principal": "spiffe://example.org/agents/assistant",
        "trustLevel": "Restricted",
    }
    [asked] = warden.wait_for(lambda: warden.approvals("payment"), "the question")
    assert asked["spec"]["policyRef"] == {
        "kind": "AuthorizationPolicy",
        "name": "four-eyes",
        "rule": "payments-by-hand",
    }
    assert warden.runs("payment") == []
    # Without a key each statement vouches for the one before it.
    [run, *_] = warden.wait_run("nightly-books", "Succeeded", count=2)
    assert warden.cli("evidence", "verify", run["metadata"]["name"]).code == 0
    bundle = warden.folder / "books.intoto.jsonl"
    bundle.write_text(warden.cli("evidence", "export", "--job", "nightly-books").ok().out, encoding="utf-8")
    assert warden.cli("evidence", "verify", str(bundle)).code == 0
    first, *rest = bundle.read_text(encoding="utf-8").splitlines()
    envelope = json.loads(first)
    statement = base64.b64decode(envelope["payload"]).replace(b"Succeeded", b"succeeded", 1)
    changed = json.dumps(envelope | {"payload": base64.b64encode(statement).decode()})
    bundle.write_text("\n".join([changed, *rest]) + "\n", encoding="utf-8")
    assert warden.cli("evidence", "verify", str(bundle)).code != 0
