"""The watch itself, where a whole controller would not show what is meant."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from controller.base.errors import SourceUnavailable
from controller.kubernetes import informer
from controller.kubernetes.connection import connect
from controller.kubernetes.informer import Informer
from tests.harness import job
from tests.harness.controlplane import ControlPlane


@pytest.fixture
def as_controller(api: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process finds the API server, as the controller."""
    for name, value in api.environment("controller").items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("as_controller")
async def test_a_user_without_a_name_can_watch(
    api: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the user is a number that no file gives a name to."""
    monkeypatch.setattr("getpass.getuser", _nobody)
    news: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def seen(_: str | None, body: Mapping[str, Any]) -> None:
        loop.call_soon_threadsafe(news.put_nowait, body["metadata"]["name"])

    watch = Informer(connect(), ["ScheduledJob"], [namespace], seen)
    await watch.start()
    try:
        api.apply(job("noticed"), namespace=namespace).ok()
        assert await asyncio.wait_for(news.get(), 30) == "noticed"
    finally:
        await watch.stop()


@pytest.mark.usefixtures("as_controller")
async def test_a_watch_that_ends_before_it_begins_says_why_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the bound of a start that has failed already."""
    monkeypatch.setattr(informer, "_settings", _nobody)
    monkeypatch.setattr(informer, "_READY_SECONDS", 3600.0)
    watch = Informer(connect(), ["ScheduledJob"], ["default"], lambda *_: None)
    await watch.start()
    with pytest.raises(SourceUnavailable, match="no such user"):
        await watch.ended


def _nobody() -> str:
    raise KeyError("no such user")
