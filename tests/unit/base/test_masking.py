"""Masking: registered values disappear from any text, in the forms that libraries print them."""

import base64
import json
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st

from controller.base.encodings import maskable
from controller.base.masking import MASK, Masker

secrets = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*"), min_size=4, max_size=40).filter(
    lambda text: maskable(text.encode())
)


@given(secret=secrets, before=st.text(max_size=10), after=st.text(max_size=10))
def test_no_form_of_a_secret_survives(secret, before, after):
    """Plain, percent-encoded, in JSON, as a Python literal."""
    masker = Masker()
    masker.add(secret)
    for form in (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        assert form not in masker.mask(before + form + after).replace(MASK, "")


def test_base64_of_a_secret_is_masked():
    """Basic authentication headers are base64."""
    masker = Masker()
    masker.add("user:password")
    assert masker.mask("Basic " + base64.b64encode(b"user:password").decode()).startswith("Basic ***")


def test_the_longer_of_two_secrets_is_replaced_whole():
    """No rest of the longer one is left over because the shorter one matched first."""
    masker = Masker()
    masker.add("abcd", "abcdefgh")
    assert masker.mask("xabcdefghx") == "x***x"


def test_forgetting_counts():
    """Two users of the same secret do not unmask each other."""
    masker = Masker()
    with masker.masking("canary"):
        with masker.masking("canary"):
            pass
        assert masker.mask("canary") == MASK
    assert masker.mask("canary") == "canary"


def test_lines_of_a_secret_are_masked_alone():
    """A key in several lines is recognised when only one of them is printed."""
    masker = Masker()
    masker.add("-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----")
    assert masker.mask("bad line MIIEvQIBADANBg") == "bad line ***"


def test_short_values_are_left_alone():
    """Masking `1` would make every text unreadable."""
    masker = Masker()
    masker.add("1", "abc")
    assert masker.mask("1 abc") == "1 abc"
