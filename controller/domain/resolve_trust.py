"""Valid documents of the kinds of trust, and what a job says of trust, to the records that the gates decide over.

`resolve` calls it for jobs, the store's registry of governors for the others. A default lives twice, in the schema for users and in `domain.trust`
for us; a test holds them equal. Invariant: an identity written inside a job never carries a level.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from controller.base import durations
from controller.base.references import SecretSource
from controller.domain import trust

Source = Mapping[str, Any]
_PROVIDER = "CredentialProvider"


def job_trust(spec: Source) -> trust.JobTrust:
    """What the valid `spec` of a ScheduledJob says of trust. Pure."""
    return trust.JobTrust(
        identity=identity(spec["identity"]) if "identity" in spec else None,
        identity_ref=_name(spec.get("identityRef")),
        credentials=credentials(spec["credentialPolicy"]) if "credentialPolicy" in spec else None,
        credentials_ref=_name(spec.get("credentialPolicyRef")),
        contract=contract(spec["trustContract"]) if "trustContract" in spec else None,
        contract_ref=_ref(spec.get("trustContractRef"), "TrustContract"),
        authorization_ref=_ref(spec.get("authorizationPolicyRef"), "AuthorizationPolicy"),
    )


def identity(spec: Source) -> trust.Identity:
    """The principal of an IdentityProfile, or of a job, whose schema has no level. Pure."""
    subject = spec["subject"]
    return trust.Identity(
        subject=trust.Subject(trust.SubjectKind(subject["kind"]), subject["principal"], subject.get("runAs")),
        provider=_ref(spec.get("providerRef"), _PROVIDER),
        scopes=tuple(spec.get("scopes", ())),
        level=trust.TrustLevel(spec.get("trustLevel", trust.TrustLevel.Untrusted)),
        delegation=trust.Delegation(spec.get("delegation", trust.Delegation.Nothing)),
        attestation=spec.get("attestation"),
    )


def credentials(spec: Source) -> trust.CredentialPolicy:
    """A CredentialPolicy. Pure."""
    return trust.CredentialPolicy(
        deliver=tuple(_delivery(one) for one in spec.get("deliver", ())),
        max_lifetime=durations.parse(spec.get("maxLifetime", "1h")),
        renew=spec.get("renew", True),
        children=trust.Children(spec.get("children", trust.Children.Nothing)),
        child_scopes=tuple(spec.get("childScopes", ())),
    )


def contract(spec: Source) -> trust.Contract:
    """A TrustContract. Pure."""
    return trust.Contract(
        required=trust.TrustLevel(spec.get("requiredTrustLevel", trust.TrustLevel.Untrusted)),
        enforcement=trust.Enforcement(spec.get("enforcement", trust.Enforcement.Block)),
        box=_box(spec.get("box") or {}),
        max_cost=Decimal(spec["maxCost"]) if spec.get("maxCost") is not None else None,
        audit=trust.Detail(spec.get("audit", trust.Detail.Summary)),
        evidence=_evidence(spec.get("evidence") or {}),
    )


def provider(spec: Source) -> trust.Provider:
    """A CredentialProvider; a plug-in's type is the one that it names. Pure."""
    kind = next(field for field in spec if field not in ("timeout", "allowedNamespaces"))
    plugin = spec["plugin"] if kind == "plugin" else None
    return trust.Provider(
        type=plugin["type"] if plugin else kind,
        config=plugin.get("config", {}) if plugin else spec[kind],
        timeout=durations.parse(spec.get("timeout", "10s")),
        namespaces=tuple(spec["allowedNamespaces"]) if "allowedNamespaces" in spec else None,
    )


def authorization(spec: Source) -> trust.Authorization:
    """An AuthorizationPolicy. Pure."""
    return trust.Authorization(
        rules=tuple(_rule(one) for one in spec.get("rules", ())),
        default=trust.Decision(spec.get("default", trust.Decision.Deny)),
        proof=_proof(spec["proof"]) if spec.get("proof") else None,
        external=_external(spec["external"]) if "external" in spec else None,
        access=_access(spec["subjectAccessReview"]) if "subjectAccessReview" in spec else None,
    )


def match(spec: Source) -> trust.Match:
    """What a Cluster kind binds to; without `match` it is everything. Pure."""
    said = spec.get("match") or {}
    return trust.Match(selector(said.get("namespaceSelector")), selector(said.get("jobSelector")))


def _delivery(source: Source) -> trust.Delivery:
    return trust.Delivery(
        name=source["name"],
        provider=_ref(source.get("providerRef"), _PROVIDER),
        key=source.get("key"),
        scopes=tuple(source.get("scopes", ())),
        env=source.get("env"),
        file=source.get("file"),
    )


def _box(source: Source) -> trust.Box:
    paths, network = source.get("paths"), source.get("network") or {}
    return trust.Box(
        enforcement=trust.Enforcement(source.get("enforcement", trust.Enforcement.Block)),
        profile=trust.Profile(source.get("profile", trust.Profile.Nothing)),
        read=tuple(paths.get("read", ())) if paths is not None else None,
        write=tuple(paths.get("write", ())) if paths is not None else None,
        network=trust.NetworkMode(network.get("mode", trust.NetworkMode.Unrestricted)),
        hosts=tuple(network.get("hosts", ())),
    )


def _evidence(source: Source) -> trust.Evidence:
    return trust.Evidence(
        level=trust.Detail(source.get("level", trust.Detail.Nothing)),
        signing_key=_ref(source.get("signingKeyRef"), _PROVIDER),
    )


def _rule(source: Source) -> trust.Rule:
    return trust.Rule(
        name=source["name"],
        condition=source["if"],
        decision=trust.Decision(source["decision"]),
        reason=source.get("reason", ""),
        approvals=int(source.get("approvals", 1)),
        allow_self=source.get("allowSelf", False),
        timeout=durations.parse(source["timeout"]) if "timeout" in source else timedelta(hours=24),
    )


def _proof(source: Source) -> trust.Proof:
    keys = source.get("jwks") or {}
    return trust.Proof(
        required=source.get("required", False),
        methods=_methods(source),
        issuer=source.get("issuer"),
        audience=source.get("audience"),
        jwks=keys.get("keySet"),
        jwks_url=keys.get("url"),
        server_authorities=source.get("serverAuthorities"),
        client_authorities=source.get("clientAuthorities"),
        secret=_credential(source.get("secretFrom")),
        source=_credential(source.get("proofFrom")),
        max_age=durations.parse(source.get("maxAge", "1h")),
        clock_skew=durations.parse(source.get("clockSkew", "30s")),
        plugin=_plugin(source.get("plugin")),
        timeout=durations.parse(source.get("timeout", "10s")),
    )


def _methods(source: Source) -> tuple[trust.ProofMethod, ...]:
    if source.get("plugin"):
        return (trust.ProofMethod.Plugin,)
    return tuple(trust.ProofMethod(one) for one in source["methods"])


def _credential(source: Source | None) -> trust.Credential | None:
    provider = _ref(source["providerRef"], _PROVIDER) if source else None
    return trust.Credential(provider, source.get("key")) if source and provider else None


def _external(source: Source) -> trust.External:
    return trust.External(
        url=source.get("url", ""),
        timeout=durations.parse(source.get("timeout", "10s")),
        authority=_secret(source["caFrom"]) if "caFrom" in source else None,
        headers=tuple((one["name"], _secret(one["valueFrom"])) for one in source.get("headersFrom", ())),
        escalation=_escalation(source.get("escalation") or {}),
        plugin=_plugin(source.get("plugin")),
    )


def _plugin(source: Source | None) -> trust.Plugin | None:
    return trust.Plugin(source["type"], source.get("config", {})) if source else None


def _escalation(source: Source) -> trust.Escalation:
    return trust.Escalation(
        approvals=int(source.get("approvals", 1)),
        allow_self=source.get("allowSelf", False),
        timeout=durations.parse(source.get("timeout", "24h")),
    )


def _access(source: Source) -> trust.AccessReview:
    resource = source.get("resource")
    return trust.AccessReview(
        verb=source["verb"],
        subject=trust.AccessSubject(source.get("subject", trust.AccessSubject.Principal)),
        groups=tuple(source.get("groups", ())),
        resource=msgspec.convert(resource, trust.AccessResource) if resource else None,
        path=source.get("nonResource"),
    )


def _secret(source: Source) -> SecretSource:
    return msgspec.convert(source, SecretSource)


def selector(source: Source | None) -> trust.Selector:
    """A label selector as Kubernetes writes it; None selects everything. Pure."""
    said = source or {}
    labels = (
        trust.Requirement(key, trust.Operator.In, (value,)) for key, value in (said.get("matchLabels") or {}).items()
    )
    expressions = (
        trust.Requirement(one["key"], trust.Operator(one["operator"]), tuple(one.get("values") or ()))
        for one in said.get("matchExpressions") or ()
    )
    return trust.Selector((*labels, *expressions))


def _name(source: Source | None) -> str | None:
    return source["name"] if source else None


def _ref(source: Source | None, default_kind: str) -> trust.Ref | None:
    return trust.Ref(source["name"], source.get("kind", default_kind)) if source else None
