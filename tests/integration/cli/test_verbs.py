"""What the command does: asked of a controller and of the database alone, the rows and the answers are the same."""

import json
import os
import pwd
import signal
import subprocess
import sys
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import update

from controller.domain.job import Concurrency, Parameter
from controller.store import schema
from tests.harness import wait_for
from tests.integration.cli.place import HOURLY, Place, Serving

ME = pwd.getpwuid(os.getuid()).pw_name


def test_trigger_asks_for_a_run_with_parameters_and_a_key(either: Place) -> None:
    """The second request with the same key is told so, and is no failure."""
    either.job("work", spec=msgspec.structs.replace(HOURLY, parameters=(Parameter("day"),)))
    done = either.run("trigger", "work", "-p", "day=2026-01-31", "--key", "k", "-o", "json")
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert answer["spec"]["parameters"] == {"day": "2026-01-31"}
    assert (answer["spec"]["cause"], answer["spec"]["requestedBy"]) == ("Manual", ME)
    again = either.run("trigger", "work", "--key", "k")
    assert again.returncode == 0
    assert "Skipped" in again.stdout
    assert either.count(schema.audit, verb="trigger", actor=ME) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trigger", "wrok"), "work"),
        (("trigger", "work", "-p", "nigth=1"), "nigth"),
        (("cancel", "stranger"), "stranger"),
        (("cancel", "--root", "stranger"), "stranger"),
        (("approve", "stranger"), "stranger"),
        (("reject", "stranger"), "stranger"),
        (("hold", "stranger", "--reason", "r"), "stranger"),
        (("release", "work"), "not on hold"),
        (("logs", "stranger"), "stranger"),
        (("tree", "stranger"), "stranger"),
    ],
)
def test_what_cannot_be_done_is_1_and_nothing_is_claimed(either: Place, arguments: tuple[str, ...], words: str) -> None:
    """Standard output is empty, and no row was written."""
    either.job("work")
    done = either.run(*arguments)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert words in done.stderr
    assert either.count(schema.audit) == 0


def test_a_full_backlog_is_told_at_once(either: Place) -> None:
    """As a refusal, with what to look at."""
    number = either.job("work", spec=msgspec.structs.replace(HOURLY, concurrency=Concurrency(max_queued=1)))
    either.dispatch("d-1", "work", number)
    done = either.run("trigger", "work")
    assert done.returncode == 1
    assert "backlog" in done.stderr


def test_cancel_ends_runs_waiting_dispatches_and_whole_chains(either: Place) -> None:
    """By the name of any of them."""
    number = either.job("work")
    either.ran("work-1", "work", number, state="Running", finished_at=None)
    either.dispatch("d-2", "work", number)
    either.dispatch("d-3", "work", number, root="work-1", parents=b'["work-1"]')
    assert either.run("cancel", "run/work-1").stdout == "run work-1 is being cancelled\n"
    assert either.run("cancel", "d-2").stdout == "dispatch d-2 is being cancelled\n"
    assert either.run("cancel", "--root", "work-1").returncode == 0
    assert either.count(schema.runs, cancel_requested_by=ME) == 1
    assert either.count(schema.dispatches, state="Cancelled") == 2


def test_approvals_are_decided_by_their_name_or_by_that_of_their_job(either: Place) -> None:
    """What was decided is said, and cannot be decided again."""
    number = either.job("work")
    for index in (1, 2):
        either.dispatch(f"d-{index}", "work", number, state="AwaitingApproval", approval=f"work-ask{index}")
        either.approval(f"work-ask{index}", "work", number, f"d-{index}")
    assert either.run("approve", "work").returncode == 1  # which of the two?
    done = either.run("approve", "work-ask1", "--reason", "looked at it")
    assert done.stdout == "approval work-ask1 of job work: Approved\n"
    assert either.run("reject", "work").stdout == "approval work-ask2 of job work: Rejected\n"
    assert either.run("approve", "work-ask1").returncode == 1
    shown = json.loads(either.run("get", "approval", "work-ask1", "-o", "json").stdout)
    assert shown["spec"]["decisions"][ME]["decision"] == "Approved"
    assert shown["spec"]["decisions"][ME]["reason"] == "looked at it"
    assert either.count(schema.dispatches, state="Pending") == 1


def test_a_hold_is_seen_everywhere_until_it_is_released(either: Place) -> None:
    """Reason, who and until when."""
    either.job("work")
    done = either.run("hold", "work", "--reason", "a closer look", "--until", "2h")
    assert done.stdout.startswith("job work is held until 20")
    assert "Held" in either.run("get", "jobs").stdout
    conditions = json.loads(either.run("get", "jobs", "work", "-o", "json").stdout)["status"]["conditions"]
    suspended = next(one for one in conditions if one["type"] == "Suspended")
    assert (suspended["status"], suspended["reason"]) == ("True", "Held")
    assert "a closer look" in suspended["message"]
    assert f"Held by {ME}" in either.run("explain", "work").stdout
    assert either.run("release", "work").stdout.startswith("job work is released; next at ")
    assert either.run("release", "work").returncode == 1


def test_waiting_for_a_trigger_ends_with_the_last_attempt(either: Place) -> None:
    """A failure that is tried again is not the end; a success then is one."""
    number = either.job("work")
    with _command(either, "trigger", "work", "--wait") as process:
        wait_for(lambda: either.count(schema.dispatches, state="Pending") == 1, "the dispatch")
        _open(either, "work-1", number)
        either.dispatch("d-r", "work", number, cause="Retry", root="work-1", retry_of="work-1")
        _end(either, "work-1", "Failed")
        assert process.poll() is None
        either.ran("work-2", "work", number, root="work-1", retry_of="work-1", attempt=2, cause="Retry")
        either.store.submit(
            lambda tx: tx.execute(
                update(schema.dispatches).where(schema.dispatches.c.id == "d-r").values(state="Done", run="work-2")
            )
        ).result()
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "work-2 Succeeded\n"


@pytest.mark.parametrize(("state", "words"), [("Skipped", "Skipped: Forbid"), ("Cancelled", "Cancelled: Forbid")])
def test_waiting_for_something_that_never_runs_is_1(either: Place, state: str, words: str) -> None:
    """The reason is told."""
    either.job("work")
    with _command(either, "trigger", "work", "--wait") as process:
        wait_for(lambda: either.count(schema.dispatches, state="Pending") == 1, "the dispatch")
        either.store.submit(
            lambda tx: tx.execute(update(schema.dispatches).values(state=state, reason="Forbid", ended_at=either.now))
        ).result()
        assert process.wait(60) == 1
        assert process.stdout is not None
        assert words in process.stdout.read()


def test_a_log_is_printed_byte_for_byte_from_its_file(either: Place) -> None:
    """Also what is no text; a job means its latest run."""
    number = either.job("work")
    either.ran("work-0", "work", number, cause="Manual", created_at=either.now - timedelta(hours=1), stdout=b"old")
    either.ran("work-1", "work", number, host="here", stdout=b"tail", output_truncated=True, output_bytes=5000)
    path = either.log_dir / "default/work/work-1.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\x00whole\r\n" * 20_000)
    for name in ("work-1", "work", "run/work-1"):
        done = _bytes(either, "logs", name)
        assert done.stdout == path.read_bytes()
        assert done.stderr == b""


def test_a_log_of_another_host_is_its_stored_tail_with_a_note_beside_it(either: Place) -> None:
    """Standard output has nothing that was not printed."""
    number = either.job("work")
    either.ran(
        "work-1", "work", number, host="far", stdout=b"out\n", stderr=b"err\n", output_bytes=9000, output_truncated=True
    )
    done = _bytes(either, "logs", "work-1")
    assert done.stdout == b"out\nerr\n"
    assert b"the last 8 of 9000 bytes" in done.stderr
    assert b"far" in done.stderr


def test_a_followed_log_goes_on_until_its_run_has_ended(place: Place) -> None:
    """What is printed meanwhile arrives meanwhile."""
    number = place.job("work")
    place.ran("work-1", "work", number, state="Running", finished_at=None, host="here")
    path = place.log_dir / "default/work/work-1.log"
    with Serving(place), _command(place, "logs", "work-1", "-f") as process:
        assert process.stdout is not None
        path.parent.mkdir(parents=True)
        with path.open("a") as file:
            file.write("one\n")
            file.flush()
            assert process.stdout.readline() == "one\n"
            file.write("two\n")
            file.flush()
            assert process.stdout.readline() == "two\n"
            file.write("three\n")
        _end(place, "work-1", "Succeeded")
        assert process.stdout.read() == "three\n"
        assert process.wait(60) == 0


def test_a_reader_that_goes_away_and_an_interrupt_are_quiet(place: Place) -> None:
    """No traceback for `| head` and Ctrl-C."""
    number = place.job("work")
    place.ran("work-1", "work", number, stdout=b"line\n" * 200_000)
    done = subprocess.run(
        f"{sys.executable} -m controller.cli.main logs work-1 | head -1", shell=True, env=place.environment, cwd=place.folder, capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("line\n", "")
    with _command(place, "get", "jobs", "-w") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("NAME")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == ""


def test_watching_prints_what_changes_and_not_what_only_grows_older(either: Place) -> None:
    """One line for a change, below the heading of the first list."""
    number = either.job("work")
    either.ran("work-1", "work", number, state="Running", finished_at=None)
    with _command(either, "get", "runs", "-w") as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[0] == "NAME"
        assert process.stdout.readline().split()[3] == "Running"
        _end(either, "work-1", "Failed")
        assert process.stdout.readline().split()[3] == "Failed"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""


def test_completion_offers_the_names_that_exist(place: Place) -> None:
    """Of the namespace that the line names."""
    place.job("nightly")
    place.job("other", namespace="team")
    with Serving(place):
        for words, expected in (("jobwarden trigger n", "plain,nightly\n"), ("jobwarden -n team explain o", "plain,other\n"), ("jobwarden get job n", "plain,nightly\n")):  # fmt: skip
            environment = {
                "_JOBWARDEN_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            }
            assert place.process(environment=environment).stdout == expected


def _command(place: Place, *arguments: str) -> "subprocess.Popen[str]":
    # Whoever started the tests in the background has them ignore interrupts, and what they start as well.
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "controller.cli.main", *arguments], env=place.environment, cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,  # noqa: PLW1509 - no thread holds a lock that this takes
    )  # fmt: skip


def _bytes(place: Place, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "controller.cli.main", *arguments]
    return subprocess.run(
        command, env=place.environment, cwd=place.folder, capture_output=True, check=False, timeout=120
    )


def _open(place: Place, name: str, number: int) -> None:
    """The waiting dispatch opens this run."""
    place.ran(name, "work", number, state="Running", finished_at=None, cause="Manual")
    table = schema.dispatches
    place.store.submit(
        lambda tx: tx.execute(update(table).where(table.c.state == "Pending").values(state="Done", run=name))
    ).result()


def _end(place: Place, name: str, state: str) -> None:
    table = schema.runs
    values = {"state": state, "finished_at": place.now}
    place.store.submit(lambda tx: tx.execute(update(table).where(table.c.name == name).values(**values))).result()
