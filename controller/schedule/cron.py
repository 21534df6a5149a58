"""When a cron expression fires: the next and the latest instant of one expression in one time zone.

`plan` asks; `grammar` has read the expression before and `croniter` finds matching wall times. Zones and their jumps are ours, the
Debian way: an expression whose minute or hour begins with `*` follows real time through every jump; any other fires once where a
wall time exists twice (the first) and at the first instant after a gap where it does not exist. Day-of-month and weekday both
restricted means either. Invariant: instants come out strictly ascending and on whole seconds.
"""

import threading
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from croniter import CroniterBadDateError, croniter

from controller.schedule import grammar, zones

_DAY, _WEEKDAY, _SECOND_FIELDS = 2, 4, 6
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing is due before it, so that any earlier start may stand for "from the beginning"."""
_LAST_YEAR = 9000
"""Far enough from the end of the calendar that no arithmetic on the way can fall off it."""
_WESTERNMOST = timedelta(hours=16)
"""More than any zone was ever behind or ahead of UTC."""
_LOOKAHEAD = timedelta(hours=30)
"""More than any zone ever set its clocks back at once, and less than two changes are ever apart."""


class Cron:
    """One expression, parsed once. Made by `compiled`; safe to share between threads."""

    def __init__(self, expression: str, zone: str, hash_id: str) -> None:
        self.zone = zones.find(zone)
        parsed = grammar.parse(expression)
        self._fixed_offset = zone in {"UTC", "Etc/UTC"}
        self._wildcard_time = parsed.wildcard_time
        self._finders = [
            croniter(text, 0, datetime, hash_id=hash_id if parsed.hashed else None) for text in _sides(parsed.fields)
        ]
        self._lock = threading.Lock()
        self._known: tuple[tuple[datetime, datetime], ...] = ()

    def next_after(self, instant: datetime) -> datetime | None:
        """The first instant strictly after `instant` at which the expression fires; None when there is none.

        Shape:  aware UTC, whole seconds, from 1970 to about the year 9000.
        """
        start = max(instant.astimezone(UTC).replace(microsecond=0), _FIRST)
        for low, high in self._known:
            if low <= start < high:
                return high
        try:
            found = self._find(start)
        except OverflowError:
            return None
        if found is not None:
            # Many jobs share an expression and ask for the same two steps, so the last few answers are kept.
            self._known = ((start, found), *self._known[:3])
        return found

    def _find(self, start: datetime) -> datetime | None:
        if self._fixed_offset:
            wall = self._next_wall(start.replace(tzinfo=None))
            return wall.replace(tzinfo=UTC) if wall is not None else None
        return self._next_real(start) if self._wildcard_time else self._next_once(start)

    def _next_wall(self, wall: datetime) -> datetime | None:
        """The first matching wall time strictly after `wall`, zones aside."""
        if wall.year > _LAST_YEAR:
            return None
        found = []
        with self._lock:  # a croniter keeps the time it stands at
            for finder in self._finders:
                try:
                    found.append(finder.get_next(datetime, start_time=wall))
                except CroniterBadDateError:
                    continue
        return min(found, default=None)

    def _next_once(self, start: datetime) -> datetime | None:
        """Every matching wall time fires once, whether the zone shows it once, twice or never."""
        wall = self._next_wall(zones.to_wall(start, self.zone))
        while wall is not None:
            instant = zones.to_instant(wall, self.zone)
            if instant > start:
                return instant
            # The clock was set back and shows these times again; go on where it shows new ones.
            wall = self._next_wall(self._end_of_repetition(instant, wall))
        return None

    def _end_of_repetition(self, first_showing: datetime, wall: datetime) -> datetime:
        """The last second that the wall clock shows twice, after the repeated `wall`; `wall` itself when it is not repeated."""
        change = zones.first_change(first_showing, first_showing + _LOOKAHEAD, self.zone)
        if change is None:
            return wall
        last = zones.to_wall(change - timedelta(seconds=1), self.zone)
        return max(wall, last)

    def _next_real(self, start: datetime) -> datetime | None:
        """The first instant whose wall time matches, one stretch of constant offset after the other."""
        while True:
            ahead = zones.offset(start, self.zone)
            wall = self._next_wall(start.replace(tzinfo=None) + ahead)
            if wall is None:
                return None
            change = zones.first_change(start, start + _LOOKAHEAD, self.zone)
            instant = (wall - ahead).replace(tzinfo=UTC)
            if instant < (change or start + _LOOKAHEAD):
                return instant
            if change is not None:
                if self._matches(change):
                    return change
                start = change
                continue
            # Nothing matches before `wall`, whatever the offset will be, so most of the way can be skipped.
            start = max(start + timedelta(seconds=1), wall.replace(tzinfo=UTC) - _WESTERNMOST)

    def _matches(self, instant: datetime) -> bool:
        """Whether the wall clock shows a matching time at `instant`."""
        wall = zones.to_wall(instant, self.zone)
        return self._next_wall(wall - timedelta(seconds=1)) == wall


def compiled(expression: str, zone: str, hash_id: str) -> Cron:
    """The expression ready for use, from a bounded cache; `hash_id` counts only where the expression has an `H`.

    Errors: grammar.CronSyntaxError, zones.UnknownZoneError.
    """
    return _compiled(expression, zone, hash_id if _hashed(expression) else "")


@lru_cache(maxsize=4096)
def _compiled(expression: str, zone: str, hash_id: str) -> Cron:
    return Cron(expression, zone, hash_id)


def _hashed(expression: str) -> bool:
    # May be true of a THU, which costs a place in the cache and nothing else: the parsed form decides what croniter is given.
    return "H" in expression or "h" in expression


def _sides(fields: tuple[str, ...]) -> list[str]:
    """One text for croniter, or two when either a day of the month or a weekday may match."""
    if fields[_DAY] == "*" or fields[_WEEKDAY] == "*":
        return [" ".join(fields)]
    by_day, by_weekday = list(fields), list(fields)
    by_day[_WEEKDAY] = by_weekday[_DAY] = "*"
    return [" ".join(by_day), " ".join(by_weekday)]
