"""What gates want to know that only somebody outside can say: the questions, and what was found.

    a gate names an Enquiry → it is asked outside of any transaction (loops) → its Finding stands in the facts → the gate judges

Invariant: an enquiry names everything that is asked and holds no secret, so that the same question has the same key, and any change of it another one; a finding
is what was found out, never what it was found out with.
"""

from datetime import timedelta

import msgspec

from controller.base import canonical


class Enquiry(msgspec.Struct, frozen=True, kw_only=True):
    """A question to somebody outside; its kinds are subclasses. `of` is the document that wants to know, in the words of messages."""

    of: str
    namespace: str

    @property
    def key(self) -> str:
        """The same for the same question. Pure."""
        return canonical.digest({"kind": type(self).__name__, "asked": msgspec.to_builtins(self, str_keys=True)})

    @property
    def words(self) -> str:
        """What is waited for, for people. Pure."""
        return f"{self.of} is asked"


class Finding(msgspec.Struct, frozen=True):
    """What was found out; its kinds are subclasses."""


class NoAnswer(Finding, frozen=True):
    """Nobody could be asked for as long as one tries: what it means is a gate's to say, and it is never a yes."""

    message: str


class Away(msgspec.Struct, frozen=True):
    """Nobody can be asked just now; another try may find somebody. Not a finding: gates never see it."""

    message: str
    retry_after: timedelta | None = None
