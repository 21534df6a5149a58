"""What the design knows and this version does not: fields and kinds that are refused by name, so that nobody mistakes them for a typing error."""

from collections.abc import Mapping

_AGENTS = "Agents"

# By kind, then by pointer with * for list positions, then by field; the value names the capability that brings it.
FIELDS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "ScheduledJob": {
        "/spec": {
            "agent": _AGENTS,
            "gateway": _AGENTS,
            "gatewayRef": _AGENTS,
        },
    },
}

KINDS: Mapping[str, str] = {
    **dict.fromkeys(("AgentGateway", "Agent", "AgentTask", "TaskGroup", "Budget"), _AGENTS),
}


def field(kind: str, pointer: str, name: str) -> str | None:
    """The capability that will bring this field, None if there is no such plan. Pure."""
    return FIELDS.get(_alike(kind), {}).get(pointer, {}).get(name)


def _alike(kind: str) -> str:
    return kind.removeprefix("Cluster")
