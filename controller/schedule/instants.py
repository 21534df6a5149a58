"""The instants that a Schedule names: next, latest, how many. One view over crons, every and at, cut to the schedule's window.

`plan` builds one for each question and asks it. Invariant: everything here is nominal time (no jitter), strictly ascending, and
bounded work: nothing walks through a long absence instant by instant.

    at      once, at that instant
    every   anchor + k * every: k from 0 when startAt is the anchor, from 1 when the anchor is the second in which the job was first seen
    crons   whatever any of them matches
    window  startAt and endAt are both part of it
"""

from datetime import UTC, datetime, timedelta

from controller.domain.job import Schedule
from controller.schedule import cron

_TICK = timedelta(microseconds=1)
_FIRST_REACH = timedelta(minutes=1)


class Instants:
    """The nominal instants of one schedule. Cheap to make; expressions come from a cache."""

    def __init__(self, schedule: Schedule, key: str, anchor: datetime) -> None:
        """`key` is namespace/name, from which H is derived; `anchor` counts for `every` without `startAt` only.

        Errors: ValueError for an expression or time zone that cannot be used.
        """
        self._schedule = schedule
        self._anchor = schedule.start_at or anchor.replace(microsecond=0)  # instants that people can read
        self._crons = [cron.compiled(text, schedule.time_zone, key) for text in schedule.crons]

    def after(self, instant: datetime) -> datetime | None:
        """The first one strictly after `instant`; None when there is none."""
        if self._schedule.start_at is not None:
            instant = max(instant, self._schedule.start_at - _TICK)
        found = self._after(instant)
        if found is None or (self._schedule.end_at is not None and found > self._schedule.end_at):
            return None
        return found

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """The last one in (after, until]; None when there is none."""
        if self._schedule.every is not None:
            return self._latest_every(self._schedule.every, after, until)
        reach = _FIRST_REACH
        low = max(after, until - reach)
        while (found := self._within(low, until)) is None:
            if low <= after:
                return None
            reach *= 2
            low = max(after, until - reach)
        return self._last_from(found, until)

    def newest(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        """The last `limit` in (after, until], ascending; fewer when there are fewer."""
        found: list[datetime] = []
        while len(found) < limit and (latest := self.latest(after, until)) is not None:
            found.append(latest)
            until = latest - _TICK
        return found[::-1]

    def count(self, after: datetime, until: datetime, limit: int) -> tuple[int, bool]:
        """How many are in (after, until], and whether that is exact: counting stops at `limit` unless it is arithmetic."""
        if self._schedule.every is not None:
            return self._count_every(self._schedule.every, after, until), True
        number, instant = 0, self._within(after, until)
        while instant is not None and number < limit:
            number, instant = number + 1, self._within(instant, until)
        return number, instant is None

    def _after(self, instant: datetime) -> datetime | None:
        schedule = self._schedule
        if schedule.at is not None:
            return schedule.at if schedule.at > instant else None
        if schedule.every is not None:
            return self._every(max(self._first_index(), (instant - self._anchor) // schedule.every + 1))
        return min((found for one in self._crons if (found := one.next_after(instant))), default=None)

    def _within(self, after: datetime, until: datetime) -> datetime | None:
        found = self.after(after)
        return found if found is not None and found <= until else None

    def _last_from(self, found: datetime, until: datetime) -> datetime:
        """The last one up to `until`, when `found` is one of them: by halving, as the distance may hold very many."""
        high = until
        while (following := self._within(found, until)) is not None:
            found = following
            middle = found + (high - found) // 2
            beyond = self._within(middle, until)
            if beyond is None:
                high = middle
            else:
                found = beyond
        return found

    def _first_index(self) -> int:
        return 0 if self._schedule.start_at is not None else 1

    def _every(self, index: int) -> datetime | None:
        try:
            return self._anchor + index * (self._schedule.every or _TICK)
        except OverflowError:
            return None

    def _window_index(self, period: timedelta, until: datetime) -> int:
        """The index of the last one up to `until` and endAt."""
        end = min(until, self._schedule.end_at or until)
        return (end - self._anchor) // period

    def _count_every(self, period: timedelta, after: datetime, until: datetime) -> int:
        below = max(self._first_index() - 1, (after - self._anchor) // period)
        return max(0, self._window_index(period, until) - below)

    def _latest_every(self, period: timedelta, after: datetime, until: datetime) -> datetime | None:
        if self._count_every(period, after, until) == 0:
            return None
        return self._every(self._window_index(period, until))


def of(schedule: Schedule, key: str, anchor: datetime) -> Instants:
    """The instants of `schedule`. Errors: ValueError for an expression or time zone that cannot be used."""
    return Instants(schedule, key, anchor.astimezone(UTC))
