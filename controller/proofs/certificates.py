"""The chain of a certificate that comes with a proof, up to an authority that a policy names.

Source: RFC 7515 section 4.1.6 (`x5c`), RFC 5280 as `cryptography` verifies it for clients. Revocation is not looked at: certificates of clients live short, or their
authority is taken out of the policy.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import verification

from controller.proofs.keys import PublicKey

_DEEPEST = 4
"""Certificates between the client's own and the authority."""


_Rules = verification.ExtensionPolicy
# Private authorities name clients by the subject alone.
_CLIENTS = _Rules.webpki_defaults_ee().may_be_present(
    x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None
)


class Untrusted(ValueError):
    """No authority vouches for the certificate; the message says what is wrong and quotes nothing of it."""


class Client(msgspec.Struct, frozen=True):
    """Whom an authority vouches for, and the key that its statements are verified with."""

    key: PublicKey
    names: tuple[str, ...]  # the first is what it is called: URI, e-mail, DNS name, else the subject of RFC 4514
    issuer: str
    fingerprint: str  # SHA-256, in hexadecimal
    not_after: datetime


def authorities(pem: str) -> Sequence[x509.Certificate]:
    """The certificates of a document. Pure. Errors: ValueError for what cannot be read, or has none."""
    return x509.load_pem_x509_certificates(pem.encode())


def client_of(chain: object, pem: str, now: datetime) -> Client:
    """Whose certificate `chain`, the value of `x5c`, begins with, if one of the authorities in `pem` vouches for it now. Pure. Errors: Untrusted."""
    found = _certificates(chain)
    try:
        store = verification.Store(list(authorities(pem)))
    except ValueError:
        raise Untrusted("the clientAuthorities of the policy are no certificates in PEM") from None
    builder = verification.PolicyBuilder().store(store).time(now.astimezone(UTC).replace(tzinfo=None))
    builder = builder.extension_policies(ca_policy=_Rules.webpki_defaults_ca(), ee_policy=_CLIENTS)
    try:
        builder.max_chain_depth(_DEEPEST).build_client_verifier().verify(found[0], list(found[1:]))
        leaf = found[0]
        key = leaf.public_key()
        names = (*_alternatives(leaf), leaf.subject.rfc4514_string())
    except (verification.VerificationError, ValueError, x509.DuplicateExtension):
        # What the library says quotes names of the certificate.
        raise Untrusted(
            "none of the clientAuthorities vouches for its certificate as that of a client, or it is not valid now"
        ) from None
    if not isinstance(key, RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey):
        raise Untrusted("its certificate has a key that is neither RSA, EC nor Ed25519")
    return Client(
        key,
        tuple(name for name in names if name),
        leaf.issuer.rfc4514_string(),
        leaf.fingerprint(hashes.SHA256()).hex(),
        leaf.not_valid_after_utc,
    )


def _certificates(chain: object) -> tuple[x509.Certificate, ...]:
    if not isinstance(chain, list) or not 1 <= len(chain) <= _DEEPEST + 2:
        raise Untrusted(f"x5c in its header is no list of 1 to {_DEEPEST + 2} certificates")
    found = []
    for one in chain:
        try:
            # RFC 7515 wants base64 here, with its padding, and not base64url.
            found.append(x509.load_der_x509_certificate(base64.b64decode(one, validate=True)))
        except (binascii.Error, ValueError, TypeError):
            raise Untrusted("x5c in its header has something that is no certificate") from None
    return tuple(found)


def _alternatives(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    kinds = (x509.UniformResourceIdentifier, x509.RFC822Name, x509.DNSName)
    return [name for kind in kinds for name in names.get_values_for_type(kind)]
