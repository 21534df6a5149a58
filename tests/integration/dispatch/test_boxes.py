"""The box of a grant reaches the request of its run, or the run is refused in words."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs

from controller.base.references import Allowed
from controller.dispatch import launch
from controller.dispatch.launch import Launcher
from controller.domain.abilities import Abilities, Ability
from controller.domain.job import ExecutorKind, JobSpec
from controller.domain.records import Cause, Run
from controller.domain.resolve import Defaults
from controller.domain.states import RunState
from controller.domain.trust import Box, Contract, Enforcement, Grant, NetworkMode, Profile
from controller.executors.protocol import ExecutionRequest, PodBox
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


def launcher(folder: Path, abilities: Abilities | None, settings: Defaults = Defaults()) -> Launcher:  # noqa: B008 - frozen
    """One that must not ask for abilities when there are none to give."""

    def asked() -> Abilities:
        assert abilities is not None, "nobody asked for a box"
        return abilities

    places = {"log_dir": folder, "output_dir": folder}
    return Launcher({"HOME": "/home/u"}, allowed=Allowed(), settings=settings, abilities=asked, **places)


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


def test_where_landlock_stands_in_its_rules_name_the_runs_own_places(tmp_path: Path, spec: JobSpec) -> None:
    """The file for outputs, and beside it the folder that is its home."""
    run = run_under(Box(read=(str(tmp_path),), network=NetworkMode.Nothing))
    here = Abilities(dict.fromkeys(Ability, "there is no bubblewrap"), landlock=7)
    request = launcher(tmp_path, here).prepare(run, spec)
    assert isinstance(request, ExecutionRequest)
    assert request.box is not None
    assert (request.box.args, request.box.note) == ((), None)
    rules = request.box.rules
    assert rules is not None
    assert (rules.files, rules.network, rules.read, rules.write) == (True, True, (str(tmp_path),), ())
    assert f"{tmp_path}/run-1" in rules.used
    assert rules.home == request.box.env["HOME"] == request.box.env["TMPDIR"] == f"{tmp_path}/run-1~"


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


@pytest.fixture
def pod(spec: JobSpec) -> JobSpec:
    """The same job as a Pod."""
    return structs.replace(spec, executor=ExecutorKind.Kubernetes, image="busybox:1.37")


VOUCHED = Defaults(network_policies=True)
PROXIED = Defaults(network_policies=True, egress_proxy=True)
HOSTS = Box(network=NetworkMode.Restricted, hosts=("example.com",))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(), PodBox()),
        (Box(profile=Profile.Restricted), PodBox(confined=True)),
        (Box(profile=Profile.Isolated), PodBox(confined=True, shut=True)),
        (Box(network=NetworkMode.Nothing), PodBox(shut=True)),
        (HOSTS, PodBox(hosts=("example.com",))),
        (structs.replace(HOSTS, profile=Profile.Isolated), PodBox(confined=True, hosts=("example.com",))),
        (structs.replace(HOSTS, hosts=()), PodBox(shut=True)),
    ],
)
def test_a_pod_is_told_what_its_box_asks_of_it(tmp_path: Path, pod: JobSpec, box: Box, expected: PodBox) -> None:
    """This host has no part in it."""
    request = launcher(tmp_path, None, PROXIED).prepare(run_under(box), pod)
    assert isinstance(request, ExecutionRequest)
    assert request.pod is not None
    assert (request.pod.box, request.box) == (expected, None)
    # What it shows to the proxy can be masked later.
    assert (request.needles is not None) == bool(expected.hosts)


@pytest.mark.parametrize("settings", [Defaults(), VOUCHED, Defaults(egress_proxy=True)])
def test_hosts_without_all_that_they_need_refuse_the_run(tmp_path: Path, pod: JobSpec, settings: Defaults) -> None:
    """Under Warn it has whatever network there is, and says so."""
    refused = launcher(tmp_path, None, settings).prepare(run_under(HOSTS), pod)
    assert isinstance(refused, str)
    assert "cannot be enforced in a Pod" in refused
    lax = structs.replace(HOSTS, enforcement=Enforcement.Warn)
    request = launcher(tmp_path, None, settings).prepare(run_under(lax), pod)
    assert isinstance(request, ExecutionRequest)
    assert request.pod is not None
    assert (request.pod.box.shut, request.pod.box.hosts) == (False, ())
    assert (request.pod.box.note or "").startswith("not enforced: ")


def test_a_network_policy_that_nobody_vouches_for_any_more_refuses_the_run(tmp_path: Path, pod: JobSpec) -> None:
    """The settings of the replica that starts it count; under Warn it has a network, makes no policy, and says so."""
    box = Box(profile=Profile.Isolated)
    refused = launcher(tmp_path, None).prepare(run_under(box), pod)
    assert isinstance(refused, str)
    assert "settings.pods.networkPoliciesEnforced" in refused
    request = launcher(tmp_path, None).prepare(run_under(structs.replace(box, enforcement=Enforcement.Warn)), pod)
    assert isinstance(request, ExecutionRequest)
    assert request.pod is not None
    made = request.pod.box
    assert (made.confined, made.shut, made.insists) == (True, False, False)
    assert (made.note or "").startswith("not enforced: the network limit of the box cannot be enforced in a Pod")
