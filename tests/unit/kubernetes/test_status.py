"""Which status is written, and under which generation: told without a server, from what the two loops say."""

from typing import Any

from controller.base.clock import SystemClock
from controller.kubernetes.mirror import Mirror
from controller.kubernetes.status import StatusWriter
from controller.reconcile.pipeline import Outcome
from tests.unit.kubernetes.test_mirror import PATH, body

JOB = 7  # its id in the database


class Recorder:
    """Takes what is written, in the place of the API server."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    async def apply_status(self, _kind: str, _namespace: str, _name: str, _uid: str, status: dict[str, Any]) -> int:
        """Keep it."""
        self.written.append(status)
        return 100 + len(self.written)


def shape(ready: str) -> dict[str, Any]:
    """A job as the status loop shows it; its own count of generations means nothing to the cluster."""
    condition = {"type": "Ready", "status": ready, "observedGeneration": 99}
    return {
        "kind": "ScheduledJob",
        "metadata": {"name": "job", "namespace": "default"},
        "status": {"ready": ready, "observedGeneration": 99, "conditions": [condition]},
    }


def writer() -> tuple[StatusWriter, Recorder, Mirror]:
    """A writer for one object that is in the database."""
    recorder, mirror = Recorder(), Mirror()
    mirror.put(body(1))
    return StatusWriter(lambda: recorder, mirror, SystemClock(), lambda _key: JOB), recorder, mirror  # type: ignore[arg-type, return-value]


async def test_what_was_looked_at_before_a_change_is_not_told_of_the_change() -> None:
    """An edit that is refused is never Ready for a moment, for whoever waits for its generation."""
    status, recorder, mirror = writer()
    status.reconciled(Outcome("kubernetes", touched=(JOB,)), {PATH: 1})
    before = status.reporting()
    mirror.put(body(2, generation=2))
    status.reconciled(Outcome("kubernetes", touched=(JOB,)), {PATH: 2})
    before(shape("True"))
    await status.flush()
    assert recorder.written == []
    status.reporting()(shape("False"))
    await status.flush()
    assert [(one["ready"], one["observedGeneration"]) for one in recorder.written] == [("False", 2)]
    assert recorder.written[0]["conditions"][0]["observedGeneration"] == 2


async def test_what_waits_to_be_written_is_not_written_for_a_newer_generation() -> None:
    """It is projected anew first."""
    status, recorder, mirror = writer()
    status.reconciled(Outcome("kubernetes"), {PATH: 1})
    status.reporting()(shape("True"))
    mirror.put(body(2, generation=2))
    status.reconciled(Outcome("kubernetes", touched=(JOB,)), {PATH: 2})
    await status.flush()
    assert recorder.written == []


async def test_a_generation_that_means_the_same_is_told_without_looking_again() -> None:
    """A default that somebody wrote out is a new generation and no change."""
    status, recorder, mirror = writer()
    status.reconciled(Outcome("kubernetes"), {PATH: 1})
    status.reporting()(shape("True"))
    await status.flush()
    mirror.put(body(2, generation=2))
    status.reconciled(Outcome("kubernetes"), {PATH: 2})
    await status.flush()
    await status.flush()
    assert [one["observedGeneration"] for one in recorder.written] == [1, 2]
