"""What a contract asks for and cannot have where the job runs. Source: cases S206 and W30 of the reference: refused or told, never ignored."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.domain.abilities import Abilities, Ability, Means, confines, means, needs, reach, shuts
from controller.domain.job import ExecutorKind, JobSpec, PodTarget, WatchdogTarget
from controller.domain.podbox import Objection, objections, ways_round
from controller.domain.reasons import Reason
from controller.domain.trust import Box, Contract, Decision, Enforcement, NetworkMode, Outcome, Profile

GATE = "Box"

_MOST_NAMED = 8
_VOUCHED = Abilities(network_policies=True, egress_proxy=True)


def enforced(contract: Contract, spec: JobSpec, abilities: Abilities | None) -> Outcome:
    """Whether all that the contract asks for can be enforced. `abilities` None: nobody has looked yet, and the launch will. Pure."""
    if abilities is None and spec.executor is ExecutorKind.Local:
        return Outcome(GATE, Decision.Permit, Reason.BoxNotTried, Reason.BoxNotTried.sentence)
    found = gaps(contract, spec, _VOUCHED if abilities is None else abilities)
    if found:
        decision = Decision.Deny if contract.box.enforcement is Enforcement.Block else Decision.Warn
        return Outcome(GATE, decision, Reason.BoxNotEnforceable, "; ".join(found))
    if abilities is None and reach(contract.box) is not NetworkMode.Unrestricted:
        return Outcome(GATE, Decision.Permit, Reason.BoxNotTried, Reason.BoxNotTried.sentence)
    return Outcome(GATE, Decision.Permit, Reason.BoxEnforced, _words(contract.box) + _by(contract.box, spec, abilities))


def _by(box: Box, spec: JobSpec, abilities: Abilities | None) -> str:
    """What enforces it on this host: the means differ in what a run notices of them."""
    if abilities is None or spec.executor is not ExecutorKind.Local or not confines(box):
        return ""
    if means(box, abilities) is Means.Landlock:
        return f", by Landlock ABI {abilities.landlock} and seccomp"
    return f", by {f'bubblewrap {abilities.version}'.rstrip()} and seccomp"


def _words(box: Box) -> str:
    parts = [f"profile {box.profile}", f"network {reach(box)}"]
    if box.hosts:
        parts[-1] += f" ({', '.join(box.hosts)})"
    if box.read is not None or box.write is not None:
        parts.append(f"paths {', '.join((*(box.read or ()), *(box.write or ()))) or 'none'}")
    return f"it runs in a box: {', '.join(parts)}"


def gaps(contract: Contract, spec: JobSpec, abilities: Abilities) -> tuple[str, ...]:
    """One sentence for each thing that cannot be enforced, with what to do; empty: everything can. Pure.

    `abilities` are those of the host of the process that asks, of which a Pod needs nothing but the operator's word on the cluster's network and its proxy.
    """
    return tuple(_gaps(contract.box, spec, abilities))


def _gaps(box: Box, spec: JobSpec, abilities: Abilities) -> Iterator[str]:
    if isinstance(spec.target, WatchdogTarget) and spec.target.job is not None:
        return  # nothing is started
    if spec.executor is ExecutorKind.Kubernetes:
        yield from _pod_gaps(box, spec, abilities)
        return
    if means(box, abilities) is not None:
        return
    for ability in needs(box):
        why = abilities.missing.get(ability)
        if why is not None:
            yield f"{_WANTED[ability]} cannot be enforced on this host: {why}"


_WANTED = {
    Ability.Boxes: "the box of the contract",
    Ability.Filter: "the filter of system calls of the box",
    Ability.Isolation: "the box profile Isolated",
    Ability.NoNetwork: "the network limit of the box",
    Ability.Hosts: "the list of network hosts of the box",
}


def _pod_gaps(box: Box, spec: JobSpec, abilities: Abilities) -> Iterator[str]:
    """Source: `kubernetes.podspec`, which fills in what the profile asks of a Pod, and `kubernetes.fence`, which limits its network."""
    if box.read is not None or box.write is not None:
        yield "the paths of the box cannot be enforced in a Pod: mount what it needs, or run the job with the executor Local"
    template = spec.target.template if isinstance(spec.target, PodTarget) else {"spec": {}}
    if box.profile is not Profile.Nothing and (against := objections(template)):
        yield f"the box profile {box.profile} cannot be kept by a Pod that asks for more: take {_named(against)} out of the template"
    if reach(box) is not NetworkMode.Unrestricted:
        yield from _network_gaps(box, template, abilities)


def _network_gaps(box: Box, template: Mapping[str, Any], abilities: Abilities) -> Iterator[str]:
    if not abilities.network_policies:
        yield (
            "the network limit of the box cannot be enforced in a Pod: nobody vouches that the network plug-in (CNI) of the cluster enforces NetworkPolicies; "
            "where it does, set settings.pods.networkPoliciesEnforced of the controller, or run the job with the executor Local"
        )
    if not shuts(box) and not abilities.egress_proxy:
        yield (
            "the list of network hosts of the box cannot be enforced in a Pod: a NetworkPolicy knows addresses and no names, and the controller knows of no egress proxy; "
            "set settings.pods.egressProxy of the controller (the chart's pods.egressProxy.enabled), ask for no network at all, or run the job with the executor Local"
        )
    if abilities.network_policies and box.profile is Profile.Nothing and (around := ways_round(template)):
        yield f"the network limit of the box cannot be enforced in a Pod that reaches its node: take {_named(around)} out of the template, or run the job with the executor Local"


def _named(found: Sequence[Objection]) -> str:
    names = [str(one) for one in found[:_MOST_NAMED]]
    return ", ".join(names) + (f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else "")
