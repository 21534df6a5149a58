"""Durations as people write them (`90s`, `1h30m`, `1d`) and as `timedelta`s.

`kinds` reads them from documents; status, the command line and messages print them. Invariant: `parse(format(d)) == d` for every
non-negative duration of whole seconds within MAXIMUM.
"""

import re
from datetime import timedelta
from functools import lru_cache

MAXIMUM = timedelta(days=36_500)
"""The longest duration that can be written: a century, so that sums with instants stay representable."""

_SHAPE = re.compile(r"(?=.)(?:(\d{1,12})d)?(?:(\d{1,12})h)?(?:(\d{1,12})m)?(?:(\d{1,12})s)?", re.ASCII)
_ALLOWED = "write whole numbers with d, h, m and s, the larger unit first, such as 90s, 5m, 1h30m or 1d"


@lru_cache(maxsize=1024)  # ten thousand jobs say the same few
def parse(text: str) -> timedelta:
    """The duration that `text` means; `0` alone is accepted for none.

    Units:  d is 24 hours, h, m, s; each at most once, larger first, no spaces, no fractions, no sign.
    Errors: ValueError, whose text says what is allowed.
    """
    if text == "0":
        return timedelta(0)
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: {_ALLOWED}")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total > MAXIMUM.total_seconds():
        raise ValueError(f"{text!r} is too long: a duration is at most {format(MAXIMUM)}")
    return timedelta(seconds=total)


def format(duration: timedelta) -> str:  # noqa: A001 - reads as durations.format
    """`duration` in the spelling that `parse` reads; parts of a second, and a leading minus, are for display only. Pure.

    >>> format(timedelta(minutes=90)), format(timedelta(milliseconds=250)), format(timedelta(seconds=61.5))
    ('1h30m', '250ms', '1m1.5s')
    """
    if duration < timedelta(0):
        return "-" + format(-duration)
    if timedelta(0) < duration < timedelta(seconds=1):
        return _decimal(duration / timedelta(milliseconds=1)) + "ms"
    minutes, rest = divmod(duration, timedelta(minutes=1))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count}{unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if count]
    if rest or not parts:
        parts.append(_decimal(rest.total_seconds()) + "s")
    return "".join(parts)


def _decimal(number: float) -> str:
    text = f"{number:.6f}".rstrip("0").rstrip(".")
    return text or "0"
