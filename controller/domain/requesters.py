"""Who asked, where nobody can tell: the actors that are no person. Rules that compare a requester with somebody ask here first."""

ANNOTATION = "annotation"
"""An annotation asked: whoever may edit the job may have written it."""
UNVERIFIED = "unverified"
"""An object asked whose words about its author nobody has checked."""
MOST = 240
"""Characters of the name of whoever asks or decides with an object."""


def unverified(said: str | None) -> str:
    """The actor of a request that says it is from `said`, at most `MOST` characters. Pure."""
    return f"{UNVERIFIED}:{said}"[:MOST] if said else UNVERIFIED


def is_unknown(requester: str) -> bool:
    """Whether this may be anybody. Pure."""
    return requester == ANNOTATION or requester.partition(":")[0] == UNVERIFIED
