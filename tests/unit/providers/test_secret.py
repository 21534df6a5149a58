"""A Secret is seen only by whoever asks for it."""

import copy
import json
import logging
import pickle

import msgspec
import pytest

from controller.providers.protocol import Secret, Session

CANARY = "canary-5e3c1b-value"


def test_no_way_of_printing_shows_it() -> None:
    """repr, str, format of every kind, inside containers, and in a log record."""
    secret = Secret(CANARY)
    session = Session(credentials={"token": secret}, kept=secret)
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s %r", (secret, session), None)
    texts = (
        f"{secret}",
        f"{secret!r}",
        f"{secret:>40}",
        repr([secret]),
        repr(session),
        record.getMessage(),
    )
    assert not [text for text in texts if CANARY in text]
    assert secret.reveal() == CANARY


@pytest.mark.parametrize(
    "encode", [msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins, json.dumps, pickle.dumps]
)
def test_nothing_encodes_it(encode) -> None:
    """So a session cannot end in a row, a log line or another process by mistake."""
    for thing in (Secret(CANARY), Session(credentials={"token": Secret(CANARY)})):
        with pytest.raises(Exception) as error:
            encode(thing)
        assert CANARY not in str(error.value)


def test_a_hook_that_makes_text_of_everything_gets_the_mask() -> None:
    """`default=str` is what many log formatters have."""
    assert json.dumps({"a": Secret(CANARY)}, default=str) == '{"a": "***"}'


def test_it_has_no_attributes_to_dump_and_is_no_key() -> None:
    """vars() finds nothing; a hash would tell equal ones apart from others."""
    with pytest.raises(TypeError):
        vars(Secret(CANARY))
    with pytest.raises(TypeError):
        hash(Secret(CANARY))


def test_secrets_are_equal_by_value_and_copies_are_the_same() -> None:
    """Also those with characters that no encoding has."""
    assert Secret("a\udc80") == Secret("a\udc80")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    secret = Secret(CANARY)
    assert copy.deepcopy(Session(credentials={"t": secret})).credentials["t"] is secret
    assert copy.copy(secret) is secret
