"""Where credentials go: every combination that could hurt is refused, in words without a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.executors.credentials import LARGEST, Arranged, Given, Refused, arrange

SECRET = b"canary-secret"


def test_each_goes_where_it_is_to_go() -> None:
    """A variable, a file, both, and neither: whatever is given is masked."""
    arranged = arrange(
        [
            Given("a", b"one1", env="TOKEN"),
            Given("b", b"two\0", file="deep/er/key"),
            Given("c", b"three", env="BOTH", file="both"),
            Given("d", b"four"),
        ]
    )
    assert arranged == Arranged(
        {"TOKEN": "one1", "BOTH": "three"},
        {"deep/er/key": b"two\0", "both": b"three"},
        (b"one1", b"two\0", b"three", b"four"),
    )
    assert arrange([]) == Arranged()


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (Given("a", SECRET, env="1A"), "letters, digits"),
        (Given("a", SECRET, env=""), "letters, digits"),
        (Given("a", SECRET, env="A=B"), "letters, digits"),
        (Given("a", SECRET, env="JOBWARDEN_RUN_ID"), "controller's own"),
        (Given("a", SECRET, env="TRACEPARENT"), "controller's own"),
        (Given("a", SECRET, env="CREDENTIALS_DIRECTORY"), "controller's own"),
        (Given("a", SECRET + b"\0", env="A"), "as a file"),
        (Given("a", SECRET + b"\xff", env="A"), "as a file"),
        *((Given("a", SECRET, file=path), "no relative path") for path in ("", "/etc/x", "a/", "a//b", "..", "../a")),
        *(
            (Given("a", SECRET, file=path), "no relative path")
            for path in ("a/../../b", "./a", "a\0", "/".join("a" * 17))
        ),
        (Given("a", SECRET, file="é" * 128), "shorten"),
        (Given("a", b"x" * (LARGEST + 1), file="a"), "deliver less"),
    ],
)
def test_what_cannot_be_delivered_safely_is_refused(one: Given, why: str) -> None:
    """And says what to do, without the value."""
    refused = arrange([one])
    assert isinstance(refused, Refused)
    assert why in refused.message
    assert SECRET.decode() not in refused.message


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b", "a/b/c")])
def test_two_that_are_in_each_others_way_are_refused(first: str, second: str) -> None:
    """No credential replaces another one."""
    assert isinstance(arrange([Given("x", SECRET, file=first), Given("y", SECRET, file=second)]), Refused)
    assert isinstance(arrange([Given("x", SECRET, env="A"), Given("y", SECRET, env="A")]), Refused)


@given(st.text(max_size=30))
def test_no_path_leads_out_of_the_folder(path: str) -> None:
    """Whatever is written there."""
    arranged = arrange([Given("x", b"value", file=path)])
    if isinstance(arranged, Arranged):
        parts = path.split("/")
        assert parts
        assert not {"", ".", ".."} & set(parts)
        assert "\0" not in path


def test_nothing_shows_a_value() -> None:
    """A repr ends up in tracebacks."""
    one = Given("name", SECRET, env="A")
    assert SECRET.decode() not in repr(one) + repr(arrange([one]))
