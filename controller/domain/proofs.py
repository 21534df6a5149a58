"""What is left of a proof once it has been looked at: what it says, or why it says nothing. Neither has the proof itself.

`proofs` makes these, the gate of the same name decides over them, rules see the words.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from controller.domain.reasons import Reason
from controller.domain.trust import ProofMethod


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """A proof that holds. Only what whoever vouches for it has signed is in here.

    `once` stands for the proof's own id, as a digest: None for one without. `holds_until` is the first instant at which it is no proof any more for this policy, `once_until`
    the first at which it is none for any, so that its id may be forgotten. `claims`
    are its claims as text, and `lists` those that are lists; claims of objects have names with dots.
    """

    method: ProofMethod
    holds_until: datetime
    issuer: str = ""
    subject: str = ""
    key: str = ""  # what the key is called that it was verified with
    algorithm: str = ""
    once: str | None = None
    once_until: datetime | None = None  # there where `once` is
    claims: Mapping[str, str] = {}
    lists: Mapping[str, tuple[str, ...]] = {}


class Unproven(msgspec.Struct, frozen=True):
    """Why it is none. The message names what a policy wants, and nothing that the proof says."""

    reason: Reason
    message: str


Verdict = Proven | Unproven
