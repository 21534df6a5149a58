"""The state tables, all pairs."""

import itertools

import pytest

from controller.base.errors import IllegalTransition
from controller.domain.states import APPROVAL, DISPATCH, ENDED_RUN, RUN, WAITING, sources_of, step

TABLES = {"dispatch": DISPATCH, "run": RUN, "approval": APPROVAL}
PAIRS = [(name, old, new) for name, table in TABLES.items() for old, new in itertools.product(table, table)]


@pytest.mark.parametrize(("name", "old", "new"), PAIRS)
def test_every_pair_is_either_allowed_or_refused(name: str, old: object, new: object) -> None:
    """`step` follows the table and nothing else, and `sources_of` is its inverse."""
    table = TABLES[name]
    allowed = new in table[old]  # type: ignore[index]
    assert (old in sources_of(table, new)) == allowed  # type: ignore[arg-type]
    if allowed:
        assert step(table, old, new) is new  # type: ignore[type-var]
    else:
        with pytest.raises(IllegalTransition):
            step(table, old, new)  # type: ignore[type-var]


@pytest.mark.parametrize("name", TABLES)
def test_every_state_can_be_reached_and_terminal_states_stay(name: str) -> None:
    """No state is an island, and from what is terminal nothing leads on."""
    table = TABLES[name]
    for state in table:
        assert sources_of(table, state) or state in {"Pending", "Running", "Denied"}


def test_waiting_and_ended_are_opposites() -> None:
    """A dispatch waits exactly while something may still become of it; a run has ended exactly when nothing may."""
    assert {state for state, to in DISPATCH.items() if to} == set(WAITING)
    assert {state for state, to in RUN.items() if not to} == set(ENDED_RUN)
