"""Builders of evidence: grants that ask for it, runs that have ended, chains, keys."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from controller.domain.records import Output, Run
from controller.domain.states import Cause, RunState
from controller.domain.trust import (
    Contract,
    Decision,
    Detail,
    Evidence,
    Grant,
    Identity,
    Outcome,
    Ref,
    Subject,
    SubjectKind,
    TrustLevel,
)
from controller.evidence import checkpoint, statement
from controller.evidence.bundle import Found
from controller.evidence.checkpoint import Why
from controller.evidence.dsse import Envelope
from controller.evidence.keys import SigningKey, signing_key
from controller.evidence.statement import Facts, Place

AT = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
CURVES = (False, True)
"""Ed25519, and ECDSA."""
SIGNER = Ref("signing", "CredentialProvider")


def grant(level: Detail = Detail.Summary, signer: Ref | None = SIGNER) -> Grant:
    """A grant whose contract asks for evidence."""
    return Grant(
        digest="v1:sha256:d1",
        identity=Identity(Subject(SubjectKind.Agent, "agent:nightly"), scopes=("read",), level=TrustLevel.Supervised),
        contract=Contract(evidence=Evidence(level, signer)),
        outcomes=(
            Outcome("Trust", Decision.Permit, "TrustSufficient", "it is trusted enough", {"level": "Supervised"}),
        ),
        governors={"TrustContract default/nightly": "v1:sha256:c1"},
    )


def ended(number: int = 1, **changes: Any) -> Run:
    """A run that succeeded."""
    values: dict[str, Any] = {
        "name": f"nightly-{number}",
        "job_id": 1,
        "job_uid": "uid-1",
        "namespace": "default",
        "job": "nightly",
        "dispatch": f"d-{number}",
        "cause": Cause.Schedule,
        "state": RunState.Succeeded,
        "reason": "Completed",
        "scheduled_for": AT,
        "created_at": AT,
        "started_at": AT,
        "finished_at": AT + timedelta(seconds=1),
        "exit_code": 0,
        "root": f"nightly-{number}",
        "parameters": {"day": "monday"},
        "outputs": {"rows": "17"},
        "output": Output(b"hello\n", b"", 6),
        "grant": grant(),
        **changes,
    }
    return Run(**values)


def statements(count: int, first: int = 1, previous: str | None = None) -> list[bytes]:
    """A chain, oldest first."""
    made = []
    for number in range(first, first + count):
        place = Place("default", "nightly", number, previous)
        made.append(statement.of_run(Facts(ended(number), AT), place))
        previous = statement.digest(made[-1])
    return made


def mark(sequence: int, of: bytes, why: Why = Why.Head) -> bytes:
    """A checkpoint of a statement."""
    return checkpoint.of_chain("default", "nightly", sequence, statement.digest(of), why, AT)


def pem(*, curve: bool = False) -> bytes:
    """A new private key."""
    key = ec.generate_private_key(ec.SECP256R1()) if curve else ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_key(*, curve: bool = False) -> SigningKey:
    """A key that signs."""
    return signing_key(pem(curve=curve))


def found(said: list[bytes], key: SigningKey | None = None) -> list[Found]:
    """Statements as they are found, signed if there is a key."""
    plain = [Envelope(one) for one in said]
    signed = [Envelope(one.payload, (key.sign(one),)) for one in plain] if key is not None else plain
    return [Found(f"line {number}", one) for number, one in enumerate(signed, 1)]
