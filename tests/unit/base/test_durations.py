"""Durations: what people may write, what they are told otherwise, and that reading undoes writing."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),  # S035
        ("15m", 900),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1d1h1m1s", 90061),
        ("90m", 5400),
        ("0s", 0),
        ("0", 0),
        ("36500d", 36500 * 86400),
    ],
)
def test_a_duration_is_read(text, seconds):
    """Numbers with d, h, m, s, the larger unit first."""
    assert durations.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "15",
        "invalid",
        "",
        " 5m",
        "5m ",
        "5 m",
        "1.5h",
        "-5m",
        "+5m",
        "30m1h",
        "5m5m",
        "5M",
        "5ms",
        "1w",
        "P1D",
        "\u0665m",
        "s",
        "1h\n",
    ],
)
def test_anything_else_is_refused_with_what_to_write(text):
    """The message shows the value and examples."""
    with pytest.raises(ValueError, match="such as 90s, 5m, 1h30m or 1d") as raised:
        durations.parse(text)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize("text", ["36501d", "999999999999d", "999999999999h999999999999s"])
def test_more_than_a_century_is_refused(text):
    """Sums with instants stay on the calendar."""
    with pytest.raises(ValueError, match="at most 36500d"):
        durations.parse(text)


@given(st.integers(0, 36_500 * 86_400))
def test_reading_undoes_writing(seconds):
    """For every whole number of seconds."""
    duration = timedelta(seconds=seconds)
    assert durations.parse(durations.format(duration)) == duration


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(hours=36), "1d12h"),
        (timedelta(milliseconds=250), "250ms"),
        (timedelta(microseconds=1), "0.001ms"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(seconds=61.25), "1m1.25s"),
        (timedelta(seconds=59.9999996), "1m"),
        (timedelta(seconds=-90), "-1m30s"),
    ],
)
def test_parts_of_a_second_are_shown(duration, text):
    """For display only."""
    assert durations.format(duration) == text
