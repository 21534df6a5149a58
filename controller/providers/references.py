"""The providers `env` and `file`: credentials that lie on the controller's host, as far as its settings allow them to be read.

    env:  {keys: {token: API_TOKEN}}                     key to variable of the controller
    file: {keys: {token: /var/run/secrets/api/token}}    key to file

Read anew for every run. They say nothing of who holds what they read, and cannot narrow it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from controller.base.structs import described
from controller.providers import config as configuration
from controller.providers.config import Config
from controller.providers.protocol import Answer, Refused, Request, Secret, Session, Unavailable
from controller.providers.surroundings import Surroundings
from controller.providers.words import listed


@described
class Keys(Config, frozen=True):
    """Which credentials there are, and where each is read."""

    keys: Mapping[str, str]


class Variables:
    """`env`."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        surroundings.demand_host("env")
        self._keys = configuration.read("env", config, Keys).keys
        self._surroundings = surroundings

    async def resolve(self, request: Request) -> Answer:
        """Source: `IdentityProvider.resolve`."""
        return self.resolve_now(request)

    def resolve_now(self, request: Request) -> Answer:
        """Source: `Immediate.resolve_now`."""
        refusal = unknown(request, self._keys)
        if refusal is not None:
            return refusal
        found = {}
        for key in request.keys or self._keys:
            value = self._surroundings.variable(self._keys[key])
            if not isinstance(value, Secret):
                return value
            found[key] = value
        return Session(credentials=found)


class Files:
    """`file`."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        surroundings.demand_host("file")
        self._keys = configuration.read("file", config, Keys).keys
        self._surroundings = surroundings

    async def resolve(self, request: Request) -> Answer:
        """Source: `IdentityProvider.resolve`."""
        return await gathered(request, self._keys, self._surroundings.file)


async def gathered(
    request: Request, places: Mapping[str, str], read: Callable[[str], Awaitable[Secret | Refused | Unavailable]]
) -> Answer:
    """A session with the wanted credentials, each read at its place; of what cannot be read the first is the answer. For providers that know no scopes."""
    refusal = unknown(request, places)
    if refusal is not None:
        return refusal
    found = {}
    for key in request.keys or places:
        value = await read(places[key])
        if not isinstance(value, Secret):
            return value
        found[key] = value
    return Session(credentials=found)


def unknown(request: Request, known: Mapping[str, object]) -> Refused | None:
    """The refusal of scopes, which mean nothing here, and of keys that are not declared. Pure."""
    if request.scopes:
        return no_scopes(request)
    if missing := set(request.keys) - set(known):
        return Refused(f"it has no credential {listed(missing)}, only {listed(known)}")
    return None


def no_scopes(request: Request) -> Refused:
    """What a provider says that cannot give less than all. Pure."""
    return Refused(
        f"it cannot restrict its credentials to the scopes {listed(request.scopes)}: remove them, or use a provider that can, such as oidcTokenExchange"
    )
