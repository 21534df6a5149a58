"""What we know of the objects in the cluster: the newest of each, from lists and from the watch, in whatever order they come.

The source reads it as others read a folder: a path for each object, a digest, and a document. Invariant: an object never goes back to an older version,
and one that was deleted does not come back with a list that was made before.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from controller.kinds.catalog import KINDS
from controller.kinds.records import OBJECT
from controller.sources.snapshot import Revision

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_METADATA = ("name", "namespace", "uid", "generation", "labels", "annotations")
_encode = msgspec.json.Encoder(order="sorted").encode


class Held(msgspec.Struct, frozen=True):
    """One object. `data` is what people wrote, without status and bookkeeping; `status` what the API server has, as JSON."""

    digest: str
    data: bytes
    uid: str
    generation: int
    version: int
    status: bytes


class Mirror:
    """All objects. Pure in memory; for one thread."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.digests: dict[str, str] = {}
        self.revision = Revision()
        self._gone: dict[str, int] = {}

    def put(self, body: Mapping[str, Any]) -> str | None:
        """Take a version of an object; gives its path when what people wrote is new."""
        metadata = body["metadata"]
        path, version = path_of(body), version_of(body)
        before = self.held.get(path)
        if version <= self._gone.get(path, -1) or (before is not None and version < before.version):
            return None
        if metadata.get("deletionTimestamp"):
            return self.drop(body)
        self._gone.pop(path, None)
        data = _encode(_written(body))
        held = Held(
            digest=hashlib.sha256(data).hexdigest(),
            data=data,
            uid=metadata["uid"],
            generation=int(metadata.get("generation", 1)),
            version=version,
            status=as_json(body.get("status") or {}),
        )
        return path if self._set(path, held) else None

    def drop(self, body: Mapping[str, Any]) -> str | None:
        """An object is gone, or on its way; gives its path when it was there."""
        path, version = path_of(body), version_of(body)
        before = self.held.get(path)
        if before is not None and before.version > version:
            return None
        self._gone[path] = version
        return path if self._set(path, None) else None

    def replace(self, kind: str, bodies: Iterable[Mapping[str, Any]], version: int) -> None:
        """Take a whole list of one kind, made at a resource version: what it lacks and was older is gone."""
        listed = set()
        for body in bodies:
            listed.add(path_of(body))
            self.put(body)
        prefix = f"{OBJECT}{kind}/"
        for path in [one for one in self.held if one.startswith(prefix) and one not in listed]:
            if self.held[path].version <= version:
                self._set(path, None)
        for path in [one for one, at in self._gone.items() if one.startswith(prefix) and at <= version]:
            del self._gone[path]

    def wrote_status(self, path: str, status: Mapping[str, Any]) -> None:
        """We have just written this status."""
        held = self.held.get(path)
        if held is not None:
            self.held[path] = msgspec.structs.replace(held, status=as_json(status))

    def _set(self, path: str, held: Held | None) -> bool:
        """Whether that is something else than people had written before."""
        before, after = self.digests.get(path), held.digest if held is not None else None
        if held is None:
            self.held.pop(path, None)
        else:
            self.held[path] = held
        if before == after:
            return False
        self.revision.replace(path, before, after)
        if after is None:
            del self.digests[path]
        else:
            self.digests[path] = after
        return True


def path_of(body: Mapping[str, Any]) -> str:
    """`//Kind/namespace/name`, the namespace of cluster kinds being empty. Pure."""
    metadata = body["metadata"]
    return object_path(body["kind"], metadata.get("namespace", ""), metadata["name"])


def object_path(kind: str, namespace: str, name: str) -> str:
    """See `path_of`. Pure."""
    return f"{OBJECT}{kind}/{namespace if KINDS[kind].namespaced else ''}/{name}"


def version_of(body: Mapping[str, Any]) -> int:
    """When an object was last written, as the API server counts. Pure."""
    return int(body["metadata"]["resourceVersion"])


def as_json(status: Mapping[str, Any]) -> bytes:
    """A status so that equal ones are equal. Pure."""
    return _encode(status)


def _written(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: body["metadata"][key] for key in _METADATA if body["metadata"].get(key)}
    if _APPLIED in metadata.get("annotations", ()):
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key != _APPLIED}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata, "spec": body.get("spec", {})}
