"""Label selectors as kubectl reads them: `a=b,c!=d,e in (x,y),f notin (z),g,!h`.

Views filter with them. Invariant: a selector that cannot be understood is an error, never an empty or a full answer.
Source: Kubernetes labels and selectors; all requirements must hold.
"""

import re
from collections.abc import Callable, Mapping

from controller.base.errors import InvalidInput

Matches = Callable[[Mapping[str, str]], bool]

_KEY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")
_COMMA = re.compile(r",(?![^(]*\))")


def parse(text: str) -> Matches:
    """A test of labels; an empty selector accepts everything. Errors: InvalidInput naming the part that makes no sense."""
    if not text.strip():
        return lambda _labels: True
    tests = [_requirement(part.strip(), text) for part in _COMMA.split(text)]
    return lambda labels: all(test(labels) for test in tests)


def _requirement(part: str, whole: str) -> Matches:
    if found := _SET.fullmatch(part):
        key, operator, listed = found.groups()
        values = frozenset(value.strip() for value in listed.split(","))
        if all(re.fullmatch(_VALUE, value) for value in values):
            return _among(key, values) if operator == "in" else _not_among(key, values)
    if found := _EQUAL.fullmatch(part):
        key, operator, value = found.groups()
        return _not_among(key, frozenset({value})) if operator == "!=" else _among(key, frozenset({value}))
    if found := _EXISTS.fullmatch(part):
        absent, key = found.groups()
        return lambda labels: (key in labels) is not bool(absent)
    error = InvalidInput(f"{part!r} in the selector {whole!r} makes no sense")
    error.add_note("write key=value, key!=value, key in (a,b), key notin (a,b), key or !key, separated by commas")
    raise error


def _among(key: str, values: frozenset[str]) -> Matches:
    return lambda labels: labels.get(key) in values if key in labels else False


def _not_among(key: str, values: frozenset[str]) -> Matches:
    # As in Kubernetes, a resource without the label is not one of those values.
    return lambda labels: labels.get(key) not in values if key in labels else True
