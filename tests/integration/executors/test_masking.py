"""Secrets of a run in what it prints and gives: masked in the tails, in the log, in its outputs and in words about it."""

import base64
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from controller.base.masked_stream import Needles
from controller.executors.protocol import ExecutionResult
from tests.integration.executors.conftest import Runner, until

Log = Callable[[ExecutionResult], bytes]
CANARY = "canary-7Ku/4+zzQ"
NEEDLES = Needles.of([CANARY.encode()])


async def test_nothing_that_is_kept_of_a_run_holds_its_secret(run: Runner, log_of: Log) -> None:
    """Both streams, the log, the outputs; plain, encoded, wrapped, written in two parts with a pause."""
    script = r"""
    echo "token: $TOKEN"; echo "Basic $(printf 'user:%s' "$TOKEN" | base64)"; head -c 50 /dev/zero | tr '\0' x | { cat; echo "$TOKEN"; } | base64
    printf %s "$TOKEN" | od -An -v -tx1 | tr -d ' \n'; echo; printf '%s' "${TOKEN%??????}" >&2; sleep 0.1; printf '%s\n' "${TOKEN#??????????}" >&2
    echo "token=$TOKEN" > "$JOBWARDEN_OUTPUT"
    """
    result = await run.script(script, env={"TOKEN": CANARY}, needles=NEEDLES)
    everything = b"".join((result.stdout, result.stderr, log_of(result))).replace(b"\n", b"")
    for form in (CANARY.encode(), CANARY.encode().hex().encode(), base64.b64encode(CANARY.encode())[:-4]):
        assert form not in everything
    assert result.stdout.startswith(b"token: ***\nBasic ")
    assert result.stderr == b"***\n"
    assert result.outputs == {"token": "***"}
    assert len(log_of(result)) == result.stdout_bytes + result.stderr_bytes


async def test_an_error_of_the_outputs_shows_no_part_of_a_secret(run: Runner) -> None:
    """The words quote the beginning of the line, which could cut a secret in two."""
    script = 'printf "%055d %s\\n" 0 "$TOKEN" > "$JOBWARDEN_OUTPUT"'
    result = await run.script(script, env={"TOKEN": CANARY}, needles=NEEDLES)
    assert result.outputs_error is not None
    assert "***" in result.outputs_error
    assert "cana" not in result.outputs_error


async def test_why_a_run_cannot_start_shows_no_secret(run: Runner) -> None:
    """PATH may be one, as strange as that is."""
    result = await run("no-such-program", env={"PATH": f"/{CANARY}"}, needles=NEEDLES)
    assert result.start_error is not None
    assert CANARY not in result.start_error
    assert "/***" in result.start_error


async def test_a_line_that_is_complete_can_be_followed_at_once(run: Runner) -> None:
    """What may be the beginning of a secret waits for the next bytes, and nothing else does."""
    request = run.request(script="echo tactic; read line", needles=NEEDLES)
    execution, ended = run.start(request)
    await until(lambda: execution.output_bytes == len("tactic\n"), "the line has been read")
    await ended
    assert Path(str(request.log_path)).read_bytes() == b"tactic\n"


@pytest.mark.parametrize("script", ["printf can", "printf can; exec sleep 600 &"])
async def test_the_last_words_are_not_lost(run: Runner, log_of: Log, script: str) -> None:
    """The end of a run decides what was held back, also when somebody else still has its pipe."""
    result = await run.script(script, needles=NEEDLES, grace=timedelta(seconds=1))
    assert result.stdout == b"can"
    assert log_of(result) == b"can"
