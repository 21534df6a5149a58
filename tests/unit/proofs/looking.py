"""Looks at a proof as the controller does, with everything at hand."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jwk

from controller.domain.proofs import Proven, Unproven, Verdict
from controller.domain.trust import Proof, ProofMethod
from controller.proofs import keys, verify
from tests.harness import proofs

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
JOB = "default/job"
SECRET = b"a shared secret that is long enough for every hash there is: 64 bytes!"


def policy(*methods: ProofMethod, **fields: Any) -> Proof:
    """What a policy wants proved."""
    plain: dict[str, Any] = {
        "required": True,
        "methods": methods or (ProofMethod.JWT,),
        "issuer": proofs.ISSUER,
        "audience": proofs.AUDIENCE,
    }
    return Proof(**(plain | fields))


def look(
    text: str,
    rule: Proof,
    *trusted: jwk.Key,
    secret: bytes = SECRET,
    job: str = JOB,
    now: datetime = NOW,
) -> Verdict:
    """The verdict over a proof, where these keys are published and this secret is shared."""
    found = verify.method_of(text, rule)
    if isinstance(found, Unproven):
        return found
    method, token = found
    if token is None:
        return verify.by_api_key(text, secret, now)
    match method:
        case ProofMethod.HMAC:
            return verify.by_secret(token, rule, secret, job, now)
        case ProofMethod.MTLS:
            return verify.by_certificate(token, rule, job, now)
        case _:
            published = keys.published(json.dumps(proofs.public(*trusted)).encode())
            return verify.by_keys(token, method, rule, published, job, now)


def reason(verdict: Verdict) -> str | None:
    """Why it is none; None: it is one."""
    return verdict.reason.value if isinstance(verdict, Unproven) else None


def held(verdict: Verdict) -> Proven:
    """A proof that holds."""
    assert isinstance(verdict, Proven), verdict
    return verdict


MINUTE = timedelta(minutes=1)
