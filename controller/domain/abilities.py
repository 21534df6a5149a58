"""What a host, or a cluster, can do to keep a run in its box, and what a box asks of a host.

`executors.abilities` finds the first out by doing; `gates.box` compares the two before a run opens, and the launch of a run once more.
Invariants: an ability that nobody has tried is missing; a box is kept by one means, whole, or it is not kept.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from controller.domain.trust import Box, NetworkMode, Profile


class Ability(StrEnum):
    """One thing that a host can do, or cannot."""

    Boxes = "Boxes"
    """A user, processes and mounts of its own, without capabilities."""
    Filter = "Filter"
    """System calls are filtered."""
    Isolation = "Isolation"
    """IPC, host name and control groups of its own."""
    NoNetwork = "NoNetwork"
    """A network of its own, with nothing in it."""
    Hosts = "Hosts"
    """A way out of that network that the controller watches over."""


class Means(StrEnum):
    """What keeps a box on a host."""

    Bubblewrap = "bubblewrap"
    Landlock = "Landlock"
    """With a filter of system calls of its own, where bubblewrap cannot do it: of what it cannot keep, nothing is tried."""


class Abilities(msgspec.Struct, frozen=True):
    """What holds on one host. `missing`: what bubblewrap cannot do, why, and what to do about it."""

    missing: Mapping[Ability, str] = msgspec.field(default_factory=lambda: dict.fromkeys(Ability, "nobody has tried"))
    bubblewrap: str = ""  # the program that was tried, by its full path; "" where there is none
    version: str = ""  # what it says of itself, for people
    landlock: int = 0  # the version (ABI) of Landlock that was tried in its stead; 0: it cannot stand in, or need not
    network_policies: bool = False  # whoever runs the controller vouches that the cluster of its Pods enforces them
    egress_proxy: bool = False  # and that Pods have a proxy there, which knows names of hosts


def reach(box: Box) -> NetworkMode:
    """What a run in the box reaches: an isolated one has no network unless hosts are named. Pure."""
    if box.profile is Profile.Isolated and box.network is NetworkMode.Unrestricted:
        return NetworkMode.Nothing
    return box.network


def shuts(box: Box) -> bool:
    """Whether nothing at all is reached: also where a list of hosts has become empty, as no two contracts agreed on one. Pure."""
    return reach(box) is NetworkMode.Nothing or (reach(box) is NetworkMode.Restricted and not box.hosts)


def limits_files(box: Box) -> bool:
    """Whether the run sees less than the whole file system. Pure."""
    return box.profile is not Profile.Nothing or box.read is not None or box.write is not None


def confines(box: Box) -> bool:
    """Whether the box is one: otherwise a run is started as if nobody had said anything. Pure."""
    return limits_files(box) or reach(box) is not NetworkMode.Unrestricted


def means(box: Box, abilities: Abilities) -> Means | None:
    """What keeps all of the box, or would if it were one; None: nothing here does. Pure."""
    if not any(one in abilities.missing for one in needs(box)):
        return Means.Bubblewrap
    return Means.Landlock if abilities.landlock and for_landlock(box) == box else None


def for_landlock(box: Box) -> Box:
    """The part of a box that Landlock can keep: lists of paths, and no network at all. Pure.

    A profile asks for processes and a user of its own, hosts for a network of its own; and from `/` it cannot take away what every box has anew or has not.
    """
    read, write = box.read, box.write
    if "/" in (*(read or ()), *(write or ())):
        read = write = None
    return msgspec.structs.replace(
        box,
        profile=Profile.Nothing,
        read=read,
        write=write,
        network=NetworkMode.Nothing if shuts(box) else NetworkMode.Unrestricted,
    )


def needs(box: Box) -> tuple[Ability, ...]:
    """What a host must be able to do for the box. Pure."""
    if not confines(box):
        return ()
    wanted = [Ability.Boxes, Ability.Filter]
    if box.profile is Profile.Isolated:
        wanted.append(Ability.Isolation)
    if reach(box) is not NetworkMode.Unrestricted:
        wanted.append(Ability.NoNetwork)
    if reach(box) is NetworkMode.Restricted:
        wanted.append(Ability.Hosts)
    return tuple(wanted)
