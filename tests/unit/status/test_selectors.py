"""Label selectors: as kubectl reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base.errors import InvalidInput
from controller.status.selectors import parse

LABELS = {"team": "data", "tier": "gold", "app.example.org/part": "front"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("team=data", True),
        ("team==data", True),
        ("team = data", True),
        ("team=web", False),
        ("team!=web", True),
        ("team!=data", False),
        ("absent!=anything", True),
        ("absent=", False),
        ("team in (data, web)", True),
        ("team in (web)", False),
        ("team notin (web)", True),
        ("team notin (data,web)", False),
        ("absent notin (a)", True),
        ("absent in (a)", False),
        ("team", True),
        ("!team", False),
        ("!absent", True),
        ("absent", False),
        ("app.example.org/part=front", True),
        ("team=data,tier in (gold,silver),!absent", True),
        ("team=data,tier=silver", False),
    ],
)
def test_a_selector_accepts_what_kubernetes_would(selector: str, matches: bool) -> None:
    """All requirements hold, and a label that is not there is not equal to anything."""
    assert parse(selector)(LABELS) is matches


@pytest.mark.parametrize(
    "wrong", ["=a", "a=b=c", "a in b", "a in (b", "a b", "a,,b", "a in (b c)", "-a", "a=-b", "!", "a!b"]
)
def test_a_selector_that_makes_no_sense_is_refused_and_quoted(wrong: str) -> None:
    """It is never taken for an empty one."""
    with pytest.raises(InvalidInput, match="makes no sense"):
        parse(wrong)


WORDS = st.sampled_from(["a", "b", "c"])


@given(st.dictionaries(WORDS, WORDS), WORDS, st.sets(WORDS, min_size=1))
def test_in_and_notin_are_opposites_and_equality_is_membership_in_one(
    labels: dict[str, str], key: str, values: set[str]
) -> None:
    """The three ways of writing a requirement agree with each other."""
    listed = ",".join(sorted(values))
    among = parse(f"{key} in ({listed})")(labels)
    assert parse(f"{key} notin ({listed})")(labels) is not among
    assert among is any(parse(f"{key}={value}")(labels) for value in values)
