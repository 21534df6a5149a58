"""Cases E: who a run is, what it must satisfy, who decides."""

import json
from typing import Any

import pytest

from tests.conformance.asking import assert_refused, states, told
from tests.harness import Receiver, Warden, job, webhook
from tests.harness.manifests import Document, child, document

LEVELS = ("Untrusted", "Restricted", "Supervised", "Autonomous")


def profile(name: str, level: str) -> Document:
    """A principal of this level."""
    return document(
        "IdentityProfile", name, {"subject": {"kind": "Service", "principal": f"svc/{name}"}, "trustLevel": level}
    )


def contract(name: str, level: str, **spec: Any) -> Document:
    """A contract that asks for this level."""
    return document("TrustContract", name, {"requiredTrustLevel": level, **spec})


def policy(name: str, *rules: Document, **spec: Any) -> Document:
    """Rules."""
    return document("AuthorizationPolicy", name, {"rules": list(rules), **spec})


def rule(condition: str, decision: str, name: str = "rule", **more: Any) -> Document:
    """One rule."""
    return {"name": name, "if": condition, "decision": decision, **more}


def decided(warden: Warden, run: Document) -> Document:
    """What `trust explain` says of a run."""
    found: Document = warden.cli("trust", "explain", run["metadata"]["name"], "-o", "json").json["status"]
    return found


def ran(warden: Warden, name: str) -> Document:
    """The first run of a job that is triggered now."""
    warden.trigger(name)
    return warden.wait_for(
        lambda: [one for one in warden.runs(name) if one["status"]["state"] != "Running"], f"a run of {name}"
    )[0]


def vouched_for(name: str, level: str, provider: str, *scopes: str) -> Document:
    """A principal that a provider vouches for."""
    document = profile(name, level)
    document["spec"] |= {"providerRef": {"name": provider}, "scopes": list(scopes)}
    return document


def issuer(name: str, script: str = "", **annotations: str) -> Document:
    """A provider that vouches for everybody; a script may change what its program says, in `token`, `level` and `scopes`."""
    ours = {f"jobwarden.dev/{one.replace('_', '-')}": text for one, text in annotations.items()}
    said = {"jobwarden.dev/scopes": "$scopes", "jobwarden.dev/principal": "$JOBWARDEN_PRINCIPAL"} | ours
    shape = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "metadata": {"annotations": said},
        "status": {"token": "$token"},
    }
    program = f"scopes=$JOBWARDEN_SCOPES token=live-wide-token level=Supervised\n{script}\ncat <<END\n{json.dumps(shape)}\nEND"
    return document("CredentialProvider", name, {"exec": {"command": "/bin/sh", "args": ["-c", program]}})


def test_S079_a_provider_that_is_not_loaded_vouches_for_nobody(warden: Warden) -> None:
    """The run is refused and says why; it is not tried again."""
    warden.write(
        "all",
        document("CredentialProvider", "odd", {"plugin": {"type": "nobody-has-it"}}),
        vouched_for("reporter", "Supervised", "odd"),
        job("report", identityRef={"name": "reporter"}, retry={"limit": 2, "backoff": {"initial": "1s"}}),
    )
    warden.start(applied=("report",))
    run = ran(warden, "report")
    assert (run["status"]["state"], run["status"]["reason"]) == ("Denied", "IdentityRefused")
    assert "not loaded" in run["status"]["message"]
    assert warden.queue("report") == []


def test_S080_a_provider_that_says_no_refuses_in_its_own_words(warden: Warden) -> None:
    """One error more, and no child."""
    warden.write(
        "all",
        issuer("vault", refused="Vault timeout"),
        vouched_for("reporter", "Supervised", "vault"),
        job("report", identityRef={"name": "reporter"}),
        child("after", "report", when="Finished"),
    )
    warden.start(applied=("report", "after"))
    run = ran(warden, "report")
    assert run["status"]["state"] == "Denied"
    assert "Vault timeout" in run["status"]["message"]
    assert warden.job("report")["status"]["consecutiveErrors"] == 1
    assert (warden.runs("after"), warden.queue("after")) == ([], [])


def test_what_is_to_be_attested_is_attested_by_the_provider_or_nothing_runs(warden: Warden) -> None:
    """Each time anew, also for a run that acts as the one that triggered it; rules see what was attested, and so does whoever asks."""
    attested = {"attestation": "urn:example:gold"}
    for name, by in (("gold", "gold"), ("tin", "tin"), ("mute", "mute"), ("heir", "gold")):
        shown = vouched_for(name, "Supervised", by)
        shown["spec"] |= attested
        warden.write(name, shown)
    warden.write(
        "all",
        issuer("gold", attestation="urn:example:silver urn:example:gold"),
        issuer("tin", attestation="urn:example:tin"),
        issuer("mute"),
        policy("golden", rule('identity.attestation == "urn:example:gold"', "Permit")),
        document("CredentialPolicy", "handed", {"children": "Inherit"}),
        *(
            job(one, identityRef={"name": one}, authorizationPolicyRef={"name": "golden"})
            for one in ("gold", "tin", "mute")
        ),
        job("heir", identityRef={"name": "heir"}, credentialPolicyRef={"name": "handed"}),
        child("after", "heir", authorizationPolicyRef={"name": "golden"}),
    )
    warden.start(applied=("gold", "tin", "mute", "heir", "after"))
    run = ran(warden, "gold")
    assert run["status"]["state"] == "Succeeded"
    assert decided(warden, run)["identity"]["attestation"] == "urn:example:gold"
    for name, said in (("tin", "attests urn:example:tin"), ("mute", "says nothing of attestations")):
        run = ran(warden, name)
        assert (run["status"]["state"], run["status"]["reason"]) == ("Denied", "IdentityRefused")
        assert "does not attest 'urn:example:gold'" in run["status"]["message"]
        assert said in run["status"]["message"]
    warden.trigger("heir").ok()
    [run] = warden.wait_run("after", "Succeeded")
    assert decided(warden, run)["identity"]["attestation"] == "urn:example:gold"
    checked = warden.cli("trust", "check", "tin")
    assert checked.code == 1
    assert "does not attest" in checked.out


def test_what_a_provider_says_lowers_a_level_and_never_raises_it(warden: Warden) -> None:
    """The contract is judged against what is left; whom it does not vouch for is not let in."""
    warden.write(
        "all",
        contract("strict", "Supervised"),
        issuer("mild", trust_level="Autonomous"),
        issuer("hard", trust_level="Restricted"),
        issuer("odd", principal="somebody-else"),
        *(vouched_for(f"by-{name}", "Supervised", name, "read") for name in ("mild", "hard", "odd")),
        *(
            job(name, identityRef={"name": f"by-{name}"}, trustContractRef={"name": "strict"})
            for name in ("mild", "hard", "odd")
        ),
    )
    warden.start(applied=("mild", "hard", "odd"))
    run = ran(warden, "mild")
    assert run["status"]["state"] == "Succeeded"
    assert decided(warden, run)["identity"]["trustLevel"] == "Supervised"
    assert ran(warden, "hard")["status"]["reason"] == "TrustInsufficient"
    refused = ran(warden, "odd")["status"]
    assert (refused["state"], refused["reason"]) == ("Denied", "IdentityRefused")
    assert "somebody-else" in refused["message"]


@pytest.mark.parametrize("enforcement", ["None", "Warn", "Block"])
def test_S082_a_level_that_is_too_low_is_permitted_warned_of_or_refused(warden: Warden, enforcement: str) -> None:
    """As the contract's enforcement says; the exact level and everything above it is enough."""
    warden.write(
        "all",
        contract("strict", "Supervised", enforcement=enforcement),
        *(profile(level.lower(), level) for level in LEVELS),
        *(
            job(
                f"as-{level.lower()}",
                identityRef={"name": level.lower()},
                trustContractRef={"name": "strict"},
            )
            for level in LEVELS
        ),
    )
    warden.start(applied=("as-untrusted", "as-autonomous"))
    low = {"None": ("Succeeded", "Permit"), "Warn": ("Succeeded", "Warn"), "Block": ("Denied", "Deny")}[enforcement]
    for level in LEVELS:
        run = ran(warden, f"as-{level.lower()}")
        [said] = [one for one in decided(warden, run)["outcomes"] if one["gate"] == "Contract"]
        expected = ("Succeeded", "Permit") if level in ("Supervised", "Autonomous") else low
        assert (run["status"]["state"], said["decision"]) == expected, level


def test_S083_words_for_enforcement_that_nobody_knows_are_refused(warden: Warden) -> None:
    """`advisory` and `strict` are errors that name what is allowed."""
    for word in ("advisory", "strict"):
        assert_refused(warden, contract("c", "Supervised", enforcement=word), "/spec/enforcement", "None, Warn, Block")


def test_S085_a_level_that_nobody_knows_is_refused(warden: Warden) -> None:
    """It is not compared with anything."""
    for odd in (contract("c", "Superhuman"), profile("p", "Superhuman")):
        assert_refused(warden, odd, "Untrusted, Restricted, Supervised, Autonomous")


def test_S088_a_policy_that_does_not_exist_holds_the_job_until_it_does(warden: Warden) -> None:
    """A reference is never taken for a permission."""
    warden.write("job", job("gated", authorizationPolicyRef={"name": "people"}))
    warden.start(applied=("gated",))
    assert warden.condition("gated", "Ready")["reason"] == "ReferenceNotFound"
    warden.write("policy", policy("people", rule("true", "Permit")))
    warden.wait_for(lambda: warden.condition("gated", "Ready")["status"] == "True", "the job to be ready")
    assert ran(warden, "gated")["status"]["state"] == "Succeeded"


def test_S089_a_rule_that_fails_denies_and_a_decision_that_nobody_knows_is_refused(warden: Warden) -> None:
    """`allow` is an error of the document; a rule that cannot be evaluated is a refusal that says so."""
    warden.write(
        "all",
        policy("words", rule("true", "allow")),
        policy("broken", rule('job.labels["team"] == "a"', "Permit"), default="Permit"),
        job("gated", authorizationPolicyRef={"name": "broken"}),
    )
    warden.start(applied=("gated",))
    assert "Permit, Deny, Escalate" in warden.cli("validate", str(warden.manifests)).text
    run = ran(warden, "gated")
    assert (run["status"]["state"], run["status"]["reason"]) == ("Denied", "RuleFailed")


def test_S089_a_decision_point_that_does_not_decide_denies(warden: Warden, receiver: Receiver) -> None:
    """Permit, deny and escalate are as given, with the reason that is said; anything else is a refusal that tells what was answered."""
    answers: dict[str, tuple[Any, str, str]] = {
        "yes": ({"result": {"decision": "permit"}}, "Succeeded", ""),
        "no": ({"result": {"decision": "deny", "reason": "not on Fridays"}}, "DecisionPointDenied", "not on Fridays"),
        "odd": ({"result": {"decision": "allow"}}, "DecisionInvalid", '"allow"'),
        "undefined": ({}, "DecisionInvalid", "no result"),
        "missing": ({"result": True}, "DecisionInvalid", "404"),
        "ask": ({"result": {"decision": "escalate"}}, "", ""),
    }
    receiver.answer("/missing", 404)
    for name, (answer, _, _) in answers.items():
        receiver.say(f"/{name}", answer)
        external = {"url": receiver.url(f"/{name}")}
        warden.write(
            name,
            document("AuthorizationPolicy", name, {"external": external}),
            job(name, authorizationPolicyRef={"name": name}),
        )
    warden.start(applied=tuple(answers))
    for name, (_, end, words) in answers.items():
        if name == "ask":
            continue
        run = ran(warden, name)
        assert end in (run["status"]["state"], run["status"]["reason"]), name
        [said] = [one for one in decided(warden, run)["outcomes"] if one["gate"] == "Authorization"]
        assert words in said["message"]
    warden.trigger("ask")
    warden.wait_for(lambda: warden.approvals("ask"), "somebody to be asked")
    assert warden.runs("ask") == []
    [asked, *_] = receiver.deliveries("/yes")
    assert asked["input"]["job"]["name"] == "yes"


@pytest.mark.slow
def test_S089_a_decision_point_that_never_answers_denies_after_a_while(warden: Warden, receiver: Receiver) -> None:
    """The run waits meanwhile, and says for whom."""
    receiver.answer("/", 503)
    warden.write(
        "all",
        document("AuthorizationPolicy", "broken", {"external": {"url": receiver.url("/")}}),
        job("gated", authorizationPolicyRef={"name": "broken"}),
    )
    warden.start(applied=("gated",))
    warden.trigger("gated")

    def waits() -> list[str]:
        return [one["status"].get("message", "") for one in warden.queue("gated") if one["status"].get("reason")]

    [waiting] = warden.wait_for(waits, "the dispatch to wait")
    assert receiver.url("/") in waiting
    [run] = warden.wait_run("gated", "Denied", deadline=180)
    assert run["status"]["reason"] == "NoAnswer"
    assert "503" in str(decided(warden, run))
    assert len(receiver.deliveries("/")) > 1


def test_a_rule_that_denies_asks_nobody(warden: Warden, receiver: Receiver) -> None:
    """A decision point has to permit as well; where the rules have refused already, nothing leaves the controller."""
    receiver.say("/", {"result": True})
    warden.write(
        "all",
        policy("both", rule('job.name == "barred"', "Deny"), external={"url": receiver.url("/")}),
        job("barred", authorizationPolicyRef={"name": "both"}),
        job("open", authorizationPolicyRef={"name": "both"}),
    )
    warden.start(applied=("barred", "open"))
    assert ran(warden, "barred")["status"]["reason"] == "RuleDenied"
    assert receiver.deliveries("/") == []
    assert ran(warden, "open")["status"]["state"] == "Succeeded"
    assert len(receiver.deliveries("/")) == 1


def test_without_a_cluster_no_api_server_is_asked_and_the_run_is_refused(warden: Warden) -> None:
    """The words say so."""
    review = document("AuthorizationPolicy", "may-run", {"subjectAccessReview": {"verb": "run"}})
    trusted = {"identityRef": {"name": "svc"}, "authorizationPolicyRef": {"name": "may-run"}}
    unknown = {"authorizationPolicyRef": {"name": "may-run"}}
    warden.write("all", review, profile("svc", "Restricted"), job("known", **trusted), job("unknown", **unknown))
    warden.start(applied=("known", "unknown"))
    refused = ran(warden, "known")
    assert refused["status"]["reason"] == "DecisionInvalid"
    assert "no cluster" in str(decided(warden, refused))
    assert ran(warden, "unknown")["status"]["reason"] == "AccessDenied"


def test_S091_no_rule_permits_what_a_contract_refuses(warden: Warden) -> None:
    """Contracts come first, and nothing lets authorization look away from them."""
    warden.write(
        "all",
        contract("strict", "Supervised"),
        policy("open", rule("true", "Permit")),
        job("gated", trustContractRef={"name": "strict"}, authorizationPolicyRef={"name": "open"}),
    )
    warden.start(applied=("gated",))
    assert ran(warden, "gated")["status"]["reason"] == "TrustInsufficient"


def test_S092_a_refusal_is_recorded_and_causes_nothing(warden: Warden, receiver: Receiver) -> None:
    """No retry, no children, no key kept; whoever waited behind it goes on, and whoever wants to know is told."""
    warden.write(
        "all",
        webhook("team", receiver.url("/team")),
        contract("strict", "Supervised"),
        job(
            "refused",
            trustContractRef={"name": "strict"},
            retry={"limit": 3, "backoff": {"initial": "1s"}},
            concurrency={"policy": "Queue"},
            notifications=[{"events": ["Denied"], "targetRef": {"name": "team"}}],
        ),
        child("after", "refused", when="Finished"),
    )
    warden.start(applied=("refused", "after"))
    for _ in range(2):
        warden.trigger("refused", "--key", "same").ok()
    warden.wait_for(lambda: len(warden.runs("refused")) == 2, "both to be refused")
    assert states(warden.runs("refused")) == ["Denied", "Denied"]
    assert [one["reason"] for one in decided(warden, warden.runs("refused")[0])["outcomes"]] == [
        "NoIdentity",
        "TrustInsufficient",
    ]
    assert warden.queue("refused") == []
    assert warden.runs("after") == []
    assert warden.job("refused")["status"]["consecutiveErrors"] == 2
    assert warden.condition("refused", "Healthy")["status"] == "False"
    warden.wait_for(lambda: len(told(receiver, "/team")) == 2, "the messages")


def test_S094_an_identity_that_cannot_be_read_is_an_error_of_the_document(warden: Warden) -> None:
    """With the place of every mistake, whatever the job runs."""
    odd = {"subject": {"kind": "Ghost"}}
    assert_refused(warden, job("odd", identity=odd), "/spec/identity/subject/kind", "/spec/identity/subject/principal")


def test_S095_a_job_says_who_it_is_once_and_not_how_far_it_is_trusted(warden: Warden) -> None:
    """A level inside a job is refused, and so are an identity and a reference to one."""
    inline = {"subject": {"kind": "User", "principal": "root"}}
    assert_refused(warden, job("loud", identity={**inline, "trustLevel": "Autonomous"}), "/spec/identity/trustLevel")
    assert_refused(warden, job("both", identity=inline, identityRef={"name": "x"}), "identity, identityRef")


def test_an_identity_written_inside_a_job_is_untrusted(warden: Warden) -> None:
    """Nobody vouches for oneself."""
    warden.write(
        "all",
        contract("low", "Restricted"),
        job("self", identity={"subject": {"kind": "User", "principal": "root"}}, trustContractRef={"name": "low"}),
    )
    warden.start(applied=("self",))
    assert ran(warden, "self")["status"]["reason"] == "TrustInsufficient"


def test_a_cluster_contract_binds_jobs_that_do_not_name_it(warden: Warden) -> None:
    """By labels; the governed do not choose their governor."""
    bound = document(
        "ClusterTrustContract",
        "production",
        {"requiredTrustLevel": "Restricted", "match": {"jobSelector": {"matchLabels": {"tier": "production"}}}},
    )
    warden.write("all", bound, job("bound", metadata={"labels": {"tier": "production"}}), job("free"))
    warden.start(applied=("bound", "free"))
    assert ran(warden, "bound")["status"]["state"] == "Denied"
    assert ran(warden, "free")["status"]["state"] == "Succeeded"


def test_a_cluster_contract_that_is_not_valid_holds_what_it_might_bind(warden: Warden) -> None:
    """Until it is valid, or has a last good version; nothing is refused for good."""
    bound = document("ClusterTrustContract", "production", {"requiredTrustLevel": "Superhuman"})
    warden.write("governor", bound)
    warden.write("job", job("any"))
    warden.start(applied=("any",))
    warden.trigger("any").ok()
    [waiting] = warden.wait_for(
        lambda: [one for one in warden.queue("any") if one["status"]["reason"] == "GovernorInvalid"], "it to be held"
    )
    assert "ClusterTrustContract production" in waiting["status"]["message"]
    bound["spec"]["requiredTrustLevel"] = "Untrusted"
    warden.write("governor", bound)
    warden.wait_run("any", "Succeeded")


def test_an_escalation_runs_once_a_second_person_has_agreed_to_exactly_that(warden: Warden) -> None:
    """Not by whoever asked for it; and not any more once the policy says something else."""
    escalate = rule('request.cause == "Manual"', "Escalate", reason="by hand")
    warden.write("policy", policy("people", escalate, default="Permit"))
    warden.write("job", job("gated", authorizationPolicyRef={"name": "people"}))
    warden.start(applied=("gated",))
    warden.trigger("gated").ok()
    [asked] = warden.wait_for(lambda: warden.approvals("gated"), "an approval")
    assert asked["spec"]["gate"] == "Escalation"
    assert asked["spec"]["policyRef"] == {"kind": "AuthorizationPolicy", "name": "people", "rule": "rule"}
    refused = warden.cli("approve", asked["metadata"]["name"])
    assert refused.code == 1
    assert "somebody else" in refused.err
    assert warden.runs("gated") == []
    escalate["allowSelf"] = True
    warden.write("policy", policy("people", escalate, default="Permit"))
    warden.cli("reject", asked["metadata"]["name"]).ok()
    warden.wait_for(lambda: warden.queue("gated") == [], "the dispatch to end")
    warden.wait_for(lambda: "allowSelf" in warden.cli("get", "policies", "people", "-o", "json").out, "the new policy")
    warden.trigger("gated").ok()
    again = warden.wait_for(
        lambda: [one for one in warden.approvals("gated") if one["status"]["state"] == "Pending"], "another approval"
    )[0]
    assert again["spec"]["digest"] != asked["spec"]["digest"]
    warden.cli("approve", again["metadata"]["name"]).ok()
    run = warden.wait_run("gated", "Succeeded")[0]
    assert decided(warden, run)["outcomes"][-1]["reason"] == "EscalationApproved"


def test_a_policy_edited_between_approval_and_run_asks_again(warden: Warden) -> None:
    """A yes to one policy is none to another: here a full pool keeps the approved run from opening at once."""
    escalate = rule("true", "Escalate", allowSelf=True)
    warden.write("pool", document("ResourcePool", "one", {"slots": 1}))
    warden.write("policy", policy("people", escalate))
    pools = {"pools": [{"name": "one"}]}
    warden.write(
        "jobs",
        job("holder", f"while [ ! -e {warden.work}/go ]; do sleep 0.1; done", concurrency=pools),
        job("gated", authorizationPolicyRef={"name": "people"}, concurrency=pools),
    )
    warden.start(applied=("holder", "gated"))
    warden.trigger("gated").ok()
    [asked] = warden.wait_for(lambda: warden.approvals("gated"), "an approval")
    warden.trigger("holder").ok()
    warden.wait_run("holder", "Running")
    warden.cli("approve", asked["metadata"]["name"]).ok()
    warden.wait_for(
        lambda: [one for one in warden.queue("gated") if one["status"]["reason"] == "PoolFull"],
        "it to wait for the pool",
    )
    warden.write("policy", policy("people", {**escalate, "reason": "it is another policy now"}))
    warden.wait_for(
        lambda: "another policy" in warden.cli("get", "policies", "people", "-o", "json").out, "the policy to be read"
    )
    (warden.work / "go").touch()
    warden.wait_for(
        lambda: [one for one in warden.approvals("gated") if one["status"]["state"] == "Pending"], "another question"
    )
    assert warden.runs("gated") == []
