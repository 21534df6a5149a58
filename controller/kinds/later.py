"""What the design knows and this version does not: fields and kinds that are refused by name, so that nobody mistakes them for a typing error."""

from collections.abc import Mapping

_CREDENTIALS = "Identities that a provider vouches for"
_PROOFS = "Proofs of authority"
_AGENTS = "Agents"

_DELIVERY = dict.fromkeys(("renew", "childScopes"), _CREDENTIALS)

# By kind, then by pointer with * for list positions, then by field; the value names the capability that brings it.
FIELDS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "ScheduledJob": {
        "/spec": {
            "agent": _AGENTS,
            "gateway": _AGENTS,
            "gatewayRef": _AGENTS,
        },
        "/spec/env/*/valueFrom": {"credentialRef": _CREDENTIALS},
        "/spec/identity": {"providerRef": _CREDENTIALS, "attestation": _CREDENTIALS},
        "/spec/credentialPolicy": _DELIVERY,
    },
    "IdentityProfile": {"/spec": {"providerRef": _CREDENTIALS, "attestation": _CREDENTIALS}},
    "CredentialPolicy": {"/spec": _DELIVERY},
    "AuthorizationPolicy": {"/spec": {"proof": _PROOFS}},
    "RunRequest": {"/spec": {"proofFrom": _PROOFS}},
}

KINDS: Mapping[str, str] = {
    **dict.fromkeys(("AgentGateway", "Agent", "AgentTask", "TaskGroup", "Budget"), _AGENTS),
}


def field(kind: str, pointer: str, name: str) -> str | None:
    """The capability that will bring this field, None if there is no such plan. Pure."""
    return FIELDS.get(_alike(kind), {}).get(pointer, {}).get(name)


def _alike(kind: str) -> str:
    return kind.removeprefix("Cluster")
