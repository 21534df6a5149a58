"""What a job is at its core, as one digest each: when it fires and what it runs, and what people approve.

Reconcile asks, the store keeps the answers. Both are taken over parsed values without those that equal their default, so that an API server's
defaulting, a later version's new fields and another spelling of the same duration change nothing. The algorithm's version is part of the digest.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from controller.base import canonical, durations, quantities
from controller.kinds import schemas
from controller.kinds.catalog import SCHEDULED_JOB, schema_file
from controller.kinds.values import instant

_FIRING = ("schedule", "trigger", "shell", "exec", "pod", "watchdog")
_ASIDE = ("description", "suspend", "priority", "notifications", "alerts", "history")
_EMPTY: tuple[Any, ...] = ({}, [])


def fire_digest(document: Mapping[str, Any]) -> str:
    """Digest of schedule, trigger and target of a valid ScheduledJob: a job that is Completed stays so while this is the same. Pure."""
    return _fire_digest(_spec(document))


def effective_digest(document: Mapping[str, Any]) -> str:
    """Digest of all that decides what a run does; approvals are bound to it.

    Description, suspend, priority, notifications, alerts and history are left out. Pure.
    """
    return _effective_digest(_spec(document))


def both_digests(document: Mapping[str, Any]) -> tuple[str, str]:
    """(fireDigest, effectiveDigest) in one reading of the document. Pure."""
    spec = _spec(document)
    return _fire_digest(spec), _effective_digest(spec)


def _fire_digest(spec: Mapping[str, Any]) -> str:
    return canonical.digest({field: spec[field] for field in _FIRING if field in spec})


def _effective_digest(spec: Mapping[str, Any]) -> str:
    return canonical.digest({field: value for field, value in spec.items() if field not in _ASIDE})


def _spec(document: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = _job_reader()(document["spec"])
    schedule = spec.get("schedule")
    if schedule and "cron" in schedule:
        schedule["crons"] = [schedule.pop("cron")]
    return spec


@cache
def _job_reader() -> Callable[[Any], Any]:
    return reader(schemas.load(schema_file(SCHEDULED_JOB.name))["properties"]["spec"])


def reader(schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A function from a value that is valid by `schema` to what it means: parsed, and without what equals its default or is empty. Pure.

    Units: durations in seconds, sizes in bytes, instants as UTC text, whole floats as integers.
    """
    if "properties" in schema:
        return _object_reader(schema["properties"])
    if "items" in schema:
        item = reader(schema["items"])
        return lambda values: [item(value) for value in values]
    return _SCALARS.get(schema.get("x-jobwarden-type") or schema.get("type", ""), _same)


def _object_reader(properties: Mapping[str, Any]) -> Callable[[Any], Any]:
    readers = {name: reader(schema) for name, schema in properties.items()}
    defaults = {name: readers[name](schema["default"]) for name, schema in properties.items() if "default" in schema}

    def read(values: Mapping[str, Any]) -> dict[str, Any]:
        out = {}
        for name, value in values.items():
            if value is None:
                continue
            found = readers[name](value)
            if found not in _EMPTY and found != defaults.get(name, _NO_DEFAULT):
                out[name] = found
        return out

    return read


_NO_DEFAULT = object()


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "duration": lambda text: int(durations.parse(text).total_seconds()),
    "quantity": quantities.parse,
    "instant": lambda text: instant(text).isoformat(),
    "number": _number,
    "integer": _number,
}
