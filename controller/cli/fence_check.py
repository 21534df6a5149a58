"""`jobwarden fence-check`: what Pods behind a fence do first. The controller adds it; nobody need type it.

Invariant: it asks no database and no cluster, so it takes none of the options that name one.
"""

import os

import click

from controller.base.errors import Conflict
from controller.kubernetes import fence_check as fence


@click.command("fence-check", epilog="\b\nExample:\n  jobwarden fence-check")
def fence_check() -> None:
    """See that this Pod reaches neither its API server nor its DNS, before its job begins.

    Waits half a minute until the network plug-in has noticed the Pod, and ends with 1 where it lets the Pod out all the same.
    """
    around = fence.surroundings(os.environ)
    if not around:
        raise Conflict(
            "nothing is known here that a Pod with a network could reach, so its fence cannot be tried: is this a Pod?"
        )
    reached = fence.open_to(around, fence.PATIENCE)
    if reached is not None:
        error = Conflict(f"the fence of this Pod does not hold: {reached[0]}:{reached[1]} can be reached")
        error.add_note(
            "the network plug-in (CNI) of the cluster does not enforce its NetworkPolicy: take settings.pods.networkPoliciesEnforced back, or see to the plug-in"
        )
        raise error
