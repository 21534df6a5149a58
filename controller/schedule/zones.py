"""Time zones: found by name, and the two ways between an instant and what a wall clock shows.

`cron` and `plan` use it; nothing above them sees local time. A wall time is a naive datetime here, an instant an aware UTC one.
Invariant: `to_instant` never goes backwards as wall times grow, whatever a zone does to its offset.
"""

import difflib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_SECOND = timedelta(seconds=1)
_NOT_PLACES = ("posix/", "right/", "localtime", "posixrules", "Factory")


class UnknownZoneError(ValueError):
    """No IANA time zone has this name; the message says what to write."""


@lru_cache(maxsize=1024)
def find(name: str) -> ZoneInfo:
    """The zone of that IANA name. Errors: UnknownZoneError, with the closest names as a hint."""
    if name.startswith(_NOT_PLACES):
        raise UnknownZoneError(
            f"time zone {name[:64]!r} means something else on every machine: write a name such as Europe/Berlin"
        )
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownZoneError(f"unknown time zone {name[:64]!r}: {_suggestion(name[:64])}") from None


def to_wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """What the zone's wall clock shows at `instant`."""
    return instant.astimezone(zone).replace(tzinfo=None)


def to_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the wall clock first reaches `wall`.

    A wall time that exists twice gives the first of the two; one that does not exist gives the first instant after the gap.
    """
    before = wall.replace(tzinfo=zone, fold=0).utcoffset() or timedelta(0)
    after = wall.replace(tzinfo=zone, fold=1).utcoffset() or timedelta(0)
    instant = (wall - before).replace(tzinfo=UTC)
    if before >= after:
        return instant
    return first_change((wall - after).replace(tzinfo=UTC), instant, zone) or instant


def offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    """How far the wall clock is ahead of UTC at `instant`."""
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def first_change(start: datetime, end: datetime, zone: ZoneInfo) -> datetime | None:
    """The first instant in (start, end] whose offset differs from that at `start`; None when both ends have the same.

    Shape:  whole seconds. Assumes at most one change between the two, so callers keep them less than two days apart.
    """
    before = offset(start, zone)
    if offset(end, zone) == before:
        return None
    while end - start > _SECOND:
        middle = start + (end - start) // 2 // _SECOND * _SECOND
        if offset(middle, zone) == before:
            start = middle
        else:
            end = middle
    return end


def _suggestion(name: str) -> str:
    known = {zone.lower(): zone for zone in sorted(available_timezones()) if not zone.startswith(_NOT_PLACES)}
    asked = name.strip().lower().replace(" ", "_")
    exact = [known[asked]] if asked in known else []
    cities = [zone for lower, zone in known.items() if lower.rpartition("/")[2] == asked]
    close = [known[lower] for lower in difflib.get_close_matches(asked, known, n=3, cutoff=0.6)]
    meant = exact or list(dict.fromkeys([*cities, *close]))[:3]
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    return "write an IANA name such as Europe/Berlin, America/New_York or UTC"
