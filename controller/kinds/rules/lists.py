"""Rules about lists whose items are told apart by some of their fields."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.kinds.findings import Finding
from controller.kinds.records import Reason


def doubles(items: Sequence[Mapping[str, Any]], pointer: str, what: str, *keys: str) -> Iterator[Finding]:
    """A finding for each item whose `keys` are those of an earlier one; it points at the last of the keys. Pure."""
    if len(items) < 2:
        return
    seen: set[tuple[Any, ...]] = set()
    for index, item in enumerate(items):
        identity = tuple(item.get(key) for key in keys)
        if identity in seen:
            message = f"the {what} {item[keys[-1]]} is in the list twice"
            yield Finding(f"{pointer}/{index}/{keys[-1]}", Reason.Duplicate, message, "Remove one of the two")
        seen.add(identity)
