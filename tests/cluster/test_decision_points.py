"""Whom policies ask, for real: Open Policy Agent by its Data API, and an API server by SubjectAccessReviews."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lightkube import AsyncClient

from controller.domain.trust import AccessResource, Decision
from controller.gates.enquiries import AccessAsked, Away, Judged
from controller.kubernetes import connection
from controller.kubernetes.access import AccessReviews
from tests.cluster.conftest import shipped, watch
from tests.harness import Warden, job
from tests.harness.controlplane import ControlPlane, tools
from tests.harness.manifests import Document, document
from tests.harness.opa import HOW_TO_GET_IT, Opa

REVIEWS = shipped("access-reviews.yaml")
POLICY = """
package jobs

decision := {"allow": true, "reason": "it is the nightly one"} if input.job.name == "nightly"

decision := false if input.job.name == "forbidden"

decision := {"decision": "Escalate", "reason": "money leaves the house"} if {
    input.identity.principal == "svc/payments"
    input.time.hour < 24
}

decision := "Permit" if input.job.name == "confused"
"""

GUARD = """
package system.authz

default allow := false

allow if input.identity == "%s"

allow if input.path == ["health"]
"""


# Open Policy Agent


@pytest.fixture
def opa(tmp_path: Path) -> Iterator[Opa]:
    """One with the policy above."""
    if tools("opa") is None:
        pytest.skip(HOW_TO_GET_IT)
    with Opa(tmp_path, POLICY) as server:
        yield server


def asks(url: str, name: str = "opa", **spec: Any) -> Document:
    """A policy that leaves it to a decision point."""
    return document("AuthorizationPolicy", name, {"external": {"url": url}, **spec})


def governed(name: str, **spec: Any) -> Document:
    """A job that this policy is about."""
    return job(name, authorizationPolicyRef={"name": "opa"}, **spec)


def ended(warden: Warden, name: str) -> tuple[str, str]:
    """State and reason of its first run."""
    [run, *_] = warden.wait_run(name)
    return run["status"]["state"], run["status"]["reason"]


def outcome(warden: Warden, name: str) -> Document:
    """What the gate of authorization said of its first run."""
    [run, *_] = warden.wait_run(name)
    said = warden.cli("trust", "explain", run["metadata"]["name"], "-o", "json").ok().json["status"]["outcomes"]
    [found] = [one for one in said if one["gate"] == "Authorization"]
    return dict(found)


def test_open_policy_agent_permits_denies_and_escalates(warden: Warden, opa: Opa) -> None:
    """And what it leaves undefined, or answers without being asked a question of ours, denies. `trust explain` tells what was said."""
    warden.write(
        "all",
        asks(opa.url("jobs/decision")),
        *(governed(name) for name in ("nightly", "forbidden", "unheard-of", "confused")),
        governed("payment", identity={"subject": {"kind": "Service", "principal": "svc/payments"}}),
    )
    warden.start(applied=("nightly", "payment"))
    checked = warden.cli("trust", "check", "nightly")
    assert (checked.code, "it is the nightly one" in checked.out) == (0, True)
    for name in ("nightly", "forbidden", "unheard-of", "confused", "payment"):
        warden.trigger(name).ok()
    assert ended(warden, "nightly")[0] == "Succeeded"
    assert "it is the nightly one" in outcome(warden, "nightly")["message"]
    assert ended(warden, "forbidden") == ("Denied", "DecisionPointDenied")
    assert outcome(warden, "forbidden")["decision"] == "Deny"
    assert ended(warden, "unheard-of") == ("Denied", "DecisionInvalid")
    assert "no result" in outcome(warden, "unheard-of")["message"]
    assert ended(warden, "confused") == ("Denied", "DecisionInvalid")
    assert '"Permit"' in outcome(warden, "confused")["message"]
    [approval] = warden.wait_for(lambda: warden.approvals("payment"), "somebody to be asked")
    assert "money leaves the house" in json.dumps(approval)
    assert warden.runs("payment") == []


def test_nobody_runs_while_open_policy_agent_is_away(warden: Warden, opa: Opa) -> None:
    """The dispatch waits and says for whom; once it is back, the run opens."""
    warden.write("all", asks(opa.url("jobs/decision")), governed("nightly"))
    warden.start(applied=("nightly",))
    opa.go()
    warden.trigger("nightly").ok()

    def waits() -> bool:
        return any(one["status"].get("reason") == "AwaitingAnswer" for one in warden.queue("nightly"))

    warden.wait_for(waits, "the dispatch to wait for an answer")
    assert warden.runs("nightly") == []
    opa.come()
    assert ended(warden, "nightly")[0] == "Succeeded"


def test_open_policy_agent_may_want_a_credential(make_warden: Callable[..., Warden], tmp_path: Path) -> None:
    """With the header it decides, without it nothing runs; the header is in no file of the controller."""
    if tools("opa") is None:
        pytest.skip(HOW_TO_GET_IT)
    canary = "canary-5e3c1b-value"
    (tmp_path / "authz.rego").write_text(GUARD % canary, encoding="utf-8")
    warden = make_warden(environment={"OPA_HEADER": f"Bearer {canary}"})
    config = warden.folder / "jobwarden.yaml"
    config.write_text(
        "apiVersion: jobwarden.dev/v1alpha1\nkind: ControllerConfiguration\nsettings: {allowEnv: [OPA_HEADER]}\n",
        encoding="utf-8",
    )
    guarded = ("--authentication=token", "--authorization=basic", str(tmp_path / "authz.rego"))
    with Opa(tmp_path, POLICY, *guarded) as opa:
        url = opa.url("jobs/decision")
        header = {"name": "Authorization", "valueFrom": {"envRef": {"name": "OPA_HEADER"}}}
        warden.write(
            "all",
            document("AuthorizationPolicy", "with", {"external": {"url": url, "headersFrom": [header]}}),
            document("AuthorizationPolicy", "without", {"external": {"url": url}}),
            job("nightly", authorizationPolicyRef={"name": "with"}),
            job("forbidden", authorizationPolicyRef={"name": "without"}),
        )
        warden.start("--config", str(config), applied=("nightly", "forbidden"))
        warden.trigger("nightly").ok()
        warden.trigger("forbidden").ok()
        assert ended(warden, "nightly")[0] == "Succeeded"
        assert ended(warden, "forbidden") == ("Denied", "DecisionInvalid")
        assert "headersFrom" in outcome(warden, "forbidden")["message"]
    warden.stop()
    kept = [path for path in warden.folder.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]
    assert kept == []


# The API server


def reviews(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, person: str) -> AsyncClient:
    """As this person connects."""
    for name, value in plane.environment(person).items():
        monkeypatch.setenv(name, value)
    return connection.connect().client()


@pytest.fixture
async def reviewing(api: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AccessReviews]:
    """By somebody who may ask about everybody."""
    client = reviews(api, monkeypatch, "admin")
    yield AccessReviews(client)
    await client.aclose()


def question(namespace: str, user: str, verb: str = "run", *groups: str, **fields: Any) -> AccessAsked:
    itself = {"resource": AccessResource("scheduledjobs", "jobwarden.dev", name="nightly")}
    return AccessAsked(
        of="AuthorizationPolicy x/y",
        namespace=namespace,
        user=user,
        groups=("system:authenticated", *groups),
        verb=verb,
        **(fields or itself),
    )


async def permitted(reviewing: AccessReviews, asked: AccessAsked) -> Judged | Away:
    """The first Permit: RBAC is known to the server a moment after it was written."""
    ends = datetime.now(UTC) + timedelta(seconds=60)
    while True:
        found = await reviewing.ask(asked)
        if found == Judged(Decision.Permit) or datetime.now(UTC) > ends:
            return found


@pytest.mark.slow
async def test_the_api_server_says_who_may_do_what(api: ControlPlane, reviewing: AccessReviews, namespace: str) -> None:
    """By its own rules: for a user, for a group, in this namespace, of this name, or on a path."""
    denied = await reviewing.ask(question(namespace, "ann"))
    assert isinstance(denied, Judged)
    assert (denied.decision, denied.understood) == (Decision.Deny, True)
    rule = {
        "apiGroups": ["jobwarden.dev"],
        "resources": ["scheduledjobs"],
        "resourceNames": ["nightly"],
        "verbs": ["run"],
    }
    metadata = {"name": "runners", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    binding = {
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "runners"},
        "subjects": [
            {"apiGroup": rbac, "kind": "User", "name": "ann"},
            {"apiGroup": rbac, "kind": "Group", "name": "night-shift"},
        ],
    }
    api.apply(
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": metadata, **binding},
    ).ok()
    allowed = await permitted(reviewing, question(namespace, "ann"))
    assert isinstance(allowed, Judged)
    assert (allowed.decision, allowed.understood) == (Decision.Permit, True)
    for asked, decision in (
        (question(namespace, "bob"), Decision.Deny),
        (question(namespace, "bob", "run", "night-shift"), Decision.Permit),
        (question(namespace, "ann", "delete"), Decision.Deny),
        (question("default", "ann"), Decision.Deny),
        (
            question(namespace, "ann", resource=AccessResource("scheduledjobs", "jobwarden.dev", name="other")),
            Decision.Deny,
        ),
        (question(namespace, "ann", resource=AccessResource("scheduledjobs", "jobwarden.dev")), Decision.Deny),
        (question(namespace, "ann", "get", path="/version"), Decision.Permit),
        (question(namespace, "ann", "get", path="/metrics"), Decision.Deny),
    ):
        found = await reviewing.ask(asked)
        assert isinstance(found, Judged)
        assert (found.decision, found.understood) == (decision, True), asked


async def test_without_the_right_to_ask_the_answer_names_it(
    api: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It denies: nobody has said yes."""
    client = reviews(api, monkeypatch, "alice")
    found = await AccessReviews(client).ask(question(namespace, "ann"))
    await client.aclose()
    assert isinstance(found, Judged)
    assert (found.decision, found.understood) == (Decision.Deny, False)
    assert "subjectaccessreviews" in found.message


async def test_an_api_server_that_is_away_is_an_outage(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another try may find it."""
    client = reviews(plane, monkeypatch, "admin")
    reviewing = AccessReviews(client)
    assert isinstance(await reviewing.ask(question("default", "ann")), Judged)
    plane.stop_api()
    assert isinstance(await reviewing.ask(question("default", "ann")), Away)
    await client.aclose()


def test_a_policy_in_the_cluster_asks_it(api: ControlPlane, cluster_warden: Warden, namespace: str) -> None:
    """With the right that is shipped for it; a run of somebody who may not is Denied, and one of somebody who may opens."""
    warden = cluster_warden
    api.apply(*REVIEWS).ok()
    account = f"system:serviceaccount:{namespace}:deployer"
    principal = {"subject": {"kind": "Workload", "principal": account}, "trustLevel": "Restricted"}
    what = {"identityRef": {"name": "deployer"}, "authorizationPolicyRef": {"name": "may-run"}}
    warden.start(*watch(namespace))
    api.apply(
        document("IdentityProfile", "deployer", principal),
        document("AuthorizationPolicy", "may-run", {"subjectAccessReview": {"verb": "run"}}),
        job("one", **what),
        job("two", **what),
        namespace=namespace,
    ).ok()
    api.kubectl(
        "wait", "sjob/one", "sjob/two", "-n", namespace, "--for=condition=Ready", "--timeout=60s", deadline=90
    ).ok()

    def ends(name: str) -> list[tuple[str, str]]:
        """Of runs that are asked for until one has ended: RBAC is known to the server a moment after it was written."""
        warden.trigger(name, "-n", namespace)
        found = [one for one in warden.items("runs", "-n", namespace) if one["spec"]["job"] == name]
        return [(one["status"]["state"], one["status"].get("reason", "")) for one in found]

    warden.wait_for(lambda: ("Denied", "AccessDenied") in ends("one"), "a refusal")
    assert "Succeeded" not in dict(ends("one"))
    arguments = ("--verb=run", "--resource=scheduledjobs.jobwarden.dev", "--resource-name=two", "-n", namespace)
    api.kubectl("create", "role", "runner", *arguments).ok()
    bound = ("--role=runner", f"--serviceaccount={namespace}:deployer", "-n", namespace)
    api.kubectl("create", "rolebinding", "runner", *bound).ok()
    warden.wait_for(lambda: "Succeeded" in dict(ends("two")), "a run of somebody who may")
