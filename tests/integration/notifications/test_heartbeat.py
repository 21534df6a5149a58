"""The heartbeat: sent while the controller works, silent otherwise, and never telling its URL."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from controller.base.errors import InvalidInput
from controller.loops.heartbeat import Heartbeat
from tests.integration.notifications.conftest import Server, until

CANARY = "canary-1b2c3d"
EVERY = timedelta(milliseconds=10)


@contextlib.asynccontextmanager
async def beating(url: str, healthy: Callable[[], bool]) -> AsyncIterator[None]:
    task = asyncio.create_task(Heartbeat(url, healthy, EVERY).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_it_beats_while_healthy_and_only_then(server: Server, caplog: pytest.LogCaptureFixture):
    """GET at intervals; silence from the moment that the controller does not work, told once; then again."""
    caplog.set_level(logging.INFO)
    healthy = True
    asked = 0

    def ask() -> bool:
        nonlocal asked
        asked += 1
        return healthy

    async with beating(server.url(f"/{CANARY}"), ask):
        await until(lambda: len(server.requests) >= 3)
        healthy = False
        mark = asked + 1  # a ping may be under way
        await until(lambda: asked > mark)
        silent = len(server.requests)
        until_asked = asked + 5
        await until(lambda: asked >= until_asked)
        assert len(server.requests) == silent
        healthy = True
        await until(lambda: len(server.requests) > silent)
        await until(lambda: any("works again" in record.message for record in caplog.records))
    told = [record.message for record in caplog.records if "heartbeat" in record.message]
    assert told == ["the controller is not healthy; no heartbeat is sent", "the heartbeat works again"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/" + CANARY, f"http://{CANARY}.invalid/", "http://[" + CANARY])
async def test_a_heartbeat_that_cannot_be_sent_is_told_once_without_its_url(url: str, caplog: pytest.LogCaptureFixture):
    """And it goes on trying."""
    asked = 0

    def ask() -> bool:
        nonlocal asked
        asked += 1
        return True

    async with beating(url, ask):
        await until(lambda: asked >= 4)
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert CANARY not in caplog.text


async def test_a_bad_url_or_interval_is_refused():
    """Before anything starts."""
    with pytest.raises(InvalidInput, match="http or https"):
        Heartbeat("ftp://host", lambda: True)
    with pytest.raises(InvalidInput, match="positive"):
        Heartbeat("http://host", lambda: True, timedelta(0))
