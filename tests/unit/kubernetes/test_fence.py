"""The fences round Pods whose network is limited: what they are, when they can be relied on, and what makes a hole in one."""

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.kinds.configuration import EgressProxy
from controller.kubernetes import fence
from controller.kubernetes.egress import WayOut
from controller.kubernetes.fence import SHUT, Fence
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.podspec import NETWORK_LABEL

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def proxied(folder: Path, **more: Any) -> Fence:
    """The fence of a controller with an egress proxy."""
    key = folder / "key"
    key.write_text("k" * 40)
    said = {"host": "proxy.jobwarden.svc", "namespace": "jobwarden", "pod_labels": {"app": "proxy"}} | more
    return fence.proxied(WayOut(EgressProxy(key_file=str(key), **said)))


@pytest.fixture(params=["shut", "proxied"])
def around(request: pytest.FixtureRequest, tmp_path: Path) -> Fence:
    """Either fence: what is promised of one holds for the other."""
    return SHUT if request.param == "shut" else proxied(tmp_path)


def labels(around: Fence) -> dict[str, str]:
    """Of a Pod behind it."""
    return {NETWORK_LABEL: around.label, "app": "ledger"}


def made(seconds_ago: float = 3600, around: Fence = SHUT) -> dict[str, Any]:
    """Our policy as an API server has it."""
    created = (NOW - timedelta(seconds=seconds_ago)).isoformat()
    own = copy.deepcopy(fence.policy(around, "team-a"))
    return own | {"metadata": own["metadata"] | {"creationTimestamp": created}}


def other(name: str, selects: dict[str, Any], **rules: Any) -> dict[str, Any]:
    """Somebody else's."""
    types = [one for one in ("Ingress", "Egress") if one.lower() in rules]
    return {"metadata": {"name": name}, "spec": {"podSelector": selects, "policyTypes": types, **rules}}


class Server:
    """NetworkPolicies of one namespace. `rival` makes ours at the same moment."""

    def __init__(self, *there: dict[str, Any], rival: bool = False) -> None:
        self.there, self._rival = list(there), rival

    async def network_policies(self, namespace: str) -> list[Any]:
        """All of them."""
        assert namespace == "team-a"
        return list(self.there)

    async def create_network_policy(self, manifest: Any) -> Any:
        """Make it."""
        self.there.append(manifest)
        if self._rival:
            raise ApiFailed("it is there", 409)
        return manifest


@pytest.mark.parametrize("rival", [False, True])
async def test_what_is_not_there_is_made_and_waited_for(around: Fence, rival: bool) -> None:
    """Whoever of two makes it."""
    server: Any = Server(rival=rival)
    policies, wait = await fence.put_up(server, around, "team-a", NOW)
    assert [one["metadata"]["name"] for one in policies] == [around.name]
    assert wait == fence.SETTLED
    assert fence.trouble(around, policies, "team-a", labels(around)) is None


@given(st.floats(-1e6, 1e6))
def test_one_that_has_been_there_for_a_while_is_waited_for_no_longer(age: float) -> None:
    """Whatever the clocks say, never for longer than a new one."""
    wait = fence._remaining(made(age), NOW)
    assert timedelta(0) <= wait <= fence.SETTLED
    assert (wait == timedelta(0)) == (age >= fence.SETTLED.total_seconds())


def test_a_fence_that_somebody_has_changed_or_taken_away_is_none(around: Fence) -> None:
    """It says what to do."""
    assert "somebody deletes it" in (fence.trouble(around, [], "team-a", labels(around)) or "")
    wide = made(around=around) | {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    assert "delete it, and it is made again" in (fence.trouble(around, [wide], "team-a", labels(around)) or "")


def test_the_way_to_the_proxy_is_the_only_one(tmp_path: Path) -> None:
    """To its Pods, on its port; nobody comes in, and no name is resolved."""
    spec = proxied(tmp_path, port=8080).spec
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    assert spec["egress"] == [
        {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "jobwarden"}},
                    "podSelector": {"matchLabels": {"app": "proxy"}},
                }
            ],
            "ports": [{"protocol": "TCP", "port": 8080}],
        }
    ]


@pytest.mark.parametrize(
    "widened",
    [
        {"ports": []},
        {"ports": [{"protocol": "TCP", "port": 3128, "endPort": 65535}]},
        {"to": [{"namespaceSelector": {}}]},
        {"to": []},
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]},
    ],
)
def test_a_way_to_the_proxy_that_somebody_has_widened_is_seen(tmp_path: Path, widened: dict[str, Any]) -> None:
    """Our name on it proves nothing."""
    around = proxied(tmp_path)
    there = made(around=around)
    there["spec"]["egress"][0] |= widened
    assert "is not as it was made" in (fence.trouble(around, [there], "team-a", labels(around)) or "")


def test_one_fence_is_no_hole_in_another(tmp_path: Path) -> None:
    """Neither that of another proxy, nor that of the same one before its settings were changed: each names Pods of its own."""
    fences = [SHUT, proxied(tmp_path), proxied(tmp_path, namespace="other"), proxied(tmp_path, port=1)]
    policies = [made(around=one) for one in fences]
    assert len({one.name for one in fences}) == len({one.label for one in fences}) == len(fences)
    for one in fences:
        assert fence.trouble(one, policies, "team-a", labels(one)) is None
    assert proxied(tmp_path).name == fences[1].name


HOLES = [
    other("dns", {}, egress=[{"ports": [{"port": 53}]}]),
    other("db", {"matchLabels": {"app": "ledger"}}, egress=[{}]),
    other("in", {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, ingress=[{}]),
    {"metadata": {"name": "old"}, "spec": {"podSelector": {}, "ingress": [{}]}},
]
HARMLESS = [
    other("deny", {}, ingress=[], egress=[]),
    other("others", {"matchLabels": {"app": "web"}}, egress=[{}]),
    other("but-ours", {"matchExpressions": [{"key": NETWORK_LABEL, "operator": "DoesNotExist"}]}, egress=[{}]),
    {"metadata": {"name": "half"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}]}},
]


@pytest.mark.parametrize("policy", HOLES, ids=lambda one: one["metadata"]["name"])
def test_another_policy_that_lets_something_through_is_a_hole(around: Fence, policy: dict[str, Any]) -> None:
    """Policies add up; it is named."""
    said = fence.trouble(around, [made(around=around), policy, *HARMLESS], "team-a", labels(around)) or ""
    assert f"add up: {policy['metadata']['name']} in the namespace team-a" in said


@pytest.mark.parametrize("policy", HARMLESS, ids=lambda one: one["metadata"]["name"])
def test_others_are_let_be(around: Fence, policy: dict[str, Any]) -> None:
    """Those that open nothing, or nothing for this Pod."""
    assert fence.trouble(around, [policy, made(around=around)], "team-a", labels(around)) is None
