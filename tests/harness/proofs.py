"""Makes proofs of authority as others would: tokens by joserfc, which shares no code with what verifies them, and certificates by a small authority."""

import base64
import json
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from joserfc import jwk, jws
from joserfc.errors import SecurityWarning

ISSUER = "https://sso.example.org"
AUDIENCE = "jobwarden"
KINDS: dict[str, tuple[str, ...]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA", "Ed25519"),
}
"""Kinds of keys, and the algorithms of each."""
HMACS = ("HS256", "HS384", "HS512")


def key(kind: str, name: str | None = "k1") -> jwk.Key:
    """A new private key."""
    parameters: Any = {"kid": name} if name else {}
    match kind:
        case "RSA":
            return jwk.generate_key("RSA", 2048, parameters)
        case "Ed25519":
            return jwk.generate_key("OKP", "Ed25519", parameters)
        case _:
            return jwk.generate_key("EC", kind, parameters)


def public(*some: jwk.Key) -> dict[str, Any]:
    """The JWK Set that their owner publishes."""
    return {"keys": [dict(one.as_dict(private=False)) for one in some]}


def claims(now: datetime, **changed: Any) -> dict[str, Any]:
    """What a good token says; a claim that is changed to None is left out."""
    plain = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=5)).timestamp()),
    }
    return {name: value for name, value in (plain | changed).items() if value is not None}


class _Large(jws.JWSRegistry):
    max_header_length = 64 * 1024


def token(said: dict[str, Any], by: jwk.Key | bytes, algorithm: str, **header: Any) -> str:
    """A compact token."""
    signer = by if not isinstance(by, bytes) else jwk.OctKey.import_key(by)
    named = {"kid": signer.kid} if signer.kid else {}
    registry = _Large(algorithms=[algorithm], strict_check_header=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return jws.serialize_compact(
            {"alg": algorithm, "typ": "JWT", **named, **header}, json.dumps(said), signer, registry=registry
        )


def encoded(value: Any) -> str:
    """JSON, or bytes, in base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Authority:
    """Signs certificates of clients. Made by itself, or below another one."""

    def __init__(self, now: datetime, name: str = "authority", above: "Authority | None" = None) -> None:
        self._now, self.key = now, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._above = above or self
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = (
            self._builder(self._name, self.key.public_key(), self._above, days=3650)
            .add_extension(constraints, critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._above.key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        """As a policy has it."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def client(
        self,
        *names: x509.GeneralName,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        days: int = 1,
        common_name: str = "client",
    ) -> "Client":
        """A new client with a certificate for these names."""
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = self._builder(subject, own.public_key(), self, days=days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Client(own, [builder.sign(self.key, hashes.SHA256()), *self._chain()])

    def _chain(self) -> list[x509.Certificate]:
        return [] if self._above is self else [self.certificate, *self._above._chain()]

    def _builder(self, subject: x509.Name, of: Any, by: "Authority", days: int) -> x509.CertificateBuilder:
        begins = self._now - timedelta(days=1) if days > 0 else self._now + timedelta(days=days - 1)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by._name)
            .public_key(of)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins.astimezone(UTC))
            .not_valid_after((self._now + timedelta(days=days)).astimezone(UTC))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(of), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False)
        )


class Client:
    """Who holds a key and a certificate chain for it."""

    def __init__(self, key_: ec.EllipticCurvePrivateKey, chain: list[x509.Certificate]) -> None:
        self._key, self.chain = jwk.ECKey.import_key(key_), chain  # type: ignore[arg-type]

    @property
    def x5c(self) -> list[str]:
        """The chain as a header has it."""
        return [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in self.chain]

    def token(self, said: dict[str, Any], **header: Any) -> str:
        """A statement that the key signs."""
        return token(said, self._key, "ES256", **({"x5c": self.x5c} | header))


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
