"""Status as YAML files: one for each resource, in a folder that nobody else writes to.

The status loop hands over shapes. Invariant: a file that does not carry our mark is never changed or removed, and a reader sees a whole file or the
one before it.
"""

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from controller.base.errors import InvalidInput

MARK = "# Written by jobwarden, and overwritten by it.\n"
_CLUSTER = "_cluster"
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class StatusFiles:
    """The folder. Blocking: for a worker thread."""

    def __init__(self, root: Path, sources: Iterable[Path]) -> None:
        """Errors: InvalidInput for a folder inside a source: what is written there would be read as manifests."""
        real = root.resolve()
        for source in sources:
            inside = source.resolve()
            if real == inside or inside in real.parents:
                raise InvalidInput(
                    f"the status folder {root} is inside the source {source}; give a folder outside of it"
                )
        self._root = root
        self._written: dict[Path, str] = {}
        root.mkdir(parents=True, exist_ok=True)

    def write(self, shape: Mapping[str, Any]) -> bool:
        """Bring the file of a resource up to date; True when it was changed. Errors: OSError."""
        path = self.path(shape)
        text = MARK + yaml.dump(_shown(shape), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        if self._written.get(path) == text:
            return False
        before = _read(path)
        if before is not None and not before.startswith(MARK):
            return False
        self._written[path] = text
        if before == text:
            return False
        _replace(path, text)
        return True

    def remove(self, path: Path) -> None:
        """Remove a file of ours, and its folder once that is empty."""
        self._written.pop(path, None)
        before = _read(path)
        if before is None or not before.startswith(MARK):
            return
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def keep_only(self, known: Collection[Path]) -> None:
        """Remove the files of resources that are gone, also those that an earlier controller wrote."""
        for path in self._root.glob("*/*/*.yaml"):
            if path not in known:
                self.remove(path)

    def path(self, shape: Mapping[str, Any]) -> Path:
        """`<root>/<kind>/<namespace>/<name>.yaml`; cluster kinds have the namespace `_cluster`, which no namespace can be called. Pure."""
        metadata = shape["metadata"]
        namespace, name = str(metadata.get("namespace", _CLUSTER)), str(metadata["name"])
        return self._root / str(shape["kind"]) / namespace / f"{name}.yaml"


def _shown(shape: Mapping[str, Any]) -> dict[str, Any]:
    """What a status file says: which resource, and how it stands; the spec is where somebody wrote it."""
    metadata = shape["metadata"]
    named = {key: metadata[key] for key in ("name", "namespace", "uid", "generation") if key in metadata}
    return {
        "apiVersion": shape["apiVersion"],
        "kind": shape["kind"],
        "metadata": named,
        "status": shape["status"],
    }


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
