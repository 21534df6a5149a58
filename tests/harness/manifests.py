"""Builders for manifests as plain dictionaries: what a person would write, with as little as possible.

`job` takes the fields of `spec` as keywords and knows nothing about them, so that tests can also write wrong ones.
"""

from datetime import UTC, datetime
from typing import Any

API_VERSION = "jobwarden.dev/v1alpha1"
LONG_AGO = "2024-01-01T00:00:00Z"

Document = dict[str, Any]


def document(kind: str, name: str, spec: Document, **metadata: Any) -> Document:
    """One resource of ours."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def shell(script: str) -> Document:
    """A shell target, as a value of `spec.shell`."""
    return {"script": script}


def bare(name: str, *, metadata: Document | None = None, **spec: Any) -> Document:
    """A ScheduledJob with exactly these fields and no target unless one is given."""
    return document("ScheduledJob", name, spec, **(metadata or {}))


def job(name: str, script: str = "true", *, metadata: Document | None = None, **spec: Any) -> Document:
    """A ScheduledJob that runs `script`; without `schedule` or `trigger` it runs on request only."""
    return bare(name, metadata=metadata, **({"shell": shell(script)} | spec))


def once(name: str, script: str = "true", *, at: str = LONG_AGO, **spec: Any) -> Document:
    """A one-shot whose instant has passed already: with no starting deadline it runs as soon as it is seen."""
    return job(name, script, schedule={"at": at}, **spec)


def child(name: str, parent: str, script: str = "true", *, when: str = "Succeeded", **spec: Any) -> Document:
    """A job that runs after one parent; `trigger` may be given to add to `after`."""
    trigger = {"after": [{"job": parent, "when": when}], **spec.pop("trigger", {})}
    return job(name, script, trigger=trigger, **spec)


def pool(name: str, slots: int = 1) -> Document:
    """A ResourcePool."""
    return document("ResourcePool", name, {"slots": slots})


def webhook(name: str, url: str) -> Document:
    """A NotificationTarget that posts to `url`."""
    return document("NotificationTarget", name, {"webhook": {"url": url}})


def instant(text: str) -> datetime:
    """The aware UTC datetime of an RFC 3339 text. Errors: ValueError when it has no offset."""
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError(f"{text} names no offset")
    return value.astimezone(UTC)


def rfc3339(value: datetime) -> str:
    """The text of an aware datetime, in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
