"""Whether a Pod that should reach nothing is kept in."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from controller.cli.main import main
from controller.kubernetes import fence_check
from tests.harness.ports import free_port

SOON = timedelta(milliseconds=300)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Somebody who can be reached."""
    with closing(socket.create_server(("127.0.0.1", free_port()))) as listening:
        yield listening


def test_what_can_be_reached_is_told(server: socket.socket) -> None:
    """One of them is enough."""
    there = server.getsockname()
    assert fence_check.open_to([("127.0.0.1", free_port()), there], SOON) == there


def test_a_fence_that_holds_is_seen() -> None:
    """Nobody waits for longer than it takes; and not for too short, so that the second look is never left out."""
    for patience in (timedelta(hours=9), timedelta(0)):
        assert fence_check.open_to([("127.0.0.1", free_port())], patience) is None


def test_where_nothing_can_be_tried_nothing_is_believed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fence that was not tried is none."""
    with pytest.raises(ValueError):
        fence_check.open_to([], SOON)
    monkeypatch.setattr(fence_check, "surroundings", lambda _environ: [])
    assert main(["fence-check"]) == 1
    assert "cannot be tried" in capsys.readouterr().err


def test_a_pod_that_is_let_out_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], server: socket.socket
) -> None:
    """Its last words are why the run was not started."""
    monkeypatch.setattr(fence_check, "surroundings", lambda _environ: [server.getsockname()])
    monkeypatch.setattr(fence_check, "PATIENCE", SOON)
    assert main(["fence-check"]) == 1
    said = capsys.readouterr().err
    assert "can be reached" in said
    assert "networkPoliciesEnforced" in said


def test_a_plug_in_that_is_late_is_waited_for(server: socket.socket) -> None:
    """Until nothing answers any more."""
    there = server.getsockname()
    threading.Timer(0.5, server.close).start()
    assert fence_check.open_to([there], timedelta(seconds=60)) is None


def test_a_pod_has_an_api_server_and_resolvers_around_it(tmp_path: Path) -> None:
    """As the kubelet tells every Pod, whatever its template says."""
    (tmp_path / "resolv.conf").write_text("search x.svc\nnameserver 10.0.0.10\nnameserver fd00::10\noptions ndots:5\n")
    given = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    places = fence_check.surroundings(given, tmp_path / "resolv.conf")
    assert places == [("10.0.0.1", 6443), ("10.0.0.10", 53), ("fd00::10", 53)]
    assert fence_check.surroundings({}, tmp_path / "resolv.conf") == places[1:]
