"""Trust as custom resources: what governs a job binds it, what was refused is told in Events and in the status, and RBAC says who may grant."""

import json
from collections.abc import Callable
from typing import Any

from tests.cluster.conftest import condition, watch
from tests.harness import Warden, wait_for
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import Document, bare, document


def events_of(plane: ControlPlane, reason: str) -> list[Document]:
    """Events of this reason."""
    found = plane.kubectl("get", "events.events.k8s.io", "-o", "json").ok()
    return [one for one in json.loads(found.out)["items"] if one["reason"] == reason]


def labelled(name: str, **spec: Any) -> Document:
    """A job that runs once and has a label to be bound by."""
    plain = {"schedule": {"at": "2024-01-01T00:00:00Z"}, "shell": {"script": "echo hello"}}
    return bare(name, metadata={"labels": {"tier": "one"}}, **(plain | spec))


def test_a_contract_of_the_cluster_refuses_and_everybody_can_see_why(
    make_warden: Callable[..., Warden], plane: ControlPlane
) -> None:
    """`kubectl get` has the verdict, an Event the reason, and the one with an identity runs."""
    bound = document(
        "ClusterTrustContract",
        "strict",
        {
            "requiredTrustLevel": "Supervised",
            "match": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
                "jobSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
            },
        },
    )
    principal = {"subject": {"kind": "Service", "principal": "reporter"}, "trustLevel": "Supervised"}
    plane.apply(bound, document("IdentityProfile", "reporter", principal)).ok()
    warden = make_warden(environment=plane.environment("controller"))
    warden.start("--kubernetes", "--executor", "Local", "--lease", "jobwarden/default")
    for kind, name in (("identityprofile", "reporter"), ("clustertrustcontract", "strict")):
        plane.kubectl("wait", f"{kind}/{name}", "--for=condition=Ready", "--timeout=60s").ok()
    shown = plane.kubectl("get", "ctrustc").ok().out.split()
    assert shown[:4] == ["NAME", "REQUIRED", "ENFORCEMENT", "READY"]
    plane.apply(labelled("nobody"), labelled("somebody", identityRef={"name": "reporter"})).ok()

    def trust_of(name: str) -> Any:
        return ((plane.get("scheduledjob", name) or {}).get("status") or {}).get("trust")

    refused = wait_for(lambda: trust_of("nobody"), "the verdict", context=warden.story)
    assert refused == {"decision": "Deny", "reason": "TrustInsufficient", "trustLevel": "Untrusted"}
    granted = wait_for(lambda: trust_of("somebody"), "the other verdict", context=warden.story)
    assert granted == {"decision": "Permit", "principal": "reporter", "trustLevel": "Supervised"}
    [told] = wait_for(lambda: events_of(plane, "Denied"), "the Event")
    assert (told["type"], told["regarding"]["name"]) == ("Warning", "nobody")
    assert "TrustInsufficient" in told["note"]


def test_a_policy_whose_rule_cannot_be_read_says_where(
    cluster_warden: Warden, api: ControlPlane, namespace: str
) -> None:
    """The API server takes any text for a rule; the controller says what is wrong with it, and the job waits for a valid one."""
    cluster_warden.start(*watch(namespace))
    broken = document(
        "AuthorizationPolicy", "people", {"rules": [{"name": "a", "if": "job.name ==", "decision": "Permit"}]}
    )
    api.apply(broken, namespace=namespace).ok()

    def stalled() -> bool:
        found = condition(api.get("authorizationpolicy", "people", namespace), "Stalled")
        return found.get("status") == "True"

    wait_for(stalled, "it to be refused", context=cluster_warden.story)
    ready = condition(api.get("authorizationpolicy", "people", namespace), "Ready")
    assert "/spec/rules/0/if" in ready["message"]
