"""The words for what a JSON Schema validator found: reason, message, hint, made from what the schema says at that place.

`verdict` hands it jsonschema's errors. Messages name what is wrong, hints what to do; neither carries a value that could be a secret.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from controller.kinds import later
from controller.kinds.findings import Finding, join, shown
from controller.kinds.records import Reason

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}
_NOUNS = {
    "duration": "a duration",
    "instant": "an instant",
    "quantity": "a size",
    "wallTime": "a wall time",
    "url": "a URL",
}
# By the models' note on the type: what the value is not, and what to write.
_PATTERNS = {
    "duration": (
        "is not a duration",
        "Write whole numbers with d, h, m and s, the larger unit first and none of them 0, such as 90s, 5m, 1h30m or 1d",
    ),
    "instant": (
        "is not an instant",
        "Write RFC 3339 with a zone, such as 2026-03-01T09:00:00Z or 2026-03-01T09:00:00+01:00",
    ),
    "quantity": ("is not a size", "Write a whole number of bytes with Ki, Mi, Gi, k, M or G behind it, such as 64Ki"),
    "name": ("is not a name", "Use lower-case letters, digits and '-', with a letter or digit first and last"),
    "envName": ("is not a name for a variable", "Use letters, digits and '_', no digit first"),
    "parameterName": ("is not a name for a parameter", "Use lower-case letters, digits and '_', a letter first"),
    "timeZone": ("is not a time zone", "Write an IANA name such as Europe/Berlin or UTC"),
    "wallTime": ("is not a wall time", "Write HH:MM, such as 06:30"),
    "absolutePath": ("is not an absolute path", "Begin it with /"),
    "url": ("is not an http or https URL", "Write it as https://HOST/PATH"),
    "userName": ("is not a user name", "Write printable ASCII characters, as `kubectl auth whoami` shows them"),
    "actor": ("is not a user or %group", "Write a user name, or %NAME for a group"),
    "namespaceOrAll": ("is not a namespace", "Write a namespace's name, or * for all of them"),
    "labelValue": (
        "is not a label's value",
        "Use at most 63 letters, digits, '-', '_' and '.', with a letter or digit first and last",
    ),
    "fieldPath": (
        "is not a field that can be read",
        "Write metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'] or metadata.annotations['KEY']",
    ),
}
# Values below these are never shown in a message.
_SECRETIVE = re.compile(
    r"/spec/(env/[0-9]+/value|parameters/[0-9]+/default|webhook/url|(shell|watchdog/check)/script)$|/(db|heartbeatURL)$"
)


def explain(kind: str, root: Mapping[str, Any], error: Any) -> Iterator[Finding]:
    """The findings that one error of jsonschema over the schema `root` stands for. Pure."""
    path: list[str | int] = list(error.absolute_path)
    pointer = join(*path)
    match error.validator:
        case "additionalProperties":
            for name in error.instance.keys() - error.schema.get("properties", {}).keys():
                yield _unknown(kind, root, path, error.schema, name)
        case "required":
            for name in error.validator_value:
                if name not in error.instance and f"{name!r} " in f"{error.message} ":
                    yield _required(path, name, error.schema)
        case "type":
            yield _wrong_type(pointer, error.instance, error.schema)
        case "enum" | "const":
            yield _not_in_list(path, error)
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            yield Finding(
                join(*path, error.instance),
                Reason.InvalidValue,
                f"the key {shown(error.instance)} is not allowed here",
                "Use letters, digits, '-', '_' and '.', with a letter or digit first and last",
            )
        case "pattern":
            yield _not_matching(pointer, error.instance, error.schema)
        case "oneOf" | "anyOf" | "not":
            # What is no mapping at all is told by its type; `required` says nothing about it.
            if isinstance(error.instance, dict):
                yield _union(pointer, error)
        case "uniqueItems":
            yield Finding(pointer, Reason.Duplicate, "an item is in the list twice", "Remove one of the two")
        case _:
            yield _out_of_range(path, pointer, error)


def _unknown(
    kind: str, root: Mapping[str, Any], path: Sequence[str | int], schema: Mapping[str, Any], name: str
) -> Finding:
    pointer = join(*path, name)
    if capability := later.field(kind, join(*("*" if isinstance(token, int) else token for token in path)), name):
        return not_supported(pointer, f"the field {name}", capability)
    known = schema.get("properties", {})
    message = f"there is no field {shown(name)} here"
    if near := nearest(name, known):
        return Finding(pointer, Reason.UnknownField, message, f"Did you mean {near}?")
    if name == "namespace" and path == ["metadata"]:
        return Finding(pointer, Reason.UnknownField, message, f"A {kind} belongs to no namespace; remove the field")
    if elsewhere := sorted(set(_places(root, name))):
        return Finding(pointer, Reason.UnknownField, message, f"It belongs into {' or '.join(elsewhere[:3])}")
    return Finding(pointer, Reason.UnknownField, message, f"Known here: {_listed(known)}")


def not_supported(pointer: str, what: str, capability: str) -> Finding:
    """The refusal of something that a later version will know. Pure."""
    return Finding(
        pointer,
        Reason.NotSupported,
        f"{what} is not supported by this version",
        f"{capability} will come with a later version; remove it until then",
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that somebody who wrote `name` most likely meant. Pure."""
    folded = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.7)
    return folded[found[0]] if found else None


def _places(schema: Mapping[str, Any], name: str, at: str = "") -> Iterator[str]:
    """Where in the whole document a field of that name exists, as a dotted path."""
    for key, inner in schema.get("properties", {}).items():
        if key == name and at:
            yield at
        yield from _places(inner, name, f"{at}.{key}" if at else key)
    if isinstance(items := schema.get("items"), dict):
        yield from _places(items, name, f"{at}[]")


def _required(path: Sequence[str | int], name: str, schema: Mapping[str, Any]) -> Finding:
    description = schema.get("properties", {}).get(name, {}).get("description", "")
    return Finding(
        join(*path, name), Reason.Required, f"the field {name} is missing", description.split(". ")[0].rstrip(".")
    )


def _wrong_type(pointer: str, value: Any, schema: Mapping[str, Any]) -> Finding:
    wanted: str = schema["type"]
    noun = _NOUNS.get(schema.get("x-jobwarden-type", ""), _TYPES[wanted])
    return Finding(
        pointer,
        Reason.WrongType,
        f"{_kind_of(value)} stands where {noun} belongs",
        _type_hint(pointer, value, wanted, schema),
    )


def _kind_of(value: Any) -> str:
    for type_, name in (
        (bool, "true or false"),
        (str, "text"),
        ((int, float), "a number"),
        (list, "a list"),
        (dict, "a mapping"),
    ):
        if isinstance(value, type_):
            return name
    return "nothing"


def _type_hint(pointer: str, value: Any, wanted: str, schema: Mapping[str, Any]) -> str:
    if wanted == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        note = _PATTERNS.get(schema.get("x-jobwarden-type", ""))
        if note and schema["x-jobwarden-type"] in ("duration", "quantity", "instant"):
            return note[1]
    if wanted == "string" and isinstance(value, bool | int) and not _SECRETIVE.search(pointer):
        return f'Put it into quotes: "{str(value).lower()}"'
    if wanted == "string" and isinstance(value, bool | int | float):
        return "Put it into quotes"
    if wanted in ("integer", "number") and isinstance(value, str):
        return "Write a decimal number without quotes and without leading zeros"
    if wanted == "boolean" and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off", "true", "false"):
        return f"Write {'true' if value.lower() in ('yes', 'on', 'true') else 'false'}, without quotes"
    if wanted == "object":
        first = next(iter([*schema.get("required", ()), *schema.get("properties", ())]), "KEY")
        return f"Write {first}: VALUE on the next line, indented"
    if wanted == "array":
        return "Write each item on a line of its own after '- '"
    return ""


def _not_in_list(path: Sequence[str | int], error: Any) -> Finding:
    allowed = error.validator_value if error.validator == "enum" else [error.validator_value]
    pointer = join(*path)
    near = nearest(error.instance, map(str, allowed)) if isinstance(error.instance, str) else None
    hint = f"Did you mean {near}?" if near else f"Allowed: {', '.join(map(str, allowed))}"
    return Finding(pointer, Reason.InvalidValue, f"{shown(error.instance)} is not one of the allowed values", hint)


def _not_matching(pointer: str, value: str, schema: Mapping[str, Any]) -> Finding:
    what = "the value" if _SECRETIVE.search(pointer) else shown(value)
    said, hint = _PATTERNS.get(
        schema.get("x-jobwarden-type", ""), ("is not allowed here", schema.get("description", "").rstrip("."))
    )
    return Finding(pointer, Reason.InvalidValue, f"{what} {said}", hint)


def _union(pointer: str, error: Any) -> Finding:
    alternatives = error.validator_value["anyOf"] if error.validator == "not" else error.validator_value
    fields = list(dict.fromkeys(field for alternative in alternatives for field in alternative["required"]))
    given = [field for field in fields if field in error.instance]
    if not given:
        hint = f"Add {'it' if len(fields) == 1 else 'one of them'}"
        return Finding(pointer, Reason.OneOf, f"{_one_of(fields)} must be given, and none is", hint)
    word = "exactly" if error.validator == "oneOf" else "at most"
    return Finding(
        pointer,
        Reason.OneOf,
        f"{word} one of {', '.join(fields)} may be given, not {' and '.join(given)}",
        _UNION_HINTS.get(frozenset(given), "Keep one of them"),
    )


_UNION_HINTS = {
    frozenset({"schedule", "trigger"}): "Keep one of them; to start some time after the parents, write trigger.delay",
}


def _one_of(fields: Sequence[str]) -> str:
    return fields[0] if len(fields) == 1 else f"one of {', '.join(fields)}"


_BOUNDS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} entries",
    "maxProperties": "must have at most {} entries",
}


def _out_of_range(path: Sequence[str | int], pointer: str, error: Any) -> Finding:
    value, bound = error.instance, error.validator_value
    says = _BOUNDS[error.validator].format(bound)
    if "propertyNames" in error.absolute_schema_path:
        return Finding(pointer, Reason.OutOfRange, f"the key {shown(value)} {says}")
    what = "the item" if not path or isinstance(path[-1], int) else path[-1]
    if error.validator in ("minLength", "minItems", "minProperties") and not value:
        return Finding(pointer, Reason.OutOfRange, f"{what} must not be empty")
    has = value if isinstance(value, int | float) else len(value)
    return Finding(pointer, Reason.OutOfRange, f"{what} {says}, not {has}")


def without_echoes(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Leaves out what follows from another finding: a field is missing because its name is misspelt beside it. Pure."""
    unknown = {
        (_parent(finding.pointer), finding.hint) for finding in findings if finding.reason is Reason.UnknownField
    }
    misspelt = {parent for parent, _ in unknown} | {
        _parent(finding.pointer) for finding in findings if finding.reason is Reason.NotSupported
    }

    def is_echo(finding: Finding) -> bool:
        if finding.reason is Reason.Required:
            name = finding.pointer.rpartition("/")[2]
            return (_parent(finding.pointer), f"Did you mean {name}?") in unknown
        return (
            finding.reason is Reason.OneOf and finding.message.endswith("and none is") and finding.pointer in misspelt
        )

    return tuple(finding for finding in findings if not is_echo(finding))


def _parent(pointer: str) -> str:
    return pointer.rpartition("/")[0]


def _listed(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= 200 else text[:199].rpartition(",")[0] + ", …"
