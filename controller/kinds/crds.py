"""CustomResourceDefinitions: structural OpenAPI v3 with CEL for what a schema cannot say.

Takes the plain schema of `structural`. What the API server checks here and what `parse` checks in files is meant to be the same; only the keys of
maps are left to the controller, since CEL cannot bound their length.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from typing import Any

from controller.kinds.catalog import GROUP, VERSION, Kind
from controller.kinds.structural import Schema

_NOTES = (
    "x-jobwarden-open",
    "x-jobwarden-type",
    "x-jobwarden-rules",
    "x-jobwarden-list",
    "x-jobwarden-immutable",
    "propertyNames",
)


def crd(kind: Kind, spec: Schema, status: Schema) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind. Pure."""
    names = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": kind.name.lower(),
        "shortNames": [kind.short],
        "categories": ["jobwarden"],
    }
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root(kind, spec, status)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": column.name, "type": column.type, "jsonPath": column.path, "description": column.description}
            for column in kind.columns
        ],
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _root(kind: Kind, spec: Schema, status: Schema) -> dict[str, Any]:
    return {
        "description": kind.summary,
        "type": "object",
        "required": ["metadata", "spec"],
        "x-kubernetes-validations": [
            {
                "rule": f"size(self.metadata.name) <= {kind.max_name} && !self.metadata.name.contains('.')",
                "message": f"metadata.name must be at most {kind.max_name} lower-case letters, digits and '-'",
            }
        ],
        "properties": {
            "apiVersion": {
                "type": "string",
                "maxLength": 253,
                "description": "Group and version of this kind of object.",
            },
            "kind": {"type": "string", "maxLength": 63, "description": "The kind of object."},
            "metadata": {"type": "object"},
            "spec": structural(spec),
            "status": structural(status),
        },
    }


def structural(node: Schema) -> dict[str, Any]:
    """The node in the dialect of the API server: no closed objects (it prunes), rules as CEL, list types. Pure."""
    out = {key: value for key, value in node.items() if key not in _NOTES}
    if out.get("default") == "":
        del out["default"]  # an API server would write it into every object
    if out.get("additionalProperties") is False or node.get("x-jobwarden-open"):
        out.pop("additionalProperties", None)
    if node.get("x-jobwarden-open"):
        out["x-kubernetes-preserve-unknown-fields"] = True
    if "properties" in out:
        out["properties"] = {name: structural(child) for name, child in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = structural(out[key])
    if "x-jobwarden-list" in node:
        keys = node["x-jobwarden-list"]
        out["x-kubernetes-list-type"] = "map" if keys else "set"
        if keys:
            out["x-kubernetes-list-map-keys"] = keys
    elif node.get("type") == "array":
        out["x-kubernetes-list-type"] = "atomic"
    if validations := _validations(node):
        out["x-kubernetes-validations"] = validations
    return out


def _validations(node: Schema) -> list[dict[str, str]]:
    found = []
    for rule in node.get("x-jobwarden-rules", ()):
        fields: list[str] = rule["fields"]
        count = f"[{', '.join(f'has(self.{_cel_name(field)})' for field in fields)}].filter(given, given).size()"
        if rule["type"] == "ExactlyOne":
            found.append({"rule": f"{count} == 1", "message": f"exactly one of {', '.join(fields)} must be given"})
        elif rule["type"] == "AtLeastOne":
            found.append({"rule": f"{count} >= 1", "message": f"at least one of {', '.join(fields)} must be given"})
        else:
            found.append({"rule": f"{count} <= 1", "message": f"at most one of {', '.join(fields)} may be given"})
    if node.get("x-jobwarden-immutable"):
        found.append({"rule": "self == oldSelf", "message": "it cannot be changed once it is made"})
    return found


_CEL_RESERVED = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
    }
    | {"loop", "package", "namespace", "return", "var", "void", "while"}
)


def _cel_name(field: str) -> str:
    """Reserved words are escaped as `__word__`: https://kubernetes.io/docs/reference/using-api/cel/#escaping. Pure."""
    return f"__{field}__" if field in _CEL_RESERVED else field
