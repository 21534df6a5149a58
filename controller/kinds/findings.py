"""What a check of one document says: the place inside the document, and the words. `parse` adds file, line and column."""

from collections.abc import Mapping
from typing import Any

import msgspec

from controller.kinds.records import Reason

Spec = Mapping[str, Any]


class Finding(msgspec.Struct, frozen=True):
    """One thing wrong inside one document; `pointer` is a JSON pointer from the document's root."""

    pointer: str
    reason: Reason
    message: str
    hint: str = ""


def join(*tokens: str | int) -> str:
    """A JSON pointer (RFC 6901) out of its unescaped parts. Pure.

    >>> join("metadata", "labels", "a/b", 0)
    '/metadata/labels/a~1b/0'
    """
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def shown(value: object) -> str:
    """The value as a message may carry it: one line, quoted if text, at most 40 characters. Pure."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"
