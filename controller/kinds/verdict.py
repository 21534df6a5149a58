"""Whether a document has the shape of its kind, and if not, what to say.

`parse` and `configuration` ask. A compiled validator answers "valid" for nearly all documents; only otherwise does `jsonschema` look for the
errors, which are then put into words by what the schema says at that place. Both read the same file and the same dialect of patterns; a test
compares them over the whole corpus.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

import jsonschema_rs
import msgspec

from controller.kinds import schemas, wording
from controller.kinds.findings import Finding

MAX_FINDINGS = 50  # of one document


class Verdict(msgspec.Struct, frozen=True):
    """`document` is the one that was given, without nulls where the schema wants a value: null means absent, as for an API server."""

    document: dict[str, Any]
    findings: tuple[Finding, ...] = ()


def judge(kind: str, schema_name: str, document: dict[str, Any]) -> Verdict:
    """The verdict on a document by its schema; no findings means valid. Pure."""
    quick = _quick(schema_name)
    if quick.is_valid(document):
        return Verdict(document)
    schema = schemas.load(schema_name)
    stripped = _without_nulls(document, schema)
    if quick.is_valid(stripped):
        return Verdict(stripped)
    found = islice(_slow(schema_name).iter_errors(stripped), MAX_FINDINGS)
    findings = [finding for error in found for finding in wording.explain(kind, schema, error)]
    if not findings:
        raise AssertionError(f"the two validators disagree about a {kind}")
    return Verdict(stripped, wording.without_echoes(findings))


@cache
def _quick(schema_name: str) -> Any:
    return jsonschema_rs.validator_for(schemas.load(schema_name), pattern_options=jsonschema_rs.RegexOptions())


@cache
def _slow(schema_name: str) -> Any:
    # Imported here because it takes 60 ms and a controller without bad documents never needs it.
    import jsonschema  # noqa: PLC0415

    def pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
        # `$` means the end of the text in the dialect of schemas; Python's also matches before a last line break.
        if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
            yield jsonschema.ValidationError("pattern")

    extend: Any = jsonschema.validators.extend
    return extend(jsonschema.Draft202012Validator, {"pattern": pattern})(schemas.load(schema_name))


def _without_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {
            key: _without_nulls(inner, properties.get(key, {}))
            for key, inner in value.items()
            if inner is not None or key not in properties
        }
    if isinstance(value, list) and (items := schema.get("items")):
        return [_without_nulls(item, items) for item in value]
    return value
