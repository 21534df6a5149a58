"""Canonical JSON: the quick way and the library's way are one."""

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from controller.base import canonical

LARGEST = 2**53 - 1


def values(text: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    """Plain values whose texts and keys are from `text`."""
    scalars = st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | text
    return st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=10)


@given(values(st.text(st.characters(max_codepoint=127))) | values(st.text(st.characters(exclude_categories=["Cs"]))))
def test_the_quick_way_writes_what_the_standard_says(value):
    """For plain ASCII, which takes it, and for other text, which does not: RFC 8785 either way."""
    assert canonical.dumps(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), float("inf"), {1: 2}, b"x", {"\ud800": 1}])
def test_what_has_no_canonical_form_takes_neither_way(value):
    """Large integers, infinities, keys that are no text, bytes, lone surrogates."""
    with pytest.raises(ValueError, match="canonical JSON"):
        canonical.dumps({"x": value})


def test_a_value_that_contains_itself_is_an_error_and_not_an_endless_loop():
    """The check for the quick way ends by itself."""
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="canonical JSON"):
        canonical.dumps(value)


@given(values(st.text(st.characters(exclude_categories=["Cs"]))))
def test_what_a_program_has_made_is_written_the_same_way(value):
    """`dumps_plain` gives what `dumps` gives, whatever the text."""
    assert canonical.dumps_plain(value) == canonical.dumps(value)


def test_text_that_is_no_unicode_is_refused_there_too():
    """A lone surrogate."""
    with pytest.raises(ValueError, match="canonical JSON"):
        canonical.dumps_plain({"x": "\ud800"})
