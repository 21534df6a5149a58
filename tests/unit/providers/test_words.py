"""What backends say is shown short, on one line, and without secrets."""

from hypothesis import given
from hypothesis import strategies as st

from controller.base.masking import Masker
from controller.providers.words import LONGEST, fit, listed

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"


@given(st.text(max_size=10_000))
def test_any_text_becomes_one_short_line(text: str) -> None:
    """No control character is left."""
    shown = fit(text)
    assert len(shown) <= LONGEST
    assert shown.isprintable()


@given(st.text(max_size=400), st.text(max_size=400), st.text("abcdefgh", min_size=6, max_size=60))
def test_a_known_secret_is_not_in_it_wherever_it_stands(before: str, after: str, secret: str) -> None:
    """Neither whole nor its first half at the cut."""
    masker = Masker()
    masker.add(secret)
    assert secret not in fit(before + secret + after, masker)
    long = fit("x " * (LONGEST // 2 - 4) + secret, masker)
    assert secret[:6] not in long


def test_what_looks_like_a_credential_goes_as_well() -> None:
    """A backend may quote what we never saw."""
    said = f"bad token {JWT}; Authorization: Bearer s3cr3t-value; key 0123456789abcdef0123456789abcdef; at https://me:pw@host/x"
    shown = fit(said)
    for secret in (JWT, "s3cr3t-value", "0123456789abcdef", "me:pw"):
        assert secret not in shown
    assert "bad token" in shown
    assert "host/x" in shown


def test_ordinary_words_stay() -> None:
    """Paths, names and sentences are what people need."""
    said = "permission denied: database/creds/readonly-for-the-payments-team at 2026-11-22T00:00:00Z (code 403)"
    assert fit(said) == said


def test_a_huge_message_costs_little() -> None:
    """Only its beginning is looked at."""
    assert fit("a-" * 5_000_000).endswith("…")


def test_long_lists_are_cut() -> None:
    """Eight names, and how many more there are."""
    assert listed("abc") == "a, b, c"
    assert listed([]) == "none"
    assert listed(f"{number:02}" for number in range(10)).endswith("07 and 2 more")
