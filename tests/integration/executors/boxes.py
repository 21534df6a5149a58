"""Runs in boxes, for the tests beside this; where a host cannot make them, the tests say why they are skipped."""

import asyncio

import msgspec
import pytest

from controller.domain.abilities import Abilities, Ability, Means, means, needs
from controller.domain.trust import Box, NetworkMode, Profile
from controller.executors import abilities, box
from controller.executors.protocol import BoxRequest, ExecutionRequest, ExecutionResult
from tests.integration.executors.conftest import DEADLINE, Runner

HERE = abilities.of_this_host()
RESTRICTED = Box(profile=Profile.Restricted)
ISOLATED = Box(profile=Profile.Isolated)
NO_NETWORK = Box(network=NetworkMode.Nothing)

cannot = HERE.missing.get(Ability.Boxes) or HERE.missing.get(Ability.Filter)
needs_boxes = pytest.mark.skipif(cannot is not None, reason=f"no boxes here: {cannot}")


WITHOUT_BUBBLEWRAP = abilities.probe(None)
needs_landlock = pytest.mark.skipif(
    not WITHOUT_BUBBLEWRAP.landlock, reason=f"no boxes of Landlock here: {WITHOUT_BUBBLEWRAP.missing[Ability.Boxes]}"
)


def inside(run: Runner, wanted: Box, *argv: str, here: Abilities = HERE, **fields: object) -> ExecutionRequest:
    """A request like the runner's, in a box of this host, or of one that can do less."""
    if means(wanted, here) is None:
        pytest.skip("; ".join(f"{one}: {here.missing[one]}" for one in needs(wanted) if one in here.missing))
    request = run.request(*argv, **fields)
    place = box.Place(env=request.env, cwd=request.cwd, output=str(request.output_path))
    made = box.request(wanted, place, here)
    assert isinstance(made, BoxRequest), made
    assert (made.rules is not None) == (means(wanted, here) is Means.Landlock)
    return msgspec.structs.replace(request, box=made)


async def run_inside(
    run: Runner, wanted: Box, script: str, here: Abilities = HERE, **fields: object
) -> ExecutionResult:
    """Run a shell script in a box to its end."""
    _, ended = run.start(inside(run, wanted, script=script, here=here, **fields))
    return await asyncio.wait_for(ended, DEADLINE)
