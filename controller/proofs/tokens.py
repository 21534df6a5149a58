"""The compact form of a signed token, read without believing any of it.

Invariant: a token has one spelling. What could be written in two ways is refused, so that no byte of it can be changed and still be verified. Source: RFC 7515,
sections 3.1 and 5.2; RFC 8725, sections 2 and 3.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

LONGEST = 16 * 1024
"""Characters of a token, or of another proof."""


class Malformed(ValueError):
    """It is no signed token in the compact form; the message says why, and quotes nothing of it."""


class Token(msgspec.Struct, frozen=True):
    """Header and claims as they are written, and what is signed by what."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "Token(***)"

    @property
    def algorithm(self) -> str:
        """What it says that it is signed with. It chooses nothing: whoever verifies has a list."""
        return str(self.header["alg"])

    @property
    def key(self) -> str | None:
        """What it says that its key is called."""
        return self.header.get("kid")


def read(text: str) -> Token:
    """Take a token apart. Pure. Errors: Malformed."""
    if len(text) > LONGEST:
        raise Malformed(f"it has more than {LONGEST} characters")
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():
        raise Malformed("it is no signed token: that has three parts in base64url with a dot between them")
    header = _object(_decoded(parts[0]), "its header")
    _check(header)
    claims = _object(_decoded(parts[1]), "its second part")
    return Token(header, claims, f"{parts[0]}.{parts[1]}".encode(), _decoded(parts[2]))


def decoded(text: str) -> bytes:
    """Base64url without padding, in its one spelling. Pure. Errors: Malformed."""
    return _decoded(text)


def _check(header: Mapping[str, Any]) -> None:
    """What a header may say. Keys that it brings along (jwk, jku, x5u) are never looked at."""
    if not isinstance(header.get("alg"), str):
        raise Malformed("its header names no algorithm")
    if not isinstance(header.get("kid", ""), str):
        raise Malformed("its header has a kid that is no text")
    if "crit" in header or "b64" in header:
        raise Malformed("its header asks for an extension (crit) that is not understood here")
    kind = header.get("typ", "JWT")
    # A token of another purpose (logout+jwt, dpop+jwt) is no proof of authority: RFC 8725, section 3.11.
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in {"jwt", "at+jwt"}:
        raise Malformed("its type is neither JWT nor at+jwt")


def _decoded(part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("a part of it is not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        raise Malformed("a part of it is not base64url as RFC 7515 spells it")
    return data


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_constant)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not JSON in which each name stands once") from None
    if not isinstance(found, dict):
        raise Malformed(f"{what} is no JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _constant(_name: str) -> NoReturn:
    raise ValueError
