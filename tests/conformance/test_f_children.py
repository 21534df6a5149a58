"""Cases F: what the runs that a run triggers get of it."""

import pytest

from tests.conformance.test_e_trust import contract, decided, issuer, policy, profile, rule, vouched_for
from tests.harness import Warden, job
from tests.harness.manifests import Document, child, document
from tests.harness.plugins import install


def gives(name: str, children: str, *scopes: str) -> Document:
    """A credential policy that says what children get."""
    return document("CredentialPolicy", name, {"children": children, "childScopes": list(scopes)})


NARROWED = 'if [ "${JOBWARDEN_SUBJECT_TOKEN+shown}" ]; then %s; fi'
"""What a provider's program does when less is to be made of a token."""


def test_S097_a_child_that_is_given_nothing_is_nobody(warden: Warden) -> None:
    """Although it declares an identity: a policy that wants one refuses it, a contract that wants a level as well."""
    warden.write(
        "all",
        profile("strong", "Autonomous"),
        contract("strict", "Supervised"),
        policy("known", rule("identity.declared", "Permit")),
        job("parent", identityRef={"name": "strong"}),
        child("asked", "parent", identityRef={"name": "strong"}, authorizationPolicyRef={"name": "known"}),
        child("bound", "parent", identityRef={"name": "strong"}, trustContractRef={"name": "strict"}),
    )
    warden.start(applied=("parent", "asked", "bound"))
    warden.trigger("parent").ok()
    for name, reason in (("asked", "DefaultDeny"), ("bound", "TrustInsufficient")):
        [run] = warden.wait_run(name, "Denied")
        assert run["status"]["reason"] == reason
        assert "IdentityWithheld" in [one["reason"] for one in decided(warden, run)["outcomes"]]


def test_S100_what_is_narrowed_is_trusted_no_further_than_what_it_was_made_from(warden: Warden) -> None:
    """A provider that says so is not believed."""
    warden.write(
        "all",
        issuer("boaster", NARROWED % "level=Autonomous", trust_level="$level"),
        vouched_for("payer", "Supervised", "boaster", "payments", "ledger"),
        gives("half", "Downscope", "payments"),
        job("parent", identityRef={"name": "payer"}, credentialPolicyRef={"name": "half"}),
        child("pay", "parent"),
    )
    warden.start(applied=("parent", "pay"))
    warden.trigger("parent").ok()
    [run] = warden.wait_run("pay", "Denied")
    assert "Autonomous, above Supervised" in run["status"]["message"]


def test_S101_a_child_acts_as_its_narrowed_parent_and_is_judged_as_such(warden: Warden) -> None:
    """Whatever it declares itself: the scopes and the level are those of the narrowed session, and a contract that wants more refuses it."""
    warden.write(
        "all",
        issuer("careful", NARROWED % "level=Restricted", trust_level="$level"),
        vouched_for("payer", "Supervised", "careful", "payments", "ledger"),
        profile("proud", "Autonomous"),
        gives("half", "Downscope", "payments", "audit"),
        contract("strict", "Supervised"),
        job("parent", identityRef={"name": "payer"}, credentialPolicyRef={"name": "half"}),
        child("pay", "parent", identityRef={"name": "proud"}),
        child("pay-more", "parent", trustContractRef={"name": "strict"}),
    )
    warden.start(applied=("parent", "pay", "pay-more"))
    warden.trigger("parent").ok()
    [run] = warden.wait_run("pay", "Succeeded")
    who = decided(warden, run)["identity"]
    assert (who["principal"], who["trustLevel"], who["scopes"]) == ("svc/payer", "Restricted", ["payments"])
    assert warden.wait_run("pay-more", "Denied")[0]["status"]["reason"] == "TrustInsufficient"


def test_S205_less_is_made_of_live_credentials(warden: Warden) -> None:
    """Not of what is left of them in a record: the provider is shown the token itself, at every link, and nobody else ever sees it."""
    live = (
        'test "$JOBWARDEN_SUBJECT_TOKEN" = "live-wide-token" && token="half of it: $scopes" || token="half of nothing"'
    )
    token = {"credentialPolicyRef": {"name": "given"}}
    warden.write(
        "all",
        issuer("issuer", NARROWED % live),
        vouched_for("payer", "Supervised", "issuer", "read", "write", "pay"),
        document(
            "CredentialPolicy",
            "given",
            {"children": "Downscope", "childScopes": ["read", "write"], "deliver": [{"name": "token", "env": "TOKEN"}]},
        ),
        job("one", 'test "$TOKEN" = live-wide-token', identityRef={"name": "payer"}, **token),
        child("two", "one", 'test "$TOKEN" = "half of it: read write" && echo "it is $TOKEN"', **token),
        child("three", "two", 'test "$TOKEN" = "half of it: read write"', **token),
    )
    warden.start(applied=("one", "two", "three"))
    warden.trigger("one").ok()
    [two] = warden.wait_run("two", "Succeeded")
    assert two["status"]["output"]["stdout"] == "it is ***\n"
    warden.wait_run("three", "Succeeded")
    for run in (*warden.runs("one"), two):
        assert "live-wide-token" not in str(decided(warden, run)) + str(run)


def test_nothing_is_narrowed_where_nobody_can_or_nothing_is_left(warden: Warden) -> None:
    """No provider, one that knows no scopes, no scope in common, a credential from elsewhere: each is a refusal, and none a wider credential."""
    elsewhere = {"deliver": [{"name": "token", "env": "TOKEN", "providerRef": {"name": "issuer"}}]}
    parents = {
        "alone": profile("alone", "Supervised"),
        "mute": vouched_for("mute", "Supervised", "mute"),
        "other": vouched_for("other", "Supervised", "issuer", "ledger"),
        "well": vouched_for("well", "Supervised", "well", "payments"),
    }
    warden.write(
        "all",
        issuer("issuer"),
        issuer("well"),
        program("mute", f"printf '%s' '{PRINTED}'"),
        gives("half", "Downscope", "payments"),
        *parents.values(),
        *(job(name, identityRef={"name": name}, credentialPolicyRef={"name": "half"}) for name in parents),
        *(child(f"after-{name}", name) for name in ("alone", "mute", "other")),
        child("after-well", "well", credentialPolicy=elsewhere),
    )
    warden.start(applied=(*parents, *(f"after-{name}" for name in parents)))
    for name, reason in (
        ("alone", "DownscopeUnavailable"),
        ("mute", "ScopesEmpty"),
        ("other", "ScopesEmpty"),
        ("well", "CredentialRefused"),
    ):
        warden.trigger(name).ok()
        assert warden.wait_run(f"after-{name}", "Denied")[0]["status"]["reason"] == reason, name


def test_S103_an_independent_child_is_trusted_no_further_than_its_parent(warden: Warden) -> None:
    """Autonomous under supervised is refused; supervised under autonomous runs as itself."""
    warden.write(
        "all",
        profile("high", "Autonomous"),
        profile("low", "Supervised"),
        gives("free", "Independent"),
        job("from-low", identityRef={"name": "low"}, credentialPolicyRef={"name": "free"}),
        job("from-high", identityRef={"name": "high"}, credentialPolicyRef={"name": "free"}),
        child("high-under-low", "from-low", identityRef={"name": "high"}),
        child("low-under-high", "from-high", identityRef={"name": "low"}),
    )
    warden.start(applied=("from-low", "from-high", "high-under-low", "low-under-high"))
    warden.trigger("from-low").ok()
    warden.trigger("from-high").ok()
    assert warden.wait_run("high-under-low", "Denied")[0]["status"]["reason"] == "TrustAboveParent"
    [run] = warden.wait_run("low-under-high", "Succeeded")
    assert decided(warden, run)["identity"]["principal"] == "svc/low"


def test_an_identity_is_inherited_over_as_many_links_as_pass_it_on(warden: Warden) -> None:
    """Every link needs the word of the one before it; the first that does not pass it on ends it. A child needs to say nothing of trust for it."""
    inherit = {"credentialPolicyRef": {"name": "on"}}
    warden.write(
        "all",
        profile("root", "Supervised"),
        gives("on", "Inherit"),
        contract("strict", "Supervised"),
        job("one", identityRef={"name": "root"}, **inherit),
        child("two", "one", trustContractRef={"name": "strict"}, **inherit),
        child("three", "two", trustContractRef={"name": "strict"}),
        child("four", "three", trustContractRef={"name": "strict"}),
        child("silent", "one"),
    )
    warden.start(applied=("one", "two", "three", "four", "silent"))
    warden.trigger("one").ok()
    for heir in ("three", "silent"):
        [run] = warden.wait_run(heir, "Succeeded")
        assert decided(warden, run)["identity"]["principal"] == "svc/root"
    assert warden.wait_run("four", "Denied")[0]["status"]["reason"] == "TrustInsufficient"


def delivering(name: str, *deliveries: Document) -> Document:
    """A job that is given credentials, and prints one."""
    return job(name, 'echo "it is $TOKEN"', credentialPolicy={"deliver": list(deliveries)})


def program(name: str, script: str) -> Document:
    """A provider that asks a program."""
    return document("CredentialProvider", name, {"exec": {"command": "/bin/sh", "args": ["-c", script]}})


TOKEN = {"name": "token", "key": "token", "env": "TOKEN"}
PRINTED = (
    '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "hush-hush-hush"}}'
)


def test_S104_a_run_that_cannot_be_given_what_it_needs_does_not_start(warden: Warden) -> None:
    """Its provider prints what is no credential, or has none of that name: the reason is in the run, and what was printed is not."""
    warden.write(
        "all",
        program("broken", "echo hush-hush-hush"),
        program("odd", f"printf '%s' '{PRINTED}'"),
        delivering("failing", {**TOKEN, "providerRef": {"name": "broken"}}),
        delivering("other", {**TOKEN, "key": "certificate", "providerRef": {"name": "odd"}}),
    )
    warden.start(applied=("failing", "other"))
    for name in ("failing", "other"):
        warden.trigger(name).ok()
        [run] = warden.wait_run(name, "Failed")
        assert run["status"]["reason"] == "StartFailed"
        assert "the credential token" in run["status"]["message"]
        assert "hush" not in str(run)


def test_S107_a_job_sees_what_it_was_given_and_nobody_else_does(warden: Warden) -> None:
    """As a variable of its process, masked in what is kept of what it printed."""
    warden.write(
        "all",
        program("issuer", f"printf '%s' '{PRINTED}'"),
        delivering("given", {**TOKEN, "providerRef": {"name": "issuer"}}),
        job(
            "length",
            'test "${#TOKEN}" = 14',
            credentialPolicy={"deliver": [{**TOKEN, "providerRef": {"name": "issuer"}}]},
        ),
    )
    warden.start(applied=("given", "length"))
    warden.trigger("given").ok()
    [run] = warden.wait_run("given", "Succeeded")
    assert run["status"]["output"]["stdout"] == "it is ***\n"
    warden.trigger("length").ok()
    warden.wait_run("length", "Succeeded")


LEASING = """
from controller.providers.protocol import Secret, Session

class Provider:
    def __init__(self, config, surroundings):
        self.told = config["told"]

    async def resolve(self, request):
        return Session(credentials={"token": Secret("hush-hush-hush")}, lease=f"lease of {request.run} under {request.namespace}")

    async def revoke(self, lease):
        with open(self.told, "a") as file:
            file.write(lease + "\\n")
"""


@pytest.mark.parametrize("script", ["true", "exit 3", "kill -9 $$"])
def test_S106_what_a_provider_gave_is_given_back_once_its_run_has_ended(
    warden: Warden, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """However it ended: with the very lease that was given, once, also when the controller comes again."""
    monkeypatch.setenv("JOBWARDEN_TEST_EXEC", "1")
    install(warden, "leasing", LEASING)
    told = warden.work / "told"
    warden.write(
        "all",
        document("CredentialProvider", "leases", {"plugin": {"type": "leasing", "config": {"told": str(told)}}}),
        delivering("given", {**TOKEN, "providerRef": {"name": "leases"}}),
        job("ends", script, credentialPolicy={"deliver": [{**TOKEN, "providerRef": {"name": "leases"}}]}),
    )
    warden.start(applied=("ends",))
    warden.trigger("ends").ok()
    [run] = warden.wait_run("ends")
    lease = f"lease of {run['metadata']['name']} under default\n"
    warden.wait_for(lambda: told.exists() and told.read_text() == lease, "the lease to be given back")
    assert warden.stop() == 0
    warden.run_until_idle()
    assert told.read_text() == lease
