"""What cannot be started, and what people are told about it."""

import asyncio
import os
import resource
from pathlib import Path

import pytest

from controller.executors.protocol import ExecutionResult
from tests.integration.executors.conftest import Runner, descriptors


def _not_started(result: ExecutionResult) -> str:
    assert result.start_error is not None
    assert (result.exit_code, result.signal) == (None, None)
    assert result.stdout == result.stderr == b""
    return result.start_error


def _script(folder: Path, name: str, text: str, mode: int = 0o755) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return str(path)


async def test_a_missing_shell_is_a_failed_start(run: Runner) -> None:
    """With the full path that was tried."""
    message = _not_started(await run("/bin/no-such-shell", "-c", "true"))
    assert message.startswith("command not found: there is no file '/bin/no-such-shell'")


async def test_a_command_that_is_in_no_folder_of_path_is_named_with_the_path(run: Runner) -> None:
    """The path is that of the run, not of the controller."""
    message = _not_started(await run("no-such-command", env={"PATH": "/opt/a:/opt/b"}))
    assert message.startswith("command not found: 'no-such-command' is in no folder of PATH (/opt/a:/opt/b)")


async def test_a_command_is_looked_for_in_the_path_of_the_run(run: Runner) -> None:
    """A job that sets PATH means it."""
    _script(run.folder, "only-here", "#!/bin/sh\necho found\n")
    assert (await run("only-here", env={"PATH": str(run.folder)})).stdout == b"found\n"


async def test_a_file_that_is_not_executable_says_so(run: Runner) -> None:
    """Root is refused as well when no execute bit is set."""
    path = _script(run.folder, "plain", "#!/bin/sh\n", mode=0o644)
    assert f"'{path}' is not executable" in _not_started(await run(path))
    assert f"'{run.folder}' is not executable" in _not_started(await run(str(run.folder)))


async def test_a_script_without_interpreter_line_says_what_it_needs(run: Runner) -> None:
    """The kernel's `Exec format error` helps nobody."""
    path = _script(run.folder, "bare", "echo hello\n")
    assert "'#!'" in _not_started(await run(path))


async def test_a_missing_interpreter_is_not_blamed_on_the_script(run: Runner) -> None:
    """The kernel says `No such file` of a file that is there."""
    path = _script(run.folder, "strange", "#!/opt/no/such/interpreter\n")
    assert f"'{path}' exists, but the interpreter that it names" in _not_started(await run(path))


@pytest.mark.parametrize("argv", [("/bin/true",), ("true",)])
async def test_a_missing_working_folder_is_named(run: Runner, argv: tuple[str, ...]) -> None:
    """And not mistaken for a missing program."""
    message = _not_started(await run(*argv, cwd=str(run.folder / "gone")))
    assert (
        message == f"the working directory '{run.folder / 'gone'}' does not exist: create it, or change spec.workingDir"
    )
    (run.folder / "file").touch()
    assert "is not a directory" in _not_started(await run(*argv, cwd=str(run.folder / "file")))


@pytest.mark.parametrize("cwd", [None, "/"])
async def test_an_argument_that_is_too_long_says_what_to_do(run: Runner, cwd: str | None) -> None:
    """Linux takes 128 KiB for one argument."""
    assert "put it into a file" in _not_started(await run.script("#" * 200_000, cwd=cwd))


@pytest.mark.parametrize("cwd", [None, "/"])
async def test_what_no_process_can_be_given_is_refused(run: Runner, cwd: str | None) -> None:
    """NUL bytes in arguments or values, `=` in a name, no command at all."""
    assert "cannot start '/bin/echo'" in _not_started(await run("/bin/echo", "a\0b", cwd=cwd))
    assert "cannot start '/bin/echo'" in _not_started(await run("/bin/echo", env={"A": "b\0c"}, cwd=cwd))
    assert "cannot start '/bin/echo'" in _not_started(await run("/bin/echo", env={"A=B": "c"}, cwd=cwd))
    assert "command is empty" in _not_started(await run(cwd=cwd))


async def test_a_controller_without_free_descriptors_says_so_and_recovers(run: Runner) -> None:
    """The limit is named; runs that go on are not harmed, and the next start works."""
    _, going_on = run.start(run.request(script="sleep 0.3; echo still there"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(descriptors())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    held = []
    try:
        while True:
            try:
                held.append(os.dup(0))
            except OSError:
                break
        result = await run.script("true")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)
    assert f"no free file descriptors (limit {highest + 1})" in _not_started(result)
    assert (await going_on).stdout == b"still there\n"
    assert (await run.script("true")).exit_code == 0


async def test_failed_starts_leave_no_descriptor_behind(run: Runner) -> None:
    """A job that can never start may try for months."""
    await run("/nonexistent")
    before = len(descriptors())
    await asyncio.gather(*(run("/nonexistent", cwd=cwd) for cwd in (None, "/", "/nonexistent") * 20))
    assert len(descriptors()) == before


async def test_stopping_what_never_started_does_nothing(run: Runner) -> None:
    """The end is on its way already."""
    execution, ended = run.start(run.request("/nonexistent"))
    assert execution.handle is None
    execution.stop("cancelled")
    result = await ended
    assert result.start_error is not None
    assert not result.cancelled
