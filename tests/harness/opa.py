"""A real Open Policy Agent on loopback, built by `tests/cluster/tools opa`: one policy, which can be changed, and a server that can be away."""

import os
import socket
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.controlplane import tools
from tests.harness.waiting import wait_for

HOW_TO_GET_IT = "Open Policy Agent could not be built here; `tests/cluster/tools opa` shows why"
_READY_SECONDS = 60.0


class Opa:
    """One server, at one address for as long as this lives. `folder` exists."""

    def __init__(self, folder: Path, policy: str, *flags: str) -> None:
        """`policy` is Rego, `flags` are more of the server's. Errors: AssertionError where it cannot be had."""
        programs = tools("opa")
        assert programs is not None, HOW_TO_GET_IT
        self._program, self._folder, self._flags = programs / "opa", folder, flags
        self._policy = folder / "policy.rego"
        self._policy.write_text(policy, encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, path: str) -> str:
        """The address of a document, such as `jobs/decision`."""
        return f"http://{self._address}/v1/data/{path}"

    def come(self) -> None:
        """Serve."""
        with (self._folder / "opa.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "run", "--server", f"--addr={self._address}", "--disable-telemetry", *self._flags, self._policy],
                env={"PATH": os.defpath, "HOME": str(self._folder)},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )  # fmt: skip
        wait_for(self._is_ready, "Open Policy Agent to be ready", deadline=_READY_SECONDS, context=self._log)

    def go(self) -> None:
        """Be gone, as a crash would have it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        try:
            self.come()
        except BaseException:
            self.go()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.go()

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log()
        try:
            with urllib.request.urlopen(f"http://{self._address}/health", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _log(self) -> str:
        return "\n".join((self._folder / "opa.log").read_text(errors="replace").splitlines()[-30:])
