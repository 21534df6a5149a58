"""Public keys that issuers publish, fetched and remembered for a while.

    issuer → /.well-known/openid-configuration → jwks_uri → keys

`loops.proving` asks. Invariant: what is remembered is bounded in number, size and age; an issuer is asked by one at a time, and about a key that nobody knows not
more often than every `_CALM`, so that made-up names of keys make no traffic. Source: OpenID Connect Discovery 1.0, sections 3 and 4.3; RFC 7517.
"""

import asyncio
from collections import OrderedDict
from datetime import timedelta
from typing import NamedTuple

import msgspec

from controller.base.clock import Clock
from controller.base.errors import InvalidInput
from controller.proofs import keys
from controller.proofs.keys import Key
from controller.providers import web
from controller.providers.protocol import Refused, Unavailable

FRESH = timedelta(minutes=5)
"""How long keys are used before they are fetched again: what an issuer has taken back is trusted no longer than that."""
_CALM = timedelta(seconds=10)
_TIMEOUT = timedelta(seconds=10)
_MOST_ISSUERS = 64


class Place(NamedTuple):
    """Where keys are: the address of a JWK Set, or (`discover`) an issuer that says where. `authorities`: PEM; None: what the system trusts."""

    url: str
    discover: bool = False
    authorities: str | None = None


class _Configuration(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _Entry:
    """What is known of one place. `missing` are names that nobody had when it was asked last."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.answer: tuple[Key, ...] | Refused | Unavailable = ()
        self.at: float | None = None
        self.missing: set[str] = set()

    def has(self, name: str | None) -> bool:
        return isinstance(self.answer, tuple) and (name is None or any(key.name == name for key in self.answer))


_configuration = msgspec.json.Decoder(_Configuration)


class KeySets:
    """Those of one controller; for the thread of the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[Place, _Entry] = OrderedDict()

    async def of(self, place: Place, name: str | None) -> tuple[Key, ...] | Refused | Unavailable:
        """The keys of an issuer. They are fetched when there are none, when they are old, and when none of them is called `name`.

        A name that nobody has heard of is asked for once, and the answer is told to all who ask soon after. So is an outage.
        """
        entry = self._entry(place)
        async with entry.lock:
            age = self._clock.monotonic() - entry.at if entry.at is not None else FRESH.total_seconds()
            calm = _CALM.total_seconds() - age
            if age < FRESH.total_seconds() and (entry.has(name) or (calm > 0 and name in entry.missing)):
                return entry.answer
            if calm > 0:
                if not isinstance(entry.answer, tuple):
                    return entry.answer
                wait = timedelta(seconds=calm)
                return Unavailable(
                    f"{place.url}: it had no key of that name a moment ago, and is asked again soon", wait
                )
            entry.missing = set()
            entry.answer, entry.at = await self._fetch(place), self._clock.monotonic()
            if name is not None and not entry.has(name):
                entry.missing.add(name)
            return entry.answer

    def _entry(self, place: Place) -> _Entry:
        entry = self._known.setdefault(place, _Entry())
        self._known.move_to_end(place)
        while len(self._known) > _MOST_ISSUERS:
            self._known.popitem(last=False)
        return entry

    async def _fetch(self, place: Place) -> tuple[Key, ...] | Refused | Unavailable:
        try:
            async with asyncio.timeout(_TIMEOUT.total_seconds()):
                url = await self._address(place) if place.discover else place.url
                return await self._keys(url, place) if isinstance(url, str) else url
        except TimeoutError:
            return Unavailable(f"{place.url}: no answer within {_TIMEOUT.total_seconds():g}s")

    async def _address(self, place: Place) -> str | Refused | Unavailable:
        """Where an issuer says that its keys are. It has to name itself as it is named here: Discovery, section 4.3."""
        url = place.url.rstrip("/") + "/.well-known/openid-configuration"
        body = await _got(url, place)
        if not isinstance(body, bytes):
            return body
        try:
            found = _configuration.decode(body)
        except msgspec.MsgspecError:
            return Unavailable(f"{url}: it is no configuration of OpenID Connect")
        if found.issuer != place.url:
            return Refused(f"{url}: it is the configuration of another issuer than {place.url}")
        return found.jwks_uri

    async def _keys(self, url: str, place: Place) -> tuple[Key, ...] | Refused | Unavailable:
        body = await _got(url, place)
        if not isinstance(body, bytes):
            return body
        try:
            return keys.published(body)
        except keys.BadKeys as error:
            return Unavailable(f"{url}: {error}")


async def _got(url: str, place: Place) -> bytes | Refused | Unavailable:
    try:
        web.check("the address of keys", url)
    except InvalidInput as error:
        return Refused(str(error))
    answer = await web.ask("GET", url, authority=place.authorities)
    if isinstance(answer, Unavailable):
        return Unavailable(f"{url}: {answer.message}")
    # A redirect is no answer: keys come from the address that the policy, or the issuer, names.
    return answer.body if answer.good else Unavailable(f"{url}: it answered {answer.status}", answer.retry_after)
