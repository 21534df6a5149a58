"""What the watch owes us, and for how long."""

from datetime import timedelta

from controller.kubernetes.hearing import Hearing
from tests.unit.kubernetes.test_election import Watch


def test_a_quiet_cluster_owes_nothing() -> None:
    """Silence alone is no deafness."""
    clock = Watch()
    hearing = Hearing(clock)
    hearing.heard("a", 5)
    hearing.expect("a", 5)
    clock.pass_by(timedelta(hours=1))
    assert hearing.silent(0) == 0


def test_what_the_server_has_is_owed_until_it_is_heard() -> None:
    """Counted from when it was known, and by the oldest."""
    clock = Watch()
    hearing = Hearing(clock)
    hearing.expect("a", 5)
    clock.pass_by(timedelta(seconds=40))
    hearing.expect("a", 6)
    hearing.expect("b", 7)
    assert hearing.silent(0) == 40
    hearing.heard("a", 6)
    clock.pass_by(timedelta(seconds=10))
    assert hearing.silent(0) == 10
    hearing.heard("b", 9)
    assert hearing.silent(0) == 0


def test_an_outage_of_the_server_is_no_deafness() -> None:
    """Time counts from when it answers again."""
    clock = Watch()
    hearing = Hearing(clock)
    hearing.expect("a", 5)
    clock.pass_by(timedelta(seconds=300))
    back = clock.monotonic()
    clock.pass_by(timedelta(seconds=3))
    assert hearing.silent(back) == 3


def test_what_is_gone_is_owed_no_more() -> None:
    """A list without it says so."""
    clock = Watch()
    hearing = Hearing(clock)
    hearing.expect("a", 5)
    hearing.keep_only({"b"})
    clock.pass_by(timedelta(hours=1))
    assert hearing.silent(0) == 0
