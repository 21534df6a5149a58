"""Gate 4: every contract that binds the run is satisfied, and together they are one: the strictest of each thing. Source: spec-scheduler 6.2, case S082."""

from collections.abc import Iterable
from functools import lru_cache, reduce

from controller.domain.reasons import Reason
from controller.domain.trust import (
    Box,
    Contract,
    Decision,
    Detail,
    Enforcement,
    Evidence,
    Identity,
    NetworkMode,
    Outcome,
)
from controller.gates.identity import level_of

GATE = "Contract"

_SAID = {Enforcement.Nothing: Decision.Permit, Enforcement.Warn: Decision.Warn, Enforcement.Block: Decision.Deny}


def satisfied(name: str, contract: Contract, identity: Identity | None) -> Outcome:
    """Whether the level of the run is enough for one contract. Pure."""
    level = level_of(identity)
    facts = {"contract": name, "required": contract.required, "level": level, "enforcement": contract.enforcement}
    if level.rank >= contract.required.rank:
        message = f"{name} asks for {contract.required}, and the run is {level}"
        return Outcome(GATE, Decision.Permit, Reason.TrustSufficient, message, facts)
    message = f"{name} asks for {contract.required}, and the run is only {level}"
    return Outcome(GATE, _SAID[contract.enforcement], Reason.TrustInsufficient, message, facts)


def accounted(contract: Contract) -> Outcome | None:
    """Whether a bound on what the run may cost can be kept; None: there is no bound. No target tells what its runs cost, so it cannot. Pure."""
    if contract.max_cost is None:
        return None
    message = "maxCost cannot be enforced: its target does not tell what a run costs; take maxCost out of the contract, or have it warn"
    facts = {"maxCost": str(contract.max_cost), "enforcement": contract.enforcement}
    return Outcome(GATE, _SAID[contract.enforcement], Reason.CostNotEnforceable, message, facts)


def together(contracts: Iterable[Contract]) -> Contract:
    """One contract that is at least as strict as each of them in everything; without any, one that asks for nothing. Pure."""
    return _together(tuple(contracts))


@lru_cache(maxsize=256)
def _together(contracts: tuple[Contract, ...]) -> Contract:
    return reduce(_stricter, contracts, _LOOSEST)


_LOOSEST = Contract(enforcement=Enforcement.Nothing, box=Box(enforcement=Enforcement.Nothing), audit=Detail.Nothing)


def _stricter(a: Contract, b: Contract) -> Contract:
    costs = [cost for cost in (a.max_cost, b.max_cost) if cost is not None]
    return Contract(
        required=max(a.required, b.required, key=lambda one: one.rank),
        enforcement=max(a.enforcement, b.enforcement, key=lambda one: one.rank),
        box=_stricter_box(a.box, b.box),
        max_cost=min(costs) if costs else None,
        audit=max(a.audit, b.audit, key=lambda one: one.rank),
        evidence=Evidence(
            max(a.evidence.level, b.evidence.level, key=lambda one: one.rank),
            # Cluster contracts come last, and nobody below them chooses another key.
            b.evidence.signing_key or a.evidence.signing_key,
        ),
    )


def _stricter_box(a: Box, b: Box) -> Box:
    network = max(a.network, b.network, key=lambda one: one.rank)
    return Box(
        enforcement=max(a.enforcement, b.enforcement, key=lambda one: one.rank),
        profile=max(a.profile, b.profile, key=lambda one: one.rank),
        read=_common(a.read, b.read),
        write=_common(a.write, b.write),
        network=network,
        hosts=_common_hosts(a, b) if network is NetworkMode.Restricted else (),
    )


def _common(a: tuple[str, ...] | None, b: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Paths that are within both lists; a list that is not there says nothing."""
    if a is None or b is None:
        return a if b is None else b
    both = [one for one in a if _within(one, b)] + [one for one in b if _within(one, a)]
    return tuple(sorted(set(both)))


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _common_hosts(a: Box, b: Box) -> tuple[str, ...]:
    if a.network is not NetworkMode.Restricted:
        return b.hosts
    if b.network is not NetworkMode.Restricted:
        return a.hosts
    both = [one for one in a.hosts if _covered(one, b.hosts)] + [one for one in b.hosts if _covered(one, a.hosts)]
    return tuple(sorted(set(both)))


def _covered(host: str, patterns: tuple[str, ...]) -> bool:
    return any(_covers(pattern, host) for pattern in patterns)


def _covers(pattern: str, host: str) -> bool:
    """Whether everything that `host` allows, `pattern` allows as well: `*.a.b` covers `x.a.b` and `*.x.a.b`; without a port, every port."""
    name, _, port = host.partition(":")
    wide, _, only = pattern.partition(":")
    if only and only != port:
        return False
    return name == wide or (wide.startswith("*.") and name.removeprefix("*.").endswith(wide[1:]))
