"""How occurrences become Events: series for repeats, patience for a server that is busy, and no more of either than is bounded."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from controller.kubernetes import events
from controller.kubernetes.events import APART, WINDOW, Recorder
from controller.kubernetes.occurrences import Occurrence, Why
from controller.reconcile.records import Key
from tests.unit.kubernetes.test_election import Watch

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Api:
    """Takes what is posted, in the place of the API server; `codes` are its next answers."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.series: list[dict[str, Any]] = []
        self.codes: list[int] = []

    async def create(self, body: dict[str, Any]) -> None:
        """See `AsyncClient.create`."""
        self._answer()
        self.made.append(dict(body))

    async def patch(self, _resource: object, name: str, change: dict[str, Any], **_: Any) -> None:
        """See `AsyncClient.patch`."""
        self._answer()
        self.series.append({"name": name, **change["series"]})

    def _answer(self) -> None:
        code = self.codes.pop(0) if self.codes else 200
        if code == 0:
            raise httpx2.ConnectError("nobody is there")
        if code != 200:
            request = httpx2.Request("POST", "https://localhost/")
            raise httpx2.HTTPStatusError("no", request=request, response=httpx2.Response(code, request=request))


async def everybody(occurrences: Sequence[Occurrence]) -> list[tuple[Occurrence, str]]:
    """All of them are about objects that are there."""
    return [(one, "uid") for one in occurrences]


def made(api: Api) -> Recorder:
    """A recorder whose server is `api`."""
    return Recorder(api, "me", Watch(), everybody)  # type: ignore[arg-type]


def happened(number: int, after: timedelta = timedelta(0), why: Why = Why.Succeeded) -> Occurrence:
    """One of several runs."""
    return Occurrence(Key("ScheduledJob", "default", "job"), why, f"Run job-{number}", START + after)


async def told(recorder: Recorder, *occurrences: Occurrence) -> None:
    """Tell, and wait until all of it is posted."""
    for one in occurrences:
        recorder.tell(one)
    await recorder.flush()


async def test_an_event_has_everything_that_the_api_demands() -> None:
    """Who, what, about whom and when."""
    api = Api()
    await told(made(api), happened(1))
    [event] = api.made
    assert event["metadata"]["namespace"] == event["regarding"]["namespace"] == "default"
    assert event["eventTime"] == "2026-01-02T03:04:05.000000Z"
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "Succeeded", "Run")
    assert (event["reportingController"], event["reportingInstance"]) == ("jobwarden.dev/controller", "me")
    assert event["regarding"]["uid"] == "uid"


async def test_the_same_again_is_counted() -> None:
    """One Event, whose series says how often and when last; not a write for each."""
    api = Api()
    await told(made(api), *(happened(1, timedelta(seconds=second)) for second in range(30)))
    assert len(api.made) == 1
    assert api.series == [
        {"name": api.made[0]["metadata"]["name"], "count": 2, "lastObservedTime": "2026-01-02T03:04:06.000000Z"}
    ]


async def test_many_of_a_kind_become_one_series() -> None:
    """The first few are told one by one; another reason has its own."""
    api = Api()
    recorder = made(api)
    await told(recorder, *(happened(number, timedelta(seconds=number)) for number in range(20)))
    assert [event["note"] for event in api.made] == [
        *(f"Run job-{number}" for number in range(APART)),
        f"And more like this: Run job-{APART}",
    ]
    await told(recorder, happened(1, why=Why.Failed))
    assert api.made[-1]["reason"] == "Failed"
    assert len(api.series) == 1


async def test_after_a_while_things_are_told_one_by_one_again() -> None:
    """A job that runs now and then has an Event for each run."""
    api = Api()
    await told(made(api), *(happened(number, WINDOW * number) for number in range(10)))
    assert len(api.made) == 10
    assert api.series == []


@pytest.mark.parametrize(("codes", "posted"), [([429, 500, 503], 1), ([0] * 8, 1), ([403], 0), ([429] * 4, 0)])
async def test_what_passes_is_tried_again_and_what_is_refused_is_dropped(
    codes: list[int], posted: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Told once, whatever becomes of it; the next one is not held up."""
    monkeypatch.setattr(events, "_FIRST_PAUSE_S", 0.0)
    api = Api()
    api.codes = list(codes)
    recorder = made(api)
    await told(recorder, happened(1))
    assert len(api.made) == posted
    await told(recorder, happened(2))
    assert len(api.made) == posted + 1
    assert len(caplog.records) == len(set(codes))


async def test_more_than_can_be_posted_is_dropped_oldest_first() -> None:
    """Nothing grows while an API server is away."""
    api = Api()
    recorder = made(api)
    for number in range(5000):
        recorder.tell(happened(number))
    async with asyncio.timeout(60):
        await told(recorder)
    assert api.made[0]["note"] == "Run job-4000"
