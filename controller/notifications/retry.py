"""When a failed delivery is tried again: pure."""

from datetime import datetime, timedelta

from controller.base.errors import DeliveryFailed, Retry
from controller.notifications.errors import DeliveryPostponed

MOST_ATTEMPTS = 12
"""With the delays below: given up about three and a half hours after the first attempt."""

_FIRST = timedelta(seconds=10)
_LONGEST = timedelta(hours=1)


def next_attempt(now: datetime, attempts: int, error: DeliveryFailed) -> datetime | None:
    """When to try again after `attempts` attempts (from 1) of which the last failed with `error`; None: never.

    10 s, doubled up to an hour. A target that names a time is given that time where it is later, at most an hour. Pure.
    """
    if error.retry is Retry.Never or attempts >= MOST_ATTEMPTS:
        return None
    delay = min(_FIRST * (1 << (attempts - 1)), _LONGEST)
    if isinstance(error, DeliveryPostponed):
        delay = min(max(delay, error.retry_after), _LONGEST)
    return now + delay
