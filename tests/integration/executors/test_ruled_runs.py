"""A run that Landlock keeps has nothing round it: every promise about the runs of this executor is one about it as well.

The tests are those of runs without a box, each made in one that has no network; its files are as they are, so that what the tests do with them stays possible.
"""

import asyncio

import msgspec
import pytest

from controller.executors import box
from controller.executors.protocol import BoxRequest, Execution, ExecutionRequest, ExecutionResult
from tests.integration.executors.boxes import NO_NETWORK, WITHOUT_BUBBLEWRAP, needs_landlock
from tests.integration.executors.conftest import Runner
from tests.integration.executors.test_ends import *  # noqa: F403
from tests.integration.executors.test_masking import *  # noqa: F403
from tests.integration.executors.test_output_capture import *  # noqa: F403
from tests.integration.executors.test_outputs_file import *  # noqa: F403
from tests.integration.executors.test_whole_tree import *  # noqa: F403

pytestmark = needs_landlock


class Ruled(Runner):
    """Puts whatever it starts into a box of Landlock."""

    def start(self, request: ExecutionRequest) -> tuple[Execution, "asyncio.Future[ExecutionResult]"]:
        """As without one."""
        output = None if request.output_path is None else str(request.output_path)
        made = box.request(NO_NETWORK, box.Place(request.env, request.cwd, output), WITHOUT_BUBBLEWRAP)
        assert isinstance(made, BoxRequest)
        assert made.rules is not None
        return super().start(msgspec.structs.replace(request, box=made))


@pytest.fixture
def run(run: Runner) -> Runner:
    """One that rules."""
    return Ruled(run.executor, run.folder)
