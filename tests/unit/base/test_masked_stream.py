"""Secrets in what a run prints: found in every encoding, wherever the stream is cut, and nothing else is touched or held up."""

import base64
import json
import threading
from textwrap import wrap
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.base import encodings, masked_stream
from controller.base.masked_stream import MASK, Needles, StreamMasker

secrets = st.one_of(
    st.text("abAB+/=?&<\"'\\é\n ", min_size=4, max_size=12).map(str.encode),
    st.text("ab", min_size=4, max_size=6).map(str.encode),
    st.binary(min_size=4, max_size=80),
).filter(lambda value: encodings.maskable(value) and b"*" not in value)
texts = st.text("ab \n\r=Zm%", max_size=30).map(str.encode)
CANARY = b"canary-/+?Zq7&\"x' \xc3\xa9"


# Many needles are looked for in another way; none of these is ever in a text.
MANY = tuple(b"~%03d~" % number for number in range(masked_stream._FEW))


def needles_of(*values: bytes) -> Needles:
    found = Needles.of(values)
    assert found is not None
    return found


def base64_lines(data: bytes, width: int = 76) -> bytes:
    return b"".join(line.encode() + b"\n" for line in wrap(base64.b64encode(data).decode(), width))


@st.composite
def printed(draw: st.DrawFn, values: list[bytes]) -> bytes:
    """Text with the values in it, whole, encoded, wrapped, cut short, one in the other."""
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        value = draw(st.sampled_from(values))
        around = draw(texts) + value + draw(texts)
        parts.append(
            draw(
                st.sampled_from(
                    [
                        value,
                        value[: draw(st.integers(0, len(value)))],
                        value[draw(st.integers(0, len(value))) :],
                        around,
                        base64_lines(around, draw(st.integers(3, 80))),
                        b"x" * draw(st.integers(0, 76)) + value.replace(b"a", b"a\n"),
                        around.hex().encode(),
                        quote(value).encode(),
                        draw(texts),
                    ]
                )
            )
        )
    return b"".join(parts)


def in_pieces(needles: Needles, data: bytes, cuts: list[int]) -> bytes:
    masker = StreamMasker(needles)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    given_out = b"".join(masker.feed(data[a:b]) for a, b in zip([0, *ends], ends, strict=False))
    return given_out + masker.flush()


@given(st.data(), st.lists(secrets, min_size=1, max_size=3))
def test_few_and_many_secrets_are_found_alike(data: st.DataObject, values: list[bytes]) -> None:
    """Two ways of looking, one result."""
    text = data.draw(printed(values))
    assert needles_of(*values, *MANY).mask(text) == needles_of(*values).mask(text)


@given(st.data(), st.lists(secrets, min_size=1, max_size=3), st.lists(st.integers(0, 300)))
def test_what_is_given_does_not_depend_on_where_the_pieces_end(
    data: st.DataObject, values: list[bytes], cuts: list[int]
) -> None:
    """Any text, any secrets, any cuts: as if it had come at once."""
    needles, text = needles_of(*values), data.draw(printed(values))
    assert in_pieces(needles, text, cuts) == needles.mask(text)


@given(st.data(), st.lists(secrets, min_size=2, max_size=4), st.lists(st.integers(0, 300)))
def test_a_secret_that_is_learnt_later_is_masked_from_then_on(
    data: st.DataObject, values: list[bytes], cuts: list[int]
) -> None:
    """Also when something is held back just then; a run may print the old ones again."""
    old, new = values[:1], values[1:]
    before, after = data.draw(printed(old)), data.draw(printed(values))
    needles = needles_of(*old)
    masker = StreamMasker(needles)
    masked = masker.feed(before)
    needles.add(*new)
    assert needles.mask(after) == needles_of(*values).mask(after)
    ends = sorted({min(cut, len(after)) for cut in cuts} | {len(after)})
    masked += b"".join(masker.feed(after[a:b]) for a, b in zip([0, *ends], ends, strict=False)) + masker.flush()
    for value in old:
        assert not [form for form in encodings.forms(value) if form in masked]


@given(st.data(), st.lists(secrets, min_size=1, max_size=3))
def test_byte_by_byte_no_secret_gets_through(data: st.DataObject, values: list[bytes]) -> None:
    """Neither the value nor any other way of writing it is left."""
    text = data.draw(printed(values))
    masked = in_pieces(needles_of(*values), text, list(range(len(text))))
    for value in values:
        for form in encodings.forms(value):
            assert form not in masked


@given(
    secrets.filter(lambda value: not set(value) & set(b"ghijk.")),
    st.text("ghijk \n\r.", max_size=400).map(str.encode),
    st.lists(st.integers(0, 400)),
)
def test_a_text_without_secrets_passes_byte_for_byte(secret: bytes, text: bytes, cuts: list[int]) -> None:
    """No line break is lost, and nothing at the end."""
    needles = needles_of(secret)
    assert in_pieces(needles, text, cuts) == text


@given(st.binary(max_size=100), secrets, st.binary(max_size=100), st.integers(60, 80))
@example(b"x" * 55, CANARY, b"", 76)
def test_base64_of_anything_around_a_secret_is_masked(before: bytes, secret: bytes, after: bytes, width: int) -> None:
    """At each of the three alignments, with and without padding, in both alphabets, wrapped as programs wrap it: none of its bytes but the two at its ends can be had."""
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = alphabet(before + secret + after)
        lines = b"\n".join(encoded[at : at + width] for at in range(0, len(encoded), width))
        for text in (encoded, encoded.rstrip(b"="), lines + b"\n", lines.replace(b"\n", b"\r\n")):
            kept = needles_of(secret).mask(text)
            assert MASK in kept
            first, last = (8 * len(before) + 5) // 6 + 1, 8 * (len(before) + len(secret)) // 6 - 1
            sure = encoded[first:last]
            assert sure not in kept.replace(b"\r", b"").replace(b"\n", b"") or len(sure) < 4


@pytest.mark.parametrize(
    "form",
    [
        CANARY,
        quote(CANARY).encode(),
        quote(CANARY, safe="").lower().encode().replace(b"zq", b"Zq"),
        quote_plus(CANARY).encode(),
        json.dumps(CANARY.decode())[1:-1].encode(),
        json.dumps(CANARY.decode(), ensure_ascii=False)[1:-1].encode(),
        json.dumps(CANARY.decode())[1:-1].replace("&", "\\u0026").replace("/", "\\/").encode(),
        repr(CANARY.decode())[1:-1].encode(),
        CANARY.hex().encode(),
        CANARY.hex().upper().encode(),
        b"'" + CANARY.replace(b"'", b"'\\''") + b"'",
    ],
)
def test_every_encoding_that_programs_print_is_masked(form: bytes) -> None:
    """In URLs, in JSON as several languages write it, in a shell's trace, in a dump."""
    assert needles_of(CANARY).mask(b"before " + form + b" after").replace(b"'", b"") == b"before *** after"


@given(st.from_regex(r"[A-Za-z0-9_.~-]{4,}", fullmatch=True))
def test_most_tokens_are_written_in_one_way(token: str) -> None:
    """No escape changes them, so only their bytes and what encodes all bytes alike are looked for."""
    assert {quote(token, safe=""), quote_plus(token), json.dumps(token)[1:-1], repr(token)[1:-1]} == {token}
    found = encodings.forms(token.encode())
    assert token.encode() in found
    assert len(found) <= 9


@pytest.mark.slow
def test_many_threads_mask_with_what_is_learnt_meanwhile() -> None:
    """Outputs are read on one thread while streams are masked on another: none of them looks with half of what there is."""
    values = [b"canary-%05d" % number for number in range(300)]
    needles = needles_of(values[0])
    known = 1
    missed: list[bytes] = []

    def look() -> None:
        while known < len(values):
            asked = values[known - 1]
            if asked in needles.mask(b"so it says " + asked + b" and more"):
                missed.append(asked)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for value in values[1:]:
        needles.add(value)
        known += 1
    for thread in threads:
        thread.join()
    assert missed == []


def test_a_secret_that_is_broken_over_lines_is_masked() -> None:
    """As `fold` prints it."""
    value = b"0123456789abcdefghij"
    assert needles_of(value).mask(b"x 0123456\n789abcd\r\nefghij y\n") == b"x *** y\n"


def test_lines_of_a_value_are_masked_alone() -> None:
    """One line of a key is as good as found; short lines are left alone."""
    key = b"-----BEGIN KEY-----\nMIIEvQIBADANBg\nab\n-----END KEY-----\n"
    needles = needles_of(key)
    assert needles.mask(b"bad: MIIEvQIBADANBg\nab\n") == b"bad: ***\nab\n"
    assert needles.mask(b"x" + key + b"y") == b"x***\ny"
    assert needles.mask(key.replace(b"\n", b"\r\n")) == b"***\r\n"


def test_what_overlaps_is_masked_as_one() -> None:
    """Nothing of the second secret is left because the first was found first."""
    assert needles_of(b"abcd", b"cdefgh").mask(b"xabcdefghx") == b"x***x"
    assert needles_of(b"aaaa").mask(b"xaaaaaaaaaaax") == b"x***x"
    assert needles_of(b"abcd").mask(b"abcdabcd") == b"******"


def test_short_values_are_not_masked() -> None:
    """`1` and `yes` stand everywhere, and blanks hide nothing."""
    assert Needles.of([b"1", b"yes", b"", b"        ", b" ab ", b"a\nb\nc"]) is None
    assert Needles.of([]) is None


def test_a_complete_line_that_no_secret_begins_in_is_not_held_back() -> None:
    """Somebody watches the log: each line comes when it is printed, and of a line that goes on all but what may be a secret."""
    masker = StreamMasker(needles_of(b"password1"))
    assert masker.feed(b"step\n") == b"step\n"  # ends with the first letter of the secret
    assert masker.feed(b"50 % pas\n") == b"50 % pas\n"
    assert masker.feed(b"50 % pass\n") == b"50 % "  # may go on
    assert masker.feed(b"done\n") == b"pass\ndone\n"
    assert masker.feed(b"tell me: p") == b"tell me: "
    assert masker.feed(b"assword") == b""
    assert masker.feed(b"1") == b"***"
    assert masker.feed(b" x p") == b" x "
    assert masker.flush() == b"p"


def test_what_is_held_back_stays_small() -> None:
    """Neither a secret that overlaps itself nor line breaks without end fill the memory."""
    masker = StreamMasker(needles_of(b"aaaaaaaa"))
    given_out = b""
    for piece in (b"a" * 10_000, b"\n" * 10_000, b"aaaa\n" * 10_000):
        for _ in range(20):
            given_out += masker.feed(piece)
            assert len(masker._held) < 200
    given_out += masker.flush()
    assert b"aaaaaaaa" not in given_out


def test_text_is_masked_like_output() -> None:
    """Messages as well, whatever is in them."""
    assert needles_of(CANARY).mask_text(f"é \udcff {CANARY.decode()}") == "é \\udcff ***"
