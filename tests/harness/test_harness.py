"""The harness itself: a tool that cannot fail would make every test that uses it worthless."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.harness import Clock, Postgres, Receiver, Warden, job, wait_for


def post(url: str, body: object) -> int:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_condition_that_never_holds_fails_with_what_was_waited_for_and_the_context() -> None:
    """The message names the wish, the last value and the context."""
    with pytest.raises(AssertionError, match=r"in vain for rain; last seen: \[\]\nthe log"):
        wait_for(list, "rain", deadline=0.1, context=lambda: "the log")


def test_a_condition_is_asked_again_after_the_deadline_has_passed() -> None:
    """A slow machine gets one more look before the verdict."""
    answers = iter([False, "yes"])
    assert wait_for(lambda: next(answers), deadline=0) == "yes"


def test_every_test_gets_an_empty_database_of_its_own(postgres: Postgres) -> None:
    """What one test writes, another does not see."""
    with postgres.database() as one, postgres.database() as other:
        with psycopg.connect(one) as connection:
            connection.execute("CREATE TABLE seen (id int)")
        with psycopg.connect(other) as connection, pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM seen")


def test_a_receiver_keeps_what_it_is_sent_and_answers_as_it_is_told(receiver: Receiver) -> None:
    """Scripted answers come in order and the last one stays; refused requests are kept as well."""
    receiver.answer("/a", 500, 204)
    assert [post(receiver.url("/a"), number) for number in range(3)] == [500, 204, 204]
    assert receiver.deliveries("/a") == [0, 1, 2]
    assert receiver.deliveries("/b") == []


def test_a_moved_clock_is_seen_by_the_process_that_was_given_it(clock: Clock) -> None:
    """Only that process; and a later step is seen while it runs."""
    script = (
        "import datetime,sys\nfor _ in sys.stdin: print(datetime.datetime.now(datetime.UTC).isoformat(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | clock.environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for days in (0, 40, -40):
            clock.step_to(timedelta(days=days))
            process.stdin.write("\n")
            process.stdin.flush()
            seen = datetime.fromisoformat(process.stdout.readline().strip())
            assert abs(seen - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=1)


def test_an_installation_finds_and_ends_every_process_it_started() -> None:
    """Even one that left its process group."""
    with Warden() as warden:
        process = subprocess.Popen(["sleep", "600"], env=warden.environment, start_new_session=True)
        wait_for(lambda: warden.processes() == [process.pid], "the process to show its environment")
    assert process.wait(timeout=30) == -9
    assert not warden.folder.exists()


def test_documents_of_one_file_are_written_in_one_move(warden: Warden) -> None:
    """No half-written file and no leftover is ever in the watched folder."""
    path = warden.write("two", job("a"), job("b"))
    assert path.read_text().count("kind: ScheduledJob") == 2
    assert list(warden.manifests.iterdir()) == [path]
