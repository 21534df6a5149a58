"""Canonical JSON and the digest over it: what fireDigest, effectiveDigest and evidence are made with.

`kinds` and `reconcile` hand it plain values; the store keeps the digests. Invariant: equal values give equal bytes on every
machine and in every version that carries the same algorithm number. Source: RFC 8785.
"""

import hashlib
from typing import Any

import rfc8785

ALGORITHM = "v1"
"""Names canonicalisation and hash together; a change of either is a new number, so that old digests are recognised as old."""


def dumps(value: Any) -> bytes:
    """`value` as RFC 8785 JSON. Pure.

    Shape:  dicts with text keys, lists, tuples, text, bool, None, finite floats, integers up to ±(2^53 - 1).
    Errors: ValueError for anything else.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError) as error:
        raise ValueError(f"cannot be written as canonical JSON: {error}") from error


def digest(value: Any) -> str:
    """`v1:sha256:<64 hex digits>` over `dumps(value)`. Pure. Errors: as `dumps`."""
    return f"{ALGORITHM}:sha256:{hashlib.sha256(dumps(value)).hexdigest()}"
