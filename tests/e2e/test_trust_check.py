"""`trust check` of a job whose gates ask others: a controller that runs asks them, for the answer alone."""

import json
from typing import Any

import pytest
import yaml

from tests.harness import Receiver, Warden, job
from tests.harness.manifests import API_VERSION, Document, document


@pytest.fixture
def gated(warden: Warden, receiver: Receiver) -> Warden:
    """A job that a provider, a proof, a decision point and a box stand before; every vouching leaves a line in `asked`."""
    (warden.folder / "key").write_text("canary-of-a-proof-that-is-long-enough")
    (warden.folder / "jobwarden.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": API_VERSION,
                "kind": "ControllerConfiguration",
                "settings": {"allowFiles": [str(warden.folder)]},
            }
        )
    )
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "metadata": {"annotations": {"jobwarden.dev/principal": "ledger", "jobwarden.dev/trust-level": "Supervised"}},
        "status": {"token": "canary-of-a-token"},
    }
    issue = f"echo asked >> {warden.folder}/asked; printf '%s' '{json.dumps(answer)}'"
    key = {"providerRef": {"name": "key"}}
    proof = {"required": True, "methods": ["APIKey"], "secretFrom": key, "proofFrom": {**key, "key": "key"}}
    ledger = {"subject": {"kind": "Service", "principal": "ledger"}, "trustLevel": "Autonomous"}
    warden.write(
        "all",
        document("CredentialProvider", "issuer", {"exec": {"command": "/bin/sh", "args": ["-c", issue]}}),
        document("CredentialProvider", "key", {"file": {"keys": {"key": str(warden.folder / "key")}}}),
        document("IdentityProfile", "ledger", {**ledger, "providerRef": {"name": "issuer"}}),
        document("TrustContract", "boxed", {"box": {"profile": "Restricted", "enforcement": "Warn"}}),
        document("AuthorizationPolicy", "asks", {"proof": proof, "external": {"url": receiver.url("/")}}),
        job(
            "gated",
            identityRef={"name": "ledger"},
            trustContractRef={"name": "boxed"},
            authorizationPolicyRef={"name": "asks"},
        ),
    )
    warden.start("--config", str(warden.folder / "jobwarden.yaml"), applied=("gated",))
    return warden


def checked(warden: Warden) -> Document:
    """What would become of it."""
    status: dict[str, Any] = warden.cli("trust", "check", "gated", "-o", "json").json["status"]
    return status


def test_everybody_is_asked_whom_the_gates_would_ask_and_nothing_runs(gated: Warden, receiver: Receiver) -> None:
    """One gate after the other, and again for each check: what was said is not kept."""
    receiver.say("/", {"result": True})
    status = checked(gated)
    assert status["decision"] == "Permit", status
    assert (status["identity"]["principal"], status["identity"]["trustLevel"]) == ("ledger", "Supervised")
    assert {"Identity", "Contract", "Box", "Proof", "Authorization"} <= {one["gate"] for one in status["outcomes"]}
    [asked] = receiver.deliveries()
    assert asked["input"]["trust"]["level"] == "Supervised"
    receiver.say("/", {"result": {"allow": False, "reason": "not on Sundays"}})
    status = checked(gated)
    assert (status["decision"], status["reason"]) == ("Deny", "DecisionPointDenied")
    assert "not on Sundays" in status["message"]
    assert (gated.folder / "asked").read_text().split() == ["asked"] * 2
    assert gated.runs() == []
    assert gated.queue(ended=True) == []
    said = gated.cli("trust", "check", "gated").text + gated.log.read_text()
    assert "canary" not in said


@pytest.mark.slow
def test_who_does_not_answer_is_not_waited_for_without_end(gated: Warden, receiver: Receiver) -> None:
    """The answer is no, and says whose."""
    receiver.answer("/", 503)
    status = checked(gated)
    assert (status["decision"], status["reason"]) == ("Deny", "NoAnswer")
    assert receiver.url("/") in status["message"]


def test_without_a_controller_nobody_is_asked(gated: Warden, receiver: Receiver) -> None:
    """And it is said who would ask."""
    assert gated.stop() == 0
    status = checked(gated)
    assert (status["decision"], status["reason"]) == ("Defer", "AwaitingAnswer")
    assert "only a controller that runs asks" in status["message"]
    assert receiver.deliveries() == []


def test_what_would_be_permitted_and_could_not_be_started_is_told(warden: Warden) -> None:
    """In the words that the run would end with; with a contract or without one."""
    missing = warden.folder / "later"
    warden.write(
        "all",
        document("TrustContract", "narrow", {"box": {"paths": {"read": [str(missing)]}}}),
        job("boxed", trustContractRef={"name": "narrow"}, shell={"script": "true"}),
        job("plain", shell={"script": "true"}, env=[{"name": "KEY", "valueFrom": {"envRef": {"name": "NOWHERE"}}}]),
    )
    warden.start(applied=("boxed", "plain"))
    for name, words in (("boxed", "does not exist on this host"), ("plain", "NOWHERE")):
        told = warden.cli("trust", "check", name)
        assert told.code == 1
        assert told.out.startswith(f"{name} would be permitted, and could not be started: StartFailed: ")
        assert words in told.out
        status = warden.cli("trust", "check", name, "-o", "json").json["status"]
        assert (status["decision"], status["reason"]) == ("Fail", "StartFailed")
        assert warden.cli("trigger", name, "--wait").code == 1
        [run] = warden.runs(name)
        assert (run["status"]["reason"], status["message"]) == ("StartFailed", run["status"]["message"])
    missing.mkdir()
    assert warden.cli("trust", "check", "boxed").code == 0
