"""Metrics and probes over real HTTP."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from controller.api.metrics_server import Checks, MetricsServer, parse_address
from controller.base.errors import InvalidInput
from controller.base.metrics import PrometheusMetrics


class Given:
    """Health as the test says."""

    def __init__(self) -> None:
        self.is_live: dict[str, str | None] = {"dispatcher": None}
        self.is_ready: dict[str, str | None] = {"store": None, "sources": None}
        self.hangs = False

    def live(self) -> Checks:
        return self.is_live

    async def ready(self) -> Checks:
        if self.hangs:
            await asyncio.Event().wait()
        return self.is_ready


@pytest.fixture
def health() -> Given:
    return Given()


@pytest.fixture
async def base(health: Given) -> AsyncIterator[str]:
    server = MetricsServer("127.0.0.1:0", PrometheusMetrics(version="1", mode="embedded", store="sqlite"), health)
    await server.start()
    yield f"http://127.0.0.1:{server.port}"
    await server.stop()


async def get(url: str, **headers: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_metrics_are_served_in_the_format_that_is_asked_for(base: str):
    """Text for Prometheus of old, OpenMetrics for those that accept it."""
    status, content_type, text = await get(f"{base}/metrics")
    assert (status, content_type.split(";")[0]) == (200, "text/plain")
    assert "jobwarden_build_info{" in text
    _, content_type, text = await get(f"{base}/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_probes_say_what_is_wrong(base: str, health: Given):
    """200 when all is well, else 503 with the name of the check and its trouble."""
    assert (await get(f"{base}/healthz"))[0] == 200
    assert (await get(f"{base}/readyz"))[0] == 200
    health.is_live["dispatcher"] = "has not woken for 90 s"
    health.is_ready["store"] = "the database does not answer"
    status, _, text = await get(f"{base}/healthz")
    assert status == 503
    assert '"dispatcher":"has not woken for 90 s"' in text
    status, _, text = await get(f"{base}/readyz")
    assert status == 503
    assert '"store":"the database does not answer"' in text
    assert '"sources":"ok"' in text


async def test_readiness_answers_although_a_check_hangs(base: str, health: Given, monkeypatch: pytest.MonkeyPatch):
    """A probe that hangs with the database would be no probe."""
    monkeypatch.setattr("controller.api.metrics_server._READY_WITHIN_S", 0.05)
    health.hangs = True
    status, _, text = await get(f"{base}/readyz")
    assert status == 503
    assert "no answer within" in text


async def test_a_port_in_use_is_a_clear_error(base: str, health: Given):
    """It names the option, the address and what to do."""
    port = base.rsplit(":", 1)[1]
    with pytest.raises(InvalidInput, match=f"--metrics-addr 127.0.0.1:{port}: another process listens there already"):
        await MetricsServer(f"127.0.0.1:{port}", PrometheusMetrics(version="1", mode="m", store="s"), health).start()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9090", ("127.0.0.1", 9090)),
        (":9090", ("", 9090)),
        ("[::1]:80", ("::1", 80)),
        ("host:0", ("host", 0)),
    ],
)
def test_addresses_are_read(text: str, address: tuple[str, int]):
    """Host and port, brackets around IPv6, no host for every interface."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "9090", "host", "host:", "host:x", "host:65536", "::1:80", "host:-1", "host:\u0661"]
)
def test_bad_addresses_are_refused(text: str):
    """With the accepted forms."""
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        parse_address(text)
