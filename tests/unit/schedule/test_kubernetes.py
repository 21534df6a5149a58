"""Cron expressions of Kubernetes mean the same after their import, as another reading of robfig's rules has it."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.kinds.cronjobs import Level
from controller.schedule import cron
from controller.schedule.kubernetes import timing

LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
NAMES = {
    3: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    4: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}


def robfig(index: int, text: str) -> tuple[set[int], bool]:
    """The values of one field, and whether it counts as a star. Source: robfig/cron v3, `getField` and `getRange`."""
    values: set[int] = set()
    star = False
    low, high = LIMITS[index]

    def number(word: str) -> int:
        names = NAMES.get(index, [])
        return names.index(word.lower()) + low if word.lower() in names else int(word)

    for item in text.split(","):
        base, slash, step = item.partition("/")
        first, dash, last = base.partition("-")
        if base in ("*", "?"):
            start, end = low, high
            star = star or not slash or int(step) == 1
        else:
            start = number(first)
            end = number(last) if dash else high if slash else start
        values |= set(range(start, end + 1, int(step) if slash else 1))
    return values, star


def on_day(expression: str, day: datetime) -> bool:
    """Whether robfig would fire on this day of UTC."""
    (days, day_star), (months, _), (weekdays, weekday_star) = (
        robfig(index, text) for index, text in enumerate(expression.split()) if index > 1
    )
    fits = day.day in days, day.isoweekday() % 7 in weekdays
    return day.month in months and (all(fits) if day_star or weekday_star else any(fits))


def times(expression: str) -> set[tuple[int, int]]:
    """The hours and minutes at which robfig would fire on such a day."""
    (minutes, _), (hours, _) = (robfig(index, text) for index, text in enumerate(expression.split()[:2]))
    return {(hour, minute) for hour in hours for minute in minutes}


@st.composite
def fields(draw: st.DrawFn, index: int) -> str:
    """One field as people write it for Kubernetes."""
    low, high = LIMITS[index]

    def item() -> str:
        start = draw(st.integers(low, high))
        end = draw(st.integers(start, high))
        step = draw(st.integers(1, 2 * high))
        shown = NAMES[index][start - low] if index in NAMES and draw(st.booleans()) else str(start)
        forms = [
            "*",
            "?",
            f"*/{step}",
            f"?/{step}",
            shown,
            f"{start}-{end}",
            f"{start}-{end}/{step}",
            f"{shown}/{step}",
        ]
        return draw(st.sampled_from(forms))

    return ",".join(item() for _ in range(draw(st.integers(1, 2))))


expressions = st.tuples(*(fields(index) for index in range(5))).map(" ".join)


@given(expression=expressions, start=st.dates(date(2024, 1, 1), date(2028, 1, 1)))
@settings(max_examples=60, deadline=None)
def test_an_imported_expression_fires_when_kubernetes_would(expression: str, start: date) -> None:
    """The days of two months are the same, and on the first of them the minutes."""
    timed = timing(expression, "/spec/schedule")
    if not timed.fields:
        assert "never occurs" in timed.remarks[0].message
        return
    schedule = cron.compiled(timed.fields["cron"], "UTC", "")
    midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
    compared = False
    for day in (midnight + timedelta(days=number) for number in range(62)):
        following = schedule.next_after(day - timedelta(seconds=1))
        assert on_day(expression, day) == (following is not None and following.date() == day.date())
        if on_day(expression, day) and not compared:
            compared = True
            found = set()
            while following is not None and following.date() == day.date():
                found.add((following.hour, following.minute))
                following = schedule.next_after(following)
            assert found == times(expression)


@pytest.mark.parametrize(
    ("written", "here"),
    [
        ("30 2 * * *", {"cron": "30 2 * * *"}),
        ("@daily", {"cron": "@daily"}),
        ("5/10 * ? * mon-fri", {"cron": "5-59/10 * * * MON-FRI"}),
        ("*/90 0 * * *", {"cron": "0 0 * * *"}),
        ("0 0 */2 * 0-6", {"cron": "0 0 * * *"}),
        ("@every 1h30m", {"every": "1h30m"}),
        ("@every 90.7s", {"every": "1m30s"}),
        ("@every 5ms", {"every": "1s"}),
    ],
)
def test_every_form_of_kubernetes_has_a_form_here(written: str, here: dict[str, str]) -> None:
    """What is written otherwise is told."""
    timed = timing(written, "/spec/schedule")
    assert timed.fields == here
    assert bool(timed.remarks) == ("cron" not in here or here["cron"] != written)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("TZ=Europe/Berlin 0 3 * * *", "timeZone: Europe/Berlin"),
        ("CRON_TZ=UTC 0 3 * * *", "timeZone: UTC"),
        ("0 0 31 2 *", "a day that exists"),
        ("0 0 3 * * *", "mend"),
        ("@every soon", "every: 5m"),
        ("", "mend"),
    ],
)
def test_what_cannot_be_carried_over_says_what_to_do(written: str, hint: str) -> None:
    """Nothing is guessed: there is no schedule, and a hint."""
    timed = timing(written, "/spec/schedule")
    assert timed.fields == {}
    (remark,) = timed.remarks
    assert remark.level is Level.Lost
    assert hint in remark.hint
