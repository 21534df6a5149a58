"""HTTP over the control socket, as small as start-up time demands: one request, one answer, then the connection ends.

Verbs hand over a path and a body and take bytes, or a stream of them. Invariant: an answer that is an error arrives as the exception that the
controller raised.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from controller.base import errors

_CONNECT_SECONDS = 5.0


class NotRunning(Exception):
    """Nobody listens on the socket."""


class Client:
    """Requests to one control socket. Errors: NotRunning when nobody listens, ControllerUnreachable when somebody does but does not answer."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        self._path = str(path)
        self._timeout = timeout
        self.note = ""  # what the last answer said beside its body

    def get(self, path: str) -> bytes:
        """The body of the answer."""
        return b"".join(self.stream(path))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answer to a JSON body."""
        return json.loads(b"".join(self._request("POST", path, json.dumps(body).encode())))

    def stream(self, path: str, *, endless: bool = False) -> Iterator[bytes]:
        """The body of the answer, in pieces as they arrive; `endless` answers may be silent for long."""
        return self._request("GET", path, b"", endless=endless)

    def _request(self, method: str, path: str, body: bytes, *, endless: bool = False) -> Iterator[bytes]:
        with self._connect() as connection:
            # HTTP/1.0: the answer ends where the connection ends, so nothing has to be counted.
            head = f"{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            try:
                connection.sendall(head.encode("ascii") + body)
                with connection.makefile("rb") as answer:
                    status = _status(answer.readline())
                    self.note = _note(answer)
                    if status >= 400:
                        _raise(answer.read())
                    if endless:
                        connection.settimeout(None)
                    while piece := answer.read1(1 << 16):
                        yield piece
            except TimeoutError as error:
                raise _unreachable("it has not answered in time") from error
            except OSError as error:
                raise _unreachable(str(error.strerror or error)) from error

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(self._path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            connection.close()
            raise NotRunning from error
        except OSError as error:
            connection.close()
            raise _unreachable(f"{self._path}: {error.strerror or error}") from error
        connection.settimeout(self._timeout)
        return connection


def _unreachable(why: str) -> errors.ControllerUnreachable:
    error = errors.ControllerUnreachable(f"the controller cannot be reached: {why}")
    error.add_note("see whether `jobwarden run` is alive; end it, and the command asks the database itself")
    return error


def _note(answer: IO[bytes]) -> str:
    """Read the headers; gives the one that is for people."""
    note = ""
    while line := answer.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"x-jobwarden-note":
            note = value.strip().decode("utf-8", "replace")
    return note


def _status(line: bytes) -> int:
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[1].isdigit():
        raise _unreachable("it closed the connection without an answer")
    return int(parts[1])


def raise_said(body: bytes) -> None:
    """Raise the error that a controller's answer tells of; nothing, when it is no such answer."""
    try:
        said = json.loads(body)["error"]
        reason, message, hint = said["reason"], said["message"], said.get("hint", "")
    except (ValueError, KeyError, TypeError):
        return
    kind = getattr(errors, str(reason), errors.JobwardenError)
    error = (
        kind(message)
        if isinstance(kind, type) and issubclass(kind, errors.JobwardenError)
        else errors.JobwardenError(message)
    )
    if hint:
        error.add_note(hint)
    raise error


def _raise(body: bytes) -> NoReturn:
    raise_said(body)
    raise _unreachable(f"it gave an answer that makes no sense: {body[:200]!r}")
