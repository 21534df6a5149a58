"""Policies that ask plug-ins, installed as a distribution would be: what they say counts, and whatever else they do denies."""

import pytest
import yaml

from tests.conformance.asking import states
from tests.conformance.test_e_trust import decided, ran
from tests.harness import Warden, job
from tests.harness.manifests import API_VERSION, Document, document
from tests.harness.plugins import DECISION_POINTS, install

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
