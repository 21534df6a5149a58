"""Envelopes: a statement, and the signatures over it.

`keys` signs and checks what `pae` gives; `bundle` writes and reads envelopes as JSON. Invariant: what is signed is the bytes and their type, never the JSON around them.
Source: DSSE v1.0, protocol and envelope.
"""

import base64
import binascii
from typing import Any

import msgspec

IN_TOTO = "application/vnd.in-toto+json"
"""The payload type of every in-toto statement."""


class Signature(msgspec.Struct, frozen=True):
    """One signature. `keyid` is a hint which key to try, and no more than that."""

    sig: bytes
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """A payload with its signatures; none of them: it was not signed (yet)."""

    payload: bytes
    signatures: tuple[Signature, ...] = ()
    payload_type: str = IN_TOTO


def pae(payload_type: str, body: bytes) -> bytes:
    """What is signed: the pre-authentication encoding. Pure.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def to_json(envelope: Envelope) -> dict[str, Any]:
    """The envelope in its JSON form. Pure."""
    return {
        "payload": base64.b64encode(envelope.payload).decode(),
        "payloadType": envelope.payload_type,
        "signatures": [{"keyid": one.keyid, "sig": base64.b64encode(one.sig).decode()} for one in envelope.signatures],
    }


class _Signature(msgspec.Struct, frozen=True):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


_decoder = msgspec.json.Decoder(_Envelope)


def from_json(data: bytes | str) -> Envelope:
    """The envelope of its JSON form; fields that are not ours are passed over. Pure. Errors: ValueError, whose text says what is wrong."""
    try:
        raw = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no DSSE envelope: {error}") from error
    signatures = tuple(Signature(_bytes(one.sig, "signature"), one.keyid) for one in raw.signatures)
    return Envelope(_bytes(raw.payload, "payload"), signatures, raw.payload_type)


def _bytes(text: str, what: str) -> bytes:
    """Bytes of base64, standard or URL-safe, as DSSE asks; only the one text that encodes them, so that no character can be changed unnoticed."""
    try:
        data = base64.b64decode(text.translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"its {what} is not base64: {error}") from error
    if text not in {base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()}:
        raise ValueError(f"its {what} is not base64 as it is written")
    return data


_STANDARD = str.maketrans("-_", "+/")
