"""What a schedule owes: the next instant, and after any absence which instants fire late and which were missed.

`reconcile` stores `next_fire`, `dispatch.due` turns `due` into dispatch rows, `plan` and `explain` print `preview`. All pure.
Invariant: for `fired_through` moving from one `now` to the next, every instant is in exactly one answer, as fired or as missed; a
clock that steps back fires nothing.
"""

import hashlib
import re
from datetime import datetime, timedelta

import msgspec

from controller.domain.job import CatchUp, Schedule
from controller.schedule import instants, zones

ON_TIME = timedelta(seconds=5)
"""An instant no older than this is not late: a stalled loop or a short restart is no absence."""

_BACKOFFS = tuple(timedelta(seconds=seconds) for seconds in (30, 60, 300, 900, 3600))
_FEW = 8
_MOST_ON_TIME = 100
_TICK = timedelta(microseconds=1)


class Missed(msgspec.Struct, frozen=True):
    """Instants that will never fire: the first, the last and how many. Not `exact`: there are at least `count`."""

    first: datetime
    last: datetime
    count: int
    exact: bool


class Due(msgspec.Struct, frozen=True):
    """What a job owes. `fire` ascends; all of `missed` is earlier than all of `fire`; `next` None means never again."""

    fire: tuple[datetime, ...]
    missed: Missed | None
    next: datetime | None


def next_fire(schedule: Schedule, key: str, after: datetime, anchor: datetime) -> datetime | None:
    """The earliest nominal instant strictly after `after` within startAt and endAt (both inclusive); None when never again. Pure.

    Units:  `key` is namespace/name (for H); `anchor` is when this fireDigest was first seen, used by `every` without startAt.
    Errors: ValueError for an expression or time zone that cannot be used.
    """
    return instants.of(schedule, key, anchor).after(after)


def preview(schedule: Schedule, key: str, after: datetime, anchor: datetime, count: int) -> list[datetime]:
    """The next `count` nominal instants after `after`; fewer when the schedule ends. Pure. Errors: as `next_fire`."""
    named = instants.of(schedule, key, anchor)
    found: list[datetime] = []
    while len(found) < count and (following := named.after(found[-1] if found else after)) is not None:
        found.append(following)
    return found


def starting_point(schedule: Schedule, now: datetime) -> datetime:
    """The `fired_through` of a spec that is new at `now`: now itself, but just before an `at` that has passed already. Pure.

    So a past `at` is owed once and startingDeadline decides whether it still fires; nothing else of the past is owed.
    """
    return min(now, schedule.at - _TICK) if schedule.at is not None else now


def due(
    schedule: Schedule,
    key: str,
    fired_through: datetime,
    now: datetime,
    anchor: datetime,
    *,
    on_time: timedelta = ON_TIME,
    count_limit: int = 100,
) -> Due:
    """What a job, last looked at `fired_through`, owes at `now`. Pure; afterwards `fired_through` is max(fired_through, now).

    Instants up to `on_time` old simply fire. Of older ones catchUp None fires none, Latest the last one unless a younger one fires,
    All the last `catch_up_limit`. None older than startingDeadline fires. Whatever does not fire is `missed`, counted up to
    `count_limit`. Work is bounded however long the absence was.

    Errors: ValueError for an expression or time zone that cannot be used.
    """
    named = instants.of(schedule, key, anchor)
    first = named.after(fired_through)
    if first is None or first > now:
        return Due((), None, first)
    second = named.after(first)
    if second is None or second > now:
        if _still_fires(schedule, first, now, on_time):
            return Due((first,), None, second)
        return Due((), Missed(first, first, 1, exact=True), second)
    fire = _fire(schedule, named, fired_through, now, on_time)
    missed = _missed(named, fired_through, fire[0] - _TICK if fire else now, count_limit)
    return Due(tuple(fire), missed, named.after(now))


def jitter_of(schedule: Schedule, job_uid: str, instant: datetime) -> timedelta:
    """How much later than `instant` the job starts: in [0, jitter), the same for the same job and instant, in milliseconds. Pure."""
    span = schedule.jitter // timedelta(milliseconds=1)
    if span <= 0:
        return timedelta(0)
    digest = hashlib.sha256(f"{job_uid}@{instant.timestamp():.6f}".encode()).digest()
    return timedelta(milliseconds=int.from_bytes(digest[:8], "big") % span)


def error_backoff(consecutive_errors: int, maximum: timedelta = _BACKOFFS[-1]) -> timedelta:
    """How long a failing job waits at least: 30 s, 1 min, 5 min, 15 min, then 1 h, never above `maximum`. Pure.

    Zero and less count as one. Source: case S043.
    """
    return min(_BACKOFFS[min(max(consecutive_errors, 1), len(_BACKOFFS)) - 1], maximum)


def not_before(schedule: Schedule, job_uid: str, instant: datetime, earliest: datetime | None = None) -> datetime:
    """When the dispatch of `instant` may start: jitter later, and not before `earliest` (the end of an error backoff). Pure.

    Source: case S044: whichever is later wins.
    """
    start = instant + jitter_of(schedule, job_uid, instant)
    return max(start, earliest) if earliest is not None else start


def finish_by(wall_time: str, time_zone: str, now: datetime) -> datetime:
    """The latest instant up to `now` at which the zone's wall clock came to `HH:MM`, for alerts. Pure.

    Errors: ValueError for another shape than HH:MM from 00:00 to 23:59, and for an unknown time zone.
    """
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", wall_time, re.ASCII)
    if match is None:
        raise ValueError(f"{wall_time!r} is not a time of day: write HH:MM from 00:00 to 23:59")
    zone = zones.find(time_zone)
    wall = zones.to_wall(now, zone).replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    # Tomorrow has been seen already where the clock was set back over midnight.
    days = (zones.to_instant(wall + timedelta(days=ahead), zone) for ahead in (1, 0, -1))
    return next(instant for instant in days if instant <= now)


def _still_fires(schedule: Schedule, instant: datetime, now: datetime, on_time: timedelta) -> bool:
    """Whether the only instant that is owed fires."""
    age = now - instant
    if schedule.starting_deadline is not None and age > schedule.starting_deadline:
        return False
    return age <= on_time or schedule.catch_up is not CatchUp.Nothing


def _fire(
    schedule: Schedule, named: instants.Instants, fired_through: datetime, now: datetime, on_time: timedelta
) -> list[datetime]:
    """The instants in (fired_through, now] that still fire, ascending, none left out between the first of them and now."""
    oldest = fired_through
    if schedule.starting_deadline is not None:
        oldest = max(oldest, now - schedule.starting_deadline - _TICK)
    fresh_from = max(oldest, now - on_time - _TICK)
    fresh = named.newest(fresh_from, now, _MOST_ON_TIME)
    match schedule.catch_up:
        case CatchUp.Nothing:
            return fresh
        case CatchUp.Latest:
            return fresh or named.newest(oldest, now, 1)
        case CatchUp.All:
            return named.newest(oldest, now, max(schedule.catch_up_limit, len(fresh)))


def passed(
    schedule: Schedule, key: str, after: datetime, until: datetime, anchor: datetime, *, count_limit: int = 100
) -> Missed | None:
    """The instants in (after, until], none of which fires: those of a pause. None when there is none. Pure. Errors: as `next_fire`."""
    return _missed(instants.of(schedule, key, anchor), after, until, count_limit)


def _missed(named: instants.Instants, after: datetime, until: datetime, count_limit: int) -> Missed | None:
    first = named.after(after)
    if first is None or first > until:
        return None
    count, exact = named.count(after, until, count_limit)
    return Missed(first, named.latest(after, until) or first, count, exact)
