"""Plug-ins that policies name: one of each policy, made when it is first asked, kept for as long as the policy says the same, so that a breaker outlives a call.

`deciding` and `verifying` ask for them. Invariant: a plug-in runs on a thread of its own and is called through its `Guard` alone; one of a policy that was changed serves nobody any more.
"""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, Generic, NamedTuple, TypeVar

from controller.domain.trust import Plugin
from controller.providers.aside import Aside
from controller.providers.guard import Guard
from controller.providers.protocol import Closing, Refused
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings

Plug = TypeVar("Plug")

LEFT_ALONE = timedelta(seconds=20)
"""Whoever waits for an answer has a minute of patience: whatever was before, the plug-in is asked in it."""
_MOST = 256


class Instance(Generic[Plug]):
    """A plug-in, how it is called, and what it may use."""

    def __init__(self, plug: Plug, guard: Guard, surroundings: Surroundings) -> None:
        self.plug, self.guard, self.surroundings = plug, guard, surroundings

    async def close(self) -> None:
        """Let go of it; calls that are out end as outages."""
        await self.guard.close(self.plug.close if isinstance(self.plug, Closing) else None)


class _Kept(NamedTuple):
    plugin: Plugin
    timeout: timedelta
    instance: Instance[Any]


class Plugged(Generic[Plug]):
    """Those of one group, of one controller. For the thread of the event loop."""

    def __init__(
        self, registry: Callable[[], Registry[Plug]], surroundings: Callable[[str, str], Surroundings]
    ) -> None:
        """`registry` is called when a policy first needs a plug-in: to look for them takes a moment that others do not owe. `surroundings` makes those of a policy
        out of its name for messages and its namespace, "" for a Cluster policy.
        """
        self._make, self._surroundings = registry, surroundings
        self._registry: Registry[Plug] | None = None
        self._kept: dict[tuple[str, str], _Kept] = {}

    def of(self, policy: str, home: str, plugin: Plugin, timeout: timedelta) -> Instance[Plug] | Refused:
        """The plug-in of a policy, or why there is none."""
        known = self._kept.pop((home, policy), None)
        if known is not None and (known.plugin, known.timeout) != (plugin, timeout):
            _let_go(known.instance)
            known = None
        if known is None:
            made = self._made(policy, home, plugin, timeout)
            if isinstance(made, Refused):
                return made
            known = _Kept(plugin, timeout, made)
        self._kept[home, policy] = known
        while len(self._kept) > _MOST:
            # Whoever was not asked for the longest time.
            _let_go(self._kept.pop(next(iter(self._kept))).instance)
        instance: Instance[Plug] = known.instance
        return instance

    def follow(self, policies: Collection[tuple[str, str]]) -> None:
        """Let go of those of policies that are gone; `policies` are all that there are, by namespace and name for messages."""
        for gone in self._kept.keys() - set(policies):
            _let_go(self._kept.pop(gone).instance)

    async def close(self) -> None:
        """Let go of all of them."""
        while self._kept:
            _, known = self._kept.popitem()
            await known.instance.close()

    def _made(self, policy: str, home: str, plugin: Plugin, timeout: timedelta) -> Instance[Plug] | Refused:
        if self._registry is None:
            self._registry = self._make()
        around = self._surroundings(policy, home)
        built = self._registry.build(plugin.type, plugin.config, around)
        if isinstance(built, Refused):
            return built
        aside = Aside(f"plug-in {plugin.type}")
        return Instance(built.made, Guard(around, timeout, aside=aside, longest=LEFT_ALONE), around)


def _let_go(instance: Instance[Any]) -> None:
    instance.guard.see_to(instance.close())
