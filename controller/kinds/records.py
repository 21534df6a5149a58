"""What reading manifests gives: resources that are valid on their own, and errors that point at the place.

`parse` makes them; sources and reconcile take them. A bad document is a value (`ManifestError`), never an exception, and a good one beside it
is not touched by it.
"""

from enum import StrEnum
from typing import Any

import msgspec

OBJECT = "//"
"""What the `file` of a document begins with that is an object of a cluster: a name, and no place that somebody could open."""


class Reason(StrEnum):
    """Why a document was refused. Used unchanged in errors, logs and conditions."""

    SyntaxError = "SyntaxError"  # the file is not YAML
    NotText = "NotText"  # the file is binary or not UTF-8
    TooLarge = "TooLarge"  # file, document, nesting or alias expansion beyond its bound
    DuplicateKey = "DuplicateKey"  # one mapping names a key twice
    UnknownKind = "UnknownKind"  # our group, but no such kind
    UnknownVersion = "UnknownVersion"  # our kind, but no such apiVersion
    UnknownField = "UnknownField"
    NotSupported = "NotSupported"  # known to the design, not to this version
    NotAllowed = "NotAllowed"  # a kind that this source, or any file, may not contain
    Required = "Required"
    WrongType = "WrongType"
    OutOfRange = "OutOfRange"  # a number, a length or a count beyond its bounds
    OneOf = "OneOf"  # fields that exclude each other, or of which one is needed
    Duplicate = "Duplicate"  # two list items with the same name
    InvalidValue = "InvalidValue"  # right type, wrong content
    InvalidCombination = "InvalidCombination"  # fields that make no sense together


class Resource(msgspec.Struct, frozen=True):
    """One valid document.

    `namespace` is None exactly for cluster kinds; elsewhere the one that the source forces, else the one written, else `default`.
    `document` is the plain document as written (apiVersion, kind, metadata, spec); treat it as immutable.
    `spec_digest` changes exactly when the value of `spec` does. `line` is that of the document's first key, from 1.
    """

    api_version: str
    kind: str
    namespace: str | None
    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    document: dict[str, Any]
    spec_digest: str
    path: str
    line: int


class ManifestError(msgspec.Struct, frozen=True):
    """One thing that is wrong, where, and what to do.

    `line` and `column` count from 1. `pointer` is the JSON pointer inside the YAML document, "" for the document itself. `kind`, `namespace` and
    `name` are given whenever they could be read, so that the last good version of the resource can be kept.
    """

    file: str
    line: int
    column: int
    reason: str  # of `Reason`, or of `domain.reasons` for what documents mean together
    message: str
    hint: str = ""
    pointer: str = ""
    kind: str | None = None
    namespace: str | None = None
    name: str | None = None

    @property
    def place(self) -> str:
        """`file:line:column`; "" for an object of a cluster."""
        return "" if self.file.startswith(OBJECT) else f"{self.file}:{self.line}:{self.column}"

    def __str__(self) -> str:
        who = "/".join(part for part in (self.kind, self.namespace, self.name) if part)
        parts = [self.place, who, self.pointer, self.message]
        text = ": ".join(part for part in parts if part)
        text = f"{text}. {self.hint}" if self.hint else text
        if text.isprintable():
            return text
        # Keys and names come from anywhere; they must not move a terminal's cursor or turn its text around.
        return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class ParsedFile(msgspec.Struct, frozen=True):
    """What one file contains.

    `complete` is False when something in the file could belong to a resource that cannot be told: the file is not YAML, or a document of ours has
    no readable identity. A source that holds such a file prunes nothing. `skipped` counts documents that are not ours.
    """

    resources: tuple[Resource, ...] = ()
    errors: tuple[ManifestError, ...] = ()
    complete: bool = True
    skipped: int = 0
