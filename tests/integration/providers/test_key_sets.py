"""Keys that issuers publish, fetched over real HTTP: remembered, found again when they change, and never asked for without end."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from controller.base.clock import SystemClock
from controller.proofs.keys import Key
from controller.providers import key_sets
from controller.providers.key_sets import KeySets, Place
from controller.providers.protocol import Refused, Unavailable
from tests.harness import proofs
from tests.harness.issuer import DISCOVERY, KEYS, Issuer


class Hand(SystemClock):
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        """It stands still."""
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as opened:
        yield opened


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def sets(clock: Hand) -> KeySets:
    return KeySets(clock)


def names(answer: tuple[Key, ...] | Refused | Unavailable) -> list[str | None]:
    """What the keys are called."""
    assert isinstance(answer, tuple), answer
    return [key.name for key in answer]


@pytest.mark.parametrize("discover", [True, False])
async def test_keys_are_fetched_once_and_again_when_they_are_old(
    issuer: Issuer, sets: KeySets, clock: Hand, discover: bool
) -> None:
    """Everybody who asks at the same time is told by one request."""
    place = Place(issuer.url, discover=True) if discover else Place(issuer.keys_url)
    answers = await asyncio.gather(*(sets.of(place, "key-1") for _ in range(5)))
    assert [names(answer) for answer in answers] == [["key-1"]] * 5
    clock.seconds = 299
    await sets.of(place, "key-1")
    assert issuer.asked[KEYS] == 1
    assert issuer.asked[DISCOVERY] == (1 if discover else 0)
    clock.seconds = 300
    await sets.of(place, None)
    assert issuer.asked[KEYS] == 2


async def test_a_key_that_is_new_is_found_and_one_that_is_gone_is_not(
    issuer: Issuer, sets: KeySets, clock: Hand
) -> None:
    """A name that is not known makes a request, but not two of them within ten seconds."""
    place = Place(issuer.keys_url)
    await sets.of(place, "key-1")
    issuer.rotate()
    waits = await sets.of(place, "key-2")
    assert isinstance(waits, Unavailable)
    assert waits.retry_after is not None
    assert waits.retry_after.total_seconds() == 10
    clock.seconds = 10
    assert names(await sets.of(place, "key-2")) == ["key-2"]
    assert issuer.asked[KEYS] == 2


async def test_made_up_names_make_no_traffic(issuer: Issuer, sets: KeySets, clock: Hand) -> None:
    """One request for as many as come in ten seconds; the one that was asked for is told at once that there is no such key."""
    place = Place(issuer.keys_url)
    assert names(await sets.of(place, "made-up-0")) == ["key-1"]
    for number in range(100):
        answer = await sets.of(place, f"made-up-{number}")
        assert isinstance(answer, tuple) is (number == 0)
    assert issuer.asked[KEYS] == 1
    assert names(await sets.of(place, "key-1")) == ["key-1"]


@pytest.mark.parametrize(
    ("path", "body", "status", "headers"),
    [
        (KEYS, {"keys": "none"}, 200, {}),
        (KEYS, b"<html>", 200, {}),
        (KEYS, b"[" * 100_000, 200, {}),
        (KEYS, b"x" * 300_000, 200, {}),
        (KEYS, {}, 500, {}),
        (KEYS, {}, 404, {}),
        (KEYS, {}, 302, {"Location": "/elsewhere"}),
        (DISCOVERY, {}, 301, {"Location": "/elsewhere"}),
        (DISCOVERY, b"", 200, {}),
        (DISCOVERY, {"issuer": "x"}, 200, {}),
    ],
)
async def test_an_issuer_that_misbehaves_is_an_outage(
    issuer: Issuer, sets: KeySets, clock: Hand, path: str, body: Any, status: int, headers: dict[str, str]
) -> None:
    """No redirect is followed, nothing large is read; it is asked again later, and not by everybody at once."""
    issuer.answer("/elsewhere", proofs.public(issuer.key))
    issuer.answer(path, body, status, **headers)
    place = Place(issuer.url, discover=True)
    first, second = await sets.of(place, "key-1"), await sets.of(place, "key-1")
    assert isinstance(first, Unavailable)
    assert first == second
    assert issuer.asked[path] == 1
    assert issuer.asked["/elsewhere"] == 0
    issuer.rotate()
    clock.seconds = 10
    assert names(await sets.of(place, "key-2")) == ["key-2"]


@pytest.mark.parametrize(
    "configuration",
    [
        {"issuer": "https://another.example.org", "jwks_uri": "https://another.example.org/keys"},
        {"jwks_uri": "http://another.example.org/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://user:password@another.example.org/keys"},
    ],
)
async def test_an_issuer_that_says_something_else_than_it_is_is_refused(
    issuer: Issuer, sets: KeySets, configuration: dict[str, str]
) -> None:
    """It names itself as the policy does, and keys come over TLS or from this host. Source: OpenID Connect Discovery, section 4.3."""
    issuer.answer(DISCOVERY, {"issuer": issuer.url} | configuration)
    answer = await sets.of(Place(issuer.url, discover=True), None)
    assert isinstance(answer, Refused)
    assert "password" not in answer.message


async def test_an_issuer_that_does_not_answer_is_given_up(
    issuer: Issuer, sets: KeySets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody waits for it longer than its time."""
    monkeypatch.setattr(key_sets, "_TIMEOUT", key_sets.timedelta(milliseconds=50))
    issuer.delay = 1.0
    answer = await sets.of(Place(issuer.keys_url), None)
    assert isinstance(answer, Unavailable)
    assert "no answer within" in answer.message


async def test_nobody_there_is_an_outage(sets: KeySets) -> None:
    """Also where the authorities of the policy cannot be read."""
    assert isinstance(await sets.of(Place("http://127.0.0.1:9/keys"), None), Unavailable)
    assert isinstance(await sets.of(Place("https://127.0.0.1:9/keys", authorities="nonsense"), None), Unavailable)


async def test_what_is_remembered_is_bounded(issuer: Issuer, sets: KeySets) -> None:
    """The issuer that nobody has asked about for longest goes first."""
    for number in range(key_sets._MOST_ISSUERS + 5):
        issuer.answer(f"/{number}", proofs.public(issuer.key))
        await sets.of(Place(f"{issuer.url}/{number}"), None)
    assert len(sets._known) == key_sets._MOST_ISSUERS
    await sets.of(Place(f"{issuer.url}/0"), None)
    assert issuer.asked["/0"] == 2
