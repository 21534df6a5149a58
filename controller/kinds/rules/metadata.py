"""Rules of every kind: annotations under our own prefix must be ones that we read, or a misspelt one would silently mean nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from controller.kinds.findings import Finding, join
from controller.kinds.records import Reason
from controller.kinds.wording import nearest

PREFIX = "jobwarden.dev/"
PRUNE = "jobwarden.dev/prune"
ANNOTATIONS = (
    "jobwarden.dev/hold",
    PRUNE,
    "jobwarden.dev/run-requested-at",
    "jobwarden.dev/cancel-requested-at",
    "jobwarden.dev/reconcile-requested-at",
)


def check(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about a document's metadata. Pure."""
    for key, value in document["metadata"].get("annotations", {}).items():
        if not key.startswith(PREFIX):
            continue
        pointer = join("metadata", "annotations", key)
        if key not in ANNOTATIONS:
            near = nearest(key.removeprefix(PREFIX), (known.removeprefix(PREFIX) for known in ANNOTATIONS))
            hint = f"Did you mean {PREFIX}{near}?" if near else f"Known: {', '.join(ANNOTATIONS)}"
            yield Finding(pointer, Reason.UnknownField, f"there is no annotation {key}", hint)
        elif key == PRUNE and value not in ("disabled", "enabled"):
            yield Finding(
                pointer,
                Reason.InvalidValue,
                "the annotation takes disabled or enabled",
                "Write disabled to keep the resource when its document goes",
            )
