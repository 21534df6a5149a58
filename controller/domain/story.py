"""One line of what happens while a controller runs, for people who watch: the live story of `run`, watchers of the control socket.

The engine makes events and calls a `Tell`; the command line formats them. Invariant: events are news, never state. Losing one loses nothing.
"""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

import msgspec


class StoryKind(StrEnum):
    """What sort of news it is."""

    Started = "Started"  # the controller serves
    Source = "Source"  # a source was read, changed or failed
    Applied = "Applied"  # a resource was created or changed
    Removed = "Removed"  # a resource was pruned
    Rejected = "Rejected"  # a document is not valid; the last good version stays
    RunStarted = "RunStarted"
    RunFinished = "RunFinished"
    Denied = "Denied"  # a gate of trust refused a run; nothing was started
    Retrying = "Retrying"  # a failed run will be tried again
    Waiting = "Waiting"  # a dispatch is deferred
    Skipped = "Skipped"
    Missed = "Missed"
    Cancelled = "Cancelled"  # a dispatch was cancelled
    ApprovalRequested = "ApprovalRequested"
    ApprovalDecided = "ApprovalDecided"
    Held = "Held"
    Released = "Released"
    Alert = "Alert"  # a watchdog or a bound of `alerts` was crossed
    Trouble = "Trouble"  # the controller itself cannot do something
    Draining = "Draining"
    Stopped = "Stopped"


class StoryEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of news. `subject` is what it is about where that is no job: a source, a file, a pool."""

    at: datetime
    kind: StoryKind
    namespace: str | None = None
    job: str | None = None
    run: str | None = None
    subject: str | None = None
    state: str | None = None
    reason: str | None = None
    message: str | None = None
    hint: str | None = None
    cause: str | None = None
    attempt: int | None = None
    exit_code: int | None = None
    seconds: float | None = None
    due: datetime | None = None
    revision: str | None = None  # of the source that was applied


Tell = Callable[[StoryEvent], None]
"""Takes news; returns at once and never raises."""
