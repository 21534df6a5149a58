"""Document bytes to resources and errors; the one entry for everything that reads manifests."""

from collections.abc import Collection

from controller.kinds.records import ManifestError, ParsedFile, Reason, Resource

__all__ = ["ManifestError", "ParsedFile", "Reason", "Resource", "parse_file"]


def parse_file(
    path: str, data: bytes, *, namespace: str | None = None, allowed_kinds: Collection[str] | None = None
) -> ParsedFile:
    """Everything in one YAML file.

    `namespace` is forced upon every namespaced resource; `allowed_kinds` (None: all) refuses the others. Pure.
    """
    raise NotImplementedError
