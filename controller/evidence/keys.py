"""Keys that sign envelopes, and keys that check them: Ed25519, or ECDSA over P-256 with SHA-256.

The signing loop and `verify` use them. Invariant: nothing of a private key is in a message, a repr or a record; what names a key is the SHA-256 of its public half.
Source: RFC 8032, FIPS 186-5; signatures of ECDSA are DER, as the in-toto and Sigstore tools write them.
"""

import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from controller.base.errors import InvalidInput
from controller.evidence.dsse import Envelope, Signature, pae

_Public = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
_Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_HOW = (
    "it has to be Ed25519 or ECDSA P-256, in PEM without a passphrase (`openssl genpkey -algorithm ed25519` makes one)"
)


class PublicKey:
    """Checks signatures. `key_id` is `sha256:` and the SHA-256 of its SubjectPublicKeyInfo in DER."""

    def __init__(self, key: _Public) -> None:
        self._key = key
        info = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = f"sha256:{hashlib.sha256(info).hexdigest()}"

    @property
    def pem(self) -> bytes:
        """What people keep and hand on."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def made(self, signature: Signature, envelope: Envelope) -> bool:
        """Whether the signature is of this key and over what the envelope holds."""
        body = pae(envelope.payload_type, envelope.payload)
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature.sig, body)
            else:
                self._key.verify(signature.sig, body, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """Signs envelopes."""

    def __init__(self, key: _Private) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    def sign(self, envelope: Envelope) -> Signature:
        """A signature over what the envelope holds."""
        body = pae(envelope.payload_type, envelope.payload)
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            sig = self._key.sign(body)
        else:
            sig = self._key.sign(body, ec.ECDSA(hashes.SHA256()))
        return Signature(sig, self.public.key_id)


def signing_key(data: bytes) -> SigningKey:
    """The private key of a PEM text. Errors: InvalidInput, which says nothing of what was given."""
    try:
        found = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's words may quote what it was given.
        raise InvalidInput(f"this is no private key that can sign evidence: {_HOW}") from None
    if isinstance(found, ed25519.Ed25519PrivateKey):
        return SigningKey(found)
    if isinstance(found, ec.EllipticCurvePrivateKey) and isinstance(found.curve, ec.SECP256R1):
        return SigningKey(found)
    raise InvalidInput(f"this kind of private key cannot sign evidence: {_HOW}")


def public_key(data: bytes) -> PublicKey:
    """The public key of a PEM text. Errors: InvalidInput."""
    try:
        found = serialization.load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = b"PRIVATE KEY" in data
        hint = "it is a private key; `openssl pkey -in KEY -pubout` gives its public half" if private else _PUBLIC
        raise InvalidInput(f"this is no public key: {hint}") from None
    if isinstance(found, ed25519.Ed25519PublicKey):
        return PublicKey(found)
    if isinstance(found, ec.EllipticCurvePublicKey) and isinstance(found.curve, ec.SECP256R1):
        return PublicKey(found)
    raise InvalidInput(f"this kind of public key signs no evidence: {_PUBLIC}")


_PUBLIC = "it has to be Ed25519 or ECDSA P-256, in PEM (`-----BEGIN PUBLIC KEY-----`)"
