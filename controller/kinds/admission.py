"""Which documents of a file are ours, and by which kind they are to be judged.

| the document | what becomes of it |
|---|---|
| group `jobwarden.dev` (or below it) | ours: a resource or an error; a ControllerConfiguration is left to the command line |
| another group | skipped and counted, unless kind and group together look like a slip of the pen (`jobwarden.io`, ScheduledJob) |
| no apiVersion, but a kind of ours | an error: it is meant for us |
| neither apiVersion nor kind, but metadata and spec | an error: it is meant for somebody, and nobody else says so |
| anything else (values files, compose files, lists) | skipped and counted |
| `kind: List`, or …List of ours | its items, each for itself |

`parse` asks about every document. Pure.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from controller.kinds import later, wording
from controller.kinds.catalog import API_VERSION, CONFIGURATION, GROUP, KINDS, Kind
from controller.kinds.findings import Finding, shown
from controller.kinds.records import Reason

_WRITABLE = tuple(kind.name for kind in KINDS.values() if kind.verb is None)


def items(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """The document itself, or the items of a List, with their pointers. Nesting is bounded by the reader."""
    if isinstance(value, dict) and isinstance(value.get("items"), list) and _is_list(value):
        for index, item in enumerate(value["items"]):
            yield from items(item, f"{pointer}/items/{index}")
    else:
        yield pointer, value


def _is_list(value: Mapping[str, Any]) -> bool:
    kind = value.get("kind")
    if not isinstance(kind, str) or not kind.endswith("List"):
        return False
    return kind == "List" or (_group(value) == GROUP and kind.removesuffix("List") in KINDS)


def is_ours(value: Any) -> bool:
    """Whether the document is meant for us; the table at the top says which are. Pure."""
    if not isinstance(value, dict):
        return False
    kind, group = value.get("kind"), _group(value)
    if group == GROUP or group.endswith("." + GROUP):
        return kind != CONFIGURATION
    if value.get("apiVersion") is not None:
        return kind in _WRITABLE and difflib.SequenceMatcher(None, group, GROUP).ratio() > 0.75
    if kind is not None:
        return isinstance(kind, str) and wording.nearest(kind, KINDS) is not None
    return isinstance(value.get("metadata"), dict) and isinstance(value.get("spec"), dict)


def admit(value: Mapping[str, Any], allowed_kinds: Collection[str] | None) -> tuple[Kind | None, tuple[Finding, ...]]:
    """The kind to judge the document by, or why it is not judged at all. Pure."""
    api, name = value.get("apiVersion"), value.get("kind")
    if api is None:
        return None, (
            Finding(
                "/apiVersion",
                Reason.Required,
                "the field apiVersion is missing",
                f"Write apiVersion: {API_VERSION}",
            ),
        )
    if name is None:
        return None, (
            Finding("/kind", Reason.Required, "the field kind is missing", f"Write kind: {' or '.join(_WRITABLE)}"),
        )
    if str(name) in later.KINDS:
        return None, (wording.not_supported("/kind", f"the kind {name}", later.KINDS[str(name)]),)
    if api != API_VERSION:
        message = f"{shown(api)} is not an apiVersion of jobwarden"
        reason = Reason.UnknownVersion if str(api).startswith(GROUP + "/") else Reason.InvalidValue
        return None, (Finding("/apiVersion", reason, message, f"Write apiVersion: {API_VERSION}"),)
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        near = wording.nearest(str(name), _WRITABLE)
        hint = f"Did you mean {near}?" if near else f"Known: {', '.join(_WRITABLE)}"
        return None, (Finding("/kind", Reason.UnknownKind, f"there is no kind {shown(name)}", hint),)
    if kind.verb is not None:
        return None, (Finding("/kind", Reason.NotAllowed, f"the kind {name} is not read from files", kind.verb),)
    if allowed_kinds is not None and name not in allowed_kinds:
        hint = f"Allowed: {', '.join(sorted(allowed_kinds)) or 'none'}; the source's allowedKinds says so"
        return None, (Finding("/kind", Reason.NotAllowed, f"the source may not contain the kind {name}", hint),)
    return kind, ()


def _group(value: Mapping[str, Any]) -> str:
    api = value.get("apiVersion")
    return api.partition("/")[0] if isinstance(api, str) else ""
