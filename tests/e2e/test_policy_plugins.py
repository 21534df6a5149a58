"""Policies that ask plug-ins, installed as a distribution would be: what they say counts, and whatever else they do denies."""

import hashlib
import json
import time
from typing import Any

import pytest
import yaml

from tests.conformance.asking import states
from tests.conformance.test_e_trust import decided, ran
from tests.harness import Warden, job
from tests.harness.manifests import API_VERSION, Document, document
from tests.harness.plugins import DECISION_POINTS, VERIFIERS, install

KEY = "canary-5e3c1b-of-the-plug-in"

DECIDES = """
import asyncio, os, sys, time
from controller.base.references import EnvRef, SecretSource
from controller.providers.authorization import Decided, Decision, Refused, Unavailable

class Provider:
    def __init__(self, config, surroundings):
        if set(config) - {"does"}:
            raise ValueError(f"spec.external.plugin.config: there is no field {min(set(config) - {'does'})!r}")
        self.does, self.surroundings = config.get("does", "decide"), surroundings

    async def decide(self, asked):
        key = await self.surroundings.read(SecretSource(env_ref=EnvRef("PLUGIN_KEY")))
        match self.does:
            case "decide":
                said = Decision(asked["request"]["parameters"].get("say", "Deny"))
                return Decided(said, f"as {asked['request']['actor']} wishes, by {key.reveal()}")
            case "raise": raise RuntimeError(f"no session with {key.reveal()}")
            case "hang": await asyncio.Event().wait()
            case "block": time.sleep(3600)
            case "exit": sys.exit(0)
            case "lie": return {"decision": "Permit"}
            case "flood": return Decided(Decision.Deny, "no " * 10_000_000)
"""
SAY = {"parameters": [{"name": "say", "default": "Deny"}]}


def policy(name: str, type_: str = "decides", **config: object) -> Document:
    """One that asks a plug-in alone, and does not wait long."""
    external = {"plugin": {"type": type_, "config": config}, "timeout": "1s"}
    return document("AuthorizationPolicy", name, {"external": external})


@pytest.fixture
def deciding(warden: Warden, monkeypatch: pytest.MonkeyPatch) -> Warden:
    """A controller that has the plug-in, and a secret for it."""
    monkeypatch.setenv("JOBWARDEN_TEST_EXEC", "1")
    install(warden, "decides", DECIDES, group=DECISION_POINTS)
    return warden


def start(warden: Warden, *applied: str) -> None:
    """With the secret that plug-ins may read."""
    warden.environment["PLUGIN_KEY"] = KEY
    settings = {"apiVersion": API_VERSION, "kind": "ControllerConfiguration", "settings": {"allowEnv": ["PLUGIN_KEY"]}}
    settings["settings"]["allowFiles"] = [str(warden.work)]  # type: ignore[index]
    config = warden.folder / "jobwarden.yaml"
    config.write_text(yaml.safe_dump(settings))
    warden.start("--config", str(config), applied=applied)


def test_a_plugin_permits_denies_and_has_people_asked(deciding: Warden) -> None:
    """With its reason, in which no secret is; `trust check` asks it as well."""
    warden = deciding
    warden.write("all", policy("mine"), job("asked", authorizationPolicyRef={"name": "mine"}, **SAY))
    start(warden, "asked")
    warden.trigger("asked", "-p", "say=Permit").ok()
    [run] = warden.wait_run("asked", "Succeeded")
    told = str(decided(warden, run))
    assert "the decision point of AuthorizationPolicy default/mine says Permit: as" in told
    assert KEY not in told
    warden.trigger("asked", "-p", "say=Deny").ok()
    denied = warden.wait_for(lambda: [one for one in warden.runs("asked") if one["status"]["state"] == "Denied"], "it")
    assert denied[0]["status"]["reason"] == "DecisionPointDenied"
    warden.trigger("asked", "-p", "say=Escalate").ok()
    warden.wait_for(lambda: states(warden.approvals("asked")) == ["Pending"], "people to be asked")
    checked = warden.cli("trust", "check", "asked")
    assert checked.code == 1
    assert "says Deny" in checked.out
    assert KEY not in warden.log.read_text(encoding="utf-8") + checked.out


@pytest.mark.parametrize(
    ("does", "reason", "words"),
    [
        ("lie", "DecisionInvalid", "it answered with dict"),
        ("flood", "DecisionPointDenied", "no no no"),
        ("odd", "DecisionInvalid", "there is no field 'other'"),
        ("missing", "DecisionInvalid", "'nobody-has-it' is not loaded"),
    ],
)
def test_whatever_a_plugin_does_instead_denies_at_once(deciding: Warden, does: str, reason: str, words: str) -> None:
    """And says what it was, without its secret."""
    warden = deciding
    asked = {"odd": policy("mine", other=1), "missing": policy("mine", "nobody-has-it")}
    warden.write(
        "all", asked.get(does, policy("mine", does=does)), job("asked", authorizationPolicyRef={"name": "mine"})
    )
    start(warden, "asked")
    run = ran(warden, "asked")
    assert (run["status"]["state"], run["status"]["reason"]) == ("Denied", reason)
    assert words in run["status"]["message"]
    assert len(run["status"]["message"]) < 600


def test_one_that_is_away_denies_in_the_end_and_holds_up_nobody_else(deciding: Warden) -> None:
    """Whether it raises, hangs, blocks its thread or tries to end the process: each is tried again for a minute, the other's job runs meanwhile."""
    warden = deciding
    away = ("raise", "hang", "block", "exit")
    warden.write(
        "all",
        *(policy(name, does=name) for name in away),
        *(job(name, authorizationPolicyRef={"name": name}) for name in away),
        policy("mine"),
        job("asked", authorizationPolicyRef={"name": "mine"}, **SAY),
    )
    start(warden, *away, "asked")
    for name in away:
        warden.trigger(name).ok()
    warden.trigger("asked", "-p", "say=Permit").ok()
    warden.wait_run("asked", "Succeeded")
    said = {
        "raise": "RuntimeError: no session with ***",
        "hang": "within 1s",
        "block": "within 1s",
        "exit": "end the process",
    }
    for name in away:
        [run] = warden.wait_run(name, "Denied", deadline=180)
        assert run["status"]["reason"] == "NoAnswer"
        assert said[name] in run["status"]["message"] or "in a row" in run["status"]["message"]
        assert KEY not in str(run)
    assert KEY not in warden.log.read_text(encoding="utf-8")
    assert warden.stop() == 0


VERIFIES = """
import asyncio, hashlib, time
from datetime import UTC, datetime
from controller.base.references import EnvRef, SecretSource
from controller.providers.verification import Rejected, Secret, Verified, Why

class Provider:
    def __init__(self, config, surroundings):
        self.does, self.surroundings = config.get("does", "verify"), surroundings

    async def verify(self, proof, wanted):
        key = await self.surroundings.read(SecretSource(env_ref=EnvRef("PLUGIN_KEY")))
        if not isinstance(key, Secret):
            return key
        match self.does:
            case "raise": raise RuntimeError(f"{proof.reveal()} under {key.reveal()}")
            case "hang": await asyncio.Event().wait()
            case "lie": return {"subject": proof.reveal()}
            case "endless": return Verified(subject="ann", id="one")
            case "flood": return Verified(subject="ann", issued_at=datetime.now(UTC), claims={"x": "y" * 100_000_000})
            case "repeat": return Verified(subject=proof.reveal(), issued_at=datetime.now(UTC))
        said, _, mark = proof.reveal().rpartition("|")
        if hashlib.sha256((said + key.reveal()).encode()).hexdigest() != mark:
            return Rejected(Why.Untrusted if said else Why.Invalid)
        subject, number, end = said.split("|")
        return Verified(subject=subject, id=number, expires_at=datetime.fromtimestamp(float(end), UTC), claims={"team": "ops"})
"""


def shown(warden: Warden, subject: str, number: str, seconds: float = 300, key: str = KEY) -> str:
    """A file with a proof that ends then."""
    said = f"{subject}|{number}|{time.time() + seconds:.3f}"
    path = warden.work / f"{subject}-{number}"
    path.write_text(f"{said}|{hashlib.sha256((said + key).encode()).hexdigest()}")
    return str(path)


def proved(name: str, type_: str = "verifies", **proof: Any) -> list[Document]:
    """A job whose policy wants a proof that a plug-in takes."""
    plugin = {"type": type_, "config": proof.pop("config", {})}
    says = 'proof.verified && proof.method == "Plugin" && proof.subject == "ann" && proof.claims["team"] == "ops"'
    spec = {
        "proof": {"required": True, "plugin": plugin, "timeout": "1s", **proof},
        "rules": [{"name": "ann", "if": says, "decision": "Permit"}],
    }
    return [document("AuthorizationPolicy", name, spec), job(name, authorizationPolicyRef={"name": name})]


@pytest.fixture
def verifying(warden: Warden, monkeypatch: pytest.MonkeyPatch) -> Warden:
    """A controller that has the plug-in."""
    monkeypatch.setenv("JOBWARDEN_TEST_EXEC", "1")
    install(warden, "verifies", VERIFIES, group=VERIFIERS)
    return warden


def asked(warden: Warden, name: str, proof: str) -> Document:
    """The run that a request with this proof leads to, once it has ended."""
    answer = warden.cli("trigger", name, "--wait", "-o", "json", "--proof-file", proof, deadline=180)
    found: Document = json.loads(answer.out)
    assert found["kind"] == "Run", answer
    return found


def test_what_a_plugin_takes_for_a_proof_is_one_for_one_run(verifying: Warden) -> None:
    """Age, end and use are ours to look at, and of what is none nothing is shown; `trust check` looks without using it up."""
    warden = verifying
    kept = shown(warden, "ann", "checked", 3000)
    nightly = document("CredentialProvider", "nightly", {"file": {"keys": {"proof": kept}}})
    warden.write(
        "all",
        *proved("deploy"),
        *proved("brief", maxAge="1m"),
        nightly,
        *proved("scheduled", proofFrom={"providerRef": {"name": "nightly"}}),
    )
    start(warden, "deploy", "brief", "scheduled")
    good = shown(warden, "ann", "first")
    run = asked(warden, "deploy", good)
    assert run["status"]["state"] == "Succeeded"
    assert "proved by ann (the plug-in verifies)" in str(decided(warden, run))
    for name, proof, reason in (
        ("deploy", good, "ProofReplayed"),
        ("brief", good, "ProofTooOld"),
        ("deploy", shown(warden, "ann", "late", -60), "ProofExpired"),
        ("deploy", shown(warden, "canary-eve", "forged", key="another"), "ProofUntrusted"),
        ("deploy", shown(warden, "bob", "other"), "DefaultDeny"),
    ):
        run = asked(warden, name, proof)
        assert (run["status"]["state"], run["status"]["reason"]) == ("Denied", reason)
        assert "canary-eve" not in str(run) + str(decided(warden, run))
    for _ in range(2):
        warden.cli("trust", "check", "scheduled").ok()
    run = ran(warden, "scheduled")
    assert run["status"]["state"] == "Succeeded"
    assert ran_again(warden, "scheduled")["status"]["reason"] == "ProofReplayed"
    log = warden.log.read_text(encoding="utf-8")
    assert "canary-eve" not in log
    assert (warden.work / "ann-first").read_text() not in log
    assert KEY not in log


def ran_again(warden: Warden, name: str) -> Document:
    """The second run of a job."""
    warden.trigger(name).ok()
    [run] = warden.wait_run(name, "Denied")
    return run


@pytest.mark.parametrize(
    ("does", "reason", "words"),
    [
        ("lie", "ProofNotChecked", "it answered with dict"),
        ("endless", "ProofInvalid", "neither when it was made nor when it ends"),
        ("flood", "ProofNotChecked", "more than is looked at"),
        ("repeat", "ProofNotChecked", "holds the proof itself"),
        ("missing", "ProofNotChecked", "'nobody-has-it' is not loaded"),
        ("raise", "ProofNotChecked", "broke with RuntimeError"),
        ("hang", "ProofNotChecked", "within 1s"),
    ],
)
def test_whatever_a_verifier_does_instead_proves_nothing(verifying: Warden, does: str, reason: str, words: str) -> None:
    """An outage is tried again for a minute; neither the proof nor the plug-in's secret is told."""
    warden = verifying
    missing = does == "missing"
    warden.write("all", *proved("deploy", "nobody-has-it" if missing else "verifies", config={"does": does}))
    start(warden, "deploy")
    proof = shown(warden, "canary-ann", "one")
    run = asked(warden, "deploy", proof)
    assert (run["status"]["state"], run["status"]["reason"]) == ("Denied", reason)
    assert words in run["status"]["message"] or "in a row" in run["status"]["message"]
    told = str(run) + str(decided(warden, run)) + warden.log.read_text(encoding="utf-8")
    assert "canary-ann" not in told.replace(proof, "")
    assert KEY not in told
