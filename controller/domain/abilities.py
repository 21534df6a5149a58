"""What a host, or a cluster, can do to keep a run in its box, and what a box asks of a host.

`executors.abilities` finds the first out by doing; `gates.box` compares the two before a run opens, and the launch of a run once more.
Invariant: an ability that nobody has tried is missing.
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


class Abilities(msgspec.Struct, frozen=True):
    """What holds on one host. `missing`: what cannot be done, why, and what to do about it."""

    missing: Mapping[Ability, str] = msgspec.field(default_factory=lambda: dict.fromkeys(Ability, "nobody has tried"))
    bubblewrap: str = ""  # the program that was tried, by its full path; "" where there is none
    version: str = ""  # what it says of itself, for people
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
