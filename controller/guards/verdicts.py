"""What a guard may answer. A verdict is a value with a reason; the dispatcher carries it out."""

from datetime import datetime

import msgspec

from controller.domain.reasons import Reason


class Allow(msgspec.Struct, frozen=True):
    """Open the run."""


class Defer(msgspec.Struct, frozen=True):
    """Not now: look again at `not_before` at the latest, or when one of `waits` is freed."""

    reason: Reason
    message: str
    not_before: datetime
    waits: tuple[str, ...] = ()


class Skip(msgspec.Struct, frozen=True):
    """No: this dispatch will not run."""

    reason: Reason
    message: str


class Miss(msgspec.Struct, frozen=True):
    """Too late."""

    reason: Reason
    message: str


class Ask(msgspec.Struct, frozen=True):
    """Somebody has to approve; the dispatch waits without holding anything."""

    message: str


class Replace(msgspec.Struct, frozen=True):
    """Cancel what the job has open or waiting, then look again."""

    message: str
    not_before: datetime
    waits: tuple[str, ...]


Verdict = Allow | Defer | Skip | Miss | Ask | Replace
