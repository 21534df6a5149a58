"""What of a story becomes an Event, and in which words."""

from datetime import UTC, datetime

import msgspec
import pytest

from controller.domain.story import StoryEvent, StoryKind
from controller.kinds.records import ManifestError
from controller.kubernetes.mirror import Mirror
from controller.kubernetes.occurrences import MOST_BYTES, Observed, Occurrence, Why, bounded, told
from tests.unit.kubernetes.test_mirror import PATH, body

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JOB = {"at": NOW, "namespace": "default", "job": "job"}
ERROR = ManifestError(
    file=PATH, line=1, column=1, reason="InvalidValue", message="never fires", pointer="/spec/schedule/cron"
)


@pytest.mark.parametrize(
    ("news", "why", "kind", "note"),
    [
        (
            StoryEvent(kind=StoryKind.RunStarted, run="job-1", cause="Schedule", attempt=2, due=NOW, **JOB),
            Why.Started,
            "Normal",
            "Run job-1 has started for 2026-01-02T03:04:05Z (Schedule, attempt 2)",
        ),
        (
            StoryEvent(
                kind=StoryKind.RunFinished, run="job-1", state="Succeeded", reason="Completed", seconds=2.125, **JOB
            ),
            Why.Succeeded,
            "Normal",
            "Run job-1 has ended as Succeeded after 2.12 s",
        ),
        (
            StoryEvent(
                kind=StoryKind.RunFinished, run="job-1", state="TimedOut", reason="Timeout", message="hunter2", **JOB
            ),
            Why.TimedOut,
            "Warning",
            "Run job-1 has ended as TimedOut: It ran longer than `timeout`.",
        ),
        (
            StoryEvent(kind=StoryKind.Missed, reason="nonsense", cause="Schedule", due=NOW, message="hunter2", **JOB),
            Why.Missed,
            "Warning",
            "The instant 2026-01-02T03:04:05Z (Schedule) was missed: nonsense",
        ),
        (
            StoryEvent(kind=StoryKind.ApprovalRequested, subject="job-1-approval", hint="jobwarden approve it", **JOB),
            Why.ApprovalRequested,
            "Normal",
            "Somebody has to approve or reject job-1-approval",
        ),
    ],
)
def test_news_of_a_job_in_words(news: StoryEvent, why: Why, kind: str, note: str) -> None:
    """Names, instants and reasons of the catalogue; never a message, which may quote the job."""
    found = told(news)
    assert found is not None
    assert (found.why, found.type, found.note) == (why, kind, note)
    assert found.action


def test_news_of_sources_and_of_the_controller_are_no_events() -> None:
    """There is no object that they are about."""
    assert told(StoryEvent(at=NOW, kind=StoryKind.Trouble, subject="git", message="cannot be read")) is None
    assert told(StoryEvent(at=NOW, kind=StoryKind.Stopped)) is None
    assert told(StoryEvent(kind=StoryKind.Waiting, **JOB)) is None


def test_every_end_of_a_run_has_a_reason() -> None:
    """Also those that are rare."""
    for state in ("Succeeded", "Failed", "TimedOut", "Cancelled", "Crashed", "Denied"):
        found = told(StoryEvent(kind=StoryKind.RunFinished, run="job-1", state=state, **JOB))
        assert found is not None
        assert found.why == state


def test_a_note_is_never_longer_than_the_api_takes() -> None:
    """Bytes count, not characters, and no character is cut in two."""
    assert bounded("x" * 1024) == "x" * 1024
    long = bounded("é" * 1000)
    assert len(long.encode()) <= MOST_BYTES
    assert long.endswith("é…")


def look(observed: Observed, refused: bool) -> list[Occurrence]:
    """What is new about the one object."""
    return list(observed.look((PATH,), {PATH: [ERROR]} if refused else {}, NOW))


def test_a_refused_version_is_told_once_and_not_after_a_restart() -> None:
    """A restart finds in the status that somebody has told of this generation."""
    mirror = Mirror()
    mirror.put(body(1))
    observed = Observed(mirror)
    [first] = look(observed, refused=True)
    assert (first.why, first.uid, first.note) == (
        Why.InvalidSpec,
        mirror.held[PATH].uid,
        "/spec/schedule/cron: never fires",
    )
    assert look(observed, refused=True) == []
    mirror.put(body(2, generation=2))
    assert len(look(observed, refused=True)) == 1
    stalled = {"type": "Stalled", "status": "True", "observedGeneration": 2}
    mirror.wrote_status(PATH, {"conditions": [stalled]})
    assert look(Observed(mirror), refused=True) == []


def test_a_schedule_that_is_suspended_is_told_and_the_first_look_is_not() -> None:
    """What was so before we looked is no news."""
    mirror = Mirror()
    mirror.put(body(1))
    observed = Observed(mirror)
    assert look(observed, refused=False) == []
    for version, suspend, why in ((2, True, Why.Suspended), (3, False, Why.Resumed)):
        changed = msgspec.json.decode(msgspec.json.encode(body(version, generation=version)))
        changed["spec"]["suspend"] = suspend
        mirror.put(changed)
        assert [one.why for one in look(observed, refused=False)] == [why]
        assert look(observed, refused=False) == []
