"""Patterns of users: whole-text matching in linear time."""

import pytest

from controller.base.patterns import compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("[a-z]+", "abc", True),
        ("[a-z]+", "abc1", False),
        ("a|b", "b", True),
        ("a|b", "ab", False),
        ("a", "a\n", False),
        ("^a$", "a", True),
        ("", "", True),
        ("[$]", "$", True),
    ],
)
def test_the_whole_text_must_match(pattern: str, text: str, matches: bool) -> None:
    """As if the pattern stood between ^ and $, alternatives included."""
    assert compile_pattern(pattern)(text) is matches


@pytest.mark.parametrize("pattern", ["(", "[a", "(?=a)", r"(a)\1", "a{1000}{1000}{1000}", "*"])
def test_a_pattern_that_cannot_be_run_in_linear_time_is_refused(pattern: str) -> None:
    """Look-around, back-references, repetitions that would fill memory, and what is no pattern."""
    with pytest.raises(ValueError, match="RE2"):
        compile_pattern(pattern)


def test_a_pattern_that_would_hold_a_backtracking_engine_for_hours_returns() -> None:
    """The classic: nested repetition over a text that almost matches."""
    assert not compile_pattern("(a+)+")("a" * 100_000 + "b")
