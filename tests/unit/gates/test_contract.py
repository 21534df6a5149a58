"""Contracts: what one asks for, and what several of them mean together."""

from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.trust import Box, Contract, Decision, Enforcement, NetworkMode, TrustLevel
from controller.gates import contract as gate
from tests.unit.gates import world


@pytest.mark.parametrize("level", [None, *TrustLevel])
@pytest.mark.parametrize("required", list(TrustLevel))
@pytest.mark.parametrize("enforcement", list(Enforcement))
def test_every_level_meets_every_requirement_as_the_table_says(
    level: TrustLevel | None, required: TrustLevel, enforcement: Enforcement
) -> None:
    """Case S082, all of it: nobody counts as untrusted; what is too low is permitted, warned of or denied."""
    who = world.identity(level) if level is not None else None
    outcome = gate.satisfied("c", Contract(required=required, enforcement=enforcement), who)
    enough = (level.rank if level is not None else 0) >= required.rank
    short = {
        Enforcement.Nothing: Decision.Permit,
        Enforcement.Warn: Decision.Warn,
        Enforcement.Block: Decision.Deny,
    }
    assert outcome.decision is (Decision.Permit if enough else short[enforcement])


@given(st.lists(world.contracts, min_size=1, max_size=4))
def test_together_they_are_as_strict_as_each_of_them(several: list[Contract]) -> None:
    """In every field."""
    whole = gate.together(several)
    for one in several:
        assert whole.required.rank >= one.required.rank
        assert whole.enforcement.rank >= one.enforcement.rank
        assert whole.audit.rank >= one.audit.rank
        assert one.max_cost is None or (whole.max_cost is not None and whole.max_cost <= one.max_cost)
        assert_within(whole.box, one.box)


def assert_within(narrow: Box, wide: Box) -> None:
    """Whatever `narrow` allows, `wide` allows."""
    assert narrow.enforcement.rank >= wide.enforcement.rank
    assert narrow.profile.rank >= wide.profile.rank
    assert narrow.network.rank >= wide.network.rank
    for mine, theirs in ((narrow.read, wide.read), (narrow.write, wide.write)):
        if theirs is not None:
            assert mine is not None
            assert all(any(inside(path, folder) for folder in theirs) for path in mine)
    if wide.network is NetworkMode.Restricted and narrow.network is NetworkMode.Restricted:
        for name in ("a.example:443", "a.example:80", "b.example:80", "x.a.example:80", "y.x.a.example:80"):
            assert not reaches(narrow, name) or reaches(wide, name)


def inside(path: str, folder: str) -> bool:
    """Whether a path is the folder or below it, looked at part by part."""
    parts, above = path.strip("/").split("/"), [part for part in folder.strip("/").split("/") if part]
    return parts[: len(above)] == above


def reaches(box: Box, target: str) -> bool:
    """Whether the box lets `host:port` through, by the words of the schema."""
    host, _, port = target.partition(":")
    for allowed in box.hosts:
        name, _, only = allowed.partition(":")
        if only and only != port:
            continue
        if name == host or (name.startswith("*.") and host.endswith(name[1:])):
            return True
    return False


@given(st.lists(world.contracts, max_size=4), st.randoms(use_true_random=False))
def test_their_order_and_their_number_mean_nothing(several: list[Contract], random: Random) -> None:
    """Whoever is listed first, and however often."""
    shuffled = [*several, *several]
    random.shuffle(shuffled)
    whole, again = gate.together(several), gate.together(shuffled)
    assert (again.required, again.enforcement, again.audit, again.max_cost) == (
        whole.required,
        whole.enforcement,
        whole.audit,
        whole.max_cost,
    )
    assert (again.box.profile, again.box.network, again.box.enforcement) == (
        whole.box.profile,
        whole.box.network,
        whole.box.enforcement,
    )


def test_without_a_contract_nothing_is_asked() -> None:
    """And nothing beyond the verdict is recorded."""
    assert gate.together([]).required is TrustLevel.Untrusted


@pytest.mark.parametrize(
    ("enforcement", "decision"),
    [(Enforcement.Nothing, Decision.Permit), (Enforcement.Warn, Decision.Warn), (Enforcement.Block, Decision.Deny)],
)
def test_a_limit_of_costs_that_nobody_can_keep_is_judged_as_the_contract_says(
    enforcement: Enforcement, decision: Decision
) -> None:
    """No target tells what its runs cost."""
    outcome = gate.accounted(Contract(enforcement=enforcement, max_cost=Decimal("2.50")))
    assert outcome is not None
    assert (outcome.decision, "maxCost" in outcome.message) == (decision, True)
    assert gate.accounted(Contract(enforcement=enforcement)) is None
