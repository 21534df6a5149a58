"""Sizes as Kubernetes quantities (`64Ki`, `10M`, `4096`) and as whole bytes.

`kinds` and settings read them; status and messages print them. Invariant: `parse(format(n)) == n` for every n >= 0.
Source: the Kubernetes API's resource.Quantity, of which the suffixes for sizes are known here.
"""

import re
from decimal import Decimal

_BINARY = {"Ti": 1 << 40, "Gi": 1 << 30, "Mi": 1 << 20, "Ki": 1 << 10}
_DECIMAL = {"T": 10**12, "G": 10**9, "M": 10**6, "k": 10**3}
_FACTORS = {**_BINARY, **_DECIMAL, "": 1}
_SHAPE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)([A-Za-z]{0,2})", re.ASCII)
_ALLOWED = "write a number of bytes, with one of Ki, Mi, Gi, Ti, k, M, G, T behind it if you like, such as 64Ki or 10M"
_MAXIMUM = 1 << 63


def parse(text: str) -> int:
    """Bytes that `text` means. Pure.

    Errors: ValueError, whose text says what is allowed: wrong shape, unknown suffix, a part of a byte, or 2^63 bytes and more.
    """
    match = _SHAPE.fullmatch(text)
    if match is None or match[2] not in _FACTORS:
        raise ValueError(f"{text!r} is not a size: {_ALLOWED}{_case_hint(match[2] if match else '')}")
    size = Decimal(match[1]) * _FACTORS[match[2]]
    if size != int(size):
        raise ValueError(f"{text!r} is not a whole number of bytes: {_ALLOWED}")
    if size >= _MAXIMUM:
        raise ValueError(f"{text!r} is too large: a size is below 2^63 bytes")
    return int(size)


def format(size: int) -> str:  # noqa: A001 - reads as quantities.format
    """`size` bytes in the shortest spelling without a fraction, binary units first. Pure. Errors: ValueError for a negative size.

    >>> format(65536), format(10_000_000), format(1023)
    ('64Ki', '10M', '1023')
    """
    if size < 0:
        raise ValueError(f"a size is not negative: {size}")
    spellings = [f"{size // factor}{suffix}" for suffix, factor in _FACTORS.items() if size % factor == 0]
    return min(spellings, key=len) if size else "0"


def _case_hint(suffix: str) -> str:
    meant = next((known for known in _FACTORS if known and known.lower() == suffix.lower()), "")
    return f"; did you mean {meant}?" if meant and meant != suffix else ""
