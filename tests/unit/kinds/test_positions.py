"""Places of JSON pointers in the text."""

import json
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given, settings

from controller.kinds.findings import join
from controller.kinds.positions import Positions
from controller.kinds.yaml import read
from tests.unit.kinds.strategies import JUNK

TEXT = """\
# nothing here
first: 1
---
  metadata: &m
    name: ä
    labels: {a/b: x, "c~d": y}
  spec:
    list:
    - one
    - {two: 2,
       three: [3, 4]}
    merged:
      <<: *m
      own: 1
    alias: *m
"""


@pytest.mark.parametrize(
    ("pointer", "place"),
    [
        ("", (4, 3)),
        ("/metadata", (4, 3)),
        ("/metadata/name", (5, 5)),
        ("/metadata/labels/a~1b", (6, 14)),
        ("/metadata/labels/c~0d", (6, 22)),
        ("/spec/list/0", (9, 7)),
        ("/spec/list/1/two", (10, 8)),
        ("/spec/list/1/three/1", (11, 19)),
        ("/spec/merged/own", (14, 7)),
        ("/spec/merged/name", (5, 5)),
        ("/spec/alias", (15, 5)),
        ("/spec/alias/name", (5, 5)),
        ("/spec/list/1/missing/deeper", (10, 7)),
        ("/spec/list/7", (8, 5)),
        ("/nowhere", (4, 3)),
    ],
)
def test_a_pointer_leads_to_its_key_or_item_or_to_what_surrounds_it(pointer: str, place: tuple[int, int]) -> None:
    """Merged and aliased values are found where they are written."""
    stream = read(TEXT.encode())
    assert Positions(stream.text, stream.documents[1]).of(pointer) == place


def pointers(value: Any, *path: str | int) -> list[tuple[str, str | None]]:
    """Every pointer into the value, with the key that stands there (None for items)."""
    found = []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in children:
        found.append((join(*path, key), key if isinstance(key, str) else None))
        found.extend(pointers(inner, *path, key))
    return found


@given(JUNK.filter(lambda value: isinstance(value, dict | list)))
@settings(max_examples=50, deadline=None)
def test_every_pointer_of_any_document_leads_to_a_place_where_its_key_begins(value: Any) -> None:
    """Whatever PyYAML writes: at each place the text goes on with the key, quoted or not."""
    text = pyyaml.safe_dump(value, allow_unicode=True, default_flow_style=False, width=10_000)
    stream = read(text.encode())
    (document,) = stream.documents
    if document.problems:
        return
    positions = Positions(stream.text, document)
    lines = stream.text.split("\n")
    for pointer, key in pointers(document.value):
        line, column = positions.of(pointer)
        rest = lines[line - 1][column - 1 :]
        if key is not None and key.isascii() and key.isalnum():
            assert rest.lstrip("'\"? ").startswith(key), (json.dumps(pointer), rest)
