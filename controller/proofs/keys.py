"""Public keys as a JWK Set has them, and the algorithms that each kind of key is good for.

Invariant: an algorithm takes one kind of key and a key one family of algorithms, so a public key is never a shared secret and nothing is signed with `none`.
Source: RFC 7517, 7518 section 3.1, 8037, 9864; bounds of keys: RFC 7518 sections 3.3 and 3.4.
"""

import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from controller.proofs.tokens import Malformed, decoded

PublicKey = RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey

MOST_KEYS = 64
_SHORTEST_RSA, _LONGEST_RSA = 2048, 8192  # bits; longer ones cost time that a stranger chooses

_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_CURVES: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_CURVE_OF = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
_EDWARDS = frozenset({"EdDSA", "Ed25519"})
_MAC = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}

ASYMMETRIC = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", *_CURVE_OF, *_EDWARDS})
SYMMETRIC = frozenset(_MAC)


class Key(msgspec.Struct, frozen=True):
    """A key that may verify. `algorithm` None: any that fits its kind; `name` None: tokens cannot name it."""

    public: PublicKey
    name: str | None = None
    algorithm: str | None = None

    def fits(self, algorithm: str) -> bool:
        """Whether it is for this algorithm. Pure."""
        return (self.algorithm is None or _alike(self.algorithm, algorithm)) and fits(self.public, algorithm)


class BadKeys(ValueError):
    """It is no JWK Set, or a key of it cannot be used; the message says why, and quotes nothing of it."""


class _Set(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


_set = msgspec.json.Decoder(_Set)


def published(data: bytes) -> tuple[Key, ...]:
    """The keys of a JWK Set that somebody publishes, without those that verify no signature. Pure. Errors: BadKeys if it is no set."""
    found = []
    for one in _read(data):
        try:
            key = _key(one)
        except BadKeys:
            continue
        if key is not None:
            found.append(key)
    return tuple(found)


def declared(data: bytes) -> tuple[Key, ...]:
    """The keys of a JWK Set in a document, of which one at least is good, and none is private. Pure. Errors: BadKeys."""
    for index, one in enumerate(_read(data)):
        if _PRIVATE & one.keys() or one.get("kty") == "oct":
            raise BadKeys(f"key {index}: it is a private key, which everybody who reads the document knows by now")
    found = published(data)
    if not found:
        raise BadKeys("none of its keys verifies signatures")
    return found


def fits(key: PublicKey, algorithm: str) -> bool:
    """Whether the algorithm takes this kind of key. Pure."""
    if isinstance(key, RSAPublicKey):
        return algorithm[:2] in {"RS", "PS"} and algorithm in ASYMMETRIC and key.key_size >= _SHORTEST_RSA
    if isinstance(key, Ed25519PublicKey):
        return algorithm in _EDWARDS
    return _CURVE_OF.get(algorithm) == key.curve.name


def verified(key: PublicKey, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Whether the signature is this key's; False for an algorithm that does not fit. Pure."""
    if not fits(key, algorithm):
        return False
    try:
        if isinstance(key, RSAPublicKey):
            digest = _HASHES[algorithm[2:]]()
            pad = padding.PKCS1v15() if algorithm[:2] == "RS" else _pss(digest)
            key.verify(signature, signed, pad, digest)
        elif isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(_der(signature, key.curve), signed, ec.ECDSA(_HASHES[algorithm[2:]]()))
    except InvalidSignature:
        return False
    return True


def authentic(secret: bytes, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Whether the MAC is one under this secret, compared in constant time; False for any other algorithm. Pure."""
    name = _MAC.get(algorithm)
    return name is not None and hmac.compare_digest(hmac.digest(secret, signed, name), signature)


def shortest_secret(algorithm: str) -> int:
    """Bytes that a shared secret has at least: those of the hash. Source: RFC 7518, section 3.2."""
    return int(algorithm[2:]) // 8


def _alike(one: str, other: str) -> bool:
    return one == other or {one, other} <= _EDWARDS


def _pss(digest: hashes.HashAlgorithm) -> padding.PSS:
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)


def _der(signature: bytes, curve: ec.EllipticCurve) -> bytes:
    """Two numbers of the curve's size, as the library wants them. Errors: InvalidSignature."""
    size = (curve.key_size + 7) // 8
    if len(signature) != 2 * size:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))


def _read(data: bytes) -> list[dict[str, Any]]:
    try:
        keys = _set.decode(data).keys
    except (msgspec.MsgspecError, RecursionError):
        raise BadKeys("it is no JWK Set: that is a JSON object with a list `keys`") from None
    if len(keys) > MOST_KEYS:
        raise BadKeys(f"it has more than {MOST_KEYS} keys")
    return keys


def _key(one: Mapping[str, Any]) -> Key | None:
    """One JWK; None: it is for something else than verifying. Errors: BadKeys."""
    operations = one.get("key_ops", ["verify"])
    if one.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    name, algorithm = one.get("kid"), one.get("alg")
    if not isinstance(name, str | None) or not isinstance(algorithm, str | None):
        raise BadKeys("kid and alg are text")
    key = Key(_public(one), name, algorithm)
    if algorithm is not None and not key.fits(algorithm):
        raise BadKeys("its alg does not fit its kty")
    return key


def _public(one: Mapping[str, Any]) -> PublicKey:
    kinds: Mapping[object, Callable[[Mapping[str, Any]], PublicKey]] = {"RSA": _rsa, "EC": _elliptic, "OKP": _edwards}
    kind = kinds.get(str(one.get("kty")))
    if kind is None:
        raise BadKeys("kty is none of RSA, EC and OKP")
    try:
        return kind(one)
    except BadKeys:
        raise
    except ValueError:
        raise BadKeys("its numbers are no key") from None


def _rsa(one: Mapping[str, Any]) -> PublicKey:
    numbers = RSAPublicNumbers(_number(one, "e"), _number(one, "n"))
    bits = numbers.n.bit_length()
    if not _SHORTEST_RSA <= bits <= _LONGEST_RSA:
        raise BadKeys(f"n has {bits} bits; {_SHORTEST_RSA} to {_LONGEST_RSA} are taken")
    return numbers.public_key()


def _elliptic(one: Mapping[str, Any]) -> PublicKey:
    curve = _CURVES.get(str(one.get("crv")))
    if curve is None:
        raise BadKeys("crv is none of P-256, P-384 and P-521")
    return ec.EllipticCurvePublicNumbers(_number(one, "x"), _number(one, "y"), curve).public_key()


def _edwards(one: Mapping[str, Any]) -> PublicKey:
    if one.get("crv") != "Ed25519":
        raise BadKeys("crv is not Ed25519")
    return Ed25519PublicKey.from_public_bytes(_bytes(one, "x"))


def _number(one: Mapping[str, Any], field: str) -> int:
    return int.from_bytes(_bytes(one, field), "big")


def _bytes(one: Mapping[str, Any], field: str) -> bytes:
    value = one.get(field)
    if not isinstance(value, str):
        raise BadKeys(f"it has no {field}")
    try:
        return decoded(value)
    except Malformed:
        raise BadKeys(f"{field} is not base64url") from None
