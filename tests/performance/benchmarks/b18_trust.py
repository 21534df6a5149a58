"""B18: what trust costs: B1 with jobs that have an identity, a contract, a policy, a credential and signed evidence.

1,000 one-shots `true` on SQLite, once as they are and once with trust declared; the score is the ratio of the two rates of the same round. Structural: every job names
an IdentityProfile, a TrustContract and an AuthorizationPolicy whose CEL rules are asked. With a credential: its CredentialPolicy gives it a variable from an `env` provider as well. With evidence:
a statement about every run is chained and signed (Ed25519), and the clock runs until the last end is committed; signatures follow, as they do by design.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.performance.benchmarks import one_shots
from tests.performance.harness import Case, Check, Metrics
from tests.performance.suite import Suite

_COUNT = 1_000
_KEPT = 0.85


def cases(suite: Suite) -> Iterable[Case]:
    """From the gates alone to everything."""
    yield _case(suite, "gates alone", credential=False, evidence=False)
    yield _case(suite, "gates and an env credential", credential=True, evidence=False)
    yield _case(suite, "gates, an env credential, signed evidence", credential=True, evidence=True)


def _case(suite: Suite, variant: str, *, credential: bool, evidence: bool) -> Case:
    trusting = {
        "identityRef": {"name": "payroll"},
        "trustContractRef": {"name": "careful"},
        "authorizationPolicyRef": {"name": "by-rule"},
    } | ({"credentialPolicyRef": {"name": "with-token"}} if credential else {})
    documents = _documents(evidence=evidence)
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def ours() -> Metrics:
        without = one_shots.rate(suite, _COUNT, "sqlite")["value"]
        trust = one_shots.Trusting(trusting, documents, {"B18_TOKEN": "not-a-secret", "B18_KEY": key})
        declared = one_shots.rate(suite, _COUNT, "sqlite", trust=trust)["value"]
        return {"value": declared, "without": without, "kept": declared / without}

    return Case(
        id="B18",
        variant=f"{variant}, {_COUNT:,} jobs",
        unit="runs/s",
        limit=suite.limit("spawn", 2_000),
        ours=ours,
        checks=(Check("with / without", lambda r: r.ours["kept"], ">=", _KEPT),),
        twice=False,
    )


def _documents(*, evidence: bool) -> Sequence[Mapping[str, Any]]:
    signed = {"evidence": {"level": "Summary", "signingKeyRef": {"name": "signer"}}} if evidence else {}
    rules = [
        {"name": "nobody-else", "if": 'identity.principal != "payroll"', "decision": "Deny"},
        {"name": "trusted", "if": 'trust.rank >= 1 && job.namespace == "default"', "decision": "Permit"},
    ]
    subject = {"kind": "Service", "principal": "payroll"}
    return (
        _document("IdentityProfile", "payroll", subject=subject, trustLevel="Supervised"),
        _document("TrustContract", "careful", requiredTrustLevel="Restricted", **signed),
        _document("AuthorizationPolicy", "by-rule", rules=rules),
        _document("CredentialProvider", "variables", env={"keys": {"token": "B18_TOKEN"}}),
        _document("CredentialProvider", "signer", env={"keys": {"key": "B18_KEY"}}),
        _document("CredentialPolicy", "with-token", deliver=[_DELIVERY]),
    )


_DELIVERY = {"name": "token", "providerRef": {"name": "variables"}, "key": "token", "env": "TOKEN"}


def _document(kind: str, name: str, **spec: Any) -> Mapping[str, Any]:
    return {"apiVersion": "jobwarden.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
