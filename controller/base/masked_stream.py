"""Replaces secret values in bytes that come piece by piece, wherever a piece ends, before anybody keeps or shows them.

Whoever reads the output of a run makes `Needles` of what was put into the run, and a `StreamMasker` for each stream.

    feed → look for every needle → give all but what may be the beginning of one → … → flush

A value is found in each of `encodings.forms`, also when lines are broken within it, as `base64`, PEM and `fold` do; the lines of a value with several lines
are found alone. Overlapping finds become one mask. Within the first `_SURE` characters a break counts only at the end of a line of at least `_WRAPPED`:
otherwise each line that ends with the first letter of a secret would have to wait for the next one.

Invariants: what is given does not depend on where the pieces end; a text without any needle passes byte for byte. What is held back is never
longer than the longest needle with the breaks within it, and never a complete line that no secret can begin in.
"""

import re
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from controller.base import encodings

MASK = b"***"

_SURE = 4  # characters of a needle
_WRAPPED = 60  # characters of a line; xxd wraps there, PEM at 64, MIME at 76, `fold` at 80
_FEW = 64  # needles; one search for each is quicker than looking at every place of a text as long as there are not many more
_FEW_PER = 512  # bytes of text; in a long one a search costs less by the byte
_LONGEST_BREAK = 8  # bytes; an empty line or two between the parts of a value
_BREAKS = re.compile(rb"[\r\n]+")

_Span = tuple[int, int]


class Needles:
    """What to look for. Shared by the streams of a run, on whatever threads; it only grows.

    How values may be written is thought out when there is text to look at: most runs print nothing.
    """

    __slots__ = ("_by_head", "_known", "_learning", "_needles", "_new", "_shorts")

    def __init__(self, needles: Mapping[bytes, frozenset[int]]) -> None:
        """`needles` are free of line breaks; with each the places where the value itself has one, as far as these are within its beginning."""
        self._learning = threading.Lock()
        self._new: tuple[bytes, ...] = ()
        self._look_for(dict(needles))

    def _look_for(self, known: dict[bytes, frozenset[int]]) -> None:
        needles = tuple((needle, needle[:_SURE], own) for needle, own in known.items())
        by_head: dict[bytes, list[tuple[bytes, frozenset[int]]]] = {}
        shorts: dict[bytes, set[frozenset[int]]] = {}
        for needle, head, own in needles:
            by_head.setdefault(head, []).append((needle, own))
            for size in range(1, _SURE):
                shorts.setdefault(head[:size], set()).add(own)
        # Each is whole when it is put in its place: somebody may be looking with the one before.
        self._known, self._needles, self._by_head = known, needles, by_head
        self._shorts = {beginning: tuple(owns) for beginning, owns in shorts.items()}

    @classmethod
    def of(cls, values: Iterable[bytes]) -> "Needles | None":
        """Everything that hides these values; None when there is nothing to hide. Values under `encodings.SHORTEST` bytes are not masked."""
        hidden = [value for value in values if encodings.maskable(value)]
        if not hidden:
            return None
        needles = cls({})
        needles.add(*hidden)
        return needles

    def add(self, *values: bytes) -> None:
        """Hide these as well, in all that comes from now on."""
        with self._learning:
            self._new += values

    def _learn(self) -> None:
        with self._learning:
            if self._new:
                self._look_for(_found(self._known, self._new))
                # Only now: until then whoever looks has to wait.
                self._new = ()

    def mask(self, data: bytes) -> bytes:
        """The whole of a text, masked. Pure."""
        masker = StreamMasker(self)
        return masker.feed(data) + masker.flush()

    def mask_text(self, text: str) -> str:
        """The same for text; what cannot be UTF-8 in it becomes an escape. Pure."""
        return self.mask(text.encode("utf-8", "backslashreplace")).decode("utf-8", "replace")

    def look(self, text: "_Text") -> tuple[list[_Span], int]:
        """Where needles are, in order, those that overlap as one; and where the part begins that more bytes could make a needle (the end, if none)."""
        if self._new:
            self._learn()
        joined, length = text.joined, len(text.joined)
        found: list[_Span] = []
        first = length
        for at, needle, own in self._candidates(joined):
            end = at + len(needle)
            if end <= length:
                if joined.startswith(needle, at) and text.allows(at, end, own):
                    found.append((text.where(at), text.where(end - 1) + 1))
            elif at < first and needle.startswith(joined[at:]) and text.allows(at, length + 1, own):
                first = at
        first = min(first, self._first_short(text))
        return _merged(sorted(found)), text.where(first) if first < length else len(text.data)

    def _candidates(self, joined: bytes) -> Iterator[tuple[int, bytes, frozenset[int]]]:
        """Every place where the head of a needle stands, with that needle."""
        if len(self._needles) <= _FEW + len(joined) // _FEW_PER:
            for needle, head, own in self._needles:
                at = joined.find(head)
                while at >= 0:
                    yield at, needle, own
                    at = joined.find(head, at + 1)
            return
        by_head = self._by_head
        for at in range(len(joined) - _SURE + 1):
            head = joined[at : at + _SURE]
            if head in by_head:
                for needle, own in by_head[head]:
                    yield at, needle, own

    def _first_short(self, text: "_Text") -> int:
        """Where a beginning of fewer than `_SURE` characters stands at the end; the end, if none does."""
        length = len(text.joined)
        for size in range(min(_SURE - 1, length), 0, -1):
            owns = self._shorts.get(text.joined[-size:], ())
            if any(text.allows(length - size, length + 1, own) for own in owns):
                return length - size
        return length


class StreamMasker:
    """One stream. `feed` what comes, `flush` at its end; together they give all of it, masked."""

    __slots__ = ("_column", "_covered", "_held", "_needles")

    def __init__(self, needles: Needles) -> None:
        self._needles = needles
        self._held = b""
        self._covered = 0  # bytes at the beginning of `_held` whose mask was given already
        self._column = 0  # length of the line before `_held`

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give what is certain by now."""
        return self._give(self._held + data if self._held else data, at_end=False)

    def flush(self) -> bytes:
        """Nothing more will come: the rest."""
        return self._give(self._held, at_end=True) if self._held else b""

    def _give(self, data: bytes, *, at_end: bool) -> bytes:
        text = _Text(data, self._column)
        spans, until = self._needles.look(text)
        if at_end:
            until = len(data)
        given, at = [], 0
        for start, end in _merged([(0, self._covered), *spans]) if self._covered else spans:
            if start >= until:
                break
            given.append(data[at:start])
            if start or not self._covered:
                given.append(MASK)
            at = end
        # A mask may end behind what is given: what begins in it may yet make it longer.
        given.append(data[at:until])
        self._covered = max(0, at - until)
        self._held = data[until:]
        self._column = text.column_at(until)
        return b"".join(given) if len(given) > 1 else given[0]


class _Text:
    """Bytes with their line breaks taken out, and where these were."""

    def __init__(self, data: bytes, column: int) -> None:
        """`column`: how much of the first line came before."""
        self.data = data
        self.joined = data.translate(None, b"\r\n")
        self._column = column

    def where(self, index: int) -> int:
        """Where a character of `joined` is in `data`."""
        if len(self.joined) == len(self.data):
            return index
        before = bisect_right(self._breaks.at, index)
        return index + (self._breaks.removed[before - 1] if before else 0)

    def allows(self, start: int, end: int, own: frozenset[int]) -> bool:
        """Whether the breaks after `start` and before `end` of `joined` may be within a needle that begins at `start`."""
        if len(self.joined) == len(self.data):
            return True
        breaks = self._breaks
        for index in range(bisect_right(breaks.at, start), bisect_left(breaks.at, end)):
            inside = breaks.at[index] - start
            if breaks.length[index] > _LONGEST_BREAK:
                return False
            if inside < _SURE and inside not in own and breaks.line[index] < _WRAPPED:
                return False
        return True

    def column_at(self, index: int) -> int:
        """How long the line is before that place of `data`."""
        last = max(self.data.rfind(b"\n", 0, index), self.data.rfind(b"\r", 0, index))
        return index - last - 1 if last >= 0 else self._column + index

    @cached_property
    def _breaks(self) -> "_Breaks":
        return _Breaks(self.data, self._column)


class _Breaks:
    """Runs of line breaks, in columns: the index in the joined text that follows, what was removed so far, the run's length, the line's before it."""

    __slots__ = ("at", "length", "line", "removed")

    def __init__(self, data: bytes, column: int) -> None:
        self.at: list[int] = []
        self.removed: list[int] = []
        self.length: list[int] = []
        self.line: list[int] = []
        removed, line_start = 0, -column
        for run in _BREAKS.finditer(data):
            start, end = run.span()
            self.at.append(start - removed)
            self.length.append(end - start)
            self.line.append(start - line_start)
            removed += end - start
            self.removed.append(removed)
            line_start = end


def _found(known: Mapping[bytes, frozenset[int]], values: Iterable[bytes]) -> dict[bytes, frozenset[int]]:
    """What is known, with everything that hides these values."""
    found = dict(known)
    for value in values:
        for form in encodings.forms(value) | encodings.line_forms(value):
            needle = form.translate(None, b"\r\n")
            if len(needle) >= encodings.SHORTEST:
                found[needle] = found.get(needle, frozenset()) | _own_breaks(form)
    return found


def _own_breaks(form: bytes) -> frozenset[int]:
    """Where the beginning of a form has breaks itself, counted in characters that are none."""
    places: set[int] = set()
    seen = 0
    for byte in form:
        if byte in b"\r\n":
            places.add(seen)
        else:
            seen += 1
        if seen >= _SURE:
            break
    return frozenset(places)


def _merged(spans: list[_Span]) -> list[_Span]:
    """Sorted spans, those that overlap as one. Pure."""
    merged: list[_Span] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
