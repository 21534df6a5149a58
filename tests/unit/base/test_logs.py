"""Logs: one line a record whatever is in it, JSON for machines, quiet text for people, nothing secret, cheap when off."""

import io
import json
import logging
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base.logs import JsonFormatter, LogFormat, TextFormatter, event, setup
from controller.base.masking import Masker

CANARY = "canary/s3cr3t+value="


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored_logging():
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def logged(
    write, *, form: LogFormat = LogFormat.Json, masker: Masker | None = None, level: int = logging.INFO, stream=None
) -> str:
    out = io.StringIO() if stream is None else stream
    setup(form, level, out, masker or Masker())
    write(logging.getLogger("controller.test"))
    return out.getvalue()


def test_json_is_one_object_a_line():
    """Fields stand beside the message, instants in UTC, None is left out."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    text = logged(lambda log: event(log, "run finished", job="a/b", run="b-1", exit_code=3, at=at, nothing=None))
    line = json.loads(text)
    assert text.count("\n") == 1
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "controller.test",
        "message": "run finished",
        "job": "a/b",
        "run": "b-1",
        "exit_code": 3,
        "at": "2026-01-02T03:04:05Z",
    }


@given(
    message=st.text(),
    value=st.one_of(st.text(), st.binary(), st.lists(st.text()), st.dictionaries(st.text(), st.floats())),
)
def test_any_record_is_one_line_in_both_formats(message, value):
    """No text, however odd, makes a second line, and JSON stays JSON."""
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s", (message,), None)
    record.fields = {"value": value}
    as_json = JsonFormatter(Masker()).format(record)
    assert len(as_json.splitlines()) == 1
    assert json.loads(as_json)["logger"] == "x"
    assert len(TextFormatter(Masker()).format(record).splitlines()) == 1


def test_what_cannot_be_encoded_is_still_logged():
    """Half a surrogate pair, as it comes out of undecodable file names, does not lose the record."""
    assert json.loads(logged(lambda log: event(log, "odd", path="a\udcffb")))["path"] == "a\\udcffb"


def test_exceptions_keep_json_on_one_line():
    """The traceback is a field."""

    def write(log: logging.Logger) -> None:
        try:
            raise ValueError("first\nsecond")  # noqa: TRY301
        except ValueError as error:
            event(log, "broke", logging.ERROR, error=error)

    text = logged(write)
    assert text.count("\n") == 1
    assert "ValueError: first\nsecond" in json.loads(text)["exception"]


def test_fields_cannot_overwrite_what_the_record_says():
    """A field named like one of the record's own gets an underscore."""
    line = json.loads(logged(lambda log: event(log, "x", time="never")))
    assert line["time"] != "never"
    assert line["time_"] == "never"


def test_text_is_quiet_and_quotes_what_needs_it():
    """No level for ordinary news, no colours outside of a terminal, quotes only around what has spaces."""
    text = logged(lambda log: event(log, "run finished", job="a/b", why="two words", empty=""), form=LogFormat.Text)
    assert text.split("  ", 1)[1] == 'run finished              job=a/b why="two words" empty=""\n'
    assert "\x1b" not in text


def test_escape_sequences_of_jobs_do_not_reach_the_terminal():
    """What a job printed cannot clear somebody's screen."""
    terminal = Terminal()
    text = logged(lambda log: event(log, "x\x1b[2J", said="\x1b]0;title\x07"), form=LogFormat.Auto, stream=terminal)
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text
    assert "\\x1b" in text


def test_auto_means_text_on_a_terminal_and_json_elsewhere():
    """Colours come with the terminal only."""
    write = lambda log: event(log, "careful", logging.WARNING)  # noqa: E731
    assert "\x1b[33mwarning: careful" in logged(write, form=LogFormat.Auto, stream=Terminal())
    assert json.loads(logged(write, form=LogFormat.Auto))["level"] == "warning"


@pytest.mark.parametrize("form", [LogFormat.Text, LogFormat.Json])
def test_registered_secrets_are_masked_everywhere(form):
    """Message, arguments, fields, nested fields and tracebacks."""
    masker = Masker()

    def write(log: logging.Logger) -> None:
        try:
            raise ValueError(f"https://host/{CANARY}")  # noqa: TRY301
        except ValueError as error:
            event(log, f"sent {CANARY}", url=f"x{CANARY}", nested={"k": [CANARY]}, error=error)
        log.info("third party says %s", CANARY)

    with masker.masking(CANARY):
        text = logged(write, form=form, masker=masker)
    assert CANARY not in text
    assert text.count("***") >= 5


def test_masking_keeps_json_whole():
    """A secret that looks like part of an escape sequence does not break the line."""
    masker = Masker()
    with masker.masking("n123"):
        line = json.loads(logged(lambda log: event(log, "x", said="\n123 n123"), masker=masker))
    assert line["said"] == "\n123 ***"


def test_a_level_that_is_off_costs_no_formatting():
    """Values are not even turned into text."""

    class Costly:
        def __str__(self) -> str:
            raise AssertionError("formatted although off")

    assert logged(lambda log: event(log, "x", logging.DEBUG, value=Costly())) == ""


def test_libraries_are_heard_from_warnings_on():
    """Their chatter appears only at level debug."""

    def write(_log: logging.Logger) -> None:
        logging.getLogger("watchfiles.main").info("chatter")
        logging.getLogger("watchfiles.main").warning("trouble")

    assert json.loads(logged(write))["message"] == "trouble"
    assert "chatter" in logged(write, level=logging.DEBUG)
