"""Which method a proof belongs to, and whether it holds.

`loops.proving` asks twice: first what has to be at hand, then, with it, for the verdict. Invariant: the method follows from the form of a proof and never from what it
would like to be, and each method has keys of its own: a shared secret never verifies a signature, a published key never a MAC.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from controller.base import canonical
from controller.domain.proofs import Proven, Unproven, Verdict
from controller.domain.reasons import Reason
from controller.domain.trust import Proof, ProofMethod
from controller.proofs import certificates, claims, keys, tokens
from controller.proofs.keys import Key
from controller.proofs.tokens import Malformed, Token

_FRESH = timedelta(minutes=5)
"""How long a key that says nothing of its end counts as shown."""
_SHORTEST_API_KEY = 16


def method_of(text: str, rule: Proof) -> tuple[ProofMethod, Token | None] | Unproven:
    """By which of the policy's methods the proof is looked at. Pure."""
    try:
        token = tokens.read(text)
    except Malformed as error:
        if ProofMethod.APIKey in rule.methods:
            return ProofMethod.APIKey, None
        return Unproven(Reason.ProofInvalid, str(error))
    if rule.methods == (ProofMethod.APIKey,):
        return ProofMethod.APIKey, None
    for method in rule.methods:
        if _takes(method, token, rule):
            return method, token
    return Unproven(
        Reason.ProofWrongAlgorithm,
        f"it is signed in a way that is not taken: the policy takes {' and '.join(_forms(rule))}",
    )


def by_keys(token: Token, method: ProofMethod, rule: Proof, trusted: Sequence[Key], job: str, now: datetime) -> Verdict:
    """The verdict over a token of JWT or OIDC; `trusted` are the issuer's keys, `job` is NAMESPACE/NAME. Pure."""
    name, algorithm = token.key, token.algorithm
    fitting = [key for key in trusted if (name is None or key.name == name) and key.fits(algorithm)]
    if not fitting:
        return Unproven(Reason.ProofUnknownKey, "no key of the issuer has the name and the kind that it needs")
    signer = next((key for key in fitting if keys.verified(key.public, algorithm, token.signed, token.signature)), None)
    if signer is None:
        return _BAD_SIGNATURE
    return _claimed(token, method, rule, job, now, key=signer.name or "")


def by_secret(token: Token, rule: Proof, secret: bytes, job: str, now: datetime) -> Verdict:
    """The verdict over a token of HMAC. Pure."""
    algorithm = token.algorithm
    if algorithm in keys.SYMMETRIC and len(secret) < keys.shortest_secret(algorithm):
        least = keys.shortest_secret(algorithm)
        return Unproven(
            Reason.ProofInvalid, f"the shared secret has fewer than the {least} bytes that {algorithm} wants"
        )
    if not keys.authentic(secret, algorithm, token.signed, token.signature):
        return _BAD_SIGNATURE
    return _claimed(token, ProofMethod.HMAC, rule, job, now)


def by_certificate(token: Token, rule: Proof, job: str, now: datetime) -> Verdict:
    """The verdict over a token of MTLS: its certificate first, then its signature, then its claims, of which one has to name the job. Pure."""
    try:
        client = certificates.client_of(token.header.get("x5c"), rule.client_authorities or "", now)
    except certificates.Untrusted as error:
        return Unproven(Reason.ProofUntrusted, str(error))
    if not keys.verified(client.key, token.algorithm, token.signed, token.signature):
        return _BAD_SIGNATURE
    if claims.JOB not in token.claims:
        return Unproven(Reason.ProofWrongJob, f"it does not say for which job it is, in a claim {claims.JOB}")
    if token.claims.get("sub", client.names[0]) not in client.names:
        return Unproven(Reason.ProofInvalid, "its claim sub is no name of its certificate")
    verdict = _claimed(token, ProofMethod.MTLS, rule, job, now, key=client.fingerprint)
    if isinstance(verdict, Unproven):
        return verdict
    holds_until = min(verdict.holds_until, client.not_after)
    return msgspec.structs.replace(verdict, holds_until=holds_until, issuer=client.issuer, subject=client.names[0])


def by_api_key(text: str, secret: bytes, now: datetime) -> Verdict:
    """The verdict over a key that is the proof itself. Takes as long for every text. Pure."""
    if len(secret) < _SHORTEST_API_KEY:
        return Unproven(
            Reason.ProofInvalid, f"the key that proofs are compared with has under {_SHORTEST_API_KEY} bytes"
        )
    shown, known = (hashlib.sha256(one).digest() for one in (text.encode("utf-8", "surrogatepass"), secret))
    if not hmac.compare_digest(shown, known):
        return Unproven(Reason.ProofInvalid, "it is not the key that the policy knows")
    return Proven(method=ProofMethod.APIKey, holds_until=now + _FRESH)


_BAD_SIGNATURE = Unproven(Reason.ProofInvalid, "its signature does not fit what it says")


def _takes(method: ProofMethod, token: Token, rule: Proof) -> bool:
    signed = token.algorithm in keys.ASYMMETRIC
    certified = "x5c" in token.header and ProofMethod.MTLS in rule.methods
    match method:
        case ProofMethod.JWT | ProofMethod.OIDC:
            return signed and not certified
        case ProofMethod.MTLS:
            return signed and certified
        case ProofMethod.HMAC:
            return token.algorithm in keys.SYMMETRIC
        case ProofMethod.APIKey | ProofMethod.Plugin:
            return False


def _forms(rule: Proof) -> list[str]:
    forms = {
        ProofMethod.JWT: "tokens signed with a published key",
        ProofMethod.OIDC: "tokens signed with a published key",
        ProofMethod.MTLS: "tokens signed with the key of a certificate in x5c",
        ProofMethod.HMAC: "tokens under a shared secret (HS256, HS384, HS512)",
        ProofMethod.APIKey: "a key as it is",
        ProofMethod.Plugin: "what its plug-in takes",
    }
    return [forms[method] for method in rule.methods]


def _claimed(token: Token, method: ProofMethod, rule: Proof, job: str, now: datetime, *, key: str = "") -> Verdict:
    """The verdict over a token whose signature holds."""
    said = token.claims
    objection = claims.objection(said, rule, job, now)
    if objection is not None:
        return objection
    if method is ProofMethod.OIDC and not said.get("sub"):
        return Unproven(Reason.ProofInvalid, "it has no claim sub, which OpenID Connect wants")
    flat = claims.flat(said)
    if flat is None:
        return Unproven(Reason.ProofInvalid, "it has more claims, or deeper ones, than are looked at")
    issuer, identity = said.get("iss", ""), said.get("jti")
    return Proven(
        method=method,
        holds_until=claims.holds_until(said, rule),
        issuer=issuer,
        subject=said.get("sub", ""),
        key=key,
        algorithm=token.algorithm,
        once=_once(method, key if method is ProofMethod.MTLS else issuer, identity) if identity else None,
        once_until=claims.ends(said),
        claims=flat[0],
        lists=flat[1],
    )


def _once(method: ProofMethod, issuer: str, identity: str) -> str:
    """The same for the same proof, whichever policy asks for it. An id is unique for its issuer: RFC 7519, section 4.1.7."""
    family = "JWT" if method is ProofMethod.OIDC else method.value
    return canonical.digest({"method": family, "issuer": issuer, "id": identity})
