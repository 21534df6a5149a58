"""The ways in which programs write a value that they print: as it is, and in the encodings that carry it through URLs, JSON and headers.

`masking` and `masked_stream` look for what this gives. Everything here is pure. Source: RFC 4648 (base64, base16), RFC 3986 section 2.1 (percent-encoding),
RFC 8259 section 7 (escapes of JSON).
"""

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

SHORTEST = 4
"""Bytes. A shorter value is a word or a number that stands everywhere: masking it would make text unreadable and hide next to nothing."""
SHORTEST_LINE = 8
"""Bytes of a line of a longer value. Lines are no secrets by themselves, and `{` or `true,` would be found in anything."""

_SAFE = ("", "/", "!*'()", ";,/?:@&=+$-_.!~*'()#")  # what Python, JavaScript and browsers leave alone
_PLAIN = re.compile(rb"[A-Za-z0-9_.~-]+")
"""What none of `_written` changes: most tokens."""
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_UNICODE = re.compile(r"\\u[0-9a-f]{4}")
_HTML = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def maskable(value: bytes) -> bool:
    """Whether a value is long enough to be masked; line breaks, and blanks around it, do not count."""
    return len(value.translate(None, b"\r\n").strip()) >= SHORTEST


def forms(value: bytes) -> set[bytes]:
    """All ways of writing the value as a whole. Shape: none is shorter than `SHORTEST`; empty for a value that is not `maskable`."""
    if not maskable(value):
        return set()
    found = {value.hex().encode(), value.hex().upper().encode(), *_base64(value)}
    for plain in {value, value.strip()}:
        found |= _written(plain)
    return found


def line_forms(value: bytes) -> set[bytes]:
    """Ways of writing the single lines of a value that has several; those too short to be told from other text are left out."""
    lines = value.splitlines()
    if len(lines) < 2:
        return set()
    return {form for line in lines if len(line.strip()) >= SHORTEST_LINE for form in _written(line.strip())}


def _written(value: bytes) -> set[bytes]:
    if _PLAIN.fullmatch(value):
        return {value}
    text = value.decode("utf-8", "surrogateescape")
    found = {value, text.encode("utf-8", "backslashreplace")}
    for other in (*_percent(value), *_json(text), repr(text)[1:-1], text.replace("'", "'\\''")):
        found.add(other.encode("utf-8", "surrogateescape"))
    return found


def _percent(value: bytes) -> Iterator[str]:
    for encoded in (*(quote(value, safe=safe) for safe in _SAFE), quote_plus(value)):
        yield encoded
        yield _PERCENT.sub(lambda match: match[0].lower(), encoded)


def _json(text: str) -> Iterator[str]:
    for ascii_only in (True, False):
        plain = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        for encoded in (plain, plain.translate(_HTML)):
            for slashed in (encoded, encoded.replace("/", "\\/")):
                yield slashed
                yield _UNICODE.sub(lambda match: "\\u" + match[0][2:].upper(), slashed)


def _base64(value: bytes) -> Iterator[bytes]:
    """The characters that the value alone decides, with 0, 1 and 2 bytes before it in its group of three.

    What is left out at either end holds at most four bits of the value: it depends on the neighbours, and on padding.
    """
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value)
        sure = encoded[(0, 2, 3)[before] : (before + len(value)) * 8 // 6]
        yield sure
        yield sure.translate(_URL_SAFE)


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
