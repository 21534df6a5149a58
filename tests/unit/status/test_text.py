"""Instants and ages as people read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from controller.status import text

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (599, "9m59s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (12000, "3h20m"),
        (28800, "8h"),
        (172799, "47h"),
        (172800, "2d"),
        (180000, "2d2h"),
        (691200, "8d"),
        (63071999, "729d"),
        (63072000, "2y"),
        (64000000, "2y10d"),
        (300000000, "9y"),
    ],
)
def test_ages_are_those_of_kubectl(seconds: int, shown: str) -> None:
    """Values from the source of duration.HumanDuration in Kubernetes' apimachinery."""
    assert text.age(timedelta(seconds=seconds)) == shown


def test_something_due_in_a_moment_is_not_due_yet() -> None:
    """`now` is said only when it is."""
    assert text.until(NOW + timedelta(milliseconds=400), NOW) == "1s"
    assert text.until(NOW, NOW) == "now"
    assert text.until(None, NOW) == "<none>"


def test_instants_are_utc_with_a_z_and_a_fraction_only_where_there_is_one() -> None:
    """Whatever zone the record had."""
    instant = datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    assert text.rfc3339(instant) == "2026-03-01T12:00:00Z"
    assert text.rfc3339(instant.replace(microsecond=5)) == "2026-03-01T12:00:00.000005Z"
    assert text.to_second(instant.replace(microsecond=5)) == "2026-03-01T12:00:00Z"


def test_what_a_process_printed_is_text_whatever_bytes_it_was() -> None:
    """Nothing is dropped silently."""
    assert text.printed(b"ok \xff\xc3\xa9") == "ok �é"
