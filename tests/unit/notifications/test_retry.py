"""The retry schedule of notifications: bounded, growing, honouring what a target asks for."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.base.errors import DeliveryFailed
from controller.notifications.errors import DeliveryPostponed, DeliveryRefused
from controller.notifications.retry import MOST_ATTEMPTS, next_attempt

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def delays() -> list[int]:
    return [
        int((at - NOW).total_seconds())
        for n in range(1, MOST_ATTEMPTS)
        if (at := next_attempt(NOW, n, DeliveryFailed("x"))) is not None
    ]


def test_delays_double_from_ten_seconds_up_to_an_hour():
    """Eleven delays between twelve attempts."""
    assert delays() == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


def test_the_twelfth_failure_is_the_last():
    """After that the item is given up."""
    assert next_attempt(NOW, MOST_ATTEMPTS, DeliveryFailed("x")) is None


def test_a_refusal_is_not_tried_again():
    """Nothing changes until a person changes something."""
    assert next_attempt(NOW, 1, DeliveryRefused("x")) is None


def test_a_later_time_of_the_target_counts():
    """Retry-After stretches the delay, up to an hour, and never shortens it."""
    for asked, given_ in ((1, 10), (120, 120), (86400, 3600)):
        error = DeliveryPostponed("x", timedelta(seconds=asked))
        assert next_attempt(NOW, 1, error) == NOW + timedelta(seconds=given_)


@given(attempts=st.integers(1, 100), asked=st.integers(0, 10**7))
def test_every_delay_is_positive_and_at_most_an_hour(attempts: int, asked: int):
    """Whatever a target asks for, whatever the count."""
    at = next_attempt(NOW, attempts, DeliveryPostponed("x", timedelta(seconds=asked)))
    assert at is None or NOW < at <= NOW + timedelta(hours=1)
