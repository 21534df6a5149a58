"""The Local executor: a run is a process of this host, in a session of its own.

`dispatch` calls `start` on the event loop's thread and gets `on_end` there. A short run costs no task, no thread and no timer: its pidfd tells of the
end, and its pipes are read then; only a run that lives longer than a few milliseconds has its pipes watched and its timeout armed.

Invariant: every start ends in exactly one `on_end`: at the latest after `timeout + grace`, plus ten seconds for a kernel or a disk that does not answer.
"""

import asyncio
import os
import socket

from controller.base.clock import Clock
from controller.executors import descriptors, poller, ruled
from controller.executors.boxed import Boxes
from controller.executors.execution import Facilities, LocalExecution
from controller.executors.private_files import PrivateFiles
from controller.executors.protocol import BoxRequest, Execution, ExecutionRequest, OnEnd
from controller.executors.runlog import LogWriter
from controller.executors.spawn import NotStarted, Spawned, spawn
from controller.executors.tree import Scanner

_YOUNG = 0.005  # seconds; a run is young for between one and two of these


class LocalExecutor:
    """Runs requests as processes of this host. Everything is for the event loop's thread."""

    def __init__(
        self, clock: Clock, loop: asyncio.AbstractEventLoop | None = None, *, private: PrivateFiles | None = None
    ) -> None:
        """`private` makes the folders of requests that have files; without it such a request does not start."""
        self._loop = loop if loop is not None else asyncio.get_running_loop()
        self._facilities = Facilities(
            clock=clock,
            loop=self._loop,
            poller=poller.make(self._loop),
            logs=LogWriter(self._loop),
            scanner=Scanner(self._loop),
            host=socket.gethostname(),
            private=private,
        )
        self._boxes = Boxes(self._facilities.poller)
        self._running: set[LocalExecution] = set()
        descriptors.keep_private()
        descriptors.raise_limit()
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._young: list[LocalExecution] = []
        self._older: list[LocalExecution] = []
        self._growing: asyncio.TimerHandle | None = None

    def start(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        """Start the process now. See `protocol.Executor`."""
        execution = LocalExecution(self._facilities, request, on_end, self._running.discard)
        self._running.add(execution)
        refusal = self._place_files(request)
        if refusal is None and request.box is not None and request.box.args:
            self._start_in_box(execution, request, request.box)
            return execution
        spawned = NotStarted(refusal) if refusal else self._spawn(request)
        if isinstance(spawned, NotStarted):
            self._loop.call_soon(execution.not_started, spawned.message)
        else:
            execution.begin(spawned)
            self._let_grow(execution)
        return execution

    def _spawn(self, request: ExecutionRequest) -> Spawned | NotStarted:
        if request.box is not None and request.box.rules is not None:
            return ruled.start(request, request.box.rules, self._null)
        return spawn(request.argv, request.env, request.cwd, self._null)

    def _start_in_box(self, execution: LocalExecution, request: ExecutionRequest, box: BoxRequest) -> None:
        started = self._boxes.start(request, box, self._null)
        if isinstance(started, NotStarted):
            self._loop.call_soon(execution.not_started, started.message)
        else:
            execution.begin(*started)
            self._let_grow(execution)

    def adopt(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        """Nothing of this host outlives its controller. Errors: NotImplementedError."""
        raise NotImplementedError(request.run)

    def close(self) -> None:
        """Kill what still runs, without telling anybody, and let go of everything. A second call does nothing."""
        for execution in self._running:
            execution.abandon()
        self._running.clear()
        if self._growing is not None:
            self._growing.cancel()
        self._boxes.close()
        self._facilities.poller.close()
        self._facilities.scanner.close()
        self._facilities.logs.close()
        if self._null >= 0:
            os.close(self._null)
            self._null = -1

    def _place_files(self, request: ExecutionRequest) -> str | None:
        """Make the run's private folder, if it needs one; what prevented it."""
        if not request.files:
            return None
        private = self._facilities.private
        return private.fill(request.run, request.files) if private is not None else "no run gets files here"

    def _let_grow(self, execution: LocalExecution) -> None:
        self._young.append(execution)
        if self._growing is None:
            self._growing = self._loop.call_later(_YOUNG, self._grow)

    def _grow(self) -> None:
        """Look after those that have lived through a whole period."""
        for execution in self._older:
            execution.grown()
        self._older, self._young = self._young, []
        self._growing = self._loop.call_later(_YOUNG, self._grow) if self._older else None
