"""The cron grammar that jobwarden accepts, checked before any library sees an expression.

`reconcile.check` hands expressions in and shows the problems to people; `cron` takes the parsed form. Invariant: whatever `parse`
accepts has one meaning, fires at least once in every few years, and is rewritten to explicit numbers, so that no reader of cron
dialects further down can understand something else.

    minute hour day-of-month month day-of-week [second]
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec

MAX_LENGTH = 512

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Problem(msgspec.Struct, frozen=True):
    """What is wrong at `offset` (characters from the start of the expression), and what to write instead."""

    message: str
    hint: str
    offset: int

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class CronSyntaxError(ValueError):
    """The expression is refused; `problems` says why, in the order of its fields."""

    def __init__(self, expression: str, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(f"cron {expression[:MAX_LENGTH]!r}: " + "; ".join(map(str, problems)))


class Parsed(msgspec.Struct, frozen=True):
    """An accepted expression.

    `fields` are five or six texts of explicit numbers (or `*`, `L`, `L5`, `5#2`, a form of `H`), in the order of the grammar.
    `wildcard_time` tells that the minute or hour began with `*`; `hashed` that an `H` occurs.
    """

    fields: tuple[str, ...]
    wildcard_time: bool
    hashed: bool


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    every: str = ""
    article: str = "a"


_FIELDS = (
    _Field("minute", 0, 59, every="m"),
    _Field("hour", 0, 23, every="h", article="an"),
    _Field("day-of-month", 1, 31, every="d"),
    _Field("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    _Field("day-of-week", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
    _Field("second", 0, 59, every="s"),
)
_HOUR, _DAY, _MONTH, _WEEKDAY = 1, 2, 3, 4
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ORDER = "minute hour day-of-month month day-of-week, and seconds as a sixth field if wanted"
_HASH = re.compile(r"H(?:\((\d{1,4})-(\d{1,4})\))?(?:/(\d{1,4}))?", re.ASCII)


class _Refused(Exception):
    """Carries a Problem out of one field; never leaves this module."""

    def __init__(self, message: str, hint: str, offset: int) -> None:
        self.problem = Problem(message, hint, offset)


def check(expression: str) -> list[Problem]:
    """Every problem of the expression, one a field at most; none when it can be used. Pure."""
    try:
        parse(expression)
    except CronSyntaxError as error:
        return error.problems
    return []


@lru_cache(maxsize=4096)
def parse(expression: str) -> Parsed:
    """The expression in explicit numbers. Pure. Errors: CronSyntaxError."""
    try:
        parts = _split(expression)
    except _Refused as refused:
        raise CronSyntaxError(expression, [refused.problem]) from None
    texts: list[str] = []
    problems: list[Problem] = []
    for index, (part, offset) in enumerate(parts):
        try:
            texts.append(_field(index, part.upper(), offset))
        except _Refused as refused:
            problems.append(refused.problem)
    if not problems:
        problems = _never(texts, parts[_DAY][1])
    if problems:
        raise CronSyntaxError(expression, problems)
    if all(not part.startswith(("*", "?")) for part, _ in (parts[_DAY], parts[_WEEKDAY])) and "*" in (
        texts[_DAY],
        texts[_WEEKDAY],
    ):
        # Both are restricted in writing, so either may match, and one of them names every day: 1-31 beside MON is every day.
        texts[_DAY] = texts[_WEEKDAY] = "*"
    wildcard = any(part.startswith("*") for part, _ in parts[: _HOUR + 1])
    return Parsed(tuple(texts), wildcard, any("H" in text for text in texts))


def _split(expression: str) -> list[tuple[str, int]]:
    """The fields with their offsets, macros resolved."""
    if len(expression) > MAX_LENGTH:
        raise _Refused(f"the expression has {len(expression)} characters", f"at most {MAX_LENGTH} are read", MAX_LENGTH)
    parts = [(match[0], match.start()) for match in re.finditer(r"\S+", expression)]
    if not parts:
        raise _Refused("the expression is empty", f"write {_ORDER}, such as 30 2 * * *", 0)
    first, offset = parts[0]
    if not expression.isascii() or any(char in expression for char in "\n\r\v\f\0"):
        where = next(i for i, char in enumerate(expression) if not char.isascii() or (char < " " and char != "\t"))
        raise _Refused(
            f"unexpected character {expression[where]!r}",
            "use digits, names and * , - / # with plain spaces between",
            where,
        )
    if first.upper().startswith(("TZ=", "CRON_TZ=")):
        zone = first.partition("=")[2] or "Europe/Berlin"
        raise _Refused(f"{first} is not read here", f"set timeZone: {zone} beside the expression", offset)
    if first.startswith("@"):
        return _macro(parts)
    return _five_or_six(parts)


def _macro(parts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    name, offset = parts[0]
    if name.lower() == "@every":
        raise _Refused("@every is not read here", "write every: 5m instead of a cron expression", offset)
    if len(parts) > 1:
        raise _Refused(f"{name} stands alone", "remove what follows it, or write the fields out", parts[1][1])
    if name.lower() == "@reboot":
        raise _Refused(
            "@reboot is not a time",
            "a job that runs when something starts is no schedule; use jobwarden trigger",
            offset,
        )
    if name.lower() not in MACROS:
        raise _Refused(f"{name} is not known", "known are " + ", ".join(MACROS), offset)
    return [(field, offset) for field in MACROS[name.lower()].split()]


def _five_or_six(parts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    if len(parts) < 5:
        raise _Refused(f"{len(parts)} fields where 5 or 6 are needed", f"the order is {_ORDER}", parts[-1][1])
    if len(parts) > 6:
        hint = "there is no year field; use startAt and endAt" if len(parts) == 7 else f"the order is {_ORDER}"
        raise _Refused(f"{len(parts)} fields where 5 or 6 are needed", hint, parts[6][1])
    return parts


def _field(index: int, text: str, offset: int) -> str:
    """One field in explicit numbers."""
    field = _FIELDS[index]
    if text == "?" and index in (_DAY, _WEEKDAY):
        return "*"
    if "?" in text:
        where = "stands alone" if index in (_DAY, _WEEKDAY) else f"has no meaning in the {field.name} field"
        raise _Refused(f"? {where}", "write *", offset + text.index("?"))
    if text.startswith(("H", "R")) and not text.startswith(field.names or ("\0",)):
        return _hashed(index, text, offset)
    values: list[int] = []
    special: list[str] = []
    for item, at in _items(field, text, offset):
        name = _special(index, item, at)
        if name:
            special.append(name)
        else:
            values.extend(_values(index, item, at))
    if index == _WEEKDAY:
        values = [value % 7 for value in values]
        if special and values:
            hint = "give the job two entries in crons, one for each"
            raise _Refused(f"{text} mixes plain weekdays with L or #", hint, offset)
    values = sorted(set(values))
    if len(values) == _span(index):
        return "*"
    return ",".join([*map(str, values), *dict.fromkeys(special)])


def _items(field: _Field, text: str, offset: int) -> Iterator[tuple[str, int]]:
    """The parts of a list with their offsets."""
    for item in text.split(","):
        if not item:
            raise _Refused(f"an empty part in the {field.name} list {text}", "remove the extra comma", offset)
        yield item, offset
        offset += len(item) + 1


def _special(index: int, item: str, offset: int) -> str:
    """`L`, `L5` and `5#2` in the spelling of croniter, or nothing when the item is plain."""
    field = _FIELDS[index]
    if index == _DAY:
        if item == "L":
            return "L"
        if "W" in item:
            hint = "name weekdays in the day-of-week field, such as 1-5, or a day of the month"
            raise _Refused(f"{item}: W (nearest weekday) is not read here", hint, offset)
        if item.startswith("L-"):
            raise _Refused(
                f"{item}: days before the last are not read here", "write L for the last day, or numbers", offset
            )
    if index == _WEEKDAY:
        if "#" in item:
            return _nth(item, offset)
        if re.fullmatch(r"L.+", item):
            return f"L{_number(field, item[1:], offset + 1) % 7}"
        if re.fullmatch(r".+L", item) and item not in field.names:
            raise _Refused(f"{item} is not read here", f"write L{item[:-1]} for the last one of the month", offset)
        if item == "L":
            raise _Refused(
                "L needs a weekday here", "write L5 for the last Friday, or L in the day-of-month field", offset
            )
    return ""


def _nth(item: str, offset: int) -> str:
    day, _, nth = item.partition("#")
    if nth not in {"1", "2", "3", "4", "5"}:
        hint = "write a weekday and 1 to 5, such as 5#2 for the second Friday"
        raise _Refused(f"{item} names no week of a month", hint, offset + len(day) + 1)
    return f"{_number(_FIELDS[_WEEKDAY], day, offset) % 7}#{nth}"


def _values(index: int, item: str, offset: int) -> list[int]:
    """The numbers that a star, number, range or step means."""
    field = _FIELDS[index]
    base, slash, step_text = item.partition("/")
    step = _step(index, step_text, offset + len(base) + 1) if slash else 1
    if base == "*":
        return list(range(field.low, _last(index) + 1, step))
    low_text, dash, high_text = base.partition("-")
    if not dash:
        low = _number(field, low_text, offset)
        if slash:
            hint = f"write {low_text}-{_last(index)}/{step_text} to begin at {low_text}, or */{step_text}"
            raise _Refused(f"{item}: a step needs * or a range before it", hint, offset)
        return [low]
    if not low_text or not high_text:
        raise _Refused(f"{base} is not a range", f"write two numbers, such as {field.low}-{field.low + 4}", offset)
    low, high = _number(field, low_text, offset), _number(field, high_text, offset + len(low_text) + 1)
    if index == _WEEKDAY and high == 0 and low > 0:
        high = 7
    if high < low:
        hint = f"write {low}-{_last(index)},{field.low}-{high}"
        raise _Refused(f"{base} runs backwards", hint, offset)
    return list(range(low, high + 1, step))


def _step(index: int, text: str, offset: int) -> int:
    field = _FIELDS[index]
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise _Refused(f"{text or 'nothing'} is not a step", "write a number after /, such as */15", offset)
    step = int(text)
    if step == 0:
        raise _Refused("a step of 0 goes nowhere", "write a number from 1", offset)
    if step > _span(index):
        hint = f"write every: {step}{field.every} instead of cron" if field.every else f"write at most {_span(index)}"
        raise _Refused(f"a step of {step} is longer than the {field.name} field", hint, offset)
    return step


def _number(field: _Field, text: str, offset: int) -> int:
    """One number or name of the field."""
    if text in field.names:
        return field.names.index(text) + (1 if field.low else 0)
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise _Refused(f"{text or 'nothing'} is not {field.article} {field.name}", _allowed(field), offset)
    number = int(text)
    if not field.low <= number <= field.high:
        raise _Refused(f"{number} is not {field.article} {field.name}", _allowed(field), offset)
    return number


def _allowed(field: _Field) -> str:
    names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    return f"write {field.low} to {field.high}{names}"


def _hashed(index: int, text: str, offset: int) -> str:
    """`H` in the spelling of croniter, its range inside the field."""
    field = _FIELDS[index]
    if text.startswith("R"):
        raise _Refused("R (random) is not read here", "write H, which spreads jobs and stays the same for each", offset)
    match = _HASH.fullmatch(text)
    if match is None:
        hint = "write H, H/15, H(0-29) or H(0-29)/10, alone in its field"
        raise _Refused(f"{text} is not a form of H", hint, offset)
    # The 29th to 31st do not exist in every month, so a bare H keeps away from them.
    default = (field.low, 28 if index == _DAY else _last(index))
    low, high = (int(match[1]), int(match[2])) if match[1] else default
    if not field.low <= low < high <= _last(index):
        raise _Refused(
            f"{text}: {low}-{high} is not a range of {field.name}", f"stay within {default[0]}-{_last(index)}", offset
        )
    step = f"/{_step(index, match[3], offset + match.start(3))}" if match[3] else ""
    return f"H({low}-{high}){step}"


def _never(texts: list[str], offset: int) -> list[Problem]:
    """A day of the month that none of the months has, unless a weekday makes up for it."""
    days, months = texts[_DAY], texts[_MONTH]
    if texts[_WEEKDAY] != "*" or days == "*" or "L" in days:
        return []
    # An H may land on any of its values, so the worst of them has to exist.
    month_numbers = range(1, 13) if months == "*" else _numbers(months)
    longest = (min if "H" in months else max)(_LONGEST_MONTH[month - 1] for month in month_numbers)
    earliest = (max if "H" in days else min)(_numbers(days))
    if earliest <= longest:
        return []
    hint = "write a day that exists, or L for the last day of the month"
    return [Problem(f"day {earliest} never occurs in the months named", hint, offset)]


def _numbers(text: str) -> list[int]:
    """The values of a plain list, or those that an H may land on."""
    hashed = re.match(r"H\((\d+)-(\d+)\)", text)
    if hashed:
        return list(range(int(hashed[1]), int(hashed[2]) + 1))
    return [int(number) for number in text.split(",")]


def _last(index: int) -> int:
    return 6 if index == _WEEKDAY else _FIELDS[index].high


def _span(index: int) -> int:
    return _last(index) - _FIELDS[index].low + 1
