"""Manifest files to resources and errors; the one entry for everything that reads manifests.

Sources and `jobwarden validate` hand it a file, reconcile takes what comes out. `admission` says which documents are ours.

A file that is not YAML gives one error and nothing else, since half a file may mean anything. A bad document costs only itself: the others
come through, and the error names the resource so that its last good version is kept. Where no resource can be named, `complete` is False and
the source prunes nothing.

Nothing here raises, whatever the bytes are.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

import msgspec

from controller.kinds import admission, rules, verdict, yaml
from controller.kinds.catalog import API_VERSION, DEFAULT_NAMESPACE, KINDS, Kind, schema_file
from controller.kinds.findings import Finding
from controller.kinds.positions import Positions
from controller.kinds.records import ManifestError, ParsedFile, Reason, Resource

__all__ = ["ManifestError", "ParsedFile", "Reason", "Resource", "parse_file"]

_encode = msgspec.json.Encoder(order="deterministic").encode
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def parse_file(
    path: str, data: bytes, *, namespace: str | None = None, allowed_kinds: Collection[str] | None = None
) -> ParsedFile:
    """Everything in one YAML file, errors in the order of their lines.

    `path` is only repeated in what is given. `namespace` is forced upon every namespaced resource; `allowed_kinds` (None: all) refuses the
    others. Pure; never raises.
    """
    stream = yaml.read(data)
    if stream.problem is not None:
        return ParsedFile(errors=(_yaml_error(path, stream.problem, None),), complete=False)
    file = _File(path, stream.text, namespace, allowed_kinds)
    for document in stream.documents:
        file.add(document)
    return file.result()


class _Identity(msgspec.Struct, frozen=True):
    """What could be read of who a document is. `certain` when the name is one that a resource can have."""

    kind: str | None
    namespace: str | None
    name: str | None

    @property
    def certain(self) -> bool:
        return self.kind in KINDS and self.name is not None and _NAME.fullmatch(self.name) is not None


_NOBODY = _Identity(None, None, None)


class _Lazy:
    """The positions of one document, looked up only once somebody asks for more than its first line."""

    def __init__(self, text: str, document: yaml.Document) -> None:
        self._text = text
        self._document = document
        self._positions: Positions | None = None

    def of(self, pointer: str) -> tuple[int, int]:
        if self._positions is None:
            self._positions = Positions(self._text, self._document)
        return self._positions.of(pointer)

    def line(self, pointer: str) -> int:
        return self.of(pointer)[0] if pointer else self._document.line


class _File:
    """Collects what the documents of one file give. Lives for one call of `parse_file`."""

    def __init__(self, path: str, text: str, namespace: str | None, allowed_kinds: Collection[str] | None) -> None:
        self._path = path
        self._text = text
        self._namespace = namespace
        self._allowed_kinds = allowed_kinds
        self._resources: list[Resource] = []
        self._errors: list[ManifestError] = []
        self._complete = True
        self._skipped = 0

    def result(self) -> ParsedFile:
        errors = sorted(self._errors, key=lambda error: (error.line, error.column, error.pointer))
        return ParsedFile(tuple(self._resources), tuple(errors), self._complete, self._skipped)

    def add(self, document: yaml.Document) -> None:
        items = list(admission.items(document.value, ""))
        ours = [(pointer, value) for pointer, value in items if admission.is_ours(value)]
        self._skipped += len(items) - len(ours)
        if document.problems and ours:
            identity = self._identity(ours[0][1]) if len(ours) == 1 else _NOBODY
            positions = Positions(self._text, document)
            self._errors.extend(_yaml_error(self._path, problem, identity, positions) for problem in document.problems)
            self._complete = self._complete and identity.certain
            return
        lazy = _Lazy(self._text, document)
        for pointer, value in ours:
            self._add_one(lazy, pointer, value)

    def _add_one(self, positions: _Lazy, pointer: str, value: dict[str, Any]) -> None:
        kind, findings = admission.admit(value, self._allowed_kinds)
        if kind is not None:
            judged = verdict.judge(kind.name, schema_file(kind.name), value)
            value, findings = judged.document, judged.findings or rules.check(kind.name, judged.document)
            if not findings:
                self._resources.append(self._resource(positions, pointer, kind, value))
                return
        identity = self._identity(value)
        self._complete = self._complete and identity.certain
        self._errors.extend(self._error(positions, pointer, finding, identity) for finding in findings)

    def _resource(self, positions: _Lazy, pointer: str, kind: Kind, value: dict[str, Any]) -> Resource:
        metadata = value["metadata"]
        return Resource(
            api_version=API_VERSION,
            kind=kind.name,
            namespace=self._home(kind, metadata),
            name=metadata["name"],
            labels=metadata.get("labels", {}),
            annotations=metadata.get("annotations", {}),
            document=value,
            spec_digest="sha256:" + hashlib.sha256(_encode(value["spec"])).hexdigest(),
            path=self._path,
            line=positions.line(pointer),
        )

    def _home(self, kind: Kind | None, metadata: Mapping[str, Any]) -> str | None:
        if kind is not None and not kind.namespaced:
            return None
        written = metadata.get("namespace")
        return self._namespace or (written if _fits_a_line(written) else DEFAULT_NAMESPACE)

    def _identity(self, value: Mapping[str, Any]) -> _Identity:
        kind = value.get("kind")
        kind = kind if _fits_a_line(kind) else None
        metadata = value.get("metadata")
        if not isinstance(metadata, dict):
            return _Identity(kind, None, None)
        name = metadata.get("name")
        home = self._home(KINDS.get(kind or ""), metadata)
        return _Identity(kind, home, name if _fits_a_line(name) else None)

    def _error(self, positions: _Lazy, base: str, finding: Finding, identity: _Identity) -> ManifestError:
        pointer = base + finding.pointer
        line, column = positions.of(pointer)
        return ManifestError(
            file=self._path,
            line=line,
            column=column,
            reason=finding.reason,
            message=finding.message,
            hint=finding.hint,
            pointer=pointer,
            kind=identity.kind,
            namespace=identity.namespace,
            name=identity.name,
        )


def _fits_a_line(text: Any) -> TypeGuard[str]:
    return isinstance(text, str) and 0 < len(text) <= 253 and text.isprintable()


def _yaml_error(
    path: str, problem: yaml.Problem, identity: _Identity | None, positions: Positions | None = None
) -> ManifestError:
    who = identity or _NOBODY
    return ManifestError(
        file=path,
        line=problem.line,
        column=problem.column,
        reason=problem.reason,
        message=problem.message,
        hint=problem.hint,
        pointer=positions.at(problem.line, problem.column) if positions is not None else "",
        kind=who.kind,
        namespace=who.namespace,
        name=who.name,
    )
