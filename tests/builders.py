"""Builders of documents for every test: those of `tests.harness.manifests`, and what reads and writes them.

`job(name, **spec)` is a ScheduledJob that runs `true` unless `script` says otherwise.
"""

from typing import Any

import yaml

from controller.domain.job import JobSpec
from controller.domain.resolve import Defaults, job_spec
from controller.kinds.parse import ParsedFile, Resource, parse_file
from tests.harness.manifests import Document, bare, child, document, job, once, pool, webhook

__all__ = [
    "Document",
    "bare",
    "child",
    "document",
    "job",
    "once",
    "parsed",
    "pool",
    "resource",
    "spec_of",
    "webhook",
    "written",
]


def written(*documents: Any) -> bytes:
    """The documents as one YAML file."""
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True).encode()


def parsed(*documents: Any, path: str = "jobs.yaml") -> ParsedFile:
    """What reading a file with these documents gives."""
    return parse_file(path, written(*documents))


def resource(document: Document, path: str = "jobs.yaml") -> Resource:
    """The resource of a document that must be valid."""
    file = parsed(document, path=path)
    assert not file.errors, "\n".join(map(str, file.errors))
    (only,) = file.resources
    return only


def spec_of(document: Document, defaults: Defaults | None = None) -> JobSpec:
    """The resolved spec of a ScheduledJob that must be valid."""
    return job_spec(resource(document).document["spec"], defaults or Defaults())
