"""Credentials as files: in memory, for the run alone, and gone when it has ended, whoever died in between."""

import asyncio
import os
import secrets
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.base.clock import SystemClock
from controller.base.masked_stream import Needles
from controller.executors import orphans, private_files
from controller.executors.credentials import Refreshing
from controller.executors.local import LocalExecutor
from controller.executors.private_files import NoPlace, PrivateFiles, places, sweep
from controller.executors.protocol import ExecutionResult
from controller.loops.credentials import CredentialLoop, _alive
from tests.integration.executors.conftest import DEADLINE, Runner, living, until

FILES = {"token": b"canary-token", "tls/deep/key": b"canary\0key\xff"}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is found by Linux's table of mounts")


@pytest.fixture
def place() -> Iterator[Path]:
    """A place in memory of the test's own."""
    folder = Path("/dev/shm") / f"jw-test-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def private(place: Path) -> Iterator[PrivateFiles]:
    """The folders of one controller."""
    made = PrivateFiles("me", (place,))
    yield made
    made.close()


def root_of(place: Path) -> Path:
    return place / f"jobwarden-credentials-{os.geteuid()}"


def left_in(place: Path) -> list[Path]:
    """All that is below, the folder of the user not counted."""
    return [path for path in place.rglob("*") if path != root_of(place)]


def nobody(_runs: Collection[str]) -> Collection[str]:
    return ()


# The folder


def test_files_are_for_the_owner_alone_and_read_only(private: PrivateFiles, place: Path) -> None:
    """Whatever the umask is: folders 0700, files 0400, content byte for byte."""
    before = os.umask(0o777)
    try:
        assert private.fill("run", FILES) is None
    finally:
        os.umask(before)
    folder = private.path("run")
    assert isinstance(folder, Path)
    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == FILES
    for path in (*left_in(place), root_of(place)):
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o400), path
    assert private.remove("run") is None
    private.close()
    assert left_in(place) == []


def test_without_a_place_in_memory_nothing_is_written(tmp_path: Path, place: Path) -> None:
    """A disk is refused in words; so is a file system that cannot be told, and a place that is not there."""
    mounts = tmp_path / "mountinfo"
    device = place.stat().st_dev
    mounts.write_text(f"1 2 {os.major(device)}:{os.minor(device)} / /x rw - ext4 /dev/x rw\n")
    for where in ((place,), (place / "missing",), ()):
        refused = PrivateFiles("me", where, mounts).path("run")
        assert isinstance(refused, NoPlace)
        assert "as variables" in refused.message
    assert isinstance(PrivateFiles("me", (place,), tmp_path / "nothing").path("run"), NoPlace)
    assert list(place.iterdir()) == []


def test_the_first_place_in_memory_is_taken(place: Path) -> None:
    """The user's own folder where it is one, else the one for everybody; what is configured, and nothing else, if it is."""
    assert places({"XDG_RUNTIME_DIR": "/run/user/7"}) == (Path("/run/user/7"), Path("/dev/shm"))
    assert places({"XDG_RUNTIME_DIR": "relative"}) == (Path("/dev/shm"),)
    assert places({"XDG_RUNTIME_DIR": "/run/user/7"}, Path("/mine")) == (Path("/mine"),)
    taken = PrivateFiles("me", (Path("/proc"), place)).path("run")
    assert isinstance(taken, Path)
    assert taken.is_relative_to(place)


def test_a_folder_that_somebody_has_put_there_is_not_used(place: Path, tmp_path: Path) -> None:
    """Everybody may write to /dev/shm: a link, a file, and a folder that others may enter are refused."""
    root = root_of(place)
    root.symlink_to(tmp_path)
    assert isinstance(PrivateFiles("me", (place,)).path("run"), NoPlace)
    assert list(tmp_path.iterdir()) == []
    root.unlink()
    root.mkdir(mode=0o777)
    root.chmod(0o777)
    refused = PrivateFiles("me", (place,)).path("run")
    assert isinstance(refused, NoPlace)
    assert "not this user's alone" in refused.message


def test_links_are_not_followed(private: PrivateFiles, place: Path, tmp_path: Path) -> None:
    """Neither in writing nor in removing: what a run has linked to stays."""
    (tmp_path / "precious").write_text("precious")
    folder = private.path("run")
    assert isinstance(folder, Path)
    folder.symlink_to(tmp_path)
    assert private.fill("run", FILES) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert private.fill("run", FILES) is None
    (folder / "link").symlink_to(tmp_path)
    assert private.remove("run") is None
    assert (tmp_path / "precious").read_text() == "precious"
    assert [path.name for path in root_of(place).rglob("*")] == ["me"]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(private: PrivateFiles, place: Path, tmp_path: Path) -> None:
    """Who has the old one open reads it to its end; nothing is left beside, no link is followed, and no file is made for a run that is gone."""
    assert private.fill("run-1", FILES) is None
    folder = private.path("run-1")
    assert isinstance(folder, Path)
    with (folder / "tls/deep/key").open("rb") as reader:
        assert private.replace("run-1", "tls/deep/key", b"new") is None
        assert reader.read() == FILES["tls/deep/key"]
    assert (folder / "tls/deep/key").read_bytes() == b"new"
    assert stat.S_IMODE((folder / "tls/deep/key").stat().st_mode) == 0o400
    assert len(list(folder.rglob("*"))) == 4

    (folder / "token").unlink()
    (folder / "token").mkdir()
    refused = private.replace("run-1", "token", b"new")
    assert refused is not None
    assert refused.startswith("the file 'token' of its credentials cannot be replaced")
    assert list(folder.glob(".*")) == []
    (folder / "tls/deep/key").unlink()
    (folder / "tls/deep").rmdir()
    (folder / "tls/deep").symlink_to(tmp_path)
    assert private.replace("run-1", "tls/deep/key", b"new") is not None
    assert list(tmp_path.iterdir()) == []
    private.remove("run-1")
    assert private.replace("run-1", "token", b"new") is not None
    assert left_in(place) == [folder.parent]


def test_what_a_run_has_put_there_goes_as_well(private: PrivateFiles) -> None:
    """Also what it has locked away from itself."""
    assert private.fill("run", FILES) is None
    folder = private.path("run")
    assert isinstance(folder, Path)
    (folder / "mine/locked").mkdir(parents=True)
    (folder / "mine/locked/file").write_text("x")
    (folder / "mine/locked").chmod(0)
    (folder / "mine").chmod(0o500)
    folder.chmod(0o500)
    assert private.remove("run") is None
    assert not folder.exists()


def test_what_cannot_be_removed_is_told_and_tried_again(private: PrivateFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is gone."""
    assert private.fill("run", FILES) is None

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        words = private.remove("run")
        assert words is not None
        assert "Input/output error" in words
        assert private.retry() == (words,)
    assert private.retry() == ()
    folder = private.path("run")
    assert isinstance(folder, Path)
    assert not folder.exists()


def test_several_threads_may_be_the_first_to_ask(place: Path) -> None:
    """Runs whose variables are read from files are prepared beside each other."""
    for number in range(20):
        private = PrivateFiles(f"owner-{number}", (place,))
        together = threading.Barrier(4)

        def ask(private: PrivateFiles = private, together: threading.Barrier = together) -> Path | NoPlace:
            together.wait()
            return private.path("run")

        with ThreadPoolExecutor(4) as threads:
            asked = [threads.submit(ask) for _ in range(4)]
            assert len({one.result(DEADLINE) for one in asked}) == 1
        private.close()
    assert left_in(place) == []


# Sweeping


def test_only_what_nobody_holds_is_swept(place: Path) -> None:
    """A controller that lives keeps everything, whoever sweeps; one that is gone keeps what its runs still use."""
    alive, dead = PrivateFiles("alive", (place,)), PrivateFiles("dead", (place,))
    for one in (alive, dead):
        assert one.fill("run-1", FILES) is None
        assert one.fill("run-2", FILES) is None
    os.close(dead._fd)  # as the kernel does
    swept = sweep((place, place / "missing"), lambda runs: {"run-1"} & set(runs))
    assert (swept.removed, swept.left) == (("run-2",), ())
    assert sorted(path.name for path in root_of(place).glob("*/*")) == ["run-1", "run-1", "run-2"]
    assert sweep((place,), nobody).removed == ("run-1",)
    assert sorted(path.name for path in root_of(place).iterdir()) == ["alive"]
    alive.close()
    assert sorted(sweep((place,), nobody).removed) == ["run-1", "run-2"]
    assert left_in(place) == []


def test_a_sweep_at_the_wrong_moment_takes_nothing_from_a_controller_that_starts(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making its folder and holding it: the folder is made again."""
    real = os.open
    swept = []

    def sweep_before(path: Any, *args: Any, **kwargs: Any) -> int:
        opened = real(path, *args, **kwargs)
        if path == "me" and not swept:
            swept.append(path)
            sweep((place,), nobody)
        return opened

    monkeypatch.setattr(os, "open", sweep_before)
    private = PrivateFiles("me", (place,))
    assert private.fill("run", FILES) is None
    assert swept
    assert (root_of(place) / "me/run/token").exists()
    private.close()


# Runs


@pytest.fixture
async def run(tmp_path: Path, private: PrivateFiles) -> Any:
    """A runner whose runs may have files."""
    executor = LocalExecutor(SystemClock(), private=private)
    yield Runner(executor, tmp_path)
    executor.close()


def with_files(run: Runner, private: PrivateFiles, script: str, **fields: Any) -> Any:
    """A request for the script, whose folder is known by the usual variable."""
    request = run.request(script=script, files=FILES, **fields)
    folder = private.path(request.run)
    assert isinstance(folder, Path)
    return msgspec.structs.replace(request, env={**request.env, "CREDENTIALS_DIRECTORY": str(folder)})


async def ended(run: Runner, request: Any, then: Callable[[Any], Any] = lambda _execution: None) -> ExecutionResult:
    execution, end = run.start(request)
    await until(lambda: execution.output_bytes, "it has begun")
    then(execution)
    return await asyncio.wait_for(end, DEADLINE)


@pytest.mark.parametrize(
    ("script", "fields", "then"),
    [
        ("", {}, lambda _: None),
        ("exit 3", {}, lambda _: None),
        ("kill -9 $$", {}, lambda _: None),
        ("exec sleep 600", {}, lambda execution: execution.stop("somebody")),
        ("exec sleep 600", {}, lambda execution: execution._time_out()),
        ("sleep 600 & exit 0", {"grace": timedelta(seconds=1)}, lambda _: None),
        ("mkdir $CREDENTIALS_DIRECTORY/mine; chmod 0 $CREDENTIALS_DIRECTORY/mine", {}, lambda _: None),
    ],
)
async def test_a_run_sees_its_files_and_they_are_gone_when_it_has_ended(
    run: Runner, private: PrivateFiles, place: Path, script: str, fields: dict[str, Any], then: Callable[[Any], Any]
) -> None:
    """After success, failure, a signal, cancel, timeout; with processes and files left behind."""
    # All of it at once: what ends a run comes as soon as it has printed something.
    reading = 'echo "$(cat "$CREDENTIALS_DIRECTORY/token") $(stat -c %a "$CREDENTIALS_DIRECTORY/tls/deep/key")"; '
    result = await ended(run, with_files(run, private, reading + script, **fields), then)
    assert result.stdout == b"canary-token 400\n"
    assert [path.name for path in left_in(place)] == ["me"]
    assert result.note is None


async def test_what_a_file_gets_anew_is_masked_before_it_can_be_read(run: Runner, private: PrivateFiles) -> None:
    """The old one still is; a run that has ended gets nothing."""
    script = """
    cat "$FOLDER/token"; while [ "$(cat "$FOLDER/token")" = "$OLD" ]; do sleep 0.01; done
    cat "$FOLDER/token"; echo "$OLD"; base64 "$FOLDER/token"; echo "token=$(cat "$FOLDER/token")" > "$JOBWARDEN_OUTPUT"
    """
    folder = private.path("run-1")
    request = run.request(
        script=script,
        run="run-1",
        env={"OLD": "canary-old-value", "FOLDER": str(folder)},
        files={"token": b"canary-old-value" + b"\n"},
        needles=Needles.of([b"canary-old-value"]),
    )
    execution, ended = run.start(request)
    assert isinstance(execution, Refreshing)
    await until(lambda: execution.output_bytes > 0, "the old one to be printed")
    assert execution.refresh("other", b"x") is not None
    assert execution.refresh("token", b"brand-new-value") is None
    result = await ended
    assert result.stdout == b"***\n******\n***\n"
    assert Path(str(request.log_path)).read_bytes() == result.stdout
    assert result.outputs == {"token": "***"}
    assert execution.refresh("token", b"too-late-value") is not None


async def test_a_run_that_cannot_start_leaves_no_files(run: Runner, private: PrivateFiles, place: Path) -> None:
    """Neither when the program is missing nor when the folder cannot be made."""
    missing = msgspec.structs.replace(with_files(run, private, ""), argv=("/no/such/program",))
    _, end = run.start(missing)
    assert "command not found" in str((await end).start_error)
    assert [path.name for path in left_in(place)] == ["me"]
    request = with_files(run, private, "")
    (root_of(place) / "me" / request.run).mkdir()
    _, end = run.start(request)
    assert "credentials cannot be written" in str((await end).start_error)
    assert [path.name for path in left_in(place)] == ["me"]


async def test_without_a_private_folder_a_run_with_files_does_not_start(tmp_path: Path) -> None:
    """It would start without its credentials."""
    executor = LocalExecutor(SystemClock())
    run = Runner(executor, tmp_path)
    _, end = run.start(run.request(script="touch started", files=FILES, cwd=str(tmp_path)))
    assert (await end).start_error == "no run gets files here"
    assert not (tmp_path / "started").exists()
    executor.close()


async def test_closing_the_executor_removes_the_files_of_what_still_runs(
    tmp_path: Path, private: PrivateFiles, place: Path
) -> None:
    """The way of a controller that is told to stop at once."""
    executor = LocalExecutor(SystemClock(), private=private)
    run = Runner(executor, tmp_path)
    execution, _ = run.start(with_files(run, private, "echo; exec sleep 600"))
    await until(lambda: execution.output_bytes, "it has begun")
    executor.close()
    assert [path.name for path in left_in(place)] == ["me"]


# kill -9

CONTROLLER = """
import asyncio, os, signal, sys
from datetime import timedelta
from pathlib import Path
from controller.base.clock import SystemClock
from controller.executors.local import LocalExecutor
from controller.executors.private_files import PrivateFiles
from controller.executors.protocol import ExecutionRequest

place, run, name, count, script = sys.argv[1:]
left = int(count)

def trapped(real):
    def call(*args, **kwargs):
        global left
        result = real(*args, **kwargs)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

async def main():
    private = PrivateFiles("dies", (Path(place),))
    executor = LocalExecutor(SystemClock(), private=private)
    if name != "never":
        setattr(os, name, trapped(getattr(os, name)))
    folder = private.path(run)
    env = {"PATH": os.environ["PATH"], "JOBWARDEN_RUN_ID": run, "CREDENTIALS_DIRECTORY": str(folder)}
    request = ExecutionRequest(
        run=run, namespace="tests", job="job", argv=("/bin/sh", "-c", script), env=env, timeout=timedelta(hours=1),
        files={"token": b"canary", "deep/key": b"canary"},
    )
    ended = asyncio.get_running_loop().create_future()
    executor.start(request, ended.set_result)
    await ended
    executor.close()
    private.close()

asyncio.run(main())
"""


def die(place: Path, run: str, name: str, count: int, script: str = "exit 0") -> int:
    """A controller in little that kills itself after that many calls of a function of `os`; its exit code."""
    arguments = [sys.executable, "-c", CONTROLLER, str(place), run, name, str(count), script]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(arguments, env=environment, check=False, timeout=DEADLINE).returncode


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("mkdir", 3),
        ("open", 8),
        ("write", 2),
        ("chmod", 3),
        ("fchmod", 4),
        ("posix_spawn", 1),
        ("unlink", 2),
        ("rmdir", 3),
    ],
)
async def test_whenever_a_controller_is_killed_the_next_sweep_leaves_nothing(
    place: Path, private: PrivateFiles, name: str, most: int
) -> None:
    """Between any two steps: making folders, writing, starting, removing."""
    for count in range(1, most + 1):
        run = f"run-{os.getpid()}-{name}-{count}"
        assert die(place, run, name, count) == -signal.SIGKILL, (
            f"{name} was not called {count} times: this test tests nothing"
        )
        orphans.end(orphans.find({run}), timedelta(0))
        await CredentialLoop(private, (place,)).once()
        assert [path for path in left_in(place) if path.name != "me"] == []
    assert die(place, "run-0", "never", 1) == 0
    assert [path for path in left_in(place) if path.name != "me"] == []


async def test_a_run_that_outlived_its_controller_keeps_its_files_until_it_is_ended(place: Path) -> None:
    """Another controller of the host must not take from it what it was given; recovery ends it, and the next sweep takes all."""
    run = f"run-{os.getpid()}-outlives"
    assert die(place, run, "posix_spawn", 1, "exec sleep 600") == -signal.SIGKILL
    await until(lambda: living(run), "it runs")
    assert sweep((place,), _alive) == private_files.Swept()
    assert (root_of(place) / "dies" / run / "token").read_bytes() == b"canary"
    orphans.end(orphans.find({run}), timedelta(0))
    assert sweep((place,), _alive).removed == (run,)
    assert left_in(place) == []
