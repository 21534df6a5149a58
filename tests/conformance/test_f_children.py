"""Cases F: what the runs that a run triggers get of it."""

import pytest

from tests.conformance.test_e_trust import contract, decided, policy, profile, rule
from tests.harness import Warden, job
from tests.harness.manifests import Document, child, document
from tests.harness.plugins import install


def gives(name: str, children: str) -> Document:
    """A credential policy that says what children get."""
    return document("CredentialPolicy", name, {"children": children})


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
    """Every link needs the word of the one before it; the first that does not pass it on ends it."""
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
    )
    warden.start(applied=("one", "two", "three", "four"))
    warden.trigger("one").ok()
    [run] = warden.wait_run("three", "Succeeded")
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
