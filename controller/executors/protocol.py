"""What dispatch hands to an executor, and what it gets back.

`dispatch` makes an `ExecutionRequest` once the run is committed, keeps the `Execution` while it lasts, and takes the `ExecutionResult` to `finalise`.
Invariant: every accepted request ends in exactly one call of `on_end`, whatever happens to the process, the disk or the host.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from controller.base.masked_stream import Needles
from controller.domain.job import FailureReason, JobSpec
from controller.executors.credentials import Token


class PodBox(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a Pod within the box of its contract."""

    confined: bool = False  # the fields that a profile asks for are filled in
    shut: bool = False  # nothing comes in or goes out, by a NetworkPolicy that is there before the Pod
    hosts: tuple[str, ...] = ()  # what can be reached, by the egress proxy; nothing else comes in or goes out
    check_image: str | None = None  # with which the Pod sees, before anything else, that nothing else can be reached
    insists: bool = True  # where that turns out to be impossible after all, there is no Pod
    note: str | None = None  # what was asked for and is not enforced


class PodRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a Pod is made of, beside the request that carries this."""

    spec: JobSpec  # the target, its image and resources, what its variables refer to, deadlines
    values: Mapping[str, str]  # variables that anybody may see
    secrets: (
        Mapping[str, str] | None
    )  # variables that only the Pod may see; None: not looked up, since the Pod is there already
    files: Mapping[str, bytes] = {}  # relative path to content, for the Pod alone
    tokens: tuple[Token, ...] = ()  # what the kubelet puts beside these files
    box: PodBox = PodBox()

    def __repr__(self) -> str:
        return "PodRequest(***)"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What Landlock and a filter of system calls allow a process, where there is no bubblewrap. Folders stand for all that is below them."""

    files: bool = False  # what is not named below cannot be opened; else all can, and only `changed` be changed
    network: bool = False  # no network at all
    read: tuple[str, ...] = ()  # what the contract lists; never a link
    write: tuple[str, ...] = ()
    shown: tuple[
        str, ...
    ] = ()  # to be read as well: of the system, for any program, and the run's own; a link means its target
    used: tuple[str, ...] = ()  # single files: devices, and the one for outputs
    changed: tuple[str, ...] = ()
    home: str | None = None  # a private folder that is made for the run and goes with it; it begins there


class BoxRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a process of this host within the box of its contract. Neither `args` nor `rules`: nothing can be enforced here, and nobody insists."""

    args: tuple[str, ...] = ()  # bubblewrap and its options
    rules: Rules | None = None  # instead of bubblewrap
    env: Mapping[str, str] = {}  # variables that are different inside
    hosts: tuple[str, ...] | None = None  # what can be reached, through a proxy; None: there is no proxy
    note: str | None = None  # what was asked for and is not enforced


class ExecutionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One run, ready to be started: nothing is left to be looked up."""

    run: str
    namespace: str
    job: str
    argv: tuple[str, ...]  # (shell, "-c", script), or command and args
    env: Mapping[str, str]  # complete: the process sees these variables and no others
    timeout: timedelta  # from the start of the process to TERM
    grace: timedelta = timedelta(seconds=10)  # from TERM to KILL
    cwd: str | None = None  # None: the controller's own working directory
    keep_bytes: int = 65536  # tail of each stream that the result carries
    log_path: str | Path | None = (
        None  # run log, made when the first output arrives; None: no log. (A str is ten times cheaper to make.)
    )
    log_limit: int = 64 * 1024 * 1024  # bytes of output that go to the run log
    output_path: str | Path | None = (
        None  # the file that $JOBWARDEN_OUTPUT names; its folder exists, the file itself the process makes
    )
    files: Mapping[str, bytes] = {}  # relative path to content, in a private folder that is gone when the run has ended
    needles: Needles | None = None  # the secrets that the run is given: masked in whatever is kept of it
    pod: PodRequest | None = None  # run as a Pod, and not as a process of this host
    box: BoxRequest | None = None  # None: the process sees what the controller's user sees

    def __repr__(self) -> str:
        return f"ExecutionRequest({self.namespace}/{self.run})"


def masked(request: ExecutionRequest, text: str) -> str:
    """Words about a run, free of what it was given. Pure."""
    return text if request.needles is None else request.needles.mask_text(text)


class ExecutionResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one execution ended.

    Exactly one of `exit_code`, `signal`, `start_error` and `interrupted` is set. (All three are None only when the process could not even be killed: `survivors`.)
    `timed_out` and `cancelled` never hold together: whichever came first, and neither when the process had ended before.
    """

    run: str
    started_at: datetime
    finished_at: datetime
    duration: timedelta = timedelta(0)  # monotonic, unlike the difference of the two instants
    exit_code: int | None = None  # 126 and 127 of a shell are exit codes like any other
    signal: str | None = None  # "SIGKILL"
    timed_out: bool = False
    cancelled: bool = False
    stop_reason: str | None = None  # what `stop` was given
    start_error: str | None = None  # nothing was started: why, and what to do
    failure: FailureReason | None = None  # more than exit code, signal and start_error say by themselves
    interrupted: str | None = None  # neither its own doing nor anybody's wish: a Reason
    note: str | None = None  # what a person should know beside that
    stdout: bytes = b""  # last `keep_bytes` of the stream, as printed; `output.text` makes it text
    stderr: bytes = b""
    stdout_bytes: int = 0  # all that was printed
    stderr_bytes: int = 0
    truncated: bool = False  # a stream was longer than its tail
    log_bytes: int = 0  # size of the run log; 0: there is no file
    log_truncated: bool = False  # there was more output than `log_limit`
    log_error: str | None = None  # the run log is incomplete, and why
    outputs: Mapping[str, str] = {}  # from $JOBWARDEN_OUTPUT, after exit 0 only
    outputs_error: str | None = None  # the file was too large or malformed; then `outputs` is empty
    leftovers: int = (
        0  # processes beside the main one that had to be ended: left behind by it, or living on after the first TERM
    )
    survivors: int = 0  # processes that could not be ended (another user's, or stuck in the kernel)


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """What identifies the main process of a run, across a restart of the controller and the reuse of process ids."""

    pid: int
    pid_start: int  # clock ticks after boot, field 22 of /proc/pid/stat; 0: not known here
    pgid: int
    boot_id: str  # "" where the system has none
    host: str


class Execution(Protocol):
    """One started run. All methods are for the event loop's thread."""

    @property
    def request(self) -> ExecutionRequest:
        """What was started."""
        ...

    @property
    def handle(self) -> Handle | None:
        """The process; None when it could not be started, and for what is no process of this host."""
        ...

    @property
    def outlives(self) -> bool:
        """Whether it goes on without this controller, and can be taken up again by `Executor.adopt`."""
        ...

    def release(self) -> None:
        """Look after what outlives us no longer; `on_end` is not called."""
        ...

    @property
    def started_at(self) -> datetime:
        """When the process was started."""
        ...

    @property
    def last_output_at(self) -> datetime | None:
        """When the process last printed something; None until it has."""
        ...

    @property
    def output_bytes(self) -> int:
        """What was printed so far, both streams together."""
        ...

    def stop(self, reason: str, grace: timedelta | None = None) -> None:
        """End the whole process tree: TERM, grace, KILL. `grace` shortens that of the request.

        Effect: returns at once; `on_end` follows with `cancelled` and the reason. A second call, or one after the end or a timeout, does nothing.
        """
        ...


OnEnd = Callable[[ExecutionResult], None]


class Executor(Protocol):
    """Something that can run a request."""

    def start(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        """Start the run now, on the event loop's thread.

        Effect: `on_end` is called once, on the same thread, never before `start` has returned. A process that cannot be started is a result
        with `start_error`, not an exception.
        """
        ...

    def adopt(self, request: ExecutionRequest, on_end: OnEnd) -> Execution:
        """Take up a run that another controller has started and that outlived it. As `start`; what cannot be found any more ends as interrupted."""
        ...

    def close(self) -> None:
        """Let go of threads and descriptors. What still runs is killed, unless it outlives us, and its `on_end` is not called: stop and await everything first."""
        ...
