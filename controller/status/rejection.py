"""What is wrong with a newer version of a resource that was not accepted: read from the row that `reconcile` wrote.

Shape: JSON of one or of several errors, each with `reason`, `message` and, as far as they are known, `file`, `line`, `column`, `pointer`, `hint`.
Invariant: a rejection that cannot be read is still a rejection.
"""

from typing import Any

import msgspec

from controller.base.structs import described
from controller.domain.reasons import Reason
from controller.kinds.records import OBJECT

# What a source declares twice, or may not declare, is said by that reason; everything else is Invalid.
_OWN_WORDS = frozenset(
    {Reason.OwnershipConflict, Reason.DuplicateResource, Reason.KindNotAllowed, Reason.InsufficientSlots}
)


@described
class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where. Unknown places are None."""

    reason: str = Reason.Invalid.value
    message: str = ""
    hint: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    pointer: str | None = None

    @property
    def place(self) -> str:
        """`file:line:column`, as far as it is known; an object of a cluster is no place."""
        if self.file is not None and self.file.startswith(OBJECT):
            return ""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.place, self.pointer, self.message) if part)
        return f"{text} ({self.hint})" if self.hint else text


def problems(data: bytes) -> tuple[Problem, ...]:
    """The errors in the order in which they were found; at least one. Pure."""
    try:
        value = msgspec.json.decode(data)
    except msgspec.MsgspecError:
        value = None
    entries = value if isinstance(value, list) else [value]
    return tuple(_problem(one) for one in entries) or (Problem(),)


def summary(data: bytes) -> tuple[str, str]:
    """Reason and message of a condition: the first error, and how many more there are. Pure."""
    found = problems(data)
    first = found[0]
    reason = first.reason if first.reason in _OWN_WORDS else Reason.Invalid.value
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return reason, (str(first) or Reason.Invalid.sentence) + more


def _problem(value: Any) -> Problem:
    try:
        return msgspec.convert(value, Problem)
    except msgspec.ValidationError:
        return Problem(message=str(value) if value else "")
