"""Who asks for something: the user of this machine behind a user id, with the groups that approvals may name.

The control socket gives the peer's id, the command its own. Invariant: an actor always has a name, also when the machine does not know the user.
"""

import grp
import os
import pwd
from typing import NamedTuple


class Actor(NamedTuple):
    """A person or program that asks. `groups` are those of the machine's user database."""

    name: str
    groups: tuple[str, ...] = ()


def of_uid(uid: int) -> Actor:
    """The actor behind a user id; `uid:<number>` when the machine has no name for it."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return Actor(f"uid:{uid}")
    found = []
    for gid in os.getgrouplist(user.pw_name, user.pw_gid):
        try:
            found.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue  # a number without a name cannot be written in an approval either
    return Actor(user.pw_name, tuple(found))
