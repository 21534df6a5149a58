"""Random cron expressions and zones, and two other readings of them: cronsim, and a clock that is watched second by second or minute by minute."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim
from hypothesis import strategies as st

ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Europe/Dublin",  # "summer" time is the standard one
    "Australia/Lord_Howe",  # half an hour
    "Africa/Cairo",  # midnight does not exist
    "America/Sao_Paulo",  # midnight did not exist, 23:00 existed twice
    "Asia/Kathmandu",  # +05:45, no changes
    "Africa/Casablanca",  # changes twice around Ramadan
    "America/St_Johns",  # -03:30, used to change at 00:01
    "Pacific/Apia",  # 30 December 2011 does not exist
    "Antarctica/Troll",  # two hours at once
]

CHANGES = {
    "New York forward": ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    "New York back": ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    "Lord Howe forward": ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    "Lord Howe back": ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    "Cairo forward": ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    "Cairo back": ("Africa/Cairo", datetime(2026, 10, 29, 21, tzinfo=UTC)),
    "Sao Paulo forward": ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    "Sao Paulo back": ("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC)),
    "Troll forward": ("Antarctica/Troll", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    "Troll back": ("Antarctica/Troll", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "Dublin back": ("Europe/Dublin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "Apia skips a day": ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
}
"""Where the wall clock jumps: the zone, and the first instant with the new offset."""

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@st.composite
def _item(draw: st.DrawFn, low: int, high: int, names: list[str]) -> str:
    start = draw(st.integers(low, high))
    end = draw(st.integers(start, high))
    step = draw(st.integers(1, high - low))
    named = draw(st.booleans()) and bool(names)

    def show(number: int) -> str:
        return names[number - low] if named and number - low < len(names) else str(number)

    forms = [show(start), f"{show(start)}-{show(end)}", f"{start}-{end}/{step}"]
    # A range that ends in SUN wraps for us and is refused by cronsim.
    return draw(st.sampled_from(forms if end > start else forms[:1]))


@st.composite
def _field(draw: st.DrawFn, low: int, high: int, names: list[str] = [], extra: list[str] = []) -> str:  # noqa: B006
    shape = draw(st.sampled_from(["star", "step", "list", "list", "extra" if extra else "star"]))
    if shape == "star":
        return "*"
    if shape == "step":
        return f"*/{draw(st.integers(1, high - low))}"
    if shape == "extra":
        return draw(st.sampled_from(extra))
    return ",".join(draw(st.lists(_item(low, high, names), min_size=1, max_size=3)))


@st.composite
def cron_expressions(draw: st.DrawFn, *, wildcard_time: bool | None = None) -> str:
    """Five fields that both we and cronsim read the same way; days that never occur are possible."""
    minute, hour = draw(_field(0, 59)), draw(_field(0, 23))
    if wildcard_time is True and not (minute + " " + hour).startswith("*"):
        hour = "*"
    if wildcard_time is False:
        minute, hour = minute.replace("*", "0-59"), hour.replace("*", "0-23")
    days = draw(_field(1, 31, extra=["L"]))
    months = draw(_field(1, 12, _MONTHS))
    weekdays = draw(_field(0, 7, _DAYS, extra=["L5", "L0", "5#2", "1#1", "7#5"]))
    if days != "*" and weekdays != "*" and (days.startswith("*") or weekdays.startswith("*")):
        # Debian takes */2 beside a weekday as "and", we as "or", like any other two restrictions.
        weekdays = "*"
    if days != "*" and weekdays != "*" and "*" in (_full(days, 1, 31), _full(weekdays, 0, 7)):
        weekdays = "*"
    return f"{minute} {hour} {days} {months} {weekdays}"


def _full(text: str, low: int, high: int) -> str:
    return "*" if text in {f"{low}-{high}", f"{low}-{high}/1"} else text


def for_cronsim(expression: str) -> str:
    """The same in its spelling: seconds first, the L behind the weekday."""
    fields = expression.split()
    if fields[4].startswith("L"):
        fields[4] = fields[4][1:] + "L"
    return " ".join([*fields[5:], *fields[:5]])


def cronsim_instants(expression: str, zone: str, after: datetime, count: int) -> list[datetime]:
    """What cronsim says, in UTC; where it names one instant several times (a gap), once."""
    found: list[datetime] = []
    for instant in CronSim(for_cronsim(expression), after.astimezone(ZoneInfo(zone))):
        utc = instant.astimezone(UTC)
        if utc > after and (not found or utc > found[-1]):
            found.append(utc)
        if len(found) == count:
            break
    return found


def watched(expression: str, zone: str, start: datetime, end: datetime, step: timedelta) -> list[datetime]:
    """The instants in (start, end], by watching the wall clock: real time for a wildcard, first showings for the others.

    The fields are matched by cronsim's sets; everything about zones is told by looking.
    """
    rules = CronSim(for_cronsim(expression), datetime(2000, 1, 1))  # noqa: DTZ001 - only its sets are read
    minute, hour = expression.split()[:2]
    if minute.startswith("*") or hour.startswith("*"):
        return [
            instant for instant, wall in _looks(zone, start, end, step) if _matches(rules, wall) and instant > start
        ]
    return _first_showings(rules, zone, start, end, step)


def _first_showings(rules: CronSim, zone: str, start: datetime, end: datetime, step: timedelta) -> list[datetime]:
    found: list[datetime] = []
    shown = None
    for instant, wall in _looks(zone, start - timedelta(hours=4), end, step):
        if shown is not None and wall <= shown:
            continue
        # Every wall time passed since the last look, whether the clock showed it or jumped over it.
        passed = wall if shown is None else shown + step
        hit = False
        while passed <= wall:
            hit = hit or _matches(rules, passed)
            passed += step
        shown = wall
        if hit and instant > start:
            found.append(instant)
    return found


def _looks(zone: str, start: datetime, end: datetime, step: timedelta) -> Iterator[tuple[datetime, datetime]]:
    instant = start
    while instant <= end:
        yield instant, instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        instant += step


def _matches(rules: CronSim, wall: datetime) -> bool:
    return (
        wall.second in rules.seconds
        and wall.minute in rules.minutes
        and wall.hour in rules.hours
        and wall.month in rules.months
        and rules.match_day(wall.date())
    )
