"""What a contract asks for and cannot have is told, thing by thing."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.abilities import Abilities, Ability, confines, needs
from controller.domain.job import ExecutorKind
from controller.domain.trust import Box, Contract, NetworkMode, Profile
from controller.gates.box import gaps
from tests import builders

EVERYTHING = Abilities(missing={})
LOCAL = builders.spec_of(builders.job("local", script="true"))
POD = msgspec.structs.replace(LOCAL, executor=ExecutorKind.Kubernetes)

paths = st.none() | st.lists(st.sampled_from(["/srv", "/opt/tools"]), max_size=2).map(tuple)
boxes = st.builds(
    Box,
    profile=st.sampled_from(Profile),
    read=paths,
    write=paths,
    network=st.sampled_from(NetworkMode),
    hosts=st.just(("example.com",)),
)


@given(boxes)
def test_where_everything_can_be_done_nothing_is_missing(box: Box) -> None:
    """On a host of ours."""
    assert gaps(Contract(box=box), LOCAL, EVERYTHING) == ()


@given(boxes)
def test_nobody_has_tried_means_that_nothing_can_be_done(box: Box) -> None:
    """Fail closed: abilities are never assumed."""
    assert len(gaps(Contract(box=box), LOCAL, Abilities())) == len(needs(box))
    assert bool(gaps(Contract(box=box), LOCAL, Abilities())) == confines(box)


@given(boxes, st.sets(st.sampled_from(Ability)))
def test_every_missing_ability_that_is_needed_is_one_sentence_with_its_reason(box: Box, missing: set[Ability]) -> None:
    """And those that are not needed are not spoken of."""
    told = gaps(Contract(box=box), LOCAL, Abilities(missing={one: f"because of {one}" for one in missing}))
    assert [sentence.rpartition(" ")[2] for sentence in told] == [one for one in needs(box) if one in missing]


@given(boxes)
def test_a_contract_without_a_box_asks_for_nothing(box: Box) -> None:
    """Most contracts."""
    open_to_all = msgspec.structs.replace(
        box, profile=Profile.Nothing, read=None, write=None, network=NetworkMode.Unrestricted
    )
    for spec in (LOCAL, POD):
        assert gaps(Contract(box=open_to_all), spec, Abilities()) == ()


@given(boxes)
def test_a_pod_does_not_depend_on_the_controllers_host(box: Box) -> None:
    """It has a node of its own."""
    contract = Contract(box=box)
    assert gaps(contract, POD, EVERYTHING) == gaps(contract, POD, Abilities())


def test_a_pod_of_ours_is_restricted_as_it_is() -> None:
    """Not root, no capabilities, seccomp, files and processes of its own."""
    assert gaps(Contract(box=Box(profile=Profile.Restricted)), POD, EVERYTHING) == ()


@pytest.mark.parametrize(
    ("box", "word"),
    [
        (Box(read=()), "paths"),
        (Box(write=("/srv",)), "paths"),
        (Box(network=NetworkMode.Nothing), "network"),
        (Box(network=NetworkMode.Restricted, hosts=("a.b",)), "network"),
        (Box(profile=Profile.Isolated), "network"),
    ],
)
def test_what_a_pod_cannot_have_is_told(box: Box, word: str) -> None:
    """Paths never; a network limit only where somebody can promise that NetworkPolicies are obeyed, which nobody can here."""
    (sentence,) = gaps(Contract(box=box), POD, EVERYTHING)
    assert word in sentence
    assert "executor Local" in sentence


def test_a_template_of_somebody_elses_is_vouched_for_by_nobody() -> None:
    """It may say anything of privileges."""
    template = {"spec": {"containers": [{"name": "a", "image": "b"}]}}
    spec = builders.spec_of(builders.bare("pod", pod={"template": template}, executor="Kubernetes"))
    (sentence,) = gaps(Contract(box=Box(profile=Profile.Restricted)), spec, EVERYTHING)
    assert "template" in sentence
