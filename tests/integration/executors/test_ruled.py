"""Boxes that Landlock keeps: what a contract lists is had, what it does not is not, and the controller itself is as free as before."""

import asyncio
import ctypes
import os
import platform
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from controller.base.clock import SystemClock
from controller.domain.abilities import Ability, Means, means
from controller.domain.trust import Box, Enforcement, NetworkMode, Profile
from controller.executors import abilities, box, landlock, orphans, outputs, ruled, seccomp
from controller.executors.local import LocalExecutor
from controller.executors.private_files import PrivateFiles
from controller.executors.protocol import BoxRequest, ExecutionResult, Handle
from controller.executors.spawn import NotStarted, Spawned
from tests.integration.executors.boxes import NO_NETWORK, WITHOUT_BUBBLEWRAP, inside, needs_landlock, run_inside
from tests.integration.executors.conftest import DEADLINE, Runner, living, until
from tests.integration.executors.test_private_files import place, private
from tests.integration.executors.test_whole_tree import SHORT

pytestmark = needs_landlock

__all__ = ["place", "private"]  # fixtures

NOTHING = Box(read=())
OFFLINE = Box(read=(), network=NetworkMode.Nothing)
EVERY = pytest.mark.parametrize("wanted", [NOTHING, NO_NETWORK, OFFLINE], ids=["paths", "network", "both"])


async def said(run: Runner, wanted: Box, script: str, **fields: object) -> list[str]:
    """The lines that a script prints in a box of Landlock; it succeeds."""
    result = await run_inside(run, wanted, script, WITHOUT_BUBBLEWRAP, **fields)
    assert (result.exit_code, result.start_error, result.note) == (0, None, None), result
    return result.stdout.decode().splitlines()


@EVERY
async def test_its_end_is_told_as_it_was(run: Runner, wanted: Box) -> None:
    """Exit codes, and signals as signals: there is nobody in between."""
    for code in (0, 3, 137, 255):
        result = await run_inside(run, wanted, f"exit {code}", WITHOUT_BUBBLEWRAP)
        assert (result.exit_code, result.signal, result.note) == (code, None, None)
    result = await run_inside(run, wanted, "kill -KILL $$", WITHOUT_BUBBLEWRAP)
    assert (result.exit_code, result.signal, result.note) == (None, "SIGKILL", None)


@EVERY
async def test_outputs_reach_the_controller(run: Runner, wanted: Box) -> None:
    """The one file that is written outside, also anew; what nothing was written to goes as well."""
    result = await run_inside(
        run, wanted, "echo a=b >> $JOBWARDEN_OUTPUT; echo c=d > $JOBWARDEN_OUTPUT", WITHOUT_BUBBLEWRAP
    )
    assert result.outputs == {"c": "d"}
    await run_inside(run, wanted, "true", WITHOUT_BUBBLEWRAP)
    await until(
        lambda: not list(run.folder.glob("*.outputs*")), "the files go with the runs, and the folders beside them"
    )


@EVERY
async def test_no_descriptor_of_the_controller_is_there(run: Runner, wanted: Box) -> None:
    """Neither the rules nor what they were made of."""
    script = 'n=3; while [ $n -lt 60 ]; do (eval "true <&$n") 2>/dev/null && echo $n; n=$((n+1)); done; cat; echo end'
    assert await said(run, wanted, script) == ["end"]


async def test_home_and_temporary_files_are_its_own_and_vanish(run: Runner) -> None:
    """In a folder that nobody else enters, in which it begins."""
    script = "pwd; echo $HOME; echo $TMPDIR; stat -c %a .; mktemp; mkdir -p a/b; echo x > a/b/c; ls"
    home, *rest = await said(run, NOTHING, script, env={"HOME": "/home/u"})
    assert home == outputs.home(run.folder / f"run-{os.getpid()}-{run.folder.name}-1.outputs")
    assert rest[:3] == [home, home, "700"]
    assert rest[3].startswith(f"{home}/tmp.")
    await until(lambda: not Path(home).exists(), "it goes with the run")


def test_what_a_dead_controller_has_left_of_them_is_removed(tmp_path: Path) -> None:
    """With the file for outputs, whose run both belong to."""
    path = tmp_path / "run-1"
    Path(outputs.home(path)).mkdir()
    (Path(outputs.home(path)) / "x").write_text("temporary")
    assert outputs.left(tmp_path) == ["run-1"]
    outputs.remove(tmp_path, ["run-1"])
    assert list(tmp_path.iterdir()) == []


async def test_what_is_listed_is_had(run: Runner, tmp_path: Path) -> None:
    """Folders with all below them, and single files: read, executed, written, moved between what may be written."""
    for name in ("read", "write", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "read/tool").write_text("#!/bin/sh\necho tool\n")
    (tmp_path / "read/tool").chmod(0o755)
    (tmp_path / "one").write_text("one\n")
    (tmp_path / "two").write_text("two\n")
    wanted = Box(
        read=(str(tmp_path / "read"), str(tmp_path / "one")),
        write=(str(tmp_path / "write"), str(tmp_path / "other"), str(tmp_path / "two")),
    )
    script = """
    cd $T; read/tool; ls read; cat one two; echo more >> two; cat two
    echo x > write/x; mv write/x other/y; ln other/y other/z; ln -s y other/l; mkfifo write/f; rm other/y; cat other/z; : > other/z; rmdir write/no 2>/dev/null
    for one in read/tool one; do { echo no > $one; } 2>/dev/null || echo kept; done
    rm -f read/tool one 2>/dev/null || echo kept
    """
    env = {"T": str(tmp_path)}
    assert await said(run, wanted, script, env=env) == ["tool", "tool", "one", "two", "two", "more", "x", *["kept"] * 3]


async def test_the_system_and_its_devices_are_there(run: Runner) -> None:
    """As bubblewrap shows them, but /proc, pseudoterminals and shared memory."""
    script = """
    ls /usr/bin > /dev/null && cat /etc/passwd > /dev/null && echo system
    head -c 4 /dev/urandom | wc -c; head -c 2 /dev/zero | wc -c; echo x > /dev/null; echo y > /dev/stdout
    for one in /proc/self/status /dev/ptmx /etc/shadow; do cat $one > /dev/null 2>&1 && echo $one; done
    for one in /proc /dev /dev/shm /sys/kernel /run /tmp; do ls $one > /dev/null 2>&1 && echo $one; done
    true
    """
    assert await said(run, NOTHING, script) == ["system", "4", "2", "y"]


async def test_credentials_in_memory_are_read_and_not_changed(run: Runner, private: PrivateFiles, place: Path) -> None:
    """Also those that come later; they go with the run."""
    executor = LocalExecutor(SystemClock(), private=private)
    request = run.request(
        script='cd "$CREDENTIALS_DIRECTORY"; cat token; echo x 2>/dev/null > token || echo kept; rm -f token 2>/dev/null || echo kept; ls ..'
    )
    folder = private.path(request.run)
    assert isinstance(folder, Path)
    env = {**request.env, "CREDENTIALS_DIRECTORY": str(folder)}
    made = box.request(
        NOTHING, box.Place(env, output=str(request.output_path), folders=(str(folder),)), WITHOUT_BUBBLEWRAP
    )
    assert isinstance(made, BoxRequest)
    ended: asyncio.Future[ExecutionResult] = asyncio.get_running_loop().create_future()
    executor.start(msgspec.structs.replace(request, env=env, files={"token": b"narrow\n"}, box=made), ended.set_result)
    result = await asyncio.wait_for(ended, DEADLINE)
    assert result.stdout == b"narrow\nkept\nkept\n", result
    await until(lambda: not folder.exists(), "it goes with the run")
    executor.close()


async def test_the_controller_is_not_bound_by_what_it_starts(run: Runner) -> None:
    """Not one of its threads, neither while a box is there nor later."""
    execution, ended = run.start(inside(run, OFFLINE, script="echo ready; sleep 600", here=WITHOUT_BUBBLEWRAP))
    await until(lambda: execution.output_bytes, "it runs")
    _assert_free(run.folder)
    execution.stop("test")
    await ended
    await asyncio.to_thread(_assert_free, run.folder)
    assert [one.name for one in threading.enumerate() if one.name == "jobwarden-box"] == []


def _assert_free(folder: Path) -> None:
    for thread in Path("/proc/self/task").iterdir():
        status = (thread / "status").read_text()
        assert "NoNewPrivs:\t0" in status
        assert "Seccomp:\t0" in status
    for family in (socket.AF_UNIX, socket.AF_INET):
        socket.socket(family).close()
    (folder / "free").write_text("x")
    (folder / "free").chmod(0o600)
    os.utime(folder / "free")
    assert list(Path("/proc").iterdir())


async def test_who_ignores_term_is_killed_with_all_it_started(run: Runner) -> None:
    """A scope for signals holds those inside, not the controller."""
    script = "trap '' TERM; setsid sleep 664 & echo ready; while :; do sleep 1; done"
    execution, ended = run.start(inside(run, OFFLINE, script=script, grace=SHORT, here=WITHOUT_BUBBLEWRAP))
    await until(lambda: execution.output_bytes, "it listens")
    execution.stop("test")
    result = await ended
    assert (result.exit_code, result.signal, result.survivors) == (None, "SIGKILL", 0)
    assert living(result.run) == []


async def test_an_executor_that_closes_takes_its_runs_and_their_folders_with_it(run: Runner) -> None:
    """At once, and nobody is told."""
    script = "echo x > temporary; echo ready; trap '' TERM; sleep 667; sleep 667"
    execution, ended = run.start(inside(run, OFFLINE, script=script, here=WITHOUT_BUBBLEWRAP))
    await until(lambda: execution.output_bytes, "it runs")
    run.executor.close()
    await until(lambda: not living(execution.request.run), "everything has ended")
    assert not ended.done()
    await until(lambda: not list(run.folder.glob("*.outputs*")), "its folder goes as well")


async def test_two_boxes_cannot_reach_each_other(run: Runner) -> None:
    """Each is a domain of its own, also of the same contract."""
    first, ended = run.start(inside(run, OFFLINE, script="echo ready; sleep 600", here=WITHOUT_BUBBLEWRAP))
    await until(lambda: first.output_bytes, "it runs")
    assert first.handle is not None
    assert await said(run, OFFLINE, f"kill -KILL {first.handle.pid} 2>/dev/null || echo kept") == ["kept"]
    first.stop("test")
    assert (await ended).signal == "SIGTERM"


async def test_many_at_once(run: Runner) -> None:
    """Each by a thread of its own, and each ends by itself or by its timeout."""
    quick = [inside(run, OFFLINE, script=f"exit {n}", here=WITHOUT_BUBBLEWRAP) for n in range(10)]
    slow = [
        inside(run, NOTHING, script="sleep 600", timeout=timedelta(seconds=1), here=WITHOUT_BUBBLEWRAP)
        for _ in range(10)
    ]
    results = await asyncio.gather(*(run.start(request)[1] for request in quick + slow))
    assert [result.exit_code for result in results[:10]] == list(range(10))
    assert all(result.timed_out and result.survivors == 0 for result in results[10:])


PYTHON = Path(sys.executable).resolve()


async def test_sockets_are_those_whose_names_are_no_files(run: Runner) -> None:
    """Without a network none at all. A pair of the connected sorts is a pipe, and stays."""
    listening = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0jobwarden-{run.folder}")
    abstract.listen()
    code = """
import socket, sys
for attempt in sys.argv[1].split(';'):
    try:
        eval(attempt)
        print('yes')
    except OSError:
        print('no')
"""
    attempts = ";".join(
        (
            *(f"socket.socket({family}, 2)" for family in (1, 2, 10, 16)),
            *(f"socket.socketpair(type={kind})" for kind in (1, 5, 2)),
            f"socket.create_connection(('127.0.0.1', {listening.getsockname()[1]}))",
        )
    )
    script = f'{PYTHON} -I -S -c "$CODE" "$ATTEMPTS"'
    env = {"CODE": code, "ATTEMPTS": attempts}
    python = (str(PYTHON.parents[1]),)
    online = await said(run, Box(read=python), script, env=env)
    offline = await said(run, Box(read=python, network=NetworkMode.Nothing), script, env=env)
    whole = await said(run, NO_NETWORK, script, env=env)
    assert online == ["no", "yes", "yes", "yes", "yes", "yes", "no", "yes"]
    assert offline == whole == ["no"] * 4 + ["yes", "yes", "no", "no"]
    listening.close()
    abstract.close()


async def test_where_only_the_network_is_limited_files_are_as_they_are(run: Runner) -> None:
    """Read, written, moved, their modes changed; but for /proc, which is not to be written with bubblewrap either."""
    script = f"""
    cd {run.folder}; echo x > a; mkdir b; mv a b/c; chmod 640 b/c; touch -d @0 b/c; stat -c '%a %Y' b/c; echo $HOME
    cat /proc/self/comm; {{ echo 0 > /proc/self/oom_score_adj; }} 2>/dev/null || echo kept
    """
    lines = await said(run, NO_NETWORK, script, env={"HOME": "/home/u"})
    assert lines == ["640 0", "/home/u", "cat", "kept"]


async def test_what_cannot_be_told_apart_is_refused_where_files_are_limited(run: Runner) -> None:
    """Modes, owners, times and attributes, by a name or a descriptor: the program hears of it, and nothing is changed."""
    script = """
    echo x > file; before=$(stat -c '%a %Y %u' file)
    for one in 'chmod 777 file' 'touch -d @0 file' 'chown 1 file' 'cp -p file copy'; do $one 2>/dev/null && echo "$one"; done
    test "$before" = "$(stat -c '%a %Y %u' file)" && echo same; cat copy
    """
    assert await said(run, NOTHING, script) == ["same", "x"]


async def test_a_program_outside_is_told_as_that(run: Runner, tmp_path: Path) -> None:
    """And leaves nothing of a run that there never was."""
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    for argv, words in (
        (
            str(tmp_path / "tool"),
            f"cannot start '{tmp_path}/tool' in the box: Permission denied; a box shows the system's",
        ),
        ("no-such-program", "command not found: 'no-such-program'"),
    ):
        result = await run.start(inside(run, NOTHING, argv, here=WITHOUT_BUBBLEWRAP))[1]
        assert (result.exit_code, result.signal) == (None, None)
        assert (result.start_error or "").startswith(words)
    assert list(run.folder.glob("*.outputs*")) == []


async def test_a_name_means_the_first_program_of_that_name_in_the_box(run: Runner, tmp_path: Path) -> None:
    """As with bubblewrap, where a folder of PATH that is not listed is not there."""
    (tmp_path / "uname").write_text("#!/bin/sh\necho outside\n")
    (tmp_path / "uname").chmod(0o755)
    request = inside(run, NOTHING, "uname", env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, here=WITHOUT_BUBBLEWRAP)
    result = await run.start(request)[1]
    assert (result.exit_code, result.stdout) == (0, b"Linux\n")


async def test_a_listed_path_that_has_become_a_link_is_not_followed(run: Runner, tmp_path: Path) -> None:
    """Between the look at it and the start; nor one that lies behind a link by now."""
    (tmp_path / "folder/inner").mkdir(parents=True)
    for listed in (tmp_path / "folder", tmp_path / "folder/inner"):
        request = inside(run, Box(write=(str(listed),)), script="true", here=WITHOUT_BUBBLEWRAP)
        (tmp_path / "folder").rename(tmp_path / "elsewhere")
        (tmp_path / "folder").symlink_to("elsewhere")
        result = await run.start(request)[1]
        assert result.start_error == (
            f"the box could not be made: {listed}: it is, or lies behind, a symbolic link by now: list the target itself, if that is meant"
        )
        (tmp_path / "folder").unlink()
        (tmp_path / "elsewhere").rename(tmp_path / "folder")


@pytest.mark.parametrize("cwd", ["/tmp", "/root", "/var/lib"])
def test_a_working_directory_that_is_not_listed_is_refused(cwd: str) -> None:
    """Also /tmp, which is not its own here."""
    refused = box.request(NOTHING, box.Place({"HOME": "/root"}, cwd=cwd), WITHOUT_BUBBLEWRAP)
    assert isinstance(refused, str)
    assert f"'{cwd}' is not visible in the box" in refused


@pytest.mark.parametrize(
    "wanted",
    [
        Box(profile=Profile.Restricted),
        Box(profile=Profile.Isolated),
        Box(network=NetworkMode.Restricted, hosts=("example.com",)),
        Box(read=("/",)),
        Box(write=("/",), network=NetworkMode.Nothing),
    ],
)
def test_what_landlock_cannot_keep_is_refused_and_said(wanted: Box) -> None:
    """Nothing is tried by halves under Block; under Warn what can be kept is, and the rest is told."""
    refused = box.request(wanted, box.Place({}), WITHOUT_BUBBLEWRAP)
    assert isinstance(refused, str)
    assert "there is no bubblewrap: install" in refused
    assert "keeps no profile, no hosts and no '/', only lists of paths and `network: None`" in refused
    milder = msgspec.structs.replace(wanted, enforcement=Enforcement.Warn)
    told = box.request(milder, box.Place({}), WITHOUT_BUBBLEWRAP)
    assert isinstance(told, BoxRequest)
    assert told.note == f"not enforced: {refused}"
    assert (told.rules is not None) == (wanted.profile is Profile.Isolated or wanted.network is NetworkMode.Nothing)
    assert told.rules is None or (told.rules.network and not told.rules.files)


def _missing(monkeypatch: pytest.MonkeyPatch, version: Callable[[], int]) -> str:
    monkeypatch.setattr(landlock, "version", version)
    found = abilities.probe(None)
    assert found.landlock == 0
    assert means(NOTHING, found) is None
    return found.missing[Ability.Boxes]


def test_a_kernel_that_cannot_limit_signals_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words name the version that there is, and the kernel that has another."""
    words = _missing(monkeypatch, lambda: landlock.NEEDED - 1)
    assert (
        "nor can Landlock stand in (it is version 5 in this kernel, and signals are limited from version 6 on" in words
    )


def test_a_kernel_without_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what there is to do about it."""

    def none() -> int:
        raise OSError(95, "Landlock is turned off in the kernel")

    assert "nor can Landlock stand in (Landlock is turned off in the kernel)" in _missing(monkeypatch, none)


def test_what_was_not_refused_when_tried_is_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems say yes to everything."""
    monkeypatch.setattr(landlock, "enter", lambda _ruleset, _program: None)
    assert "what it should refuse was not refused" in _missing(monkeypatch, lambda: landlock.NEEDED)


def test_where_bubblewrap_lacks_only_a_network_landlock_shuts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each box by one means, whole."""
    half = msgspec.structs.replace(
        WITHOUT_BUBBLEWRAP, missing={Ability.NoNetwork: "x", Ability.Hosts: "x"}, bubblewrap="/bwrap"
    )
    assert means(NO_NETWORK, half) is Means.Landlock
    assert means(NOTHING, half) is Means.Bubblewrap
    assert means(Box(profile=Profile.Restricted, network=NetworkMode.Nothing), half) is None


async def test_a_thread_that_cannot_be_bound_starts_nothing(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses its filter, for instance."""
    monkeypatch.setattr(seccomp, "of_this_machine", lambda _alone: b"\0" * 7)
    ruled._program.cache_clear()
    result = await run.start(inside(run, NOTHING, script="true", here=WITHOUT_BUBBLEWRAP))[1]
    ruled._program.cache_clear()
    assert result.start_error == "the box could not be made: Invalid argument"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that other users can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.skipif(
    os.getuid() != 0 or platform.machine() not in ("x86_64", "aarch64"), reason="root is needed to become another user"
)
async def test_an_ordinary_users_boxes_are_no_weaker(run: Runner, open_folder: Path) -> None:
    """A controller has no privileges as a rule: what is its user's own is out of reach all the same."""
    (open_folder / "own").write_text("own")
    os.chown(open_folder / "own", 65534, 65534)
    (open_folder / "home").mkdir()
    script = f"id -u; pwd; cd {open_folder}; cat own; chmod 600 own; rm own; echo x > new; echo x > ~/x && cat ~/x"
    env = {"PATH": os.environ["PATH"]}
    request = run.request(script=script, env=env, output_path=None)
    rules = msgspec.structs.replace(
        box.rules(OFFLINE, box.Place(env), box.of_this_host()), home=str(open_folder / "home/run~")
    )
    (open_folder / "home").chmod(0o777)
    env["HOME"] = str(rules.home)
    request = msgspec.structs.replace(request, box=BoxRequest(rules=rules, env=env))
    started: list[Spawned | NotStarted] = []

    def as_nobody() -> None:
        libc = ctypes.CDLL(None)
        for number in {"x86_64": (119, 117), "aarch64": (149, 147)}[
            platform.machine()
        ]:  # setresgid, setresuid: of this thread alone
            assert libc.syscall(number, 65534, 65534, 65534) == 0
        with Path(os.devnull).open("rb") as nothing:
            started.append(ruled.start(request, rules, nothing.fileno()))

    thread = threading.Thread(target=as_nobody)
    thread.start()
    thread.join()
    assert isinstance(started[0], Spawned)
    os.waitpid(started[0].pid, 0)
    printed, errors = os.read(started[0].stdout, 4096).decode(), os.read(started[0].stderr, 4096).decode()
    for fd in (started[0].stdout, started[0].stderr):
        os.close(fd)
    assert printed.splitlines() == ["65534", rules.home, "x"]
    assert errors.count("ermi") + errors.count("not permitted") >= 4
    assert (open_folder / "own").read_text() == "own"
    assert not (open_folder / "new").exists()


# A controller in little: one run that Landlock keeps, in which something has left the session.
CONTROLLER = """
import asyncio, os, sys
from datetime import timedelta
import msgspec
from controller.base.clock import SystemClock
from controller.domain.trust import Box, NetworkMode
from controller.executors import abilities, box
from controller.executors.local import LocalExecutor
from controller.executors.protocol import ExecutionRequest

async def main():
    run, folder = sys.argv[1:]
    executor = LocalExecutor(SystemClock())
    env = {"PATH": os.environ["PATH"], "JOBWARDEN_RUN_ID": run, "JOBWARDEN_NAMESPACE": "tests"}
    made = box.request(Box(read=(), network=NetworkMode.Nothing), box.Place(env, output=f"{folder}/{run}"), abilities.probe(None))
    argv = ("/bin/sh", "-c", "setsid sleep 668 & echo started; sleep 668")
    request = ExecutionRequest(run=run, namespace="tests", job="job", argv=argv, env=env, timeout=timedelta(hours=1), box=made, output_path=f"{folder}/{run}")
    execution = executor.start(request, lambda result: None)
    while not execution.output_bytes:
        await asyncio.sleep(0.01)
    print(msgspec.json.encode(execution.handle).decode(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_after_kill_9_of_the_controller_all_of_it_is_found_and_ended(tmp_path: Path) -> None:
    """By its name, as a run without a box; then its private folder is removed as well."""
    name = f"ruled-{os.getpid()}"
    controller = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", CONTROLLER, name, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert controller.stdout is not None
    handle = msgspec.json.decode(await controller.stdout.readline(), type=Handle)
    await until(lambda: len(living(name)) == 3, "the shell, and both of what it starts")
    controller.kill()
    await controller.wait()
    found = await asyncio.to_thread(orphans.find, {name}, {name: handle})
    assert len(found) == 3
    ended = await asyncio.to_thread(orphans.end, found, timedelta(seconds=5))
    assert ended.survivors == ()
    assert living(name) == []
    assert Path(outputs.home(tmp_path / name)).is_dir()
    outputs.remove(tmp_path, outputs.left(tmp_path))
    assert list(tmp_path.iterdir()) == []
