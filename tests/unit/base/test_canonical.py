"""Canonical JSON and digests: one value, one text, one digest, on every machine."""

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base import canonical

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON, st.randoms())
def test_order_of_keys_does_not_matter(value, rng: random.Random):
    """Two dicts with the same content give the same bytes, which read back as the value."""

    def shuffled(part):
        if isinstance(part, dict):
            items = [(key, shuffled(item)) for key, item in part.items()]
            rng.shuffle(items)
            return dict(items)
        return [shuffled(item) for item in part] if isinstance(part, list) else part

    text = canonical.dumps(value)
    assert canonical.dumps(shuffled(value)) == text
    assert json.loads(text, parse_int=float) == value


def test_the_form_is_that_of_rfc_8785():
    """Numbers as ECMAScript writes them, keys by UTF-16 code units, no spaces."""
    assert canonical.dumps({"b": [1.0, 1e21, 0.000001, -0.0], "a": "\u20ac\n", "\U0001f600": None, "\ufb33": True}) == (
        '{"a":"\u20ac\\n","b":[1,1e+21,0.000001,0],"\U0001f600":null,"\ufb33":true}'.encode()
    )


def test_the_digest_names_its_algorithm():
    """Known for ever: a change of this value orphans every stored digest."""
    assert canonical.digest({"schedule": {"cron": "0 3 * * *"}}) == (
        "v1:sha256:" + hashlib.sha256(b'{"schedule":{"cron":"0 3 * * *"}}').hexdigest()
    )
    assert canonical.digest({}) == "v1:sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, {1: 2}, object(), {"a": b"x"}, "\ud800", nested(100_000)]
)
def test_what_json_cannot_hold_is_an_error(value):
    """A ValueError, also for what is nested too deep."""
    with pytest.raises(ValueError, match="canonical JSON"):
        canonical.dumps(value)
