"""Sizes: Kubernetes quantities and bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base import quantities


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64Ki", 65536),
        ("1.5Gi", 3 << 29),
        ("10M", 10_000_000),
        ("1k", 1000),
        ("0.5k", 500),
        ("2T", 2 * 10**12),
        ("1Ti", 1 << 40),
    ],
)
def test_a_size_is_read(text, size):
    """Plain, decimal and binary."""
    assert quantities.parse(text) == size


@pytest.mark.parametrize("text", ["", "Ki", "-1", "+1", "1 Ki", "64kb", "1e3", "64KiB", "1,5k", "\u0664", "1.", ".5k"])
def test_anything_else_is_refused_with_what_to_write(text):
    """The message shows the suffixes."""
    with pytest.raises(ValueError, match="such as 64Ki or 10M"):
        quantities.parse(text)


@pytest.mark.parametrize(("text", "meant"), [("64KI", "Ki"), ("64ki", "Ki"), ("1K", "k"), ("1g", "G"), ("1mI", "Mi")])
def test_a_suffix_in_the_wrong_case_is_recognised(text, meant):
    """People who write 64KI learn that it is 64Ki."""
    with pytest.raises(ValueError, match=rf"did you mean {meant}\?"):
        quantities.parse(text)


@pytest.mark.parametrize("text", ["0.5", "0.0001k", "1.0000001Ki"])
def test_a_part_of_a_byte_is_refused(text):
    """There is none."""
    with pytest.raises(ValueError, match="whole number of bytes"):
        quantities.parse(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "8388608Ti", "999999999999999999T"])
def test_a_size_fits_64_bits(text):
    """Databases and files count no further."""
    with pytest.raises(ValueError, match=r"too large|not a size"):
        quantities.parse(text)


@given(st.integers(0, (1 << 63) - 1))
def test_reading_undoes_writing(size):
    """For every size."""
    assert quantities.parse(quantities.format(size)) == size


def test_a_size_is_shown_in_its_shortest_spelling():
    """Binary before decimal; a negative size is an error."""
    assert [quantities.format(size) for size in (0, 1, 1023, 1024, 65536, 1000, 10**12)] == [
        "0",
        "1",
        "1023",
        "1Ki",
        "64Ki",
        "1k",
        "1T",
    ]
    with pytest.raises(ValueError, match="not negative"):
        quantities.format(-1)
