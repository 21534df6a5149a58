"""What the design knows and this version does not: fields and kinds that are refused by name, so that nobody mistakes them for a typing error."""

from collections.abc import Mapping

_TRUST = "Identities, credentials, trust contracts and authorization"
_AGENTS = "Agents"

# By kind, then by pointer with * for list positions, then by field; the value names the capability that brings it.
FIELDS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "ScheduledJob": {
        "/spec": {
            "identity": _TRUST,
            "identityRef": _TRUST,
            "credentialPolicy": _TRUST,
            "credentialPolicyRef": _TRUST,
            "trustContract": _TRUST,
            "trustContractRef": _TRUST,
            "contract": _TRUST,
            "contractRef": _TRUST,
            "authorizationPolicy": _TRUST,
            "authorizationPolicyRef": _TRUST,
            "evidence": _TRUST,
            "agent": _AGENTS,
            "gateway": _AGENTS,
            "gatewayRef": _AGENTS,
        },
        "/spec/env/*/valueFrom": {"credentialRef": _TRUST},
    },
    "RunRequest": {"/spec": {"proofFrom": _TRUST}},
    "Approval": {"/spec": {"policyRef": _TRUST}},
}

# Values of enums, by pointer.
VALUES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "Approval": {"/spec/gate": {"Escalation": _TRUST}},
}

KINDS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "IdentityProfile",
            "CredentialPolicy",
            "TrustContract",
            "ClusterTrustContract",
            "AuthorizationPolicy",
            "ClusterAuthorizationPolicy",
            "CredentialProvider",
            "ClusterCredentialProvider",
        ),
        _TRUST,
    ),
    **dict.fromkeys(("AgentGateway", "Agent", "AgentTask", "TaskGroup", "Budget"), _AGENTS),
}


def field(kind: str, pointer: str, name: str) -> str | None:
    """The capability that will bring this field, None if there is no such plan. Pure."""
    return FIELDS.get(_alike(kind), {}).get(pointer, {}).get(name)


def value(kind: str, pointer: str, text: object) -> str | None:
    """The capability that will bring this enum value, None if there is no such plan. Pure."""
    return VALUES.get(kind, {}).get(pointer, {}).get(text) if isinstance(text, str) else None


def _alike(kind: str) -> str:
    return kind.removeprefix("Cluster")
