"""The control server: who may open its socket, what it answers, what it does when something goes wrong."""

import json
import os
import pwd
import socket
import stat
import threading
from typing import Any

import pytest

from controller.base import errors
from controller.cli.client import Client, NotRunning
from controller.store import schema
from tests.harness import wait_for
from tests.integration.cli.place import Place, Serving


def raw(place: Place, request: bytes) -> bytes:
    """What comes back for some bytes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(place.socket))
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_the_socket_and_its_folder_are_for_their_user_alone(place: Place) -> None:
    """Nobody else can even see that it is there."""
    with Serving(place):
        assert stat.S_IMODE(place.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.socket.parent.stat().st_mode) == 0o700
    assert not place.socket.exists()


def test_a_folder_that_others_could_enter_is_closed_and_a_link_is_refused(place: Place) -> None:
    """A folder made by somebody else must not become the way in."""
    folder = place.socket.parent
    folder.mkdir(parents=True, mode=0o777)
    folder.chmod(0o777)
    with Serving(place):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / place.socket.with_suffix(".lock").name).unlink()
    folder.rmdir()
    folder.symlink_to(place.folder)
    serving = Serving(place)
    serving._thread.start()
    serving._thread.join(30)
    assert not serving._thread.is_alive()
    assert isinstance(serving._task.exception(), errors.InvalidInput)


def test_a_socket_that_a_dead_controller_left_is_taken_over(place: Place) -> None:
    """Whoever holds the lock may unlink it; nobody listens on it any more."""
    place.socket.parent.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place.socket))
    with pytest.raises(NotRunning):
        Client(place.socket).get("/v1/views/jobs")
    with Serving(place):
        assert json.loads(Client(place.socket).get("/v1/views/jobs"))["items"] == []


def test_a_second_controller_of_a_database_leaves_the_socket_of_the_first_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas on one host share the address; the second takes it when the first has gone."""
    monkeypatch.setattr("controller.api.control._RETRY_SECONDS", 0.05)
    second = Serving(place)
    with Serving(place) as first:
        second._thread.start()
        Client(place.socket).post("/v1/verbs/reconcile", {})
        assert first.asked == [None]
        assert not second._up.is_set()
    assert second._up.wait(30)
    Client(place.socket).post("/v1/verbs/reconcile", {})
    assert second.asked == [None]
    second.__exit__()


def test_who_asks_is_who_the_kernel_says_and_not_what_the_request_says(place: Place) -> None:
    """The audit log names the user of the process at the other end."""
    place.job("work")
    with Serving(place) as serving:
        Client(place.socket).post("/v1/verbs/hold", {"name": "work", "reason": "r", "namespace": "default"})
        with pytest.raises(errors.InvalidInput, match="actor"):
            Client(place.socket).post("/v1/verbs/hold", {"name": "work", "reason": "r", "actor": "root"})
        assert serving.woken == 1
    name = pwd.getpwuid(os.getuid()).pw_name
    assert place.count(schema.audit, actor=name, verb="hold") == 1


def test_a_stranger_is_sent_away(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the folder ever be open, the kernel's word still stands between."""
    place.job("work")
    with Serving(place):
        with monkeypatch.context() as patched:
            patched.setattr("controller.api.routes._PEER", _Stranger())
            answer = raw(place, b"GET /v1/views/jobs HTTP/1.0\r\nHost: x\r\n\r\n")
            events = raw(place, b"GET /v1/events HTTP/1.0\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.0 403")
        assert events.startswith(b"HTTP/1.0 403")
        assert b"work" not in answer


class _Stranger:
    """A peer with another user id."""

    size = 12

    def unpack(self, _data: bytes) -> tuple[int, int, int]:
        return (1, 4242, 1)


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (b"GET /v1/views/nonsense HTTP/1.0", 404, "NotFound"),
        (b"GET /v1/views/jobs?name=x HTTP/1.0", 404, "NotFound"),
        (b"GET /v1/views/jobs?limit=many HTTP/1.0", 400, "InvalidInput"),
        (b"GET /v1/views/runs?after=xx HTTP/1.0", 400, "InvalidInput"),
        (b"GET /v1/views/jobs?selector=a+b HTTP/1.0", 400, "InvalidInput"),
        (b"GET /v1/views/explain HTTP/1.0", 400, "InvalidInput"),
        (b"GET /v1/views/describe?kind=nonsense&name=x HTTP/1.0", 404, "NotFound"),
        (b"GET /v1/logs/x HTTP/1.0", 404, "NotFound"),
        (b"GET /elsewhere HTTP/1.0", 404, "HttpNotFound"),
        (b"DELETE /v1/views/jobs HTTP/1.0", 405, "HttpMethodNotAllowed"),
        (b"POST /v1/verbs/nonsense HTTP/1.0", 404, "NotFound"),
        (b"POST /v1/verbs/trigger HTTP/1.0", 400, "InvalidInput"),
        (b'POST /v1/verbs/release HTTP/1.0\r\nContent-Length: 14\r\n\r\n{"name": "no"}', 404, "NotFound"),
        (b"POST /v1/verbs/trigger HTTP/1.0\r\nContent-Length: 3\r\n\r\n{x}", 400, "InvalidInput"),
        (b"POST /v1/verbs/trigger HTTP/1.0\r\nContent-Length: 2\r\n\r\n[]", 400, "InvalidInput"),
    ],
)
def test_every_error_is_json_with_reason_message_and_hint(
    place: Place, request_: bytes, code: int, reason: str
) -> None:
    """Programs can tell what to do; the code says whose fault it is."""
    with Serving(place):
        head, _, body = raw(place, request_ if b"\r\n\r\n" in request_ else request_ + b"\r\n\r\n").partition(
            b"\r\n\r\n"
        )
    assert head.split()[1] == str(code).encode(), body
    error = json.loads(body)["error"]
    assert error["reason"] == reason
    assert error["message"]
    assert set(error) == {"reason", "message", "hint"}


def test_a_defect_is_told_without_its_insides_and_the_server_goes_on(place: Place) -> None:
    """A traceback belongs into the log."""
    place.job("work")
    with Serving(place, fail=True) as serving:
        with pytest.raises(errors.JobwardenError, match="its log says where") as error:
            Client(place.socket).post("/v1/verbs/trigger", {"name": "work"})
        assert "secret" not in str(error.value)
        assert serving.woken == 0
        assert json.loads(Client(place.socket).get("/v1/views/names?kind=jobs")) == ["work"]


def test_a_database_that_has_gone_is_503_and_3(place: Place) -> None:
    """Nobody is told that a thing is not there when nobody could look."""
    with Serving(place):
        (place.folder / "jobwarden.db").unlink()
        done = place.run("trigger", "work")
    assert done.returncode == 3
    assert "removed while in use" in done.stderr


def test_a_source_is_read_again_by_its_name_or_by_that_of_one_of_its_jobs(place: Place) -> None:
    """Without a name all are; without a controller nobody can."""
    place.job("work")
    with Serving(place) as serving:
        assert place.run("reconcile").stdout == "source manifests is being read\n"
        place.run("reconcile", "manifests")
        place.run("reconcile", "work")
        assert serving.asked == [None, ["manifests"], ["manifests"]]
        assert place.run("reconcile", "stranger").returncode == 1
    alone = place.run("reconcile")
    assert alone.returncode == 3
    assert "no controller runs" in alone.stderr


def test_watchers_are_told_the_news_as_json_lines(place: Place) -> None:
    """And one who goes away disturbs nobody."""
    with Serving(place) as serving:
        seen: list[Any] = []
        reader = threading.Thread(target=_watch, args=(place, seen), daemon=True)
        reader.start()
        wait_for(lambda: serving.server.news.watchers, "a watcher")
        for number in range(3):
            serving.publish(f"news {number}")
        reader.join(30)
        assert [one["message"] for one in seen] == ["news 0", "news 1"]
        serving.publish("after it went away")
        wait_for(lambda: _nudge(serving) or not serving.server.news.watchers, "the watcher to be forgotten")


def _nudge(serving: Serving) -> bool:
    serving.publish("x")
    return False


def _watch(place: Place, seen: list[Any]) -> None:
    stream = Client(place.socket).stream("/v1/events", endless=True)
    lines = b""
    for piece in stream:
        lines += piece
        while b"\n" in lines:
            line, _, lines = lines.partition(b"\n")
            seen.append(json.loads(line))
            if len(seen) == 2:
                return


def test_a_controller_that_hangs_is_unreachable_and_not_an_answer(place: Place) -> None:
    """A verb ends with 3 and says why."""
    place.socket.parent.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place.socket))
        silent.listen()
        with pytest.raises(errors.ControllerUnreachable, match="not answered in time"):
            Client(place.socket, timeout=0.2).get("/v1/views/jobs")
        # The connection that gave up is the first in line.
        answer = threading.Thread(target=_hang_up, args=(silent, 2), daemon=True)
        answer.start()
        with pytest.raises(errors.ControllerUnreachable):
            Client(place.socket, timeout=30).get("/v1/views/jobs")
        answer.join(30)


def _hang_up(listener: socket.socket, times: int) -> None:
    for _ in range(times):
        listener.accept()[0].close()


def test_the_server_stops_when_it_is_told_to_and_removes_its_socket(place: Place) -> None:
    """Also while somebody follows."""
    with Serving(place) as serving:
        threading.Thread(target=_watch, args=(place, []), daemon=True).start()
        wait_for(lambda: serving.server.news.watchers, "a watcher")
    assert not serving._thread.is_alive()
    assert not place.socket.exists()
