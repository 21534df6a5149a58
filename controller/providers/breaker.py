"""A circuit breaker: a backend that keeps failing is left alone for a while, then tried with one call.

    Closed ──THRESHOLD failures in a row──▶ Open ──delay over──▶ HalfOpen ──success──▶ Closed
                                             ▲                       └──failure──▶ Open, for twice as long, up to LONGEST

`calling` keeps one for each provider, `decision_point` one for each policy. Invariant: pure; in HalfOpen one call is out at a time, and one whose end nobody tells (its caller is gone) blocks
others for `patience` only. Source: M. Nygard, "Release It!", the pattern Circuit Breaker.
"""

from datetime import timedelta
from enum import StrEnum

import msgspec

THRESHOLD = 5  # failures in a row
FIRST = timedelta(seconds=5)
LONGEST = timedelta(minutes=5)


class State(StrEnum):
    """Whether calls go through."""

    Closed = "Closed"
    Open = "Open"
    HalfOpen = "HalfOpen"


class Breaker(msgspec.Struct, frozen=True):
    """One breaker. `until` is on the monotonic clock, in seconds: in Open when a call may be tried, in HalfOpen when the one that is out is given up."""

    state: State = State.Closed
    failures: int = 0
    delay: timedelta = FIRST
    until: float = 0.0


def ask(breaker: Breaker, now: float, patience: timedelta) -> tuple[Breaker, timedelta | None]:
    """Before a call: the breaker as it is then, and None if the call may be made, else how long to wait. Pure."""
    if breaker.state is State.Closed:
        return breaker, None
    if now < breaker.until:
        return breaker, timedelta(seconds=breaker.until - now)
    return msgspec.structs.replace(breaker, state=State.HalfOpen, until=now + patience.total_seconds()), None


def tell(breaker: Breaker, now: float, *, answered: bool, longest: timedelta = LONGEST) -> Breaker:
    """After a call: `answered` means that the backend said something, be it no; `longest` is how long it may be left alone. Pure."""
    if breaker.state is State.Open:
        return breaker  # begun before it opened; what it found is old
    if answered:
        return Breaker()
    if breaker.state is State.HalfOpen:
        return _opened(min(breaker.delay * 2, longest), breaker.failures + 1, now)
    failures = breaker.failures + 1
    if failures < THRESHOLD:
        return msgspec.structs.replace(breaker, failures=failures)
    return _opened(breaker.delay, failures, now)


def _opened(delay: timedelta, failures: int, now: float) -> Breaker:
    return Breaker(State.Open, failures, delay, now + delay.total_seconds())
