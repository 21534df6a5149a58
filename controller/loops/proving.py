"""Looks at proofs of authority for the gates: reads the proof where it is, brings the keys or the secret that it is checked with, and forgets both.

    ProofEnquiry → the proof (reference, or the policy's provider) → its method → keys (key_sets) or secret (obtaining) → proofs.verify → ProofFinding
                                                                   → the policy's plug-in (verifying) ────────────────────────────────▶

Invariant: a proof and what it is checked with are in memory while one is looked at, masked meanwhile, and in nothing that leaves here.
"""

from collections.abc import Callable
from typing import Protocol

from controller.base import urls
from controller.base.clock import Clock
from controller.base.masking import SECRETS
from controller.domain.proofs import Unproven, Verdict
from controller.domain.reasons import Reason
from controller.domain.trust import Credential, ProofMethod
from controller.gates.enquiries import Away, Enquiry, Finding, ProofEnquiry, ProofFinding
from controller.proofs import keys, verify
from controller.proofs.tokens import Token
from controller.providers.key_sets import KeySets, Place
from controller.providers.protocol import Refused, Secret, Unavailable
from controller.providers.surroundings import Surroundings
from controller.providers.verifying import Verifiers


class Credentials(Protocol):
    """Whoever asks providers. See `Obtaining.credential`."""

    async def credential(self, wanted: Credential, user: str, job: str) -> Secret | Refused | Unavailable:
        """One credential, for the namespace `user`; "": for the controller itself."""
        ...


class Proving:
    """An answerer of one controller."""

    def __init__(
        self,
        credentials: Credentials,
        surroundings: Callable[[str], Surroundings],
        sets: KeySets,
        verifiers: Verifiers,
        clock: Clock,
    ) -> None:
        """`surroundings` makes what references of a namespace are read with."""
        self._credentials, self._surroundings, self._sets, self._clock = credentials, surroundings, sets, clock
        self._verifiers = verifiers

    async def answer(self, enquiry: Enquiry) -> Finding | Away:
        """What becomes of the proof that is asked about. Errors: StoreUnavailable."""
        assert isinstance(enquiry, ProofEnquiry)
        proof = await self._proof(enquiry)
        if isinstance(proof, Unavailable):
            return Away(f"the proof cannot be had: {proof.message}", proof.retry_after)
        if isinstance(proof, Refused):
            return ProofFinding(Unproven(Reason.ProofUnreadable, f"it cannot be had: {proof.message}"))
        text = proof.reveal().strip()
        with SECRETS.masking(text):
            verdict = await self._verdict(enquiry, text)
        if isinstance(verdict, Unavailable):
            return Away(verdict.message, verdict.retry_after)
        return ProofFinding(verdict)

    async def _proof(self, enquiry: ProofEnquiry) -> Secret | Refused | Unavailable:
        if enquiry.presented is not None:
            answer = await self._surroundings(enquiry.namespace).read(enquiry.presented)
            # A Secret may be on its way together with its request; what is not on this host has been forgotten.
            waits = isinstance(answer, Unavailable) and enquiry.presented.secret_key_ref is not None
            return Refused(answer.message) if isinstance(answer, Unavailable) and not waits else answer
        source = enquiry.rule.source
        if source is None:
            return Refused("nobody says where it is")
        return await self._credential(source, enquiry)

    async def _credential(self, wanted: Credential, enquiry: ProofEnquiry) -> Secret | Refused | Unavailable:
        """A policy of the cluster uses providers of the cluster as the controller does; nobody else has to be allowed to."""
        of_cluster = not enquiry.policy_namespace and wanted.provider.kind.startswith("Cluster")
        return await self._credentials.credential(wanted, "" if of_cluster else enquiry.namespace, enquiry.job)

    async def _verdict(self, enquiry: ProofEnquiry, text: str) -> Verdict | Unavailable:
        rule, job = enquiry.rule, f"{enquiry.namespace}/{enquiry.job}"
        if rule.plugin is not None:
            return await self._verifiers.look(enquiry, text)
        found = verify.method_of(text, rule)
        if isinstance(found, Unproven):
            return found
        method, token = found
        if token is None:
            return await self._with_secret(enquiry, lambda secret: verify.by_api_key(text, secret, self._clock.now()))
        match method:
            case ProofMethod.HMAC:
                return await self._with_secret(
                    enquiry, lambda secret: verify.by_secret(token, rule, secret, job, self._clock.now())
                )
            case ProofMethod.MTLS:
                return verify.by_certificate(token, rule, job, self._clock.now())
            case _:
                return await self._with_keys(token, method, enquiry)

    async def _with_secret(self, enquiry: ProofEnquiry, verdict: Callable[[bytes], Verdict]) -> Verdict | Unavailable:
        if enquiry.rule.secret is None:
            return Unproven(Reason.ProofNotChecked, "the policy names no secret to check it with")
        secret = await self._credential(enquiry.rule.secret, enquiry)
        if isinstance(secret, Unavailable):
            return secret
        if isinstance(secret, Refused):
            return Unproven(Reason.ProofNotChecked, f"what it is checked with cannot be had: {secret.message}")
        return verdict(secret.reveal().encode("utf-8", "surrogatepass"))

    async def _with_keys(self, token: Token, method: ProofMethod, enquiry: ProofEnquiry) -> Verdict | Unavailable:
        rule, job = enquiry.rule, f"{enquiry.namespace}/{enquiry.job}"
        if method is ProofMethod.JWT and rule.jwks is not None:
            try:
                trusted = keys.declared(rule.jwks.encode())
            except keys.BadKeys as error:
                return Unproven(Reason.ProofNotChecked, f"keySet of the policy cannot be used: {error}")
            return verify.by_keys(token, method, rule, trusted, job, self._clock.now())
        url = rule.issuer if method is ProofMethod.OIDC else rule.jwks_url
        if url is None:
            return Unproven(Reason.ProofNotChecked, "the policy does not say where keys are")
        around = self._surroundings(enquiry.policy_namespace)
        if not around.host and urls.is_this_host(urls.host_of(url)):
            # A tenant's question would reach what listens beside the controller.
            return Unproven(
                Reason.ProofNotChecked,
                "keys of this host are for policies of the cluster alone: name the server that has them",
            )
        place = Place(url, discover=method is ProofMethod.OIDC, authorities=rule.server_authorities)
        found = await self._sets.of(place, token.key)
        if isinstance(found, Unavailable):
            return found
        if isinstance(found, Refused):
            return Unproven(Reason.ProofNotChecked, found.message)
        return verify.by_keys(token, method, rule, found, job, self._clock.now())
