"""Whether a document has the shape of its kind, and if not, what to say.

`parse` and `configuration` ask. A compiled validator answers "valid" for nearly all documents; only otherwise does `jsonschema` look for the
errors, which are then put into words by what the schema says at that place. Both read the same file and the same dialect of patterns; a test
compares them over the whole corpus.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

import jsonschema_rs
import msgspec

from controller.kinds import schemas, wording
from controller.kinds.findings import Finding
from controller.kinds.records import Reason

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
    if not findings:  # the two validators disagree, which a test says they never do; the stricter one is right
        findings = [Finding("", Reason.InvalidValue, f"the document does not match the schema of {kind}")]
    return Verdict(stripped, wording.without_echoes(findings))


@cache
def _quick(schema_name: str) -> Any:
    return jsonschema_rs.validator_for(schemas.load(schema_name), pattern_options=jsonschema_rs.RegexOptions())


@cache
def _slow(schema_name: str) -> Any:
    # Imported here because it takes 60 ms and a controller without bad documents never needs it.
    import jsonschema  # noqa: PLC0415

    def pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
        # Python's own engine reads `$` and `\s` differently; the compiled validator's is asked, so that there is one dialect.
        if isinstance(instance, str) and not _matcher(pattern)(instance):
            yield jsonschema.ValidationError("pattern")

    extend: Any = jsonschema.validators.extend
    return extend(jsonschema.Draft202012Validator, {"pattern": pattern})(schemas.load(schema_name))


@cache
def _matcher(pattern: str) -> Callable[[str], bool]:
    return jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions()).is_valid


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
