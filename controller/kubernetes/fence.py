"""The fences round Pods whose network is limited: a NetworkPolicy in each namespace for those that have none, and one for those that may talk to the egress proxy alone.

`podrun` puts a fence up before it makes the first Job that needs it. It stays: a policy that is made with its Pod may be noticed after the Pod has begun, one that has been there
protects every Pod from its first moment, as Kubernetes wants of network plug-ins; one that does not do that is not to be vouched for. Policies add up, and any other one may let through what this one does not; so whoever starts a Pod looks at all of them.
Invariant: a Pod that is behind a fence is started only where the policy is as it was made, has been there for a while, and no other one opens anything for that Pod.
Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/ ("Pod lifecycle", "NetworkPolicy is additive")
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from controller.domain.resolve_trust import selector
from controller.kubernetes.egress import WayOut
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.podspec import MANAGED_BY, NETWORK_LABEL, NO_NETWORK, PROXIED
from controller.kubernetes.workloads import Workloads

Object = Mapping[str, Any]

SETTLED = timedelta(seconds=10)
"""How long a network plug-in gets to notice it. Kubernetes says that it takes "some time", and nobody can be asked whether it is over."""
_RIGHT = "give the controller the verbs list and create on networkpolicies (manifests/kubernetes/networkpolicies.yaml; the chart does with pods.networkPoliciesEnforced)"


class Fence(msgspec.Struct, frozen=True):
    """A NetworkPolicy of ours: its name in each namespace, which Pods it is for, and what it says."""

    name: str
    label: str  # their value of `NETWORK_LABEL`
    spec: Object


def _fence(name: str, label: str, **rules: Any) -> Fence:
    spec = {"podSelector": {"matchLabels": {NETWORK_LABEL: label}}, "policyTypes": ["Ingress", "Egress"], **rules}
    return Fence(name, label, spec)


SHUT = _fence("jobwarden-no-network", NO_NETWORK)
"""Names no direction that is open."""


def proxied(way_out: WayOut) -> Fence:
    """Lets out to the egress proxy, and nobody in. Pure.

    Name and label carry the mark of the proxy: a controller with another one, or the same with other settings, has a fence of its own, and none of them is a hole in another.
    """
    opened = {"to": [way_out.peer], "ports": [{"protocol": "TCP", "port": way_out.port}]}
    return _fence(f"jobwarden-proxied-{way_out.mark}", f"{PROXIED}-{way_out.mark}", egress=[opened])


async def put_up(workloads: Workloads, fence: Fence, namespace: str, now: datetime) -> tuple[list[Object], timedelta]:
    """All policies of the namespace, ours among them, and how long to wait until it can be relied on. Errors: ApiFailed, 403 with the right that is missing."""
    try:
        return await _put_up(workloads, fence, namespace, now)
    except ApiFailed as error:
        if error.code != 403:
            raise
        raise ApiFailed(f"{error}; {_RIGHT}", error.code) from error


async def _put_up(workloads: Workloads, fence: Fence, namespace: str, now: datetime) -> tuple[list[Object], timedelta]:
    found = await workloads.network_policies(namespace)
    there = _ours(fence, found)
    if there is not None:
        return found, _remaining(there, now)
    try:
        await workloads.create_network_policy(policy(fence, namespace))
    except ApiFailed as error:
        if error.code != 409:
            raise
    return await workloads.network_policies(namespace), SETTLED


def policy(fence: Fence, namespace: str) -> dict[str, Any]:
    """The policy of a namespace. Pure."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": fence.name, "namespace": namespace, "labels": dict(MANAGED_BY)},
        "spec": fence.spec,
    }


def trouble(fence: Fence, policies: Sequence[Object], namespace: str, labels: Mapping[str, str]) -> str | None:
    """Why a Pod with these labels would have more of a network than the fence lets through, and what to do; None: it has not. Pure."""
    there = _ours(fence, policies)
    if there is None:
        return f"there is no NetworkPolicy {namespace}/{fence.name}: somebody deletes it"
    if there["spec"] != fence.spec:
        return f"the NetworkPolicy {namespace}/{fence.name} is not as it was made: delete it, and it is made again"
    opening = [one["metadata"]["name"] for one in policies if one is not there and _opens(one["spec"], labels)]
    if opening:
        return (
            f"its Pod would have a network, as NetworkPolicies add up: {', '.join(sorted(opening))} in the namespace {namespace} let something through for it; "
            f"have them leave out Pods with the label {NETWORK_LABEL}"
        )
    return None


def _ours(fence: Fence, policies: Sequence[Object]) -> Object | None:
    return next((one for one in policies if one["metadata"]["name"] == fence.name), None)


def _remaining(there: Object, now: datetime) -> timedelta:
    """A clock that is behind the API server's waits no longer than one that is right."""
    age = now - datetime.fromisoformat(there["metadata"]["creationTimestamp"])
    return min(max(SETTLED - age, timedelta(0)), SETTLED)


def _opens(spec: Object, labels: Mapping[str, str]) -> bool:
    """Whether it lets anything through for a Pod with these labels; a rule counts whatever it says, as nobody here knows what its addresses are."""
    directions = spec.get("policyTypes") or ("Ingress", "Egress")
    rules = [rule for one in directions for rule in spec.get(one.lower()) or ()]
    return bool(rules) and selector(spec.get("podSelector")).matches(labels)
