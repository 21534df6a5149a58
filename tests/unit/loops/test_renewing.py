"""When credentials are renewed: before they end, with time left to try again, and never in a hurry."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.loops.renewing import again_at, due_at

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
lives = st.timedeltas(timedelta(seconds=-10), timedelta(days=400))


@given(life=lives)
def test_a_third_of_its_life_is_left_to_try_again(life: timedelta) -> None:
    """What lives too short for that is asked for once a second at most."""
    due = due_at(NOW, NOW + life)
    assert due >= NOW + SECOND
    assert due == NOW + SECOND or NOW + life - due >= life / 3 - timedelta(microseconds=1)


@given(life=lives)
def test_a_provider_that_is_away_is_asked_more_often_the_less_is_left(life: timedelta) -> None:
    """Between once a second and once a minute; when it has ended there is no hurry any more."""
    wait = again_at(NOW, NOW + life) - NOW
    assert SECOND <= wait <= timedelta(minutes=1)
    if life <= timedelta(0):
        assert wait == timedelta(minutes=1)
    else:
        assert wait <= again_at(NOW, NOW + life * 2) - NOW
