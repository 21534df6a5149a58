"""Annotations that ask for something: how a hold is written, which values are requests.

Invariant: text that cannot be read as an instant is part of the reason, never an error: a hold must hold.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from controller.domain.records import Hold
from controller.kinds.values import instant

PREFIX = "jobwarden.dev/"
HOLD = PREFIX + "hold"
PRUNE = PREFIX + "prune"
RUN = PREFIX + "run-requested-at"
CANCEL = PREFIX + "cancel-requested-at"
RECONCILE = PREFIX + "reconcile-requested-at"
REQUESTS = (RUN, CANCEL, RECONCILE)
HOLDER = "annotation " + HOLD
"""Who holds a job that is held by its annotation."""

_UNTIL = re.compile(r"(?:(?P<reason>.*?)\s+)?until\s+(?P<until>\S+)", re.DOTALL)
_LONGEST_REASON = 1024


def hold_of(value: str, now: datetime) -> Hold | None:
    """`<reason> [until <instant>]` as a hold since `now`; None when it has run out. Pure."""
    reason, until = value.strip(), None
    if (match := _UNTIL.fullmatch(reason)) is not None and (until := _instant(match["until"])) is not None:
        reason = (match["reason"] or "").strip()
    if until is not None and until <= now:
        return None
    return Hold(reason[:_LONGEST_REASON] or "held by annotation", HOLDER, now, until)


def requests_of(annotations: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The requests among the annotations, in a fixed order. Pure."""
    return tuple((name, annotations[name]) for name in REQUESTS if name in annotations)


def remembered(now: tuple[tuple[str, str], ...], before: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The requests of a new version with those of the version before that it no longer shows: a value that was taken away and put back is no new one. Pure."""
    known = dict(before) | dict(now)
    return tuple((name, known[name]) for name in REQUESTS if name in known)


def _instant(text: str) -> datetime | None:
    try:
        return instant(text)
    except ValueError:
        return None
