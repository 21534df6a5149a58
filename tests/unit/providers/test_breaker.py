"""The circuit breaker, move by move."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.providers.breaker import FIRST, LONGEST, THRESHOLD, Breaker, State, ask, tell

PATIENCE = timedelta(seconds=20)

steps = st.lists(
    st.tuples(st.sampled_from(["ask", "answered", "failed"]), st.floats(0, 400, allow_nan=False)), max_size=80
)


@given(steps)
def test_whatever_happens_it_is_one_of_three_states_and_waits_are_bounded(moves: list[tuple[str, float]]) -> None:
    """No order of questions, answers and failures leads out of the diagram."""
    breaker, now = Breaker(), 0.0
    for what, after in moves:
        now += after
        before = breaker
        if what == "ask":
            breaker, wait = ask(breaker, now, PATIENCE)
            assert (wait is None) or timedelta(0) < wait <= max(LONGEST, PATIENCE)
            assert wait is None or breaker == before
            assert before.state is not State.Closed or wait is None
        else:
            breaker = tell(breaker, now, answered=what == "answered")
            assert (before.state, breaker.state) not in {
                (State.Closed, State.HalfOpen),
                (State.HalfOpen, State.HalfOpen),
                (State.Open, State.Closed),
                (State.Open, State.HalfOpen),
            }
        assert FIRST <= breaker.delay <= LONGEST


@given(st.integers(1, 3 * THRESHOLD))
def test_it_opens_after_so_many_failures_in_a_row_and_not_before(failures: int) -> None:
    """An answer in between begins the count anew."""
    breaker = Breaker()
    for _ in range(THRESHOLD - 1):
        breaker = tell(breaker, 0.0, answered=False)
    assert tell(breaker, 0.0, answered=True) == Breaker()
    breaker = Breaker()
    for _ in range(failures):
        breaker = tell(breaker, 0.0, answered=False)
    assert (breaker.state is State.Open) == (failures >= THRESHOLD)


@given(st.integers(1, 20))
def test_a_trial_that_fails_doubles_the_wait_up_to_the_longest_and_one_that_succeeds_closes(trials: int) -> None:
    """So a dead backend is asked ever more rarely, and a recovered one at once."""
    breaker = opened()
    delay, now = FIRST, breaker.until
    for _ in range(trials):
        breaker, wait = ask(breaker, now, PATIENCE)
        assert wait is None
        assert breaker.state is State.HalfOpen
        closed = tell(breaker, now, answered=True)
        assert closed == Breaker()
        breaker = tell(breaker, now, answered=False)
        delay = min(delay * 2, LONGEST)
        assert breaker.until == now + delay.total_seconds()
        now = breaker.until


def test_one_trial_is_out_at_a_time_and_one_that_is_lost_blocks_for_its_patience_only() -> None:
    """A caller that was cancelled tells nothing."""
    breaker = opened()
    now = breaker.until
    breaker, wait = ask(breaker, now, PATIENCE)
    assert wait is None
    same, wait = ask(breaker, now + 1, PATIENCE)
    assert (same, wait) == (breaker, PATIENCE - timedelta(seconds=1))
    again, wait = ask(breaker, now + PATIENCE.total_seconds(), PATIENCE)
    assert wait is None
    assert again.until == now + 2 * PATIENCE.total_seconds()


def test_what_began_before_it_opened_changes_nothing() -> None:
    """Late answers are about another time."""
    breaker = opened()
    assert tell(breaker, 1.0, answered=True) == breaker
    assert tell(breaker, 1.0, answered=False) == breaker


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(THRESHOLD):
        breaker = tell(breaker, 0.0, answered=False)
    assert breaker.state is State.Open
    return breaker
