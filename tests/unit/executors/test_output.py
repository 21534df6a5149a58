"""Tails of streams, and text made of them."""

from hypothesis import given
from hypothesis import strategies as st

from controller.executors.output import Tail, text


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(0, 50))
def test_a_tail_is_the_end_of_all_that_was_added(pieces: list[bytes], keep: int) -> None:
    """However a stream is cut into pieces, the tail is its last `keep` bytes."""
    tail = Tail(keep)
    for piece in pieces:
        tail.add(piece)
    whole = b"".join(pieces)
    assert tail.data == whole[max(0, len(whole) - keep) :]
    assert tail.total == len(whole)
    assert tail.truncated == (len(whole) > keep)


def test_a_tail_stays_small_when_a_stream_comes_byte_by_byte() -> None:
    """The invariant: never more than twice of what it keeps."""
    tail = Tail(100)
    largest = 0
    for _ in range(10_000):
        tail.add(b"x")
        largest = max(largest, len(tail._data))
    assert largest <= 200


@given(st.text())
def test_text_is_what_was_printed(printed: str) -> None:
    """Anything that is UTF-8 comes out as it was, line breaks and escape sequences included; only NUL, which PostgreSQL cannot store, does not."""
    assert text(printed.encode()) == printed.replace("\0", "\ufffd")


@given(st.text(min_size=1), st.data())
def test_a_cut_never_leaves_half_a_character(printed: str, data: st.DataObject) -> None:
    """Wherever the tail begins, the text goes on with a whole character, and the first line counts what is missing."""
    printed = printed.replace("\0", "")
    whole = printed.encode()
    cut = data.draw(st.integers(0, len(whole)))
    shown = text(whole[cut:], total=len(whole))
    if cut:
        marker, _, shown = shown.partition("\n")
        assert marker == f"[{len(whole) - len(shown.encode())} earlier bytes are not shown]"
    assert printed.endswith(shown)
    assert len(whole) - cut - len(shown.encode()) <= 3


def test_bytes_that_are_not_utf8_become_replacement_characters() -> None:
    """Latin-1 output is stored, marked, and harms nothing."""
    assert text(b"caf\xe9 \xff\xfe ok") == "caf\ufffd \ufffd\ufffd ok"


def test_a_tail_of_nothing_but_broken_bytes_is_text_all_the_same() -> None:
    """At most three bytes can belong to a character that the cut went through; the rest is shown as broken."""
    assert text(b"\x80" * 5, total=100) == "[98 earlier bytes are not shown]\n\ufffd\ufffd"
