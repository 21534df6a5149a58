"""A file of envelopes, one a line: what `evidence export` writes and everybody can read.

Invariant: a bundle says the same in any order of its lines; what holds it together is in the statements. Source: in-toto Attestation Framework, Bundle v1.0 (`.intoto.jsonl`).
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from controller.evidence import dsse
from controller.evidence.dsse import Envelope


class Found(msgspec.Struct, frozen=True):
    """One line: where it stands, and the envelope, or why there is none."""

    where: str
    envelope: Envelope | None = None
    problem: str = ""


def line(envelope: Any) -> str:
    """One envelope in its JSON form, as a line. Pure."""
    return json.dumps(envelope, separators=(",", ":"), sort_keys=True) + "\n"


def lines(data: Iterable[bytes]) -> Iterator[Found]:
    """What the lines of a bundle hold; empty ones are passed over. Pure."""
    for number, text in enumerate(data, 1):
        if text.strip():
            yield found(f"line {number}", text)


def found(where: str, data: bytes | str) -> Found:
    """What the JSON of one envelope holds. Pure."""
    try:
        return Found(where, dsse.from_json(data))
    except ValueError as error:
        return Found(where, problem=str(error))
