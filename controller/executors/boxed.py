"""The start of a process in its box, and what bubblewrap says about it.

`local` makes one `Boxes` for all runs, and an execution keeps its `Boxed` to the end. What is started is bubblewrap: the main process of the run, outside. It starts a keeper
inside, process 1 there, which starts the command and collects what the command loses. When the command ends, bubblewrap ends with its exit code, and the kernel kills the
keeper and so everything that is left inside.
Bubblewrap asks the kernel to be killed with the thread that started it: the event loop's, which lives as long as the controller.
Invariant: descriptors 3 to 5 of bubblewrap are the filter, its status, and the gate that holds the command back until its way out is open; none of them reaches the command.
"""

import asyncio
import contextlib
import logging
import os
import signal

import msgspec

from controller.executors import outputs, processes, seccomp
from controller.executors.box import out_of_sight
from controller.executors.doorman import Doorman
from controller.executors.egress import ENVIRONMENT, WayOut
from controller.executors.poller import Poller
from controller.executors.processes import Process
from controller.executors.protocol import BoxRequest, ExecutionRequest
from controller.executors.spawn import NotStarted, Spawned, lifted, safe_pipe, spawn

_log = logging.getLogger(__name__)

_DESCRIPTORS = ("--seccomp", "3", "--json-status-fd", "4")
_GATE = ("--block-fd", "5")
_SAID = b"bwrap: "


class Status(msgspec.Struct, frozen=True, rename="kebab"):
    """One document of bubblewrap's status: first the keeper, last the exit code, which is missing when the command was never started. Source: bwrap(1)."""

    child_pid: int | None = None
    exit_code: int | None = None


_decoder = msgspec.json.Decoder(Status)


class Boxed:
    """The box of one run. Everything is for the event loop's thread."""

    def __init__(self, run: str, box: BoxRequest, poller: Poller, status: int, gate: int) -> None:
        self.note = box.note
        self._run = run
        self._poller = poller
        self._status, self._gate = status, gate
        self._keeper: int | None = None
        self._told_code = False
        self._said = b""
        self._trouble: str | None = None
        self._over = False
        self._way_out = WayOut(run, box.hosts) if box.hosts is not None else None
        self._opening: asyncio.Task[None] | None = None

    @property
    def held_back(self) -> bool:
        """Whether the command waits for its way out."""
        return self._gate >= 0

    def begin(self, main: int, doorman: Doorman) -> None:
        """Open the way out, if there is to be one, as soon as the box has a network. Errors end the box."""
        if self._way_out is not None:
            self._poller.watch(self._status, lambda: self._network_made(main, doorman))

    def _network_made(self, main: int, doorman: Doorman) -> None:
        over = self._read()
        if self._keeper is not None or over:
            self._poller.forget(self._status)
        if self._keeper is not None:
            self._opening = asyncio.get_running_loop().create_task(self._open(main, self._keeper, doorman))

    async def _open(self, main: int, keeper: int, doorman: Doorman) -> None:
        assert self._way_out is not None
        try:
            listener = await asyncio.to_thread(doorman.listen, keeper)
            if self._over:
                listener.close()
                return
            await self._way_out.open(listener)
        except Exception as error:  # noqa: BLE001 - whatever it is, the command waits behind the gate
            if self._over:
                return  # there was nobody any more to open it for
            self._trouble = f"the way out of the box could not be opened: {error}"
            processes.signal_group(main, signal.SIGKILL)
            return
        if self._gate >= 0:
            with contextlib.suppress(BrokenPipeError):  # it has ended meanwhile
                os.write(self._gate, b".")
            self._close_gate()

    def main_ended(self) -> None:
        """Its number may be somebody else's from now on."""
        self._over = True

    def keeper(self, session: int) -> Process | None:
        """Process 1 of the box, as long as it lives; the main process has ended."""
        self._read()
        found = processes.read(self._keeper) if self._keeper is not None else None
        return found if found is not None and found.session == session else None

    def start_error(self, stderr: bytes, code: int | None) -> str | None:
        """Why the command was never started, from what bubblewrap printed; None: it was, or somebody killed bubblewrap itself."""
        self._read()
        if self._trouble is not None:
            return self._trouble
        if self._told_code or code is None:
            return None
        words = stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return _explain(words.removeprefix(_SAID.decode()))

    def remark(self, code: int | None) -> str | None:
        """What a person should know about the end of a run that nobody ended."""
        notes = [self.note] if self.note else []
        if code is not None and code > 128 and processes.signal_name(code - 128) in signal.Signals.__members__:
            notes.append(
                f"exit code {code}: out of a box, an end by {processes.signal_name(code - 128)} looks the same"
            )
        if self._way_out is not None and self._way_out.refused:
            notes.append(f"the box let nothing through to {', '.join(self._way_out.refused)}")
        return "; ".join(notes) or None

    def close(self) -> None:
        """Let go of descriptors and of the way out; a second call does nothing."""
        self._over = True
        self._close_gate()
        if self._way_out is not None:
            self._way_out.close()
        if self._status >= 0:
            if self._way_out is not None:
                self._poller.forget(self._status)
            os.close(self._status)
            self._status = -1

    def _close_gate(self) -> None:
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def _read(self) -> bool:
        """Take what bubblewrap has said so far, in pieces of its own choice; a few hundred bytes in all, so the pipe never holds it up. True: it says no more."""
        over = False
        if self._status >= 0:
            with contextlib.suppress(BlockingIOError):
                while data := os.read(self._status, 4096):
                    self._said += data
                over = True
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            status = _decoder.decode(line)
            self._keeper = status.child_pid or self._keeper
            self._told_code = self._told_code or status.exit_code is not None
        return over


def _explain(words: str) -> str:
    """Bubblewrap's own words, with what to do about the common ones. Pure."""
    program, _, why = words.removeprefix("execvp ").partition(": ")
    if words.startswith("execvp "):
        return out_of_sight(program, why)
    if words.startswith("Can't chdir to "):
        return (
            f"the working directory cannot be entered in the box ({words}): a box has a home and a {'/tmp'} of its own"  # noqa: S108
        )
    return f"the box could not be made: {words or 'bubblewrap said nothing'}"


class Boxes:
    """What the boxes of an executor share: the filter, and whoever opens doors. Everything is for the event loop's thread."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._filter = -1
        self._doorman = Doorman()

    def start(self, request: ExecutionRequest, box: BoxRequest, stdin: int) -> tuple[Spawned, Boxed] | NotStarted:
        """Start the command of a request in its box."""
        try:
            if request.output_path is not None:  # a file can be shown in a box only when it is there
                outputs.make(request.output_path)
        except OSError as error:
            return NotStarted(f"the file for $JOBWARDEN_OUTPUT cannot be made: {error}")
        started = self._start(request, box, stdin)
        if isinstance(started, NotStarted) and request.output_path is not None:
            os.unlink(request.output_path)  # noqa: PTH108 - a path may be a str
        return started

    def _start(self, request: ExecutionRequest, box: BoxRequest, stdin: int) -> tuple[Spawned, Boxed] | NotStarted:
        gated = box.hosts is not None
        mine: list[int] = []
        passed: list[int] = []
        try:
            passed.append(self._filter_again())
            status, theirs = safe_pipe()
            mine.append(status)
            passed.append(theirs)
            os.set_blocking(status, False)
            if gated:
                gate, mine_of_gate = safe_pipe()
                passed.append(gate)
                mine.append(mine_of_gate)
            argv = (*box.args, *_DESCRIPTORS, *(_GATE if gated else ()), "--", *request.argv)
            env = {**request.env, **box.env, **(ENVIRONMENT if gated else {})}
            spawned = spawn(argv, env, None, stdin, passed)
        except OSError as error:
            spawned = NotStarted(f"the box could not be made: {error}")
        for fd in passed:
            os.close(fd)
        if isinstance(spawned, NotStarted):
            for fd in mine:
                os.close(fd)
            return spawned
        boxed = Boxed(request.run, box, self._poller, mine[0], mine[1] if gated else -1)
        boxed.begin(spawned.pid, self._doorman)
        return spawned, boxed

    def close(self) -> None:
        """Let go of everything; a second call does nothing."""
        self._doorman.close()
        if self._filter >= 0:
            os.close(self._filter)
            self._filter = -1

    def _filter_again(self) -> int:
        """A descriptor of the filter that begins at its beginning: bubblewrap reads it, and copies of one descriptor share their place."""
        if self._filter < 0:
            self._filter = seccomp.descriptor()
        return lifted(os.open(f"/proc/self/fd/{self._filter}", os.O_RDONLY | os.O_CLOEXEC))
