"""Reading a provider's configuration into a struct: every type has one, with the fields of its documents.

Invariant: what is unknown is refused, so that a misspelt restriction is no missing one.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from controller.base import durations
from controller.base.errors import InvalidInput

Given = TypeVar("Given", bound=msgspec.Struct)


class Config(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of configurations."""


def read(kind: str, config: Mapping[str, Any], shape: type[Given]) -> Given:
    """The configuration of the type `kind`. Errors: InvalidInput naming the field."""
    try:
        return msgspec.convert(config, shape)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise InvalidInput(f"spec.{kind}{where.rstrip('`')}: {what[:1].lower()}{what[1:]}") from None


def segments(field: str, path: str) -> str:
    """A path of a backend, which is to stay below where it is put. Errors: InvalidInput."""
    if not re.fullmatch(r"[^/?#\\\s%][^?#\\\s%]*", path) or any(part in {"", ".", ".."} for part in path.split("/")):
        raise InvalidInput(f"{field}: {path!r} is no path: write words with / between them, such as teams/payments/db")
    return path


def duration(field: str, text: str) -> timedelta:
    """A duration as everywhere: 10m, 1h. Errors: InvalidInput."""
    try:
        return durations.parse(text)
    except ValueError as error:
        raise InvalidInput(f"{field}: {error}") from None
