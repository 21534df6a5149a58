"""What a decision point answers: whatever is no decision denies, and is told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base.masking import Masker
from controller.domain.trust import Decision
from controller.gates.enquiries import Judged
from controller.providers import words
from controller.providers.decision_point import judged

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT | st.sampled_from(["allow", "decision", "result"]), inner, max_size=4)
    ),
    max_leaves=8,
)
YES: tuple[Any, ...] = ({"allow": True}, {"decision": "Permit"}, {"decision": "permit"})


def said(body: bytes) -> Judged:
    """As it is shown."""
    return judged(body, words.fit)


def of(result: Any) -> Judged:
    """What a result means."""
    return said(json.dumps({"result": result}).encode())


@pytest.mark.parametrize(
    ("result", "decision"),
    [
        (True, Decision.Permit),
        (False, Decision.Deny),
        ({"allow": True}, Decision.Permit),
        ({"allow": False}, Decision.Deny),
        ({"decision": "Permit"}, Decision.Permit),
        ({"decision": "deny"}, Decision.Deny),
        ({"decision": "Escalate"}, Decision.Escalate),
        ({"decision": "escalate", "obligations": [1]}, Decision.Escalate),
    ],
)
def test_these_are_decisions(result: Any, decision: Decision) -> None:
    """Case S089: permit, deny and escalate are as given. Anything beside them is the decision point's own affair."""
    assert of(result) == Judged(decision)


def test_a_decision_says_why() -> None:
    """On one line, and cut."""
    assert of({"allow": False, "reason": "not\non Fridays"}) == Judged(Decision.Deny, "not on Fridays")
    assert of({"allow": False, "reason": 5}) == Judged(Decision.Deny)
    assert len(of({"allow": False, "reason": "x " * 9999}).message) <= words.LONGEST


@given(JSON)
def test_nothing_else_permits(answer: Any) -> None:
    """Whatever JSON comes: only these words in these places are a yes."""
    found = said(json.dumps(answer).encode())
    result = answer.get("result") if isinstance(answer, dict) else None
    yes = result is True or (
        isinstance(result, dict)
        and any(
            result.get(field) == one[field] and not {"allow", "decision"} - {field} & result.keys()
            for one in YES
            for field in one
        )
    )
    assert (found.decision is Decision.Permit) is bool(yes)
    assert found.understood or (found.decision is Decision.Deny and found.message)


@given(st.binary(max_size=200))
def test_no_bytes_break_it(body: bytes) -> None:
    """Nor permit, unless they are JSON that does."""
    found = said(body)
    assert found.decision is not Decision.Permit or b"result" in body
    assert found.message.isprintable()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{}", "no result"),
        (b'{"decision_id": "x"}', "no result"),
        (b"", "empty"),
        (b"<html>no</html>", "<html>no</html>"),
        (b"true", "true"),
        (b'{"result": null}', "null"),
        (b'{"result": "Permit"}', '"Permit"'),
        (b'{"result": 1}', "1"),
        (b'{"result": {"allow": "true"}}', '"true"'),
        (b'{"result": {"allow": 1}}', "1"),
        (b'{"result": {"decision": "allow"}}', '"allow"'),
        (b'{"result": {"decision": "Warn"}}', '"Warn"'),
        (b'{"result": {"allow": true, "decision": "Deny"}}', '"Deny"'),
        (b'{"result": {}}', "{}"),
        (b'{"result": [true]}', "[true]"),
        (b'{"result": true', '{"result": true'),
        (b'{"result": ' + b"[" * 100_000, "[[["),
        (b"[" * 900 + b"]" * 900, "[[["),
    ],
)
def test_what_is_no_decision_is_quoted(body: bytes, word: str) -> None:
    """Case S089: an explanatory reason, and a Deny; undefined, a wrong type, two decisions that contradict each other, no JSON, half of it."""
    found = said(body)
    assert (found.decision, found.understood) == (Decision.Deny, False)
    assert word in found.message


def test_a_secret_that_comes_back_is_masked() -> None:
    """A decision point may quote the header that it was asked with."""
    masker = Masker()
    masker.add("canary-5e3c1b-value")
    for result in ({"allow": False, "reason": "who is canary-5e3c1b-value?"}, "canary-5e3c1b-value"):
        found = judged(json.dumps({"result": result}).encode(), lambda text: words.fit(text, masker))
        assert "canary" not in found.message
