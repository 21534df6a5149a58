"""Bytes to plain documents: YAML as a Kubernetes user expects it, without its traps.

`parse` hands it a file. Read through libyaml's events, so that nesting is bounded before anything recurses; values are built here:

- booleans are `true` and `false` (YAML 1.2), numbers are decimal without leading zeros; `010`, `0x1f`, `1:30`, `yes`, `2026-01-01` are text;
- a key given twice is an error; keys are always text; merge keys (`<<: *base`) are followed, a key of the mapping itself wins;
- an alias shares the value that it names, and what all aliases of a document stand for counts towards its size;
- tags other than those of the core schema are errors of the document that has them.

What is wrong with one document is a `Problem` of that document, and the others are read. What is wrong with the syntax ends the file.
Invariant: any bytes give a value in time linear in their number; nothing raises.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from controller.kinds.records import Reason

MAX_FILE = 4 * 1024 * 1024  # bytes
MAX_DOCUMENT = 1024 * 1024  # characters, aliases expanded; an API server takes 1.5 MiB
MAX_DEPTH = 64  # our deepest kind has 8 levels
MAX_PROBLEMS = 50  # of one document

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NOT_TEXT = frozenset(["", *"~nNtTfF+-.0123456789"])  # a plain scalar that begins otherwise is text
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SURROGATES = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_LARGEST = 2**53 - 1  # what every JSON reader keeps exactly; RFC 8785 refuses more
_CORE = "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}


class Problem(msgspec.Struct, frozen=True):
    """Something wrong at a place; `line` and `column` count from 1."""

    reason: Reason
    message: str
    hint: str
    line: int
    column: int


class Document(msgspec.Struct, frozen=True):
    """One document: a plain value, what is wrong with it as YAML, and where its text is.

    `line` is that of its first key or item; `start` and `end` are positions in the stream's text, the former at the beginning of `start_line`.
    """

    value: Any
    line: int
    start_line: int
    problems: tuple[Problem, ...]
    start: int
    end: int


class Stream(msgspec.Struct, frozen=True):
    """One file. With a `problem` there are no documents: a file that is cut off in the middle is not half a file."""

    text: str
    documents: tuple[Document, ...] = ()
    problem: Problem | None = None


def read(data: bytes) -> Stream:
    """Every non-empty document of a file. Pure; never raises."""
    if len(data) > MAX_FILE:
        size, limit = _mebibytes(len(data)), _mebibytes(MAX_FILE)
        return _unreadable(
            Reason.TooLarge,
            f"the file has {size} MiB, and a file of manifests may have {limit} MiB",
            "Split it into several files",
        )
    if (nul := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, nul) + 1
        return _unreadable(
            Reason.NotText, "the file contains a NUL byte, so it is not text", "Rename it if it is no manifest", line
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        return _unreadable(Reason.NotText, message, "Save the file as UTF-8, or rename it if it is no manifest", line)
    stream = _stream(text)
    if stream.problem is not None and (joined := _join_surrogates(text)) != text:
        return _stream(joined)
    return stream


def _stream(text: str) -> Stream:
    try:
        return Stream(text, tuple(_Reader(text).documents()))
    except _TooDeep as deep:
        line, column = deep.mark.line + 1, deep.mark.column + 1
        message = f"nested more than {MAX_DEPTH} levels deep"
        return Stream(text, problem=Problem(Reason.TooLarge, message, "Write it flatter", line, column))
    except yaml.MarkedYAMLError as error:
        return Stream(text, problem=_syntax_problem(error, text))
    except yaml.reader.ReaderError as error:
        return Stream(text, problem=_character_problem(error, text))


def _join_surrogates(text: str) -> str:
    """JSON writes characters beyond U+FFFF as two escapes, which libyaml refuses; here they become one. Pure."""

    def joined(match: re.Match[str]) -> str:
        high, low = int(match[2], 16), int(match[3], 16)
        return f"{match[1]}\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08X}"

    return _SURROGATES.sub(joined, text)


def _unreadable(reason: Reason, message: str, hint: str, line: int = 1) -> Stream:
    return Stream("", problem=Problem(reason, message, hint, line, 1))


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:.1f}".removesuffix(".0")


def events(text: str) -> Callable[[], Any]:
    """Gives libyaml's next event on each call; PyYAML's resolver and constructor are never asked. Errors: yaml.YAMLError from a call."""
    get: Callable[[], Any] = yaml.CSafeLoader(text).get_event
    return get


def nesting(event: Any) -> int:
    """+1 where a collection begins, -1 where one ends, else 0. Pure."""
    return int(isinstance(event, CollectionStartEvent)) - int(isinstance(event, CollectionEndEvent))


class _TooDeep(Exception):
    """Nesting beyond the bound, met at a mark. Reading goes no further: libyaml takes quadratic time over deep brackets."""

    def __init__(self, mark: Any) -> None:
        super().__init__("too deep")
        self.mark = mark


class _Reader:
    """Builds the values of one stream. Lives for one call of `read`."""

    def __init__(self, text: str) -> None:
        self._get: Callable[[], Any] = events(text)
        self._anchors: dict[str, Any] = {}
        self._problems: list[Problem] = []
        self._expanded = 0

    def documents(self) -> list[Document]:
        found: list[Document] = []
        get = self._get
        start: Any = get()  # the stream's
        while type(start := get()) is not StreamEndEvent:
            self._anchors, self._problems, self._expanded = {}, [], 0
            first = get()
            value = self._value(first, 0)
            mark, end = start.start_mark, get().end_mark
            if end.index - mark.index > MAX_DOCUMENT:
                self._problem(
                    first,
                    Reason.TooLarge,
                    f"the document has more than {MAX_DOCUMENT} characters",
                    "Keep large data out of manifests",
                )
            if value is not None or self._problems:
                found.append(
                    Document(
                        value=value,
                        line=first.start_mark.line + 1,
                        start_line=mark.line + 1,
                        problems=tuple(self._problems),
                        start=mark.index - mark.column,
                        end=end.index,
                    )
                )
        return found

    def _value(self, event: Any, depth: int) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            value = self._scalar(event)
        elif kind is AliasEvent:
            return self._alias(event)
        elif depth >= MAX_DEPTH:
            raise _TooDeep(event.start_mark)
        elif kind is MappingStartEvent:
            value = self._mapping(event, depth + 1)
        else:
            value = self._sequence(event, depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _mapping(self, start: Any, depth: int) -> dict[str, Any]:
        if start.tag is not None:
            self._check_tag(start, "map")
        get, scalar = self._get, self._scalar
        out: dict[str, Any] = {}
        merged: list[Any] = []
        while type(key := get()) is not MappingEndEvent:
            # The usual key and the usual value first, without a call: this loop is where the time goes.
            plain = type(key) is ScalarEvent and key.anchor is None and key.value
            name = key.value if plain else self._key(key)
            event = get()
            value = scalar(event) if type(event) is ScalarEvent and event.anchor is None else self._value(event, depth)
            if name == "<<" and type(key) is ScalarEvent and key.implicit[0]:
                merged.extend(self._merge(event, value))
            elif name is None:
                continue
            elif name in out:
                message = f"the key {_shown(name)} is given twice in the same mapping"
                self._problem(key, Reason.DuplicateKey, message, "Remove one of the two")
            else:
                out[name] = value
        for source in merged:
            for name, value in source.items():
                out.setdefault(name, value)
        return out

    def _sequence(self, start: Any, depth: int) -> list[Any]:
        if start.tag is not None:
            self._check_tag(start, "seq")
        get = self._get
        out: list[Any] = []
        while type(event := get()) is not SequenceEndEvent:
            out.append(self._value(event, depth))
        return out

    def _key(self, event: Any) -> str | None:
        """The key's text as written: `1:` and `true:` are "1" and "true", as kubectl reads them. None: no usable key."""
        if type(event) is ScalarEvent:
            if event.anchor is not None:
                self._anchors[event.anchor] = event.value
            if event.value or not event.implicit[0]:
                return str(event.value)
        elif type(event) is AliasEvent:
            if isinstance(value := self._alias(event), str):
                return value
        else:
            self._skip()
        self._problem(
            event, Reason.WrongType, "a key must be text", "Write KEY: VALUE; put braces and brackets into quotes"
        )
        return None

    def _merge(self, event: Any, value: Any) -> list[dict[str, Any]]:
        sources = value if isinstance(value, list) else [value]
        if all(isinstance(source, dict) for source in sources):
            return sources
        self._problem(
            event,
            Reason.WrongType,
            "a merge key (<<) takes a mapping or a list of mappings",
            "Name one with <<: *anchor",
        )
        return []

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        plain, _ = event.implicit
        if plain:
            return self._plain(event, text) if text[:1] in _NOT_TEXT else text
        if event.tag is not None:
            return self._tagged(event, text)
        if event.style == '"' and not text.isprintable() and _CONTROL.search(text):
            message = "the text contains control characters, which environment, logs and databases do not carry"
            self._problem(event, Reason.InvalidValue, message, "Only tabs and line breaks are allowed")
        return text

    def _plain(self, event: Any, text: str) -> Any:
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            if len(text) < 18 and abs(number := int(text)) <= _LARGEST:
                return number
        elif not _FLOAT.fullmatch(text):
            return text
        elif math.isfinite(real := float(text)):
            return real
        self._problem(
            event, Reason.OutOfRange, f"{_shown(text)} is too large for a number", "If it is text, put it into quotes"
        )
        return text

    def _tagged(self, event: Any, text: str) -> Any:
        tag = event.tag
        if tag in ("!", _CORE + "str"):
            return text
        value = self._plain(event, text)
        kind = tag.removeprefix(_CORE)
        if kind not in _TYPES:
            self._check_tag(event, "str")
        elif type(value) not in _TYPES[kind]:
            self._problem(event, Reason.WrongType, f"{_shown(text)} is no !!{kind}", "Remove the tag")
        return value

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in ("!", _CORE + kind):
            message = f"the tag {_shown(event.tag)} means nothing here"
            self._problem(
                event, Reason.InvalidValue, message, "Remove it, or put a value that begins with ! into quotes"
            )

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            message = f"the alias *{_shown(event.anchor)} names no anchor above it"
            self._problem(
                event,
                Reason.InvalidValue,
                message,
                "Write &anchor at the value it means; put a value that begins with * into quotes",
            )
            return None
        if self._expanded > MAX_DOCUMENT:
            return None  # said once is enough
        value = self._anchors[event.anchor]
        self._expanded = _measure(value, self._expanded)
        if self._expanded <= MAX_DOCUMENT:
            return value
        message = f"with its aliases written out the document has more than {MAX_DOCUMENT} characters"
        self._problem(event, Reason.TooLarge, message, "Use fewer aliases")
        return None

    def _skip(self) -> None:
        """Read past the collection whose start was read last."""
        depth = 1
        while depth:
            event = self._get()
            depth += nesting(event)
            if depth > MAX_DEPTH:
                raise _TooDeep(event.start_mark)

    def _problem(self, event: Any, reason: Reason, message: str, hint: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            mark = event.start_mark
            self._problems.append(Problem(reason, message, hint, mark.line + 1, mark.column + 1))


def _measure(value: Any, so_far: int) -> int:
    """`so_far` plus the characters of `value`, or something beyond the bound as soon as that is passed. Pure."""
    pending = [value]
    while pending and so_far <= MAX_DOCUMENT:
        item = pending.pop()
        so_far += 1
        if isinstance(item, str):
            so_far += len(item)
        elif isinstance(item, dict):
            so_far += sum(map(len, item))
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return so_far


def _shown(text: str) -> str:
    """The text, shortened: messages carry no long values."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


_SYNTAX_HINTS = (
    ("mapping values are not allowed", "Indent keys of one mapping alike; put a value that contains ': ' into quotes"),
    ("found character that cannot start any token", "Put a value that begins with @, ` or % into quotes"),
    ("did not find expected key", "Indent keys of one mapping alike, and close every quote and bracket"),
    ("did not find expected '-' indicator", "Indent the items of one list alike"),
    ("could not find expected ':'", "Write KEY: VALUE; indent the lines of a multi-line value deeper than its key"),
    ("found unexpected end of stream", "A quote is not closed"),
    ("did not find expected ',' or", "Close every { and [, and separate their items by commas"),
    ("did not find expected <document start>", "Separate documents by a line ---, and close every quote and bracket"),
    ("found unknown escape character", "Use single quotes, or double the backslash"),
)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark: Any = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    what = str(error.problem or error.context)
    lines = text.split("\n")
    here = lines[line] if line < len(lines) else ""
    if "\t" in here[: column + 1] and not here[:column].strip():
        return Problem(
            Reason.SyntaxError,
            "the line is indented with a tab",
            "YAML is indented with spaces only",
            line + 1,
            column + 1,
        )
    hint = next(
        (hint for start, hint in _SYNTAX_HINTS if what.startswith(start)),
        "Check indentation, quotes and brackets here and above",
    )
    if error.context and error.context_mark and error.context_mark.line != line:
        what = f"{what} ({error.context} that begins in line {error.context_mark.line + 1})"
    return Problem(Reason.SyntaxError, f"not YAML: {what}", hint, line + 1, column + 1)


def _character_problem(error: yaml.reader.ReaderError, text: str) -> Problem:
    found = _CONTROL.search(text)
    before = text[: found.start() if found else 0]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    what = (
        f"the control character U+{ord(found[0]):04X}"
        if found
        else f"a character that YAML does not allow: {error.reason}"
    )
    return Problem(
        Reason.NotText, f"the file contains {what}", "Remove it, or rename the file if it is no manifest", line, column
    )
