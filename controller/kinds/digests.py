"""What a job is at its core, as one digest each: when it fires and what it runs, and what people approve.

Reconcile asks, the store keeps the answers. Both are taken over parsed values without those that equal their default, so that an API server's
defaulting, a later version's new fields and another spelling of the same duration change nothing. The algorithm's version is part of the digest.
"""

from collections.abc import Mapping
from typing import Any

from controller.base import canonical, durations, quantities
from controller.kinds import schemas
from controller.kinds.catalog import SCHEDULED_JOB, schema_file
from controller.kinds.values import instant

_FIRING = ("schedule", "trigger", "shell", "exec", "watchdog")
_ASIDE = ("description", "suspend", "priority", "notifications", "alerts", "history")
_EMPTY: tuple[Any, ...] = ({}, [])


def fire_digest(document: Mapping[str, Any]) -> str:
    """Digest of schedule, trigger and target of a valid ScheduledJob: a job that is Completed stays so while this is the same. Pure."""
    spec = _spec(document)
    return canonical.digest({field: spec[field] for field in _FIRING if field in spec})


def effective_digest(document: Mapping[str, Any]) -> str:
    """Digest of all that decides what a run does; approvals are bound to it.

    Description, suspend, priority, notifications, alerts and history are left out. Pure.
    """
    spec = _spec(document)
    return canonical.digest({field: value for field, value in spec.items() if field not in _ASIDE})


def _spec(document: Mapping[str, Any]) -> dict[str, Any]:
    schema = schemas.load(schema_file(SCHEDULED_JOB.name))["properties"]["spec"]
    spec: dict[str, Any] = meaning(document["spec"], schema)
    schedule = spec.get("schedule")
    if schedule and "cron" in schedule:
        schedule["crons"] = [schedule.pop("cron")]
    return spec


def meaning(value: Any, schema: Mapping[str, Any]) -> Any:
    """A valid value as what it means: parsed, and without what equals its default or is empty. Pure.

    Units: durations in seconds, sizes in bytes, instants as UTC text, whole floats as integers.
    """
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {
            key: found
            for key, inner in value.items()
            if (found := _member(inner, properties.get(key, {}))) is not _ABSENT
        }
    if isinstance(value, list):
        items = schema.get("items", {})
        return [meaning(item, items) for item in value]
    match schema.get("x-jobwarden-type"):
        case "duration":
            return int(durations.parse(value).total_seconds())
        case "quantity":
            return quantities.parse(value)
        case "instant":
            return instant(value).isoformat()
    return int(value) if isinstance(value, float) and value.is_integer() else value


_ABSENT = object()


def _member(value: Any, schema: Mapping[str, Any]) -> Any:
    if value is None:
        return _ABSENT
    found = meaning(value, schema)
    if found in _EMPTY or ("default" in schema and found == meaning(schema["default"], schema)):
        return _ABSENT
    return found
