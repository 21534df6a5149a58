"""The provider `serviceAccountToken`: a token of a service account for named audiences, which ends soon.

    serviceAccountToken: {name: deployer, audiences: [payments, ledger], lifetime: 15m}

The account is one of the provider's namespace. Its scopes are its audiences: who asks for some of them gets a token for those, and one for fewer
audiences can be made for a child. The API server takes a token for none but itself where audiences name others. Source: the TokenRequest API of Kubernetes, authentication.k8s.io/v1.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from controller.base.errors import InvalidInput
from controller.base.structs import described
from controller.providers import config as configuration
from controller.providers.config import Config
from controller.providers.protocol import Answer, Issued, Refused, Request, Session
from controller.providers.surroundings import Surroundings
from controller.providers.words import listed

_SHORTEST = timedelta(minutes=10)
"""What the API server grants at least."""


@described
class TokenConfig(Config, frozen=True):
    """Whose token, for whom, and for how long at most."""

    name: str
    audiences: tuple[str, ...]
    lifetime: str = "1h"


class Projected(msgspec.Struct, frozen=True):
    """The same token as a Pod of that account can have it of its node."""

    account: str
    audience: str
    lifetime: timedelta


def projected(
    config: Mapping[str, Any], scopes: tuple[str, ...], keys: tuple[str, ...], at_most: timedelta
) -> Projected | None:
    """What a Pod is to ask its node for, instead of a token that is asked for here; None where that would not be the same. Pure.

    A node gives tokens for one audience each. Source: serviceAccountToken of a projected volume.
    """
    try:
        read = configuration.read("serviceAccountToken", config, TokenConfig)
        lifetime = configuration.duration("spec.serviceAccountToken.lifetime", read.lifetime)
    except InvalidInput:
        return None
    audiences = scopes or read.audiences
    if len(audiences) != 1 or not set(audiences) <= set(read.audiences) or set(keys) - {"token"}:
        return None
    return Projected(read.name, audiences[0], max(_SHORTEST, min(lifetime, at_most)))


class ServiceAccountToken:
    """`serviceAccountToken`. The credential is `token`."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._config = configuration.read("serviceAccountToken", config, TokenConfig)
        if not self._config.audiences:
            raise InvalidInput(
                "spec.serviceAccountToken.audiences: name at least one; a token without would do for the API server"
            )
        self._lifetime = configuration.duration("spec.serviceAccountToken.lifetime", self._config.lifetime)
        if self._lifetime < _SHORTEST:
            raise InvalidInput("spec.serviceAccountToken.lifetime: a token of a service account lives 10m at least")
        self._surroundings = surroundings

    async def resolve(self, request: Request) -> Answer:
        """Source: `IdentityProvider.resolve`."""
        known = self._config.audiences
        if beyond := set(request.scopes) - set(known):
            return Refused(f"the scopes {listed(beyond)} are not among its audiences: {listed(known)}")
        if missing := set(request.keys) - {"token"}:
            return Refused(f"it has no credential {listed(missing)}, only token")
        return await self._issue(request, request.scopes or known)

    async def downscope(self, request: Request, session: Session) -> Answer:  # noqa: ARG002 - a token for fewer audiences is a new one
        """Source: `Downscoping.downscope`."""
        return await self.resolve(request)

    async def _issue(self, request: Request, audiences: tuple[str, ...]) -> Answer:
        lifetime = max(_SHORTEST, min(self._lifetime, request.lifetime))
        issued = await self._surroundings.token(self._config.name, audiences, lifetime)
        if not isinstance(issued, Issued):
            return issued
        return Session(
            credentials={"token": issued.token},
            principal=self._principal,
            scopes=audiences,
            expires_at=issued.expires_at,
        )

    @property
    def _principal(self) -> str | None:
        """The name that the API server has for it. The controller's own namespace is not known here."""
        home = self._surroundings.namespace
        return f"system:serviceaccount:{home}:{self._config.name}" if home else None
