"""Which processes belong to a run."""

from controller.executors.processes import Process, Session
from controller.executors.tree import Wanted, belongs


def process(*, session: int = 50, pgid: int = 50, run: str | None = None) -> Process:
    return Process(pid=60, start=1000, parent=1, pgid=pgid, session=session, run=run)


def test_a_stop_reaches_everything_that_carries_the_name_or_lives_in_the_session() -> None:
    """A daemon that left the session still carries the run's name; a process that dropped its environment is still in the session."""
    wanted = Wanted("job-1", Session(40), since=900)
    assert belongs(process(run="job-1"), wanted)
    assert belongs(process(session=40), wanted)
    assert belongs(process(pgid=40), wanted)
    assert not belongs(process(run="job-2"), wanted)
    assert not belongs(process(), wanted)


def test_an_ordinary_end_reaches_the_session_only() -> None:
    """A deliberate daemon of a run that has ended by itself is let go."""
    wanted = Wanted("job-1", Session(40), since=900, everywhere=False)
    assert belongs(process(session=40, run="job-1"), wanted)
    assert not belongs(process(run="job-1"), wanted)
