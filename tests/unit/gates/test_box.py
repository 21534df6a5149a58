"""What a contract asks for and cannot have is told, thing by thing."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.abilities import Abilities, Ability, Means, confines, for_landlock, means, needs, reach
from controller.domain.job import ExecutorKind, JobSpec
from controller.domain.reasons import Reason
from controller.domain.trust import Box, Contract, Decision, NetworkMode, Profile
from controller.gates.box import enforced, gaps
from tests import builders

EVERYTHING = Abilities(missing={})
VOUCHED = Abilities(missing={}, network_policies=True)
PROXIED = Abilities(missing={}, network_policies=True, egress_proxy=True)
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


LANDLOCK = Abilities(missing=dict.fromkeys(Ability, "there is no bubblewrap"), landlock=7)


@given(boxes, st.sets(st.sampled_from(Ability)))
def test_where_landlock_stands_in_it_keeps_a_box_whole_or_not_at_all(box: Box, missing: set[Ability]) -> None:
    """Lists of paths and no network; never a profile, hosts, or a part of what was asked for."""
    here = Abilities(missing=dict.fromkeys(missing, "x"), landlock=7)
    told = gaps(Contract(box=box), LOCAL, here)
    assert (told == ()) == (means(box, here) is not None)
    if not missing & set(needs(box)):
        assert means(box, here) is Means.Bubblewrap
    else:
        kept = box.profile is Profile.Nothing and reach(box) is not NetworkMode.Restricted
        assert means(box, here) is (Means.Landlock if kept else None)
        assert len(told) == (0 if kept else len(missing & set(needs(box))))


@given(boxes)
def test_the_part_that_landlock_keeps_is_one_that_it_keeps_whole(box: Box) -> None:
    """And is no narrower than what was asked for."""
    part = for_landlock(box)
    assert means(part, LANDLOCK) is not None
    assert part.profile is Profile.Nothing
    assert (part.read, part.write) == (box.read, box.write)
    assert for_landlock(part) == part


@pytest.mark.parametrize(
    "box", [Box(read=("/",)), Box(write=("/srv", "/")), Box(read=("/",), network=NetworkMode.Nothing)]
)
def test_landlock_cannot_take_anything_out_of_everything(box: Box) -> None:
    """A list with `/` means all but what a box has anew, which rules cannot say."""
    assert means(box, LANDLOCK) is None
    assert for_landlock(box).read is for_landlock(box).write is None


@pytest.mark.parametrize(
    ("box", "abilities", "by"),
    [
        (Box(read=("/srv",)), Abilities(missing={}, version="0.11.0"), ", by bubblewrap 0.11.0 and seccomp"),
        (Box(read=("/srv",)), Abilities(missing={}), ", by bubblewrap and seccomp"),
        (Box(read=("/srv",)), LANDLOCK, ", by Landlock ABI 7 and seccomp"),
        (Box(network=NetworkMode.Nothing), LANDLOCK, ", by Landlock ABI 7 and seccomp"),
        (Box(), LANDLOCK, "network Unrestricted"),
    ],
)
def test_what_enforces_a_box_is_on_record(box: Box, abilities: Abilities, by: str) -> None:
    """The means differ in what a program notices of them."""
    outcome = enforced(Contract(box=box), LOCAL, abilities)
    assert (outcome.decision, outcome.reason) == (Decision.Permit, Reason.BoxEnforced)
    assert outcome.message.endswith(by)
    assert "bubblewrap" not in enforced(Contract(box=Box(profile=Profile.Restricted)), POD, VOUCHED).message


@given(boxes)
def test_a_contract_without_a_box_asks_for_nothing(box: Box) -> None:
    """Most contracts."""
    open_to_all = msgspec.structs.replace(
        box, profile=Profile.Nothing, read=None, write=None, network=NetworkMode.Unrestricted
    )
    for spec in (LOCAL, POD):
        assert gaps(Contract(box=open_to_all), spec, Abilities()) == ()


@given(boxes, st.booleans(), st.booleans())
def test_a_pod_does_not_depend_on_the_controllers_host(box: Box, vouched: bool, proxied: bool) -> None:
    """It has a node of its own; of the cluster's network only its operator knows."""
    contract, said = Contract(box=box), {"network_policies": vouched, "egress_proxy": proxied}
    able, unable = Abilities(missing={}, **said), Abilities(**said)
    assert gaps(contract, POD, able) == gaps(contract, POD, unable)


@pytest.mark.parametrize("profile", [Profile.Restricted, Profile.Isolated])
def test_a_pod_of_ours_has_what_a_profile_asks_for(profile: Profile) -> None:
    """Not root, no capabilities, seccomp, files and processes of its own, and no network where it is vouched for."""
    assert gaps(Contract(box=Box(profile=profile)), POD, VOUCHED) == ()


@pytest.mark.parametrize(
    ("box", "word"),
    [
        (Box(read=()), "paths"),
        (Box(write=("/srv",)), "paths"),
        (Box(network=NetworkMode.Nothing), "NetworkPolicies"),
        (Box(network=NetworkMode.Restricted), "NetworkPolicies"),
        (Box(profile=Profile.Isolated), "settings.pods.networkPoliciesEnforced"),
    ],
)
def test_what_a_pod_cannot_have_is_told(box: Box, word: str) -> None:
    """Paths never; no network at all only where somebody vouches that NetworkPolicies are enforced."""
    (sentence,) = gaps(Contract(box=box), POD, EVERYTHING)
    assert word in sentence
    assert "executor Local" in sentence
    assert bool(gaps(Contract(box=box), POD, VOUCHED)) == (word == "paths")


@pytest.mark.parametrize("profile", Profile)
def test_a_list_of_hosts_needs_a_proxy_and_a_network_that_leads_nowhere_else(profile: Profile) -> None:
    """What has to be set is named; one without the other is nothing."""
    contract = Contract(box=Box(profile=profile, network=NetworkMode.Restricted, hosts=("a.b",)))
    policies, proxy = gaps(contract, POD, EVERYTHING)
    assert "settings.pods.networkPoliciesEnforced" in policies
    assert gaps(contract, POD, VOUCHED) == (proxy,)
    assert "settings.pods.egressProxy of the controller (the chart's pods.egressProxy.enabled)" in proxy
    assert gaps(contract, POD, Abilities(egress_proxy=True)) == (policies,)
    assert gaps(contract, POD, PROXIED) == ()


def templated(**fields: Any) -> JobSpec:
    """A job with a template of its own."""
    template = {"spec": {"containers": [{"name": "a", "image": "b"}], **fields}}
    return builders.spec_of(builders.bare("pod", pod={"template": template}, executor="Kubernetes"))


@given(boxes)
def test_a_template_that_says_nothing_against_it_has_what_ours_have(box: Box) -> None:
    """What it leaves open is filled in."""
    for abilities in (EVERYTHING, VOUCHED, PROXIED):
        assert gaps(Contract(box=box), templated(), abilities) == gaps(Contract(box=box), POD, abilities)


def test_a_template_that_asks_for_more_than_the_profile_is_told_where() -> None:
    """Each field by name, whatever the settings of the controller allow."""
    spec = templated(hostPID=True, securityContext={"runAsUser": 0})
    (sentence,) = gaps(Contract(box=Box(profile=Profile.Restricted)), spec, VOUCHED)
    assert "spec.pod.template/spec/hostPID (" in sentence
    assert "spec.pod.template/spec/securityContext/runAsUser (its user is root)" in sentence


@pytest.mark.parametrize("fields", [{"hostNetwork": True}, {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}])
def test_a_network_policy_does_not_hold_what_reaches_the_node(fields: dict[str, Any]) -> None:
    """Also without a profile."""
    for box in (Box(network=NetworkMode.Nothing), Box(network=NetworkMode.Restricted, hosts=("a.b",))):
        (sentence,) = gaps(Contract(box=box), templated(**fields), PROXIED)
        assert f"spec.pod.template/spec/{next(iter(fields))}" in sentence


@pytest.mark.parametrize(
    ("abilities", "reason"),
    [(None, Reason.BoxNotTried), (EVERYTHING, Reason.BoxNotEnforceable), (VOUCHED, Reason.BoxEnforced)],
)
def test_who_does_not_know_the_settings_promises_nothing_about_the_network(
    abilities: Abilities | None, reason: Reason
) -> None:
    """`trust check` says what is certain; paths are refused in any case."""
    if abilities is not EVERYTHING:
        hosts = Contract(box=Box(network=NetworkMode.Restricted, hosts=("a.b",)))
        assert enforced(hosts, POD, abilities and PROXIED).reason == reason
    isolated = Contract(box=Box(profile=Profile.Isolated))
    assert enforced(isolated, POD, abilities).reason == reason
    with_paths = Contract(box=Box(profile=Profile.Isolated, read=()))
    assert enforced(with_paths, POD, abilities).decision is Decision.Deny
