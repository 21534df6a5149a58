"""Where in the file a JSON pointer points: computed from the text again, and only when there is an error to report.

Keeping line and column of every value would double the cost of reading, and nearly all documents are fine.
"""

from typing import Any

import msgspec
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from controller.kinds.yaml import Document, events, nesting


class Place(msgspec.Struct):
    """One value: where it begins (for a value in a mapping, where its key does), from 1, and the values in it."""

    line: int
    column: int
    children: dict[str, "Place"]


class Positions:
    """The places of one document."""

    def __init__(self, text: str, document: Document) -> None:
        self._anchors: dict[str, dict[str, Place]] = {}
        self._first_line = document.start_line
        self._get = events(text[document.start : document.end])
        self._get()  # the stream's start
        self._get()  # the document's start
        first = self._get()
        self._root = self._place(first, first)

    def of(self, pointer: str) -> tuple[int, int]:
        """(line, column) of what `pointer` names, or of the nearest thing around it that exists."""
        place = self._root
        for token in pointer.split("/")[1:]:
            inner = place.children.get(token.replace("~1", "/").replace("~0", "~"))
            if inner is None:
                break
            place = inner
        return place.line, place.column

    def at(self, line: int, column: int) -> str:
        """The pointer of what stands at a place: of the last key or item that begins there or before it."""
        best, where = (0, 0), ""
        waiting = [("", self._root)]
        seen: set[int] = set()  # what aliases share is looked at once: written out it may be beyond all bounds
        while waiting:
            pointer, place = waiting.pop()
            if best <= (place.line, place.column) <= (line, column):
                best, where = (place.line, place.column), pointer
            if id(place.children) in seen:
                continue
            seen.add(id(place.children))
            # In the order of the file, so that the anchor comes before its aliases.
            waiting += [
                (f"{pointer}/{token.replace('~', '~0').replace('/', '~1')}", inner)
                for token, inner in reversed(place.children.items())
            ]
        return where

    def _place(self, at: Any, event: Any) -> Place:
        children: dict[str, Place] = {}
        if isinstance(event, AliasEvent):
            children = self._anchors.get(event.anchor or "", {})
        elif isinstance(event, CollectionStartEvent):
            children = self._mapping() if isinstance(event, MappingStartEvent) else self._sequence()
            if event.anchor is not None:
                self._anchors[event.anchor] = children
        mark = at.start_mark
        return Place(mark.line + self._first_line, mark.column + 1, children)

    def _mapping(self) -> dict[str, Place]:
        out: dict[str, Place] = {}
        merged: list[Place] = []
        while not isinstance(key := self._get(), MappingEndEvent):
            if isinstance(key, CollectionStartEvent):
                self._skip()
            place = self._place(key, self._get())
            if not isinstance(key, ScalarEvent):
                continue
            if key.value == "<<" and key.implicit[0]:
                merged.append(place)
            else:
                out.setdefault(key.value, place)
        for place in merged:
            for name, child in place.children.items():
                # A list of merged mappings has its items under "0", "1", …
                for inner, grandchild in (child.children if name.isdigit() else {name: child}).items():
                    out.setdefault(inner, grandchild)
        return out

    def _sequence(self) -> dict[str, Place]:
        out: dict[str, Place] = {}
        while not isinstance(event := self._get(), SequenceEndEvent):
            out[str(len(out))] = self._place(event, event)
        return out

    def _skip(self) -> None:
        depth = 1
        while depth:
            depth += nesting(self._get())
