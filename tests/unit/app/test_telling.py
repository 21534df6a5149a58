"""Where news go: to the story or to the log, once, and to whoever watches."""

import logging
from datetime import UTC, datetime

import pytest

from controller.app.telling import Telling
from controller.domain.story import StoryEvent, StoryKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALL = [StoryEvent(at=NOW, kind=kind, job="backup", message="words") for kind in StoryKind]


@pytest.mark.parametrize("as_logs", [True, False])
def test_news_are_told_once_and_published(as_logs: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Without a terminal they are log records; with one they are the story, and nothing of them is logged."""
    told: list[StoryEvent] = []
    published: list[StoryEvent] = []
    telling = Telling(None if as_logs else told.append, as_logs=as_logs)
    telling.listen(published.append)
    with caplog.at_level(logging.INFO, "jobwarden.story"):
        for news in ALL:
            telling(news)
    assert len(told) + len(caplog.records) == len(ALL)
    assert published == ALL


def test_what_needs_a_look_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A rejected document, a source that is gone, an alert, a missed instant: found by whoever asks a log for warnings."""
    telling = Telling(None, as_logs=True)
    with caplog.at_level(logging.INFO, "jobwarden.story"):
        for news in ALL:
            telling(news)
    warned = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert warned == {"rejected", "trouble", "alert", "missed"}
    assert "run finished" in {record.getMessage() for record in caplog.records}
