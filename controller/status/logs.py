"""What a run printed, as bytes: from its log file where that is on this host, else the stored tail.

The control server and the command's fallback read through a `Reader`. Invariant: what comes from a log file is exactly what was printed, in order.
"""

from collections.abc import Iterator
from pathlib import Path

from controller.base import paths
from controller.base.errors import NotFound
from controller.domain.records import Run
from controller.domain.states import RunState
from controller.store import views
from controller.store.store import Tx

_PIECE = 1 << 16


def find(tx: Tx, namespace: str, name: str) -> Run:
    """The run of that name, else the latest run of the job of that name. Errors: NotFound."""
    found = views.run_list(tx, namespace, name=name) or views.run_list(tx, namespace, job=name, page=views.Page(1))
    if not found:
        where = f" in the namespace {namespace!r}" if namespace else ""
        error = NotFound(f"there is no run {name!r}{where}, and no job of that name has run")
        error.add_note("`jobwarden get runs` lists them")
        raise error
    return found[0]


class Reader:
    """Reads one run's output from the beginning; each call goes on where the last one ended. Reads files: not for an event loop's thread."""

    def __init__(self, run: Run, log_dir: Path, host: str) -> None:
        self._run, self._host = run, host
        self._path = paths.run_log(log_dir, run.namespace, run.job, run.name)
        self._offset = 0

    @property
    def note(self) -> str:
        """Why what is shown is not all of it; "" when it is."""
        run = self._run
        if self._path.exists() or (run.state is RunState.Running and run.host == self._host):
            return ""
        where = f" The rest is on the host {run.host}." if run.host and run.host != self._host else ""
        if run.output.truncated:
            kept = len(run.output.stdout) + len(run.output.stderr)
            return f"note: the last {kept} of {run.output.bytes} bytes, as the database keeps them.{where}"
        if run.state is RunState.Running:
            return f"note: the run goes on and its log is not on this host.{where}"
        return ""

    def pieces(self) -> Iterator[bytes]:
        """What the log file holds by now and was not given before; nothing while there is no file."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while piece := file.read(_PIECE):
                    self._offset += len(piece)
                    yield piece
        except FileNotFoundError:
            return

    def rest(self, run: Run) -> Iterator[bytes]:
        """What is left to say of a run as it is now: the end of its file, or its stored tail when there has been no file."""
        self._run = run
        yield from self.pieces()
        if not self._offset and not self._path.exists():
            yield from (part for part in (run.output.stdout, run.output.stderr) if part)
