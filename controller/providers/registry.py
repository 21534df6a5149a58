"""Types of what is not ours: those that are built in, and those of installed distributions, by their entry points.

There is one registry for each group of entry points: `instances` asks that of credential providers, `plugged` those of what policies name. A distribution is code that the controller's administrator has installed; whatever is wrong with one
is told, and the type is not there. Invariant: a type that is not there, twice there, or cannot be made denies, and never falls back to another.
"""

import importlib.util
import inspect
import logging
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import msgspec

from controller.base.errors import InvalidInput
from controller.base.logs import event
from controller.base.masking import SECRETS
from controller.providers import words
from controller.providers.protocol import GROUP, IdentityProvider, Refused
from controller.providers.surroundings import Surroundings

_log = logging.getLogger(__name__)

Plug = TypeVar("Plug")
Make = Callable[[Mapping[str, Any], Surroundings], Plug]
"""What an entry point names: configuration and surroundings to something that has asked nobody yet. Errors: InvalidInput or ValueError naming the field."""


class Group(msgspec.Struct, Generic[Plug], frozen=True):
    """A group of entry points, and what is promised of whatever they make: the coroutine `asks`, and perhaps those of `may`."""

    name: str
    of: str  # what its plug-ins are, in messages
    asks: str
    shown: str  # the same with its arguments
    may: tuple[str, ...] = ("close",)
    built_in: Mapping[str, EntryPoint] = {}


# Imported when first used: half of them speak HTTP, which costs a quarter of a second that nobody else owes.
_OURS = {
    "env": "references:Variables",
    "file": "references:Files",
    "exec": "exec_credential:ExecCredential",
    "kubernetesSecret": "kubernetes_secret:KubernetesSecret",
    "serviceAccountToken": "service_account_token:ServiceAccountToken",
    "oidcTokenExchange": "token_exchange:TokenExchange",
    "vault": "vault:Vault",
}
BUILT_IN = {name: EntryPoint(name, f"controller.providers.{place}", GROUP) for name, place in _OURS.items()}

PROVIDERS: Group[IdentityProvider] = Group(
    GROUP, "provider", "resolve", "resolve(request)", ("downscope", "renew", "revoke", "close"), BUILT_IN
)


class Built(msgspec.Struct, Generic[Plug], frozen=True):
    """What was made. `ours`: it never blocks the event loop."""

    made: Plug
    ours: bool


class Registry(Generic[Plug]):
    """What there is when it is made. `skipped` are plug-ins that cannot be used, by name, with the reason."""

    def __init__(self, group: Group[Plug], found: Collection[EntryPoint] | None = None) -> None:
        """`found` None: what is installed. Imports every plug-in of the group."""
        self._group = group
        self._theirs: dict[str, Make[Plug]] = {}
        self.skipped: dict[str, str] = {}
        points = metadata.entry_points(group=group.name) if found is None else found
        for name in sorted({point.name for point in points}):
            self._take(name, [point for point in points if point.name == name])

    @property
    def types(self) -> list[str]:
        """Names of what can be used."""
        return sorted({*self._group.built_in, *self._theirs})

    def build(self, kind: str, config: Mapping[str, Any], surroundings: Surroundings) -> Built[Plug] | Refused:
        """One of this type, or what is wrong with its configuration."""
        make = self._make(kind)
        if isinstance(make, Refused):
            return Refused(f"{surroundings.name}: {make.message}")
        try:
            made = make(config, surroundings)
        except (InvalidInput, ValueError) as error:
            return Refused(f"{surroundings.name}: {words.fit(str(error), surroundings.masker, SECRETS)}")
        except Exception as error:  # noqa: BLE001 - whatever a plug-in raises
            return Refused(f"{surroundings.name}: its type {kind!r} broke with {type(error).__name__}")
        missing = _missing(self._group, made)
        return (
            Built(made, kind in self._group.built_in)
            if missing is None
            else Refused(f"{surroundings.name}: {kind!r} {missing}")
        )

    def _make(self, kind: str) -> Make[Plug] | Refused:
        group = self._group
        if kind in group.built_in:
            return cast(Make[Plug], group.built_in[kind].load())
        if kind in self._theirs:
            return self._theirs[kind]
        if kind in self.skipped:
            return Refused(f"the {group.of} type {kind!r} cannot be used: {self.skipped[kind]}")
        others = f", or use one of {words.listed(self.types, most=32)}" if self.types else ""
        return Refused(f"the {group.of} type {kind!r} is not loaded: install the distribution that has it{others}")

    def _take(self, name: str, points: list[EntryPoint]) -> None:
        try:
            self._theirs[name] = _loaded(self._group, name, points)
        except Exception as error:  # noqa: BLE001 - whatever an import raises
            self._skip(name, f"{type(error).__name__}: {error}")
        except SystemExit:
            self._skip(name, "it ends the process when it is imported")

    def _skip(self, name: str, why: str) -> None:
        why = words.fit(why.removeprefix("_Unusable: "), SECRETS)
        if name not in self._group.built_in:
            self.skipped[name] = why
        event(_log, "a plug-in is not used", logging.WARNING, group=self._group.name, type=name, reason=why)


class _Unusable(Exception):
    """Why a plug-in is not taken."""


def _loaded(group: Group[Plug], name: str, points: list[EntryPoint]) -> Make[Plug]:
    """What the entry points of one name give. Errors: _Unusable, and whatever an import raises."""
    if name in group.built_in:
        raise _Unusable("it has the name of a built-in type: give it another one")
    if len(points) > 1:
        owners = words.listed(point.dist.name if point.dist is not None else "?" for point in points)
        raise _Unusable(f"{owners} all have it: uninstall all but one")
    (point,) = points
    for place in _places(point.module):
        if _others_may_write(place):
            raise _Unusable(f"everybody may write to {place}: take that right away (chmod o-w)")
    found = point.load()
    if not callable(found):
        raise _Unusable(f"{point.value} cannot be called")
    missing = _missing(group, found) if inspect.isclass(found) else None
    if missing is not None:
        raise _Unusable(f"{point.value} {missing}")
    return cast(Make[Plug], found)


def _missing(group: Group[Plug], thing: object) -> str | None:
    """What a thing of this group, or a class of them, lacks. Pure."""
    if not inspect.iscoroutinefunction(getattr(thing, group.asks, None)):
        return f"has no coroutine `{group.shown}`, which the Protocol asks for"
    for name in group.may:
        if not inspect.iscoroutinefunction(getattr(thing, name, _fine)):
            return f"has a `{name}` that is no coroutine"
    return None


async def _fine() -> None:
    """Stands for an ability that is not there."""


def _places(module: str) -> Iterator[Path]:
    """Folder and file of the package that a module is in. Nothing is imported."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None:
        return
    for folder in spec.submodule_search_locations or ():
        yield Path(folder)
    if spec.has_location and spec.origin is not None:
        yield Path(spec.origin)
        yield Path(spec.origin).parent


def _others_may_write(place: Path) -> bool:
    """What everybody may change is not run. A folder with the sticky bit guards what others own, not new names."""
    try:
        mode = place.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISLNK(mode) and bool(mode & stat.S_IWOTH)
