"""Cron expressions as Kubernetes reads them, written so that they mean the same here.

`jobwarden import cronjob` hands them to `controller.kinds.cronjobs`. Invariant: what is written fires at the instants of the original in a zone
without clock changes, or it is not written at all.
Source: github.com/robfig/cron v3, `ParseStandard`, which the CronJob controller uses.
"""

import re
from datetime import timedelta
from fractions import Fraction

from controller.base import durations
from controller.kinds.cronjobs import Level, Remark, Timing
from controller.schedule import grammar

_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_DAY, _WEEKDAY = 2, 4
_ZONES = ("TZ=", "CRON_TZ=")
# Longer units first, or `m` would match the first letter of `ms`.
_PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}


def timing(expression: str, pointer: str) -> Timing:
    """The fields of `schedule` that fire when Kubernetes would. Pure; never raises. `pointer` goes into the remarks."""
    text = expression.strip()
    if text.startswith(_ZONES):
        zone, _, rest = text.partition("=")[2].partition(" ")
        message = f"a time zone within the expression is not read here, nor supported by Kubernetes: {zone}"
        return _lost(pointer, message, f"write timeZone: {zone} and schedule: {rest.strip()!r}, and import again")
    if text.startswith("@every "):
        return _every(text.removeprefix("@every ").strip(), pointer)
    if not text.startswith("@"):
        fields = text.split()
        if len(fields) != 5:
            return _lost(pointer, f"{text!r} has {len(fields)} fields; Kubernetes reads five", "mend the expression")
        text = _rewritten(fields)
    if problems := grammar.check(text):
        return _lost(pointer, problems[0].message, problems[0].hint)
    if text == expression.strip():
        return Timing({"cron": text})
    said = Remark(
        Level.Differs, pointer, f"{expression!r} is written {text!r}, which is the same in the words of jobwarden"
    )
    return Timing({"cron": text}, (said,))


def _every(text: str, pointer: str) -> Timing:
    """A duration of Go, whose parts of a second robfig cuts off."""
    pieces = _PIECE.findall(text)
    if not pieces or "".join(map("".join, pieces)) != text:
        return _lost(pointer, f"@every {text}: that is no duration", "write every: 5m under schedule")
    seconds = max(1, int(sum(Fraction(number) * _SECONDS[unit] for number, unit in pieces)))
    if seconds > durations.MAXIMUM.total_seconds():
        return _lost(pointer, f"@every {text} is longer than a duration may be", "write a shorter one")
    message = (
        "@every becomes `every`, counted from when the controller first sees the job, not from the CronJob's creation"
    )
    said = Remark(Level.Differs, pointer, message, "write schedule.startAt to choose from when")
    return Timing({"every": durations.format(timedelta(seconds=seconds))}, (said,))


def _rewritten(fields: list[str]) -> str:
    texts = [_field(index, text) for index, text in enumerate(fields)]
    if "*" not in (texts[_DAY], texts[_WEEKDAY]):
        try:
            read = grammar.parse(" ".join(texts)).fields
        except grammar.CronSyntaxError:
            return " ".join(texts)
        if "*" in (read[_DAY], read[_WEEKDAY]):
            # Either may match, and one of them names every day: to us that is no restriction, and the other one would be left.
            texts[_DAY] = texts[_WEEKDAY] = "*"
    return " ".join(texts)


def _starred(text: str) -> bool:
    """Whether robfig takes the field for one that restricts nothing."""
    return any(item in ("*", "?", "*/1", "?/1") for item in text.split(","))


def _field(index: int, text: str) -> str:
    if _starred(text):
        return "*"
    return ",".join(_item(index, item) for item in text.split(","))


def _item(index: int, item: str) -> str:
    base, slash, step = item.upper().partition("/")
    if not slash or not (step.isascii() and step.isdigit()):
        return base + slash + step
    low, high = _LIMITS[index]
    far = int(step) > high - low + 1  # it never gets to a second value
    if base in ("*", "?"):
        return str(low) if far else f"*/{step}"
    if "-" not in base:
        return base if far else f"{base}-{high}/{step}"
    return base.partition("-")[0] if far else f"{base}/{step}"


def _lost(pointer: str, message: str, hint: str) -> Timing:
    return Timing({}, (Remark(Level.Lost, pointer, message, hint),))
