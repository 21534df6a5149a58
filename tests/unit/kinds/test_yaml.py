"""The YAML reader: what values mean, and that no bytes can hurt."""

import re
import string

import pytest
import yaml as pyyaml
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.kinds.records import Reason
from controller.kinds.yaml import MAX_DEPTH, MAX_DOCUMENT, MAX_FILE, Stream, read
from tests.unit.kinds.strategies import JUNK


def value(text: str) -> object:
    """The value of the only document, which must be without problems."""
    stream = read(text.encode())
    assert stream.problem is None
    (document,) = stream.documents
    assert document.problems == ()
    return document.value


def problems(text: str | bytes) -> list[tuple[Reason, int, int]]:
    """Reason, line and column of everything wrong."""
    stream = read(text.encode() if isinstance(text, str) else text)
    found = (
        [stream.problem]
        if stream.problem
        else [problem for document in stream.documents for problem in document.problems]
    )
    return [(problem.reason, problem.line, problem.column) for problem in found]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *((word, word) for word in ("yes", "no", "on", "off", "y", "n", "Yes", "NO", "On", "OFF")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("null", "Null", "NULL", "~", "")),
        *(
            (word, word)
            for word in (
                "010",
                "0o10",
                "0x1f",
                "0b1",
                "1_000",
                "1:30",
                "12:30:45",
                "2026-01-01",
                "2026-01-01T00:00:00Z",
            )
        ),
        *((word, word) for word in (".inf", "-.INF", ".nan", "1.2.3", "1e", "e1", "-x", "+", ".", "0x", "00", "-01")),
        ("0", 0),
        ("-0", 0),
        ("+12", 12),
        ("9007199254740991", 9007199254740991),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!str true", "true"),
        ("!!int '5'", 5),
        ("!!float 5", 5),
        ("!!bool true", True),
    ],
)
def test_scalars_mean_what_yaml_1_2_says_and_traps_stay_text(text: str, meant: object) -> None:
    """YAML 1.1 booleans, octal, sexagesimal, dates and infinities are text; numbers are decimal."""
    found = value(f"key: {text}\n")
    assert found == {"key": meant}
    assert type(found["key"]) is type(meant)  # type: ignore[index]


@pytest.mark.parametrize("text", ["9007199254740992", "-9007199254740992", "1" * 5000, "1e999", "-1e999"])
def test_numbers_that_json_does_not_keep_are_refused(text: str) -> None:
    """2^53 and beyond would change silently on the way through other programs."""
    assert problems(f"key: {text}") == [(Reason.OutOfRange, 1, 6)]


def test_keys_are_text_as_written() -> None:
    """`1:` and `true:` are keys "1" and "true", as kubectl reads them."""
    assert value("1: a\ntrue: b\n010: c\n'': d\n") == {"1": "a", "true": "b", "010": "c", "": "d"}


def test_a_key_that_is_no_text_is_refused() -> None:
    """Empty keys and keys that are collections are problems at their place, and the rest is read."""
    assert problems("? [a]\n: 1\n? {b: c}\n: 2\n?\n: 3\nok: 4\n") == [
        (Reason.WrongType, 1, 3),
        (Reason.WrongType, 3, 3),
        (Reason.WrongType, 5, 2),
    ]


def test_duplicate_keys_are_refused_at_any_depth() -> None:
    """Every double is reported where it stands, block or flow."""
    assert problems("a: 1\nb:\n  - c: {d: 1, d: 2}\n    c: 3\na: 2\n") == [
        (Reason.DuplicateKey, 3, 15),
        (Reason.DuplicateKey, 4, 5),
        (Reason.DuplicateKey, 5, 1),
    ]


def test_merge_keys_fill_in_what_the_mapping_does_not_say() -> None:
    """Keys of the mapping itself win, then earlier sources; a quoted << is a key like any other."""
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 0}\nd:\n  x: 5\n  <<: *a\ne: {'<<': 1}\n"
    found = value(text)
    assert isinstance(found, dict)
    assert found["c"] == {"x": 0, "y": 1, "z": 2}
    assert found["d"] == {"x": 5, "y": 1}
    assert found["e"] == {"<<": 1}


@pytest.mark.parametrize(
    "text", ["a: {<<: 5}", "a: {<<: [1]}", "a: *b", "a: &a [*a]", "a: !Ref b", "a: !!int x", "a: !!set {x}"]
)
def test_what_has_no_meaning_here_is_a_problem_of_its_document_only(text: str) -> None:
    """Bad merges, dangling and recursive aliases, foreign tags: the document is named, its neighbours are read."""
    stream = read(f"{text}\n---\ngood: 1\n".encode())
    assert stream.problem is None
    assert stream.documents[0].problems
    assert stream.documents[1].value == {"good": 1}
    assert stream.documents[1].problems == ()


def test_aliases_share_values() -> None:
    """An alias stands for the value of its anchor, also as a key."""
    assert value("a: &x {k: [1]}\nb: *x\nc: &n name\n*n : d\n") == {
        "a": {"k": [1]},
        "b": {"k": [1]},
        "c": "name",
        "name": "d",
    }


@pytest.mark.parametrize("levels", [8, 12])
def test_an_alias_bomb_is_refused_without_being_expanded(levels: int) -> None:
    """Nine to the power of a dozen would fill any memory; the bound counts what aliases stand for."""
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 9) + "]"]
    lines += [f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 9) + "]" for level in range(1, levels)]
    found = problems("\n".join(lines))
    assert [reason for reason, _, _ in found] == [Reason.TooLarge]


def test_a_long_text_repeated_by_aliases_counts_as_often_as_it_stands() -> None:
    """One megabyte named a hundred times would be a hundred megabytes of JSON."""
    text = f"a: &a {'x' * 100_000}\nb: [" + ", ".join(["*a"] * 100) + "]"
    assert [reason for reason, _, _ in problems(text)] == [Reason.TooLarge]
    assert problems(f"a: &a {'x' * 1000}\nb: [" + ", ".join(["*a"] * 100) + "]") == []


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "{? ", "[a, ", "- - ? "])
def test_deep_nesting_ends_the_file_instead_of_the_process(opening: str) -> None:
    """A million brackets would overflow the stack of a naive reader and take minutes in libyaml."""
    stream = read(opening.encode() * (1_000_000 // len(opening)))
    assert stream.problem is not None
    assert stream.problem.reason is Reason.TooLarge


def test_nesting_up_to_the_bound_is_read() -> None:
    """The bound is far beyond any manifest, but exact."""
    assert read(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).problem is None
    assert read(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)).problem is not None


def test_a_file_of_ten_megabytes_is_refused_before_it_is_parsed() -> None:
    """The message names both sizes; the bytes are not even decoded."""
    stream = read(b"\xff" * 10_000_000)
    assert stream.problem is not None
    assert stream.problem.reason is Reason.TooLarge
    assert "9.5 MiB" in stream.problem.message
    assert "4 MiB" in stream.problem.message


def test_a_document_beyond_its_bound_is_refused_and_its_neighbours_are_read() -> None:
    """One megabyte is more than an API server would store."""
    stream = read(b"a: " + b"x" * (MAX_DOCUMENT + 1) + b"\n---\nb: 1\n")
    assert [problem.reason for problem in stream.documents[0].problems] == [Reason.TooLarge]
    assert stream.documents[1].value == {"b": 1}


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"\x7fELF\x02\x01\x01\x00\x00", (1, 1)),
        (b"a: 1\nb: \x00\n", (2, 1)),
        (b"a: 1\nb: caf\xe9\n", (2, 1)),
        ("a: 1\nb: c".encode("utf-16"), (1, 1)),
        (b"a: 1\nb: \x1b[31m\n", (2, 4)),
        (b"a: \x7f\n", (1, 4)),
    ],
)
def test_what_is_not_text_is_refused_with_its_place(data: bytes, place: tuple[int, int]) -> None:
    """Binary files, other encodings and control characters."""
    stream = read(data)
    assert stream.problem is not None
    assert (stream.problem.line, stream.problem.column) == place
    assert stream.problem.reason is Reason.NotText


def test_escaped_control_characters_are_refused_but_tabs_and_line_breaks_are_not() -> None:
    """They would break environment, database and terminals (S005)."""
    assert problems('a: "\\0"\nb: "\\x1b"\nc: "\\t\\n\\r"\nd: "\\u00a0"\n') == [
        (Reason.InvalidValue, 1, 4),
        (Reason.InvalidValue, 2, 4),
    ]


@pytest.mark.parametrize(
    "text", ["", "\n", "---\n", "---\n---\n", "# only a comment\n", "--- # comment\n...\n", "\ufeff", "null\n---\n~\n"]
)
def test_empty_documents_are_none(text: str) -> None:
    """Separators, comments, a byte order mark and null are nothing."""
    assert read(text.encode()) == Stream(text.removeprefix("\ufeff"))


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter() -> None:
    """Editors on other systems write them."""
    stream = read("\ufeffa: 1\r\nb:\r\n  - x\r\n---\r\nc: 2\r\n".encode())
    assert [document.value for document in stream.documents] == [{"a": 1, "b": ["x"]}, {"c": 2}]
    assert [document.line for document in stream.documents] == [1, 5]


def test_a_tab_as_indentation_is_explained() -> None:
    """libyaml only says that a token cannot start."""
    problem = read(b"a:\n\tb: 1\n").problem
    assert problem is not None
    assert "tab" in problem.message
    assert "spaces" in problem.hint


def test_json_escapes_of_characters_beyond_the_first_plane_are_read() -> None:
    """JSON writes them as two escapes; a backslash that is escaped itself begins none."""
    assert value(r'{"a": "\ud83d\uDE00!", "b": "\\ud83d\\ude00"}') == {"a": "😀!", "b": r"\ud83d\ude00"}
    assert problems(r'{"a": "\ud83d"}')


def test_tabs_inside_flow_collections_are_fine() -> None:
    """JSON may be indented with tabs."""
    assert value('{\n\t"a": [\n\t\t1\n\t]\n}\n') == {"a": [1]}


_EXPONENT = re.compile(r"(?m)(?<![\w.])[-+]?[0-9]+[eE][-+]?[0-9]+(?![\w.])")


@given(JUNK.filter(lambda value: value is not None))
def test_what_others_write_is_read_as_it_was_meant(meant: object) -> None:
    """Any plain value that PyYAML writes safely comes back, but for numbers too large, lone control characters, and the text 1e3: without quotes that is a number to JSON, to API servers and to us,
    and a word to YAML 1.1.
    """
    text = pyyaml.safe_dump(meant, allow_unicode=True)
    assume(not _EXPONENT.search(text))
    stream = read(text.encode())
    assert stream.problem is None
    (document,) = stream.documents
    if not document.problems:
        # PyYAML writes 1.0e+20 for what JSON calls an integer, so numbers are compared by value.
        assert document.value == meant


@given(st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever a folder contains, reading it gives a value."""
    read(data)


@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                ": ",
                "- ",
                "\n",
                "  ",
                "[",
                "]",
                "{",
                "}",
                ",",
                "&x ",
                "*x",
                "<<",
                "!t ",
                "!!int ",
                "'",
                '"',
                "|\n",
                "---\n",
                "? ",
                "#",
                "\t",
            ]
        ),
        max_size=60,
    )
)
def test_no_arrangement_of_yaml_tokens_raises(tokens: list[str]) -> None:
    """Random YAML is nearer to the edges than random bytes."""
    read("".join(tokens).encode())


def test_reading_takes_linear_work_in_the_size_of_the_file() -> None:
    """The largest file allowed, in the shapes that are slowest to read, comes back."""
    for piece in (b"- &a x\n- *a\n", b"? a\n", b"---\na\n"):
        assert read(piece * (MAX_FILE // 8 // len(piece))).problem is None
