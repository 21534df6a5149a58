"""Models to one plain schema: references inlined, every property optional rather than nullable, notes of the models kept.

`crds` and `generate` render it in their own dialects. It is a tree without sharing, so a walker needs no resolver.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
_NOTHING: tuple[Any, ...] = (None, [])  # a default that says no more than absence


def plain(model: type[BaseModel]) -> Schema:
    """The schema of `model` with everything inline. Pure."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    return _inline(schema, definitions)


def _inline(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    merged = dict(node)
    while (reference := merged.pop("$ref", None)) or (options := merged.pop("anyOf", None)):
        if reference:
            merged = {**definitions[reference.rpartition("/")[2]], **merged}
        else:
            (only,) = [option for option in options if option != {"type": "null"}]
            merged = {**only, **merged}
    merged.pop("title", None)
    if "patternProperties" in merged:
        # A map whose keys have a pattern. Written so, other keys are errors, and an API server can read it.
        ((pattern, merged["additionalProperties"]),) = merged.pop("patternProperties").items()
        merged["propertyNames"] = {**merged.get("propertyNames", {}), "pattern": pattern}
    if "default" in merged and merged["default"] in _NOTHING:
        del merged["default"]
    if "const" in merged:
        merged["enum"] = [merged.pop("const")]
    if "properties" in merged:
        merged["properties"] = {name: _inline(child, definitions) for name, child in merged["properties"].items()}
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(merged.get(key), dict):
            merged[key] = _inline(merged[key], definitions)
    if merged.get("x-jobwarden-type") == "instant":
        merged["format"] = "date-time"
    return merged
