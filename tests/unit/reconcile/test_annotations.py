"""Annotations that ask for something."""

from datetime import UTC, datetime

import pytest

from controller.reconcile.annotations import HOLDER, hold_of, requests_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "reason", "until"),
    [
        ("audit", "audit", None),
        ("audit until 2026-03-02T00:00:00Z", "audit", datetime(2026, 3, 2, tzinfo=UTC)),
        ("not until ready until 2026-03-02T01:00:00+01:00", "not until ready", datetime(2026, 3, 2, tzinfo=UTC)),
        ("until 2026-03-02T00:00:00Z", "held by annotation", datetime(2026, 3, 2, tzinfo=UTC)),
        ("until further notice", "until further notice", None),
        ("audit until tomorrow", "audit until tomorrow", None),
        ("", "held by annotation", None),
    ],
)
def test_a_hold_is_a_reason_and_perhaps_an_end(value, reason, until):
    """What is no instant belongs to the reason: a hold must hold."""
    hold = hold_of(value, NOW)
    assert (hold.reason, hold.until, hold.by, hold.since) == (reason, until, HOLDER, NOW)


def test_a_hold_that_has_run_out_holds_nothing():
    """An old annotation may stay where it is."""
    assert hold_of("audit until 2026-03-01T12:00:00Z", NOW) is None


def test_requests_are_told_by_their_annotations():
    """Other annotations ask for nothing."""
    said = {"jobwarden.dev/run-requested-at": "1", "jobwarden.dev/hold": "x", "other": "y"}
    assert requests_of(said) == (("jobwarden.dev/run-requested-at", "1"),)
