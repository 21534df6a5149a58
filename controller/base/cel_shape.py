"""What an expression may look like before the CEL library sees it: tokens, nesting, macros, names, regular expressions.

`cel.compile` hands the text in. The library runs in this process, holds the interpreter lock and has neither a step limit nor a
guard for its stack, so everything that could make it slow or deep is refused here, by counting tokens. Invariant: an accepted
expression costs a second at most, and mostly microseconds, on the inputs that `cel` lets through, and fits a thread stack of 512 KiB.
Source: the lexical rules of the CEL language definition.
"""

import math
import re
from collections.abc import Iterator

import msgspec

MAX_BYTES = 4096
MAX_DEPTH = 16
MAX_OPERATORS = 200
MAX_ADDITIONS = 64
MAX_MACROS = 4
MAX_MACRO_TOKENS = 64
MAX_LIST = 64
MAX_MATCHES = 4
MAX_PATTERN = 256
MAX_REPETITION = 100

MACROS = frozenset({"all", "exists", "exists_one", "filter"})
CONVERSIONS = frozenset({"size", "int", "uint", "double", "string", "bytes", "duration", "timestamp"})
METHODS = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches"}
    | {"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)

_LITERALS = frozenset({"true", "false", "null", "in"})
_OPENERS = {"(": ")", "[": "]", "{": "}"}
_BALANCED = frozenset({"&&", "||", ",", ":", "(", ")", "]", "{", "}"})
_TOKEN = re.compile(
    r"""
      (?P<space>\s+|//[^\n]*)
    | (?P<string>[bB]?[rR](?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n\r]*'|"[^"\n\r]*")
        |[bB]?(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n\r])*'|"(?:\\.|[^"\\\n\r])*"))
    | (?P<number>0x[0-9a-fA-F]+u?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_REPETITION = re.compile(r"\{(\d*)(?:,(\d*))?\}")


class ShapeError(ValueError):
    """The expression is refused; the message names line and column, what is wrong and what to do."""


class Token(msgspec.Struct, frozen=True):
    """One token; `kind` is string, number, name or sign, `start` counts characters."""

    kind: str
    text: str
    start: int


class Shape(msgspec.Struct, frozen=True):
    """What a caller needs to know of an accepted expression."""

    variables: frozenset[str]
    has_macros: bool
    patterns: tuple[str, ...]
    """The regular expressions, as quoted in the text."""


def inspect(text: str, variables: frozenset[str]) -> Shape:
    """The names that the expression uses of `variables`. Pure. Errors: ShapeError."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ShapeError(f"the expression has {size} bytes: at most {MAX_BYTES} are read")
    return _Inspection(text, variables).shape()


class _Inspection:
    """The tokens of one expression, with their brackets paired, walked once for each rule."""

    def __init__(self, text: str, variables: frozenset[str]) -> None:
        self._text = text
        self._known = variables
        self._tokens = list(self._read())
        if not self._tokens:
            raise ShapeError("the expression is empty: write a condition such as parents['build'].exitCode == 0")
        self._closing = self._pair()

    def shape(self) -> Shape:
        self._check_counts()
        scopes = list(self._macros())
        used = frozenset(self._variables(scopes))
        return Shape(used, bool(scopes), tuple(self._patterns(scopes)))

    def _fail(self, token: Token | None, message: str) -> ShapeError:
        start = token.start if token is not None else len(self._text)
        return ShapeError(f"{position(self._text, start)}: {message}")

    def _read(self) -> Iterator[Token]:
        at = 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                char = self._text[at]
                hint = "the quote is not closed" if char in "'\"" else f"unexpected character {char!r}"
                raise ShapeError(f"{position(self._text, at)}: {hint}")
            if match.lastgroup and match.lastgroup != "space":
                yield Token(match.lastgroup, match[0], at)
            at = match.end()

    def _pair(self) -> dict[int, int]:
        """Index of the closing bracket for the index of each opening one."""
        pairs: dict[int, int] = {}
        stack: list[int] = []
        for index, token in enumerate(self._tokens):
            if token.kind != "sign":
                continue
            if token.text in _OPENERS:
                stack.append(index)
                if len(stack) > MAX_DEPTH:
                    raise self._fail(token, f"brackets are nested deeper than {MAX_DEPTH}: split the condition")
            elif token.text in _OPENERS.values():
                if not stack or _OPENERS[self._tokens[stack[-1]].text] != token.text:
                    raise self._fail(token, f"{token.text} closes nothing")
                pairs[stack.pop()] = index
        if stack:
            raise self._fail(self._tokens[stack[-1]], f"{self._tokens[stack[-1]].text} is not closed")
        return pairs

    def _check_counts(self) -> None:
        signs = [token for token in self._tokens if token.kind == "sign" or token.text == "in"]
        for limit, what, counted in (
            (MAX_OPERATORS, "operators", [token for token in signs if token.text not in _BALANCED]),
            (MAX_ADDITIONS, "additions", [token for token in signs if token.text == "+"]),
        ):
            if len(counted) > limit:
                raise self._fail(counted[limit], f"more than {limit} {what}: split the condition")
        for opening, closing in self._closing.items():
            commas = sum(token.text == "," for token in self._tokens[opening:closing])
            if commas >= MAX_LIST:
                raise self._fail(
                    self._tokens[opening], f"more than {MAX_LIST} elements: compare with something shorter"
                )

    def _macros(self) -> Iterator[tuple[str, int, int]]:
        """(bound name, first, last token) of the argument part of each comprehension."""
        end = -1
        count = 0
        for index in range(1, len(self._tokens) - 1):
            if not self._is_call(index) or self._tokens[index - 1].text != ".":
                continue
            token = self._tokens[index]
            if token.text == "map":
                raise self._fail(token, "map is not supported: a condition needs all, exists or exists_one")
            if token.text not in MACROS:
                continue
            count += 1
            if count > MAX_MACROS:
                raise self._fail(token, f"more than {MAX_MACROS} of {', '.join(sorted(MACROS))}: split the condition")
            if index < end:
                raise self._fail(token, f"{token.text} inside another comprehension is not supported")
            end = self._closing[index + 1]
            yield self._macro(index, end)

    def _macro(self, index: int, end: int) -> tuple[str, int, int]:
        """The comprehension whose name is the token at `index`, its parts checked."""
        name, bound = self._tokens[index], self._tokens[index + 2]
        if bound.kind != "name" or bound.text in _LITERALS or self._tokens[index + 3].text != ",":
            raise self._fail(name, f"write {name.text}(name, condition)")
        if name.text == "filter" and not self._ends_path(index - 2):
            # It copies what it keeps, one more time for each element, so its elements must be the short keys of an input.
            raise self._fail(name, "filter works on an input itself, such as parents.filter(name, condition)")
        if bound.text in self._known:
            raise self._fail(bound, f"{bound.text} is the name of an input: choose another for the element")
        if end - index > MAX_MACRO_TOKENS:
            raise self._fail(
                name, f"the condition inside {name.text} has more than {MAX_MACRO_TOKENS} parts: make it shorter"
            )
        for token in self._tokens[index + 4 : end]:
            if token.text == "+" and token.kind == "sign":
                raise self._fail(token, f"+ inside {name.text} is not supported: rewrite the comparison without it")
        return bound.text, index + 2, end

    def _variables(self, scopes: list[tuple[str, int, int]]) -> Iterator[str]:
        """The inputs used. Errors: names, functions and message types that do not exist."""
        for index, token in enumerate(self._tokens):
            if token.kind != "name" or token.text in _LITERALS:
                continue
            after_dot = index > 0 and self._tokens[index - 1].text == "."
            if self._is_call(index):
                self._check_function(token, after_dot=after_dot)
            elif self._text_at(index + 1) == "{":
                raise self._fail(token, f"there is no type {token.text} here")
            elif after_dot and index > 1 and self._is_operand(index - 2):
                continue
            elif token.text in self._known and not after_dot:
                yield token.text
            elif not any(token.text == bound and first <= index <= last for bound, first, last in scopes):
                raise self._fail(token, f"unknown name {token.text}: known are {', '.join(sorted(self._known))}")

    def _check_function(self, token: Token, *, after_dot: bool) -> None:
        if after_dot and token.text not in METHODS | MACROS:
            raise self._fail(
                token, f"unknown function .{token.text}(): known are {', '.join(sorted(METHODS | MACROS))}"
            )
        if not after_dot and token.text not in CONVERSIONS | {"has"}:
            raise self._fail(
                token, f"unknown function {token.text}(): known are {', '.join(sorted(CONVERSIONS | {'has'}))}"
            )

    def _patterns(self, scopes: list[tuple[str, int, int]]) -> Iterator[str]:
        count = 0
        for index, token in enumerate(self._tokens):
            if token.text != "matches" or token.kind != "name" or not self._is_call(index):
                continue
            count += 1
            if count > MAX_MATCHES:
                raise self._fail(token, f"more than {MAX_MATCHES} regular expressions: split the condition")
            if any(first <= index <= last for _, first, last in scopes):
                raise self._fail(
                    token, "matches inside a comprehension is not supported: use contains, startsWith or =="
                )
            pattern = self._tokens[index + 2]
            if pattern.kind != "string" or self._text_at(index + 3) != ")":
                raise self._fail(token, "matches needs its regular expression written out, as one text in quotes")
            self._check_pattern(pattern)
            yield pattern.text

    def _check_pattern(self, pattern: Token) -> None:
        if len(pattern.text) > MAX_PATTERN:
            raise self._fail(pattern, f"the regular expression is longer than {MAX_PATTERN} characters")
        bounds = [int(number) for match in _REPETITION.finditer(pattern.text) for number in match.groups() if number]
        if math.prod(max(number, 1) for number in bounds) > MAX_REPETITION:
            raise self._fail(
                pattern, f"the repetitions {{n}} of the regular expression multiply to more than {MAX_REPETITION}"
            )

    def _is_call(self, index: int) -> bool:
        return self._tokens[index].kind == "name" and self._text_at(index + 1) == "("

    def _ends_path(self, index: int) -> bool:
        """Whether the token ends a path into an input: a name, or an index into one."""
        if self._tokens[index].text != "]":
            return self._tokens[index].kind == "name"
        opening = next(start for start, end in self._closing.items() if end == index)
        return opening > 0 and self._ends_path(opening - 1)

    def _is_operand(self, index: int) -> bool:
        token = self._tokens[index]
        return token.kind != "sign" or token.text in _OPENERS.values()

    def _text_at(self, index: int) -> str:
        return self._tokens[index].text if index < len(self._tokens) else ""


def position(text: str, start: int) -> str:
    """`line 1, column 7` of the character at `start`, both counted from 1."""
    before = text[:start]
    return f"line {before.count(chr(10)) + 1}, column {start - (before.rfind(chr(10)) + 1) + 1}"
