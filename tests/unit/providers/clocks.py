"""A clock that the test moves."""

from datetime import UTC, datetime, timedelta

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Hand:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self._passed = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return self._passed

    def move(self, seconds: float) -> None:
        self._passed += seconds
