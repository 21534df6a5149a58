"""What a proof verifier is: the Protocol behind the entry points `jobwarden.proof_verifiers`.

An entry point names a callable, usually a class, that takes the `config` of one policy's `proof.plugin` and its `Surroundings` and gives a `ProofVerifier`. PROVIDERS.md is the guide,
`policy_conformance` the suite that checks one, `verifying` asks it. Invariant: a verifier states what a proof says; whether that is in time, for whom it has to be, and not used yet is
for us to say. Of a proof that does not hold nothing is shown, so a verifier has no words for it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import msgspec

from controller.providers.protocol import Refused, Secret, Unavailable
from controller.providers.registry import Group

__all__ = [
    "VERIFIERS",
    "Answer",
    "ProofVerifier",
    "Refused",
    "Rejected",
    "Secret",
    "Unavailable",
    "Verified",
    "Wanted",
    "Why",
]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof is looked at for. All of it is compared again with what is stated."""

    namespace: str
    job: str
    issuer: str | None = None  # whose proof it has to be; None: the policy does not say
    audience: str | None = None  # whom it has to be for; None: the policy does not say
    max_age: timedelta = timedelta(hours=1)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof that holds says. Only what whoever vouches for it has signed belongs in here, and nothing that would do as a proof."""

    subject: str = ""
    issuer: str = ""
    audiences: tuple[str, ...] = ()
    issued_at: datetime | None = (
        None  # aware, as all of these; where it is None, `expires_at` lies no further ahead than the policy's maxAge
    )
    not_before: datetime | None = None
    expires_at: datetime | None = None  # None: maxAge after it was issued, which has to be stated then
    id: str | None = None  # unique for its issuer: one that is stated is good for one run
    claims: Mapping[str, Any] = {}  # what rules see besides: values of JSON
    key: str = ""  # what the key is called that it was verified with, for the record
    algorithm: str = ""


class Why(StrEnum):
    """Why it is no proof; the words are ours."""

    Invalid = "ProofInvalid"
    WrongAlgorithm = "ProofWrongAlgorithm"
    UnknownKey = "ProofUnknownKey"
    Untrusted = "ProofUntrusted"
    WrongIssuer = "ProofWrongIssuer"
    WrongAudience = "ProofWrongAudience"
    WrongJob = "ProofWrongJob"
    Expired = "ProofExpired"
    NotYetValid = "ProofNotYetValid"


class Rejected(msgspec.Struct, frozen=True):
    """It is no proof, or it does not hold."""

    why: Why = Why.Invalid


Answer = Verified | Rejected | Refused | Unavailable
"""`Refused`: it cannot be checked, and asking again changes nothing; `Unavailable`: not now. Their words are shown only where `Surroundings` gave them, as others could quote the proof."""


@runtime_checkable
class ProofVerifier(Protocol):
    """What every one of them does. One with a coroutine `close` is closed when its policy says something else, or the controller stops."""

    async def verify(self, proof: Secret, wanted: Wanted) -> Answer:
        """Whether this is a proof, and what it says.

        Shape:  `proof` is the text as it came, without space around it: of anybody, and of at most 64 KiB.
        Effect: nothing is used up by looking: the same proof may be looked at any number of times. May be cancelled at any await.
        Errors: any exception is an outage, of which its type alone is told.
        """
        ...


VERIFIERS: Group[ProofVerifier] = Group(
    "jobwarden.proof_verifiers", "proof verifier", "verify", "verify(proof, wanted)"
)
"""The group of entry points."""
