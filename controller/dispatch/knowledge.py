"""What a controller knows that a transaction does not: what it remembers, what its host can do, what others outside have said."""

from collections.abc import Callable, Mapping

import msgspec

from controller.domain.abilities import Abilities
from controller.gates.enquiries import Enquiry, Finding
from controller.store.governors import Registry


def _nothing(_dispatch: str) -> Mapping[str, Finding]:
    return {}


class Knowledge(msgspec.Struct, frozen=True):
    """For the thread that writes. `registry` remembers the documents of trust from one turn to the next, `abilities` are those of this host, and `found` are
    the findings about a dispatch by the keys of their enquiries.
    """

    registry: Registry = msgspec.field(default_factory=Registry)
    abilities: Callable[[], Abilities] = Abilities
    found: Callable[[str], Mapping[str, Finding]] = _nothing


class Asked(msgspec.Struct, frozen=True):
    """What the gates want to know about a dispatch before they judge it."""

    dispatch: str
    enquiry: Enquiry


def wait_key(dispatch: str) -> str:
    """What a dispatch waits for that somebody outside is asked about. Pure."""
    return f"answer:{dispatch}"
