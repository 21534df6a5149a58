"""Waiting for a condition with a deadline: the only way in which tests let time pass.

A caller gives a condition and a sentence; a failure says the sentence, the last value that was seen and whatever context the caller can add.
"""

import time
from collections.abc import Callable
from typing import Literal, TypeVar

Seen = TypeVar("Seen")


def wait_for(
    condition: Callable[[], Seen | Literal[False] | None],
    what: str = "the condition",
    *,
    deadline: float = 120.0,
    context: Callable[[], str] = str,
) -> Seen:
    """Give the first truthy value of `condition`.

    Units:  deadline in seconds, counted from the call; the condition is asked at least twice.
    Errors: AssertionError with `what`, the last value and `context()` when the deadline passes.
    """
    ends, pause, last = time.monotonic() + deadline, 0.05, condition()
    while not last:
        overdue = time.monotonic() >= ends
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)
        last = condition()
        if overdue and not last:
            raise AssertionError(f"waited {deadline:g} s in vain for {what}; last seen: {last!r}\n{context()}")
    return last
