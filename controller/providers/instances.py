"""One caller for each declared provider, kept for as long as its declaration stays, so that a breaker outlives a call.

The gates and whoever delivers credentials ask for one by its key. Invariant: whoever may not use a provider gets a refusal and no caller; a changed
declaration makes a new one.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from controller.domain.trust import Provider
from controller.providers.aside import Aside
from controller.providers.calling import Caller
from controller.providers.protocol import IdentityProvider, Refused
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings


class Key(NamedTuple):
    """The resource that declares a provider; namespace "" for a Cluster kind."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Instances:
    """All of one controller."""

    def __init__(self, registry: Registry[IdentityProvider], surroundings: Callable[[Key], Surroundings]) -> None:
        """`surroundings` makes those of a provider; it is called on the event loop."""
        self._registry, self._surroundings = registry, surroundings
        self._kept: dict[Key, tuple[Provider, Caller]] = {}

    async def of(self, key: Key, declared: Provider | None, user: str) -> Caller | Refused:
        """The caller of a provider for the namespace `user`, "" for the controller itself; `declared` None: there is none of that name."""
        refusal = refused(key, declared, user)
        if declared is None or refusal is not None:
            await self._drop(key) if declared is None else None
            return Refused(refusal or f"there is no {key}")
        kept = self._kept.get(key)
        if kept is not None and kept[0] == declared:
            return kept[1]
        await self._drop(key)
        return self._made(key, declared)

    async def follow(self, declared: Collection[Key]) -> None:
        """Let go of those that are not among what is declared."""
        for key in self._kept.keys() - set(declared):
            await self._drop(key)

    async def close(self) -> None:
        """Let go of all of them."""
        for key in list(self._kept):
            await self._drop(key)

    def _made(self, key: Key, declared: Provider) -> Caller | Refused:
        surroundings = self._surroundings(key)
        built = self._registry.build(declared.type, declared.config, surroundings)
        if isinstance(built, Refused):
            return built
        aside = None if built.ours else Aside(f"provider {key.name}")
        caller = Caller(built.made, surroundings, declared.timeout, aside=aside)
        self._kept[key] = (declared, caller)
        return caller

    async def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            await kept[1].close()


def refused(key: Key, declared: Provider | None, user: str) -> str | None:
    """Why the namespace `user` may not use this provider; None: it may. The controller itself ("") may use those of the cluster. Pure."""
    if declared is None:
        return f"there is no {key}: create it, or correct the reference"
    if not key.namespace:
        allowed = declared.namespaces or ()
        if not user or user in allowed or "*" in allowed:
            return None
        return f"{key} does not allow the namespace {user!r}: its owner can add that to spec.allowedNamespaces"
    return None if user == key.namespace else f"{key} is of another namespace than {user!r}, and serves its own only"
