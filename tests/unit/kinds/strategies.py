"""Hypothesis strategies made from the schemas: documents that must be valid, and damage done to them."""

import re
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)


def valid(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema accepts."""
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "object":
            return _object(schema)
        case "array":
            most = min(schema.get("maxItems", 3), 3)
            unique = repr if schema.get("uniqueItems") else None
            return st.lists(
                valid(schema["items"]),
                min_size=schema.get("minItems", 0),
                max_size=max(most, schema.get("minItems", 0)),
                unique_by=unique,
            )
        case "string":
            return _string(schema)
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum", -(2**53) + 1), schema.get("maximum", 2**53 - 1))
        case "number":
            return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False)
    return st.just({})


def _string(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 100)
    if "pattern" not in schema:
        return st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=least, max_size=min(most, least + 20))
    pattern = re.sub(r"\$$", r"\\Z", schema["pattern"])
    return st.from_regex(re.compile(pattern, re.ASCII)).filter(
        lambda text: least <= len(text) <= most and text.isprintable()
    )


def _object(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if "properties" not in schema:
        if not isinstance(schema.get("additionalProperties"), dict):
            return st.just({})
        keys = _string(schema.get("propertyNames", {}))
        return st.dictionaries(keys, valid(schema["additionalProperties"]), max_size=2)
    properties = {name: valid(inner) for name, inner in schema["properties"].items()}
    groups = [[option["required"][0] for option in schema["oneOf"]]] if "oneOf" in schema else []
    unions = (schema, *schema.get("allOf", ()))
    excluded = [pair["required"] for one in unions for pair in one.get("not", {}).get("anyOf", ())]
    # Of some groups one is enough and more are welcome.
    needed = [[option["required"][0] for option in schema["anyOf"]]] if "anyOf" in schema else []
    choice = st.tuples(*(st.sampled_from(group) for group in groups + needed))
    return choice.flatmap(lambda chosen: _with(properties, schema.get("required", ()), groups, chosen, excluded))


def _with(
    properties: Mapping[str, st.SearchStrategy[Any]],
    required: Any,
    groups: list[list[str]],
    chosen: tuple[str, ...],
    excluded: list[list[str]],
) -> st.SearchStrategy[Any]:
    dropped = {name for group in groups for name in group if name not in chosen} | {pair[1] for pair in excluded}
    always = {*required, *chosen}
    optional = {name: strategy for name, strategy in properties.items() if name not in always | dropped}
    some = st.sets(st.sampled_from(sorted(optional)), max_size=3) if optional else st.just(set())
    return some.flatmap(
        lambda names: st.fixed_dictionaries({name: properties[name] for name in sorted(always | names)})
    )


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> Any:
    """The document with one to three places replaced, removed or added to."""
    for _ in range(draw(st.integers(1, 3))):
        document = _damage(draw, document)
    return document


def _damage(draw: st.DrawFn, value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    action = draw(st.sampled_from(["descend", "descend", "descend", "replace", "remove", "add"]))
    if action == "replace" or not isinstance(value, dict | list):
        return draw(JUNK)
    copy = value.copy()
    if action == "add" or not keys:
        if isinstance(copy, dict):
            copy[draw(TEXT)] = draw(JUNK)
        else:
            copy.append(draw(JUNK))
        return copy
    key = draw(st.sampled_from(keys))
    if action == "remove":
        del copy[key]
    else:
        copy[key] = _damage(draw, copy[key])
    return copy
