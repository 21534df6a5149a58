"""Instants, ages and output as people and programs read them. Shared by every view; pure throughout."""

import math
from datetime import datetime, timedelta

from controller.base.clock import rfc3339

__all__ = ["NONE", "age", "maybe", "printed", "rfc3339", "since", "to_second", "until"]

NONE = "<none>"


def maybe(instant: datetime | None) -> str | None:
    """`rfc3339`, or None for none."""
    return None if instant is None else rfc3339(instant)


def to_second(instant: datetime) -> str:
    """RFC 3339 without a fraction, as the instants of conditions are written."""
    return rfc3339(instant.replace(microsecond=0))


def age(span: timedelta) -> str:
    """A span as kubectl shows ages: two units while they are small, one when that is close enough.

    >>> [age(timedelta(seconds=s)) for s in (5, 119, 150, 3700, 90000, 40 * 86400)]
    ['5s', '119s', '2m30s', '61m', '25h', '40d']
    """
    seconds = math.floor(span.total_seconds())
    if seconds < 0:
        return "0s" if seconds > -2 else "<invalid>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if days < 2:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 8 * 365 else f"{days // 365}y"


def since(instant: datetime | None, now: datetime) -> str:
    """The age of an instant, `<none>` for none."""
    return NONE if instant is None else age(max(now - instant, timedelta(0)))


def until(instant: datetime | None, now: datetime) -> str:
    """How long until an instant; `now` when it has come, `<none>` for none."""
    if instant is None:
        return NONE
    # Rounded up: something due in 0.4 s is not due yet.
    left = timedelta(seconds=math.ceil((instant - now).total_seconds()))
    return age(left) if left > timedelta(0) else "now"


def printed(data: bytes, *, cut: bool = False) -> str:
    """What a process printed, as text: whatever is not UTF-8 is shown as U+FFFD.

    `cut`: the beginning is missing; a character that the cut went through is left out whole.
    """
    start = 0
    if cut:
        # A character continues for at most three bytes (RFC 3629).
        start = next(
            (index for index, byte in enumerate(data[:3]) if byte & 0b1100_0000 != 0b1000_0000), min(3, len(data))
        )
    return data[start:].decode("utf-8", "replace")


def _two(large: int, unit: str, small: int, lesser: str) -> str:
    return f"{large}{unit}{small}{lesser}" if small else f"{large}{unit}"
