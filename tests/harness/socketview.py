"""What a running controller answers over its control socket, asked as the command asks it, without the process that a command takes.

`Warden` looks at runs and jobs this way while it waits for something: thousands of times in a test run. Whatever cannot be had so is asked for with the command, which also says why.
"""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

_SECONDS = 100.0  # a machine that builds and tests may be that slow


def view(folder: Path, what: str, /, **question: str) -> Any:
    """One view, whole; None where no controller has its socket in this folder, or it does not give one."""
    found = list(folder.glob("*.sock"))
    if len(found) != 1:
        return None
    whole = _page(found[0], what, question)
    while whole is not None and (after := whole.get("metadata", {}).get("continue")) is not None:
        more = _page(found[0], what, {**question, "after": after})
        if more is None:
            return None
        whole = {**more, "items": whole["items"] + more["items"]}
    return whole


def _page(path: Path, what: str, question: dict[str, str]) -> Any:
    connection = _Connection(path)
    try:
        connection.request("GET", f"/v1/views/{what}?{urlencode(question)}")
        answer = connection.getresponse()
        return json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
