"""Proofs of whoever holds a certificate: an authority that the policy names has to vouch for it, and the proof names its job."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from controller.domain.proofs import Unproven
from controller.domain.trust import ProofMethod
from controller.proofs.claims import JOB as CLAIM
from tests.harness import proofs
from tests.harness.proofs import Authority
from tests.unit.proofs.looking import JOB, NOW, held, look, policy, reason

ROOT = Authority(NOW)
BELOW = Authority(NOW, "below", ROOT)
NAME = x509.UniformResourceIdentifier("spiffe://example.org/deployer")
RULE = policy(ProofMethod.MTLS, issuer=None, client_authorities=ROOT.pem)


def said(**changed: Any) -> dict[str, Any]:
    """What a client states about the job."""
    return proofs.claims(NOW, **({"iss": None, "sub": None, CLAIM: JOB} | changed))


@pytest.mark.parametrize("authority", [ROOT, BELOW], ids=["root", "below"])
def test_a_statement_of_a_client_holds(authority: Authority) -> None:
    """Directly, and by an authority in between; who it is comes from the certificate, and not from what it says of itself."""
    client = authority.client(NAME)
    proven = held(look(client.token(said()), RULE))
    assert (proven.method, proven.subject) == (ProofMethod.MTLS, "spiffe://example.org/deployer")
    assert proven.key == client.chain[0].fingerprint(client.chain[0].signature_hash_algorithm).hex()  # type: ignore[arg-type]


def test_a_client_without_alternative_names_is_called_by_its_subject() -> None:
    """As RFC 4514 writes it."""
    assert held(look(ROOT.client(common_name="deployer").token(said()), RULE)).subject == "CN=deployer"


STRANGER = Authority(NOW, "authority")  # of the same name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (STRANGER.client(NAME).token(said()), "ProofUntrusted"),
        (ROOT.client(NAME, days=-1).token(said()), "ProofUntrusted"),
        (ROOT.client(NAME, purpose=ExtendedKeyUsageOID.SERVER_AUTH).token(said()), "ProofUntrusted"),
        (ROOT.client(NAME).token(said(), x5c=ROOT.client(NAME).x5c), "ProofInvalid"),
        (ROOT.client(NAME).token(said(), x5c=[]), "ProofUntrusted"),
        (ROOT.client(NAME).token(said(), x5c=["AAAA"]), "ProofUntrusted"),
        (ROOT.client(NAME).token(said(), x5c=["not base64"]), "ProofUntrusted"),
        (BELOW.client(NAME).token(said(), x5c=BELOW.client(NAME).x5c[:1]), "ProofUntrusted"),
        (ROOT.client(NAME).token(said(**{CLAIM: None})), "ProofWrongJob"),
        (ROOT.client(NAME).token(said(**{CLAIM: "other/job"})), "ProofWrongJob"),
        (ROOT.client(NAME).token(said(aud="other")), "ProofWrongAudience"),
        (ROOT.client(NAME).token(said(sub="spiffe://example.org/root")), "ProofInvalid"),
        (ROOT.client(NAME).token(said(exp=NOW.timestamp() - 60)), "ProofExpired"),
        (proofs.token(said(), proofs.key("P-256"), "ES256"), "ProofWrongAlgorithm"),
    ],
    ids=[
        "another authority of the same name",
        "expired",
        "a server's",
        "somebody else's certificate",
        "no certificate",
        "no DER",
        "no base64",
        "a link is missing",
        "for no job",
        "for another job",
        "for somebody else",
        "as somebody else",
        "too late",
        "without a certificate",
    ],
)
def test_any_other_is_refused(text: str, why: str) -> None:
    """Each for its own reason."""
    assert reason(look(text, RULE)) == why


def test_an_authority_does_not_speak_for_itself() -> None:
    """Its own certificate is no client's."""
    der = base64.b64encode(ROOT.certificate.public_bytes(proofs.Encoding.DER)).decode()
    assert isinstance(look(ROOT.client(NAME).token(said(), x5c=[der]), RULE), Unproven)


def test_a_certificate_opens_no_door_of_another_method() -> None:
    """A policy that takes published keys alone does not look at certificates."""
    assert reason(look(ROOT.client(NAME).token(said()), policy(ProofMethod.JWT))) == "ProofUnknownKey"


def test_an_id_belongs_to_the_certificate() -> None:
    """Two clients may call their statements the same."""
    one, other = ROOT.client(NAME), ROOT.client(NAME)
    first, again, second = (held(look(by.token(said(jti="1")), RULE)).once for by in (one, one, other))
    assert first == again != second
