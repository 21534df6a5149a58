"""The box of a grant reaches the request of its run, or the run is refused in words."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.base.references import Allowed
from controller.dispatch import launch
from controller.dispatch.launch import Launcher
from controller.domain.abilities import Abilities
from controller.domain.job import JobSpec
from controller.domain.records import Cause, Run
from controller.domain.states import RunState
from controller.domain.trust import Box, Contract, Enforcement, Grant, NetworkMode, Profile
from controller.executors.protocol import ExecutionRequest
from tests import builders

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run_under(box: Box | None) -> Run:
    """An open run, governed by a contract with this box."""
    return Run(
        name="run-1",
        job_id=1,
        job_uid="u",
        namespace="default",
        job="job",
        dispatch="d",
        cause=Cause.Schedule,
        state=RunState.Running,
        scheduled_for=NOW,
        created_at=NOW,
        root="run-1",
        grant=None if box is None else Grant(digest="x", contract=Contract(box=box)),
    )


def launcher(folder: Path, abilities: Abilities | None) -> Launcher:
    """One that must not ask for abilities when there are none to give."""

    def asked() -> Abilities:
        assert abilities is not None, "nobody asked for a box"
        return abilities

    return Launcher({"HOME": "/home/u"}, allowed=Allowed(), log_dir=folder, output_dir=folder, abilities=asked)


@pytest.fixture
def spec() -> JobSpec:
    return builders.spec_of(builders.job("job", script="true"))


@pytest.mark.parametrize("box", [None, Box(), Box(enforcement=Enforcement.Nothing), Box(hosts=("example.com",))])
def test_a_run_that_nothing_confines_is_started_as_ever(tmp_path: Path, spec: JobSpec, box: Box | None) -> None:
    """Nobody even looks at the host."""
    run = run_under(box)
    request = launcher(tmp_path, None).prepare(run, spec)
    assert isinstance(request, ExecutionRequest)
    assert request.box is None
    assert not launch.blocks(run, spec)


def test_a_box_comes_with_the_runs_own_places(tmp_path: Path, spec: JobSpec) -> None:
    """The file for outputs is shown; looking at paths may wait for a disk."""
    run = run_under(Box(profile=Profile.Isolated, network=NetworkMode.Restricted, hosts=("example.com",)))
    request = launcher(tmp_path, Abilities({}, "/usr/bin/bwrap")).prepare(run, spec)
    assert isinstance(request, ExecutionRequest)
    assert request.box is not None
    assert request.box.args[0] == "/usr/bin/bwrap"
    assert f"{tmp_path}/run-1" in request.box.args
    assert request.box.hosts == ("example.com",)
    assert launch.blocks(run, spec)


def test_what_this_host_cannot_do_refuses_the_run_whatever_the_gates_said(tmp_path: Path, spec: JobSpec) -> None:
    """The gate may have run elsewhere, or long ago."""
    refused = launcher(tmp_path, Abilities()).prepare(run_under(Box(profile=Profile.Restricted)), spec)
    assert refused == "the box cannot be made on this host: nobody has tried"


def test_under_warn_it_runs_without_and_says_so(tmp_path: Path, spec: JobSpec) -> None:
    """In the note of the run."""
    run = run_under(Box(enforcement=Enforcement.Warn, profile=Profile.Restricted))
    request = launcher(tmp_path, Abilities()).prepare(run, spec)
    assert isinstance(request, ExecutionRequest)
    assert request.box is not None
    assert request.box.args == ()
    assert request.box.note == "not enforced: the box cannot be made on this host: nobody has tried"
