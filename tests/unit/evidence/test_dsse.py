"""Envelopes and signatures: the examples of the protocol, and the library that others verify with."""

import base64
import contextlib
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from controller.base.errors import InvalidInput
from controller.evidence import dsse, keys
from controller.evidence.dsse import Envelope, Signature
from controller.evidence.keys import PublicKey, SigningKey
from tests.evidence import CURVES, new_key, pem, statements

_PEM, _PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def test_the_encoding_is_that_of_the_protocol() -> None:
    """The example of DSSE v1.0."""
    assert (
        dsse.pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert dsse.pae("ü", b"") == b"DSSEv1 2 \xc3\xbc 0 "


def test_the_signature_of_the_protocols_example_is_good() -> None:
    """Its key and its signature, which it writes as r and s; nothing else is accepted."""
    key = ec.EllipticCurvePublicNumbers(
        46950820868899156662930047687818585632848591499744589407958293238635476079160,
        5640078356564379163099075877009565129882514886557779369047442380624545832820,
        ec.SECP256R1(),
    ).public_key()
    raw = base64.b64decode("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==")
    signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    envelope = Envelope(b"hello world", payload_type="http://example.com/HelloWorld")
    assert PublicKey(key).made(Signature(signature), envelope)
    assert not PublicKey(key).made(Signature(signature), Envelope(b"hello world"))
    assert not PublicKey(key).made(Signature(raw), envelope)


@pytest.mark.parametrize("curve", CURVES)
def test_what_we_sign_others_verify(curve: bool) -> None:
    """securesystemslib, which in-toto and TUF stand on, reads the envelope and verifies it with the public key."""
    key = new_key(curve=curve)
    plain = Envelope(statements(1)[0])
    ours = dsse.to_json(Envelope(plain.payload, (key.sign(plain),)))
    public = serialization.load_pem_public_key(key.public.pem)
    theirs = SSlibKey.from_crypto(public, keyid=key.public.key_id)  # type: ignore[arg-type]
    envelope = TheirEnvelope.from_dict(json.loads(json.dumps(ours)))
    assert set(envelope.verify([theirs], 1)) == {key.public.key_id}
    envelope.payload = envelope.payload.replace(b"nightly", b"mightly")
    with pytest.raises(VerificationError):
        envelope.verify([theirs], 1)


@pytest.mark.parametrize("curve", CURVES)
def test_what_others_sign_we_verify(curve: bool) -> None:
    """The other way round."""
    private = serialization.load_pem_private_key(pem(curve=curve), None)
    signer = CryptoSigner(private)  # type: ignore[arg-type]
    theirs = TheirEnvelope(b"{}", dsse.IN_TOTO, {})
    theirs.sign(signer)
    envelope = dsse.from_json(json.dumps(theirs.to_dict()))
    assert SigningKey(private).public.made(envelope.signatures[0], envelope)  # type: ignore[arg-type]


@given(st.binary(), st.binary(), st.text())
def test_an_envelope_survives_its_json(payload: bytes, sig: bytes, keyid: str) -> None:
    """Whatever the bytes; and fields of others are passed over."""
    envelope = Envelope(payload, (Signature(sig, keyid),))
    written = {**dsse.to_json(envelope), "more": 1}
    assert dsse.from_json(json.dumps(written)) == envelope


def test_both_kinds_of_base64_are_read() -> None:
    """Standard and URL-safe, as verifiers have to."""
    written = {"payloadType": "t", "payload": "-_8=", "signatures": [{"sig": "+/8="}]}
    envelope = dsse.from_json(json.dumps(written))
    assert envelope.payload == envelope.signatures[0].sig == b"\xfb\xff"


@given(st.binary(max_size=64) | st.text(max_size=64))
def test_what_is_no_envelope_is_refused_in_words(data: bytes | str) -> None:
    """Never by another error."""
    with pytest.raises(ValueError):
        dsse.from_json(data)


@given(st.data())
def test_no_character_of_a_payload_can_be_changed_unnoticed(data: st.DataObject) -> None:
    """Not even the bits of the last character that base64 does not use."""
    written = dsse.to_json(Envelope(b"abcd"))["payload"]
    at = data.draw(st.integers(0, len(written) - 1))
    character = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda one: one != written[at]))
    changed = {"payloadType": "t", "payload": written[:at] + character + written[at + 1 :], "signatures": []}
    with contextlib.suppress(ValueError):
        assert dsse.from_json(json.dumps(changed)).payload != b"abcd"


@pytest.mark.parametrize("curve", CURVES)
def test_a_signature_is_of_one_key_over_one_payload(curve: bool) -> None:
    """Neither another key nor another payload nor another type."""
    key, other, envelope = new_key(curve=curve), new_key(curve=curve), Envelope(b"{}")
    signature = key.sign(envelope)
    assert key.public.made(signature, envelope)
    assert not other.public.made(signature, envelope)
    assert not key.public.made(signature, Envelope(b"[]"))
    assert not key.public.made(signature, Envelope(b"{}", payload_type="t"))
    assert not new_key(curve=not curve).public.made(signature, envelope)


def test_keys_that_cannot_be_used_are_refused_without_being_quoted() -> None:
    """Of another kind, with a passphrase, or no key at all."""
    wide = rsa.generate_private_key(65537, 2048).private_bytes(_PEM, _PKCS8, serialization.NoEncryption())
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(_PEM, _PKCS8, serialization.NoEncryption())
    closed = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        _PEM, _PKCS8, serialization.BestAvailableEncryption(b"p")
    )
    for data in (wide, other, closed, b"", b"canary", pem().replace(b"M", b"canary", 1)):
        with pytest.raises(InvalidInput, match="Ed25519 or ECDSA P-256") as raised:
            keys.signing_key(data)
        assert "canary" not in str(raised.value)
        assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_private_key_that_is_given_to_verify_is_named_as_one() -> None:
    """A mistake that is easily made."""
    with pytest.raises(InvalidInput, match="-pubout"):
        keys.public_key(pem())
    assert keys.public_key(new_key().public.pem).key_id.startswith("sha256:")
