"""The tree of exceptions. An exception means that the world misbehaved; a refusal is a value, not an exception.

JobwardenError                    retry
├── InvalidInput                  never      what somebody gave cannot be used as it is
├── NotFound                      never      no resource, run or approval of that name
├── Conflict                      never      the object is no longer in the state that the request needs
├── Forbidden                     never      who asks lacks the right, as RBAC or an admission policy says
├── SourceUnavailable             backoff    a folder or repository could not be read whole
├── StoreUnavailable              backoff    the database is gone, locked, full or read-only
├── StoreHeld                     never      another controller holds this SQLite file
├── ControllerUnreachable         never      a verb needs the running controller and there is none
├── DeliveryFailed                backoff    a notification was not accepted
├── LoopFailed                    never      a supervised loop ended or broke: a defect of ours, the controller stops
└── IllegalTransition             never      a state table was violated: a defect of ours
"""

from enum import StrEnum


class Retry(StrEnum):
    """Whether trying the same thing again can help."""

    Never = "Never"
    Backoff = "Backoff"


class JobwardenError(Exception):
    """Base of all; `str()` is a message for people: what is wrong, and what to do."""

    retry: Retry = Retry.Never


class InvalidInput(JobwardenError):
    """What was given cannot be used as it is."""


class NotFound(JobwardenError):
    """Nothing of that name exists."""


class Conflict(JobwardenError):
    """The object is no longer in the state that the request needs."""


class Forbidden(JobwardenError):
    """Who asks may not; the message says which right is missing."""


class SourceUnavailable(JobwardenError):
    """A source could not be read whole, so nothing of it is applied and nothing pruned."""

    retry = Retry.Backoff


class StoreUnavailable(JobwardenError):
    """The database is gone, locked, full or read-only."""

    retry = Retry.Backoff


class StoreHeld(JobwardenError):
    """Another controller holds this SQLite file; the message names it."""


class ControllerUnreachable(JobwardenError):
    """A verb needs the running controller, and none answers."""


class DeliveryFailed(JobwardenError):
    """A notification target did not accept the message."""

    retry = Retry.Backoff


class LoopFailed(JobwardenError):
    """A supervised loop ended or broke, so the controller stops: a defect of ours, its cause chained."""


class IllegalTransition(JobwardenError):
    """A state table was violated: a defect of ours, never of the user."""


def hint_of(error: BaseException) -> str:
    """What to do about an error, from the notes that were added to it (PEP 678); "" when the message says it all."""
    return "\n".join(getattr(error, "__notes__", ()))
