"""Scalars of valid documents as Python values. The schema has already said that their shape is right."""

from datetime import UTC, datetime


def instant(text: str) -> datetime:
    """An RFC 3339 instant as aware UTC; parts of a microsecond are dropped. Pure.

    Errors: ValueError for a day that no calendar has, and for one outside the years 1 to 9999.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        raise ValueError("the year is out of range") from None
