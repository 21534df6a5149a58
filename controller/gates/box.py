"""What a contract asks for and cannot have where the job runs. Source: cases S206 and W30 of the reference: refused or told, never ignored."""

from collections.abc import Iterator

from controller.domain.abilities import Abilities, Ability, needs, reach
from controller.domain.job import ExecutorKind, JobSpec, PodTarget, WatchdogTarget
from controller.domain.reasons import Reason
from controller.domain.trust import Box, Contract, Decision, Enforcement, NetworkMode, Outcome, Profile

GATE = "Box"


def enforced(contract: Contract, spec: JobSpec, abilities: Abilities | None) -> Outcome:
    """Whether all that the contract asks for can be enforced. `abilities` None: nobody has looked yet, and the launch will. Pure."""
    if abilities is None and spec.executor is ExecutorKind.Local:
        return Outcome(GATE, Decision.Permit, Reason.BoxNotTried, Reason.BoxNotTried.sentence)
    found = gaps(contract, spec, abilities or Abilities())
    if not found:
        return Outcome(GATE, Decision.Permit, Reason.BoxEnforced, _words(contract.box))
    decision = Decision.Deny if contract.box.enforcement is Enforcement.Block else Decision.Warn
    return Outcome(GATE, decision, Reason.BoxNotEnforceable, "; ".join(found))


def _words(box: Box) -> str:
    parts = [f"profile {box.profile}", f"network {reach(box)}"]
    if box.hosts:
        parts[-1] += f" ({', '.join(box.hosts)})"
    if box.read is not None or box.write is not None:
        parts.append(f"paths {', '.join((*(box.read or ()), *(box.write or ()))) or 'none'}")
    return f"it runs in a box: {', '.join(parts)}"


def gaps(contract: Contract, spec: JobSpec, abilities: Abilities) -> tuple[str, ...]:
    """One sentence for each thing that cannot be enforced, with what to do; empty: everything can. Pure.

    `abilities` are those of the host of the process that asks; a Pod does not depend on them.
    """
    return tuple(_gaps(contract.box, spec, abilities))


def _gaps(box: Box, spec: JobSpec, abilities: Abilities) -> Iterator[str]:
    if isinstance(spec.target, WatchdogTarget) and spec.target.job is not None:
        return  # nothing is started
    if spec.executor is ExecutorKind.Kubernetes:
        yield from _pod_gaps(box, spec)
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


def _pod_gaps(box: Box, spec: JobSpec) -> Iterator[str]:
    """Source: what `kubernetes.podspec` gives every Pod of a shell or exec job: another user than root, no capabilities, seccomp, its own processes and files."""
    if box.read is not None or box.write is not None:
        yield "the paths of the box cannot be enforced in a Pod: mount what it needs, or run the job with the executor Local"
    if box.profile is not Profile.Nothing and isinstance(spec.target, PodTarget):
        yield (
            f"the box profile {box.profile} cannot be vouched for where the job brings a Pod template of its own: use the target shell or exec"
        )
    if reach(box) is not NetworkMode.Unrestricted:
        yield (
            "the network limit of the box cannot be enforced in a Pod: nobody here knows whether the network of the cluster obeys a NetworkPolicy; run the "
            "job with the executor Local"
        )
