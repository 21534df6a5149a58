"""The fence round Pods without a network: what it is, when it can be relied on, and what makes a hole in it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.kubernetes import fence
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.podspec import NETWORK_LABEL, NO_NETWORK

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LABELS = {NETWORK_LABEL: NO_NETWORK, "app": "ledger"}


def made(seconds_ago: float = 3600) -> dict[str, Any]:
    """Our policy as an API server has it."""
    created = (NOW - timedelta(seconds=seconds_ago)).isoformat()
    own = fence.policy("team-a")
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
async def test_what_is_not_there_is_made_and_waited_for(rival: bool) -> None:
    """Whoever of two makes it."""
    server: Any = Server(rival=rival)
    policies, wait = await fence.put_up(server, "team-a", NOW)
    assert [one["metadata"]["name"] for one in policies] == [fence.NAME]
    assert wait == fence.SETTLED
    assert fence.trouble(policies, "team-a", LABELS) is None


@given(st.floats(-1e6, 1e6))
def test_one_that_has_been_there_for_a_while_is_waited_for_no_longer(age: float) -> None:
    """Whatever the clocks say, never for longer than a new one."""
    wait = fence._remaining(made(age), NOW)
    assert timedelta(0) <= wait <= fence.SETTLED
    assert (wait == timedelta(0)) == (age >= fence.SETTLED.total_seconds())


def test_a_fence_that_somebody_has_changed_or_taken_away_is_none() -> None:
    """It says what to do."""
    assert "somebody deletes it" in (fence.trouble([], "team-a", LABELS) or "")
    wide = made() | {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    assert "delete it, and it is made again" in (fence.trouble([wide], "team-a", LABELS) or "")


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
def test_another_policy_that_lets_something_through_is_a_hole(policy: dict[str, Any]) -> None:
    """Policies add up; it is named."""
    said = fence.trouble([made(), policy, *HARMLESS], "team-a", LABELS) or ""
    assert f"add up: {policy['metadata']['name']} in the namespace team-a" in said


@pytest.mark.parametrize("policy", HARMLESS, ids=lambda one: one["metadata"]["name"])
def test_others_are_let_be(policy: dict[str, Any]) -> None:
    """Those that open nothing, or nothing for this Pod."""
    assert fence.trouble([policy, made()], "team-a", LABELS) is None
