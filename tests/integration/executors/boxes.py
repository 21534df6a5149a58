"""Runs in boxes, for the tests beside this; where a host cannot make them, the tests say why they are skipped."""

import asyncio

import msgspec
import pytest

from controller.domain.abilities import Ability, needs
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


def inside(run: Runner, wanted: Box, *argv: str, **fields: object) -> ExecutionRequest:
    """A request like the runner's, in a box."""
    for ability in needs(wanted):
        if ability in HERE.missing:
            pytest.skip(f"{ability}: {HERE.missing[ability]}")
    request = run.request(*argv, **fields)
    place = box.Place(env=request.env, cwd=request.cwd, output=str(request.output_path))
    made = box.request(wanted, place, HERE)
    assert isinstance(made, BoxRequest), made
    return msgspec.structs.replace(request, box=made)


async def run_inside(run: Runner, wanted: Box, script: str, **fields: object) -> ExecutionResult:
    """Run a shell script in a box to its end."""
    _, ended = run.start(inside(run, wanted, script=script, **fields))
    return await asyncio.wait_for(ended, DEADLINE)
