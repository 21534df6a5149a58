"""How real processes end, and what their results say."""

import asyncio
import gc
import signal
import weakref
from datetime import timedelta

import pytest

from controller.executors.processes import start_ticks
from tests.integration.executors.conftest import Runner, until


@pytest.mark.parametrize("code", [0, 1, 7, 126, 127, 255])
async def test_an_exit_code_is_reported_as_it_is(run: Runner, code: int) -> None:
    """Also 126 and 127, by which a shell says that it could not run something itself."""
    result = await run.script(f"exit {code}")
    assert (result.exit_code, result.signal, result.start_error) == (code, None, None)
    assert not result.timed_out
    assert not result.cancelled
    assert (result.leftovers, result.survivors) == (0, 0)


async def test_a_command_that_the_shell_cannot_find_is_the_scripts_affair(run: Runner) -> None:
    """The shell was started and said 127; that is an exit, not a failed start."""
    result = await run.script("no-such-command-anywhere")
    assert result.exit_code == 127
    assert result.start_error is None
    assert b"not found" in result.stderr


@pytest.mark.parametrize(
    ("name", "number"), [("SIGKILL", 9), ("SIGTERM", 15), ("SIGSEGV", 11), ("SIGRTMIN", 34), ("SIG36", 36)]
)
async def test_death_by_a_signal_is_told_by_its_name(run: Runner, name: str, number: int) -> None:
    """A signal is not an exit code."""
    result = await run.script(f"ulimit -c 0; kill -{number} $$")
    assert (result.exit_code, result.signal) == (None, name)
    assert not result.timed_out
    assert not result.cancelled


async def test_an_argument_vector_meets_no_shell(run: Runner) -> None:
    """Blanks, quotes and dollars reach the program as they are."""
    result = await run("printf", "<%s>", "a b", "$HOME", "';'")
    assert result.stdout == b"<a b><$HOME><';'>"


async def test_a_process_has_nothing_to_read_and_a_session_of_its_own(run: Runner) -> None:
    """Standard input is empty, no terminal can be reached, and signals to the controller's group miss it."""
    result = await run.script("wc -c; ps -o sid=,pgid= -p $$ | tr -d '\\n'; echo \" $$\"")
    empty, ids = result.stdout.decode().split("\n")[:2]
    assert empty.strip() == "0"
    assert len(set(ids.split())) == 1


@pytest.mark.parametrize("how", ["fast", "folder"])
async def test_a_process_gets_its_own_descriptors_environment_and_signals_only(run: Runner, how: str) -> None:
    """Nothing of the controller leaks: neither variables, nor descriptors, nor ignored signals, whichever way it is started."""
    fields = {} if how == "fast" else {"cwd": "/"}
    request = run.request(
        "/bin/sh",
        "-c",
        "ls /proc/self/fd; echo; env | sort; echo; grep SigIgn /proc/self/status",
        env={"A": "1"},
        **fields,
    )
    _, ended = run.start(request)
    result = await ended
    descriptors, environment, ignored = result.stdout.decode().split("\n\n")
    # 3 is the folder that ls itself has open.
    assert descriptors.split() == ["0", "1", "2", "3"]
    names = {line.partition("=")[0] for line in environment.splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == set(request.env)
    assert int(ignored.split()[1], 16) & ((1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1)) == 0


async def test_a_working_folder_is_entered(run: Runner) -> None:
    """`workingDir` of the job; without it the controller's own."""
    folder = run.folder / "there"
    folder.mkdir()
    assert (await run.script("pwd", cwd=str(folder))).stdout.decode().strip() == str(folder)


async def test_times_and_handle_are_those_of_the_process(run: Runner) -> None:
    """The handle names the live process by start time and boot, and the duration is that of the process."""
    execution, ended = run.start(run.request(script="sleep 0.2"))
    handle = execution.handle
    assert handle is not None
    assert handle.pid == handle.pgid
    assert handle.pid_start > 0
    assert handle.boot_id
    result = await ended
    assert result.started_at == execution.started_at
    assert result.started_at < result.finished_at
    assert result.duration >= timedelta(seconds=0.2)


async def test_hundreds_end_each_with_its_own_result(run: Runner) -> None:
    """Many at once, some talkative, some failing: no result is lost, doubled or mixed up."""
    pairs = [
        run.start(run.request(script=f"echo out {n}; echo err {n} >&2; exit {n % 5}", keep_bytes=100))
        for n in range(200)
    ]
    results = await asyncio.gather(*(ended for _, ended in pairs))
    for number, ((execution, _), result) in enumerate(zip(pairs, results, strict=True)):
        assert result.run == execution.request.run
        assert result.exit_code == number % 5
        assert result.stdout == f"out {number}\n".encode()
        assert result.stderr == f"err {number}\n".encode()


async def test_a_fault_in_a_callback_harms_no_other_run(run: Runner) -> None:
    """Whoever is told may fail; the loop reports it and everybody else is told all the same."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))

    def fail(_: object) -> None:
        raise ZeroDivisionError

    run.executor.start(run.request(script="true"), fail)
    run.executor.start(run.request("/nonexistent"), fail)
    results = await asyncio.gather(*(run.script("true") for _ in range(5)))
    assert [result.exit_code for result in results] == [0] * 5
    assert [type(fault) for fault in faults] == [ZeroDivisionError] * 2


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        ("true", 60),
        ("seq 100000", 60),
        ("sleep 0.05; echo late", 60),
        ("sleep 600 & echo left", 60),
        ("sleep 600", 0.1),
    ],
)
async def test_a_run_that_has_ended_is_forgotten_at_once(run: Runner, script: str, seconds: float) -> None:
    """Its tails may be large and its like are many: they must not wait for the garbage collector."""
    request = run.request(script=script, timeout=timedelta(seconds=seconds))
    gc.collect()
    gc.disable()
    try:
        execution, ended = run.start(request)
        remains = weakref.ref(execution)
        del execution
        await ended
        await until(lambda: remains() is None, "nobody holds it")
    finally:
        gc.enable()


async def test_a_closed_executor_leaves_nothing_behind(run: Runner) -> None:
    """Closing kills what still runs and tells nobody; it is for a controller that has already given up."""
    told: list[object] = []
    execution = run.executor.start(run.request(script="sleep 600 & echo started; wait"), told.append)
    handle = execution.handle
    assert handle is not None
    run.executor.close()
    assert start_ticks(handle.pid) != handle.pid_start
    await asyncio.sleep(0)
    assert told == []
