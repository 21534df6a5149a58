"""A pass is believed as it was signed, until it ends, and in no other spelling."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.base import canonical
from controller.base.errors import InvalidInput
from controller.executors import egress_pass
from controller.executors.egress_pass import NoPass, Pass

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LATER = int((NOW + timedelta(hours=1)).timestamp())
KEY, OTHER = b"k" * 40, b"o" * 40
MADE = Pass(run="report-4kx2mq7c", namespace="team-a", hosts=("example.com", "*.example.org:443"), expires=LATER)

name = st.text("abcz019-.*:", min_size=1, max_size=63)
passes = st.builds(
    Pass, run=name, namespace=name, hosts=st.lists(name, max_size=8).map(tuple), expires=st.integers(1, 2**37)
)


def forged(text: str, keys: egress_pass.Keys = (KEY,)) -> bool:
    """Whether it is refused, and not only because it is too late."""
    found = egress_pass.read(text, keys, NOW)
    return isinstance(found, NoPass) and "is no pass" in found.words


@given(passes)
def test_what_was_signed_is_read_until_it_ends(made: Pass) -> None:
    """To the second."""
    text = egress_pass.sign(made, [KEY])
    end = datetime.fromtimestamp(made.expires, UTC)
    assert egress_pass.read(text, [KEY], end - timedelta(seconds=1)) == made
    for late in (timedelta(0), timedelta(seconds=1), timedelta(days=400)):
        found = egress_pass.read(text, [KEY], end + late)
        assert isinstance(found, NoPass)
        assert f"the pass of the run {made.run} has ended" in found.words


@given(passes)
def test_it_needs_no_escape_in_a_url(made: Pass) -> None:
    """Programs take the user's part of a URL apart in more than one way; unreserved characters are the same in all of them."""
    text = egress_pass.sign(made, [KEY])
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@given(st.data())
def test_no_character_of_it_can_be_changed(data: st.DataObject) -> None:
    """Also not to another spelling of the same bytes, as the last character of base64 has."""
    text = egress_pass.sign(MADE, [KEY])
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda one: one != text[at]))
    assert forged(text[:at] + other + text[at + 1 :])


@pytest.mark.parametrize("last", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")
def test_a_signature_has_one_spelling(last: str) -> None:
    """32 bytes leave two bits of the last character unused."""
    text = egress_pass.sign(MADE, [KEY])
    assert (egress_pass.read(text[:-1] + last, [KEY], NOW) == MADE) == (last == text[-1])


@given(st.text(max_size=80))
@example("")
@example("v1")
@example("v1..")
@example("v1.e30.")
@example("..." * 40)
def test_any_other_text_is_none(text: str) -> None:
    """And breaks nothing."""
    assert forged(text)


def test_the_hosts_of_one_run_are_none_of_another() -> None:
    """Parts of two passes make no third one, nor does a key that another controller has."""
    own = egress_pass.sign(MADE, [KEY]).split(".")
    wide = egress_pass.sign(msgspec.structs.replace(MADE, hosts=("*.com",)), [OTHER]).split(".")
    assert forged(".".join([*wide[:2], own[2]]))
    assert forged(".".join([*own[:2], wide[2]]))
    assert forged(".".join(wide))


def test_another_version_is_none() -> None:
    """Whatever it means one day, it does not mean that here; the version is signed as well."""
    version, content, signature = egress_pass.sign(MADE, [KEY]).split(".")
    assert version == "v1"
    for other in ("v2", "V1", "", "v1.v1"):
        assert forged(f"{other}.{content}.{signature}")
        signed = f"{other}.{content}"
        assert forged(f"{signed}.{egress_pass._signature(signed, KEY)}")


@pytest.mark.parametrize(
    "content",
    [
        {"run": "a", "namespace": "b", "hosts": ["*"]},
        {"run": "a", "namespace": "b", "hosts": "example.com", "expires": LATER},
        {"run": "a", "namespace": "b", "hosts": [], "expires": str(LATER)},
        {"run": "a", "namespace": "b", "hosts": [], "expires": LATER, "more": 1},
        [],
    ],
)
def test_what_is_signed_and_is_no_pass_is_none(content: object) -> None:
    """A field that is missing, or that nobody knows here, must not be guessed at."""
    text = base64.urlsafe_b64encode(canonical.dumps(content)).decode().rstrip("=")
    assert forged(f"v1.{text}.{egress_pass._signature(f'v1.{text}', KEY)}")


def test_a_key_can_be_replaced_while_runs_go_on() -> None:
    """The first one signs, all are believed; one that is taken out is believed no more."""
    before, after = egress_pass.sign(MADE, [KEY, OTHER]), egress_pass.sign(MADE, [OTHER, KEY])
    assert before != after
    for text in (before, after):
        assert egress_pass.read(text, [OTHER, KEY], NOW) == MADE
    assert forged(before, [OTHER])
    assert egress_pass.read(after, [OTHER], NOW) == MADE


def basic(user: str, password: str) -> bytes:
    """As a client of a proxy writes it."""
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@pytest.mark.parametrize("field", [b"Proxy-Authorization: ", b"proxy-authorization:", b"PROXY-AUTHORIZATION:  "])
@pytest.mark.parametrize("scheme", [b"Basic", b"basic", b"BASIC"])
def test_it_is_found_in_a_request(field: bytes, scheme: bytes) -> None:
    """Names of fields and schemes have no case."""
    value = basic("jobwarden", "v1.a.b").replace(b"Basic", scheme)
    head = b"CONNECT a.b:1 HTTP/1.1\r\nHost: a.b\r\n" + field + value + b"\r\n\r\n"
    assert egress_pass.shown(head) == "v1.a.b"


def test_a_request_without_it_is_asked_for_it() -> None:
    """What stands elsewhere in the request is none."""
    head = b"GET http://a.b/?Proxy-Authorization: HTTP/1.1\r\nAuthorization: " + basic("jobwarden", "x") + b"\r\n\r\n"
    found = egress_pass.shown(head)
    assert isinstance(found, NoPass)
    assert not found.shown


@pytest.mark.parametrize(
    "values",
    [
        [b"Bearer v1.a.b"],
        [b"Basic"],
        [b"Basic !!!"],
        [b"Basic /////w=="],
        [basic("somebody", "v1.a.b")],
        [basic("jobwarden", "v1.a.b"), basic("jobwarden", "v1.c.d")],
    ],
)
def test_what_is_shown_wrongly_is_refused(values: list[bytes]) -> None:
    """Two passes are none: who reads which would be a matter of taste."""
    head = (
        b"CONNECT a.b:1 HTTP/1.1\r\n" + b"".join(b"Proxy-Authorization: " + one + b"\r\n" for one in values) + b"\r\n"
    )
    found = egress_pass.shown(head)
    assert isinstance(found, NoPass)
    assert found.shown


@given(st.binary(max_size=300))
def test_no_bytes_break_it(head: bytes) -> None:
    """Whatever a run sends."""
    assert isinstance(egress_pass.shown(head), str | NoPass)


@pytest.mark.parametrize("text", [b"", b"\n\n", b"short", KEY + b"\nshort\n"])
def test_a_key_that_can_be_guessed_is_none(tmp_path: Path, text: bytes) -> None:
    """None of the lines may be short; the words name the file, and nothing of what is in it."""
    (tmp_path / "key").write_bytes(text)
    with pytest.raises(InvalidInput, match="needs at least 32 characters") as told:
        egress_pass.keys(tmp_path / "key")
    assert "short" not in str(told.value)
    with pytest.raises(InvalidInput, match="cannot be read"):
        egress_pass.keys(tmp_path / "none")
    (tmp_path / "key").write_bytes(KEY + b"\n" + OTHER + b"\n")
    assert list(egress_pass.keys(tmp_path / "key")) == [KEY, OTHER]
