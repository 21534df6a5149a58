"""The statement about how far the chain of a job has come: what makes an end that was cut off, and a beginning that was pruned, tell apart from tampering.

`store.evidence` makes one now and then, before it prunes, and when a backup is restored. Invariant: a checkpoint names one statement by its number and digest, and nothing else counts.
"""

from datetime import datetime
from enum import StrEnum

from controller.base.clock import rfc3339
from controller.evidence.statement import Place, place_of, statement

CHECKPOINT = "https://jobwarden.dev/attestation/checkpoint/v1"


class Why(StrEnum):
    """Why a checkpoint was made."""

    Head = "Head"  # the chain had come this far
    Pruned = "Pruned"  # everything up to here may be gone: it was kept as long as evidence is kept
    Restored = "Restored"  # the database was restored from a backup that ends here


def of_chain(namespace: str, job: str, sequence: int, digest: str, why: Why, at: datetime) -> bytes:
    """The statement, as canonical JSON: its subject is the statement with that number, whose bytes have that SHA-256. Pure."""
    place = place_of(Place(namespace, job, sequence))
    del place["previous"]
    subject = {"name": f"{namespace}/{job}/evidence/{sequence}", "digest": {"sha256": digest}}
    predicate = {"chain": {**place, "digest": {"sha256": digest}}, "why": why.value, "at": rfc3339(at)}
    return statement([subject], CHECKPOINT, predicate)
