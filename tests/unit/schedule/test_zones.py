"""Zones are found by IANA name, and wall times and instants fit together through every jump."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.schedule import zones
from tests.unit.schedule.expressions import CHANGES, ZONES


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("Berlin", "did you mean Europe/Berlin?"),
        ("New York", "did you mean America/New_York?"),
        ("America/NewYork", "America/New_York"),
        ("utc", "did you mean UTC?"),
        ("+02:00", "write an IANA name"),
        ("", "write an IANA name"),
        ("../../etc/passwd", "write an IANA name"),
        ("/etc/localtime", "write an IANA name"),
        ("UTC\0", "UTC"),
        ("x" * 5000, "write an IANA name"),
        ("localtime", "on every machine"),
        ("right/Europe/Berlin", "on every machine"),
    ],
)
def test_an_unknown_zone_is_refused_with_what_to_write(name, said):
    """The message carries a close name where there is one, and stays short."""
    with pytest.raises(zones.UnknownZoneError) as raised:
        zones.find(name)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_to_the_second(change):
    """Halving ends at the first instant with the new offset."""
    name, at = CHANGES[change]
    zone = ZoneInfo(name)
    for before, after in (
        (timedelta(hours=20), timedelta(hours=9)),
        (timedelta(seconds=1), timedelta(0)),
        (timedelta(minutes=7), timedelta(seconds=1)),
    ):
        assert zones.first_change(at - before, at + after, zone) == at
    assert zones.first_change(at, at + timedelta(hours=20), zone) is None


@given(st.sampled_from(ZONES), st.datetimes(datetime(1972, 1, 1), datetime(2090, 1, 1)))  # noqa: DTZ001 - bounds have no zone
def test_a_shown_time_leads_back_to_its_first_showing(name, instant):
    """to_instant after to_wall is the same instant, or an earlier one that shows the same."""
    zone, instant = ZoneInfo(name), instant.replace(tzinfo=UTC, microsecond=0)
    wall = zones.to_wall(instant, zone)
    first = zones.to_instant(wall, zone)
    assert first <= instant
    assert zones.to_wall(first, zone) == wall


@pytest.mark.parametrize("change", CHANGES)
def test_later_wall_times_never_lead_to_earlier_instants(change):
    """Through gaps and repetitions."""
    name, at = CHANGES[change]
    zone = ZoneInfo(name)
    start = zones.to_wall(at, zone) - timedelta(hours=30)
    instants = [zones.to_instant(start + number * timedelta(minutes=5), zone) for number in range(12 * 60)]
    assert all(earlier <= later for earlier, later in pairwise(instants))
