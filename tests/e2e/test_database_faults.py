"""The SQLite file under a running controller: removed, moved, replaced, read-only, locked, without space.

Decided here: while the database cannot be written nothing is opened or started. What runs goes on to its end, and how it ended is kept in memory and
written as soon as the database takes it again, so a passing fault loses nothing and repeats nothing. A file that was removed or replaced is never
written to and never made anew by a running controller; when the very same file comes back, it goes on. Stopping waits half a minute for the database,
then ends with 3, and the next start tells what was not written as interrupted. A run log that cannot be written harms no run; its row says so.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.accounts import Account, marking, marks
from tests.e2e.mounts import Mount, small
from tests.harness import Warden, job, once

Make = Callable[..., Warden]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """A file system of sixteen megabytes."""
    with small(tmp_path / "small", 16) as made:
        yield made


def ticking(warden: Warden, *, suspend: bool = False) -> dict[str, Any]:
    """A job that marks every second, through outages as well."""
    return job(
        "tick",
        marking(warden.work),
        schedule={"every": "1s", "catchUp": {"policy": "All"}},
        suspend=suspend,
        concurrency={"policy": "Queue", "maxQueued": 1000},
    )


def hears(warden: Warden, *words: str) -> None:
    """Wait until the controller says one of these."""
    warden.wait_for(
        lambda: any(word in warden.log.read_text(errors="replace") for word in words),
        f"it to say one of {words}",
        deadline=90,
    )


def goes_on(warden: Warden) -> None:
    """Wait until more is run."""
    before = len(marks(warden.work))
    warden.wait_for(lambda: len(marks(warden.work)) >= before + 3, "it to go on", deadline=90)


def wind_up(warden: Warden) -> Account:
    """Let no more ticks come, let everything end, stop, and see that the books balance."""
    warden.write("tick", ticking(warden, suspend=True))
    warden.wait_for(lambda: warden.job("tick")["spec"]["suspend"], "the ticks to be suspended")
    warden.wait_for(lambda: not warden.queue(), "the queue to be empty")
    assert warden.stop() == 0
    account = Account(warden)
    account.check()
    account.check_instants("tick", 1)
    instants = [when for name, _, when in account.marks if name == "tick"]
    assert len(instants) == len(set(instants))
    return account


def database_of(warden: Warden) -> Path:
    """The file of the default database."""
    (file,) = warden.state.rglob("jobwarden.db")
    return file


def whole(file: Path) -> list[Path]:
    """The file and what belongs to it."""
    return [
        one for one in (file, file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")) if one.exists()
    ]


def test_a_database_that_was_removed_is_not_made_anew_and_nothing_more_is_started(warden: Warden) -> None:
    """It says what has happened; commands fail with 3; stopping ends, with 3 if anything could not be written; the next start begins anew."""
    warden.write("tick", ticking(warden))
    warden.start()
    goes_on(warden)
    file = database_of(warden)
    for one in whole(file):
        one.unlink()
    hears(warden, "was removed while in use")
    before = len(marks(warden.work))
    asked = warden.trigger("tick")
    assert asked.code == 3, asked
    assert not file.exists()
    assert len(marks(warden.work)) == before
    assert warden.stop(deadline=90) in (0, 3)
    assert not file.exists()
    warden.start(applied=("tick",))
    goes_on(warden)
    assert warden.stop() == 0


def test_a_database_that_was_moved_away_and_back_is_used_again(warden: Warden) -> None:
    """Everything goes on where it was: no instant is lost, none runs twice."""
    warden.write("tick", ticking(warden))
    warden.start()
    goes_on(warden)
    file, aside = database_of(warden), warden.folder / "aside"
    aside.mkdir()
    moved = [(one, aside / one.name) for one in whole(file)]
    for one, there in moved:
        one.rename(there)
    hears(warden, "was removed while in use")
    assert not file.exists()
    for one, there in reversed(moved):
        there.rename(one)
    goes_on(warden)
    assert wind_up(warden).crashed() == 0


def test_a_database_that_was_replaced_is_not_written_to(warden: Warden) -> None:
    """Neither the old nor the new one; it says so, and a new controller takes the new one."""
    warden.write("tick", ticking(warden))
    warden.start()
    goes_on(warden)
    file, copy = database_of(warden), warden.folder / "copy.db"
    warden.cli("db", "backup", str(copy)).ok()
    kept = copy.read_bytes()
    for one in whole(file)[1:]:
        one.unlink()
    copy.replace(file)
    hears(warden, "was replaced while in use")
    before = len(marks(warden.work))
    assert warden.trigger("tick").code == 3
    assert len(marks(warden.work)) == before
    assert warden.stop(deadline=90) in (0, 3)
    assert file.read_bytes() == kept
    warden.start(applied=("tick",))
    goes_on(warden)
    assert warden.stop() == 0


def test_a_database_that_another_process_has_locked_is_waited_for(warden: Warden) -> None:
    """Ten seconds: what ran meanwhile is told as it ended, what was due meanwhile runs, and it says when it is over."""
    warden.write("tick", ticking(warden))
    warden.write("jobs", once("long", marking(warden.work, "sleep 3"), onInterruption="Fail"))
    warden.start()
    goes_on(warden)
    with closing(sqlite3.connect(database_of(warden), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        hears(warden, "locked")
        before = len(marks(warden.work))
        # Reads go on: whoever asks gets an answer.
        warden.cli("get", "runs", deadline=90).ok()
        assert len(marks(warden.work)) == before
        other.execute("ROLLBACK")
    goes_on(warden)
    hears(warden, " recovered ")
    account = wind_up(warden)
    assert account.crashed() == 0
    assert account.states("long") == ["Succeeded"]


def test_a_read_only_database_is_refused_in_words(make_warden: Make, mount: Mount) -> None:
    """Exit code 3 at the start, and nothing runs."""
    warden = make_warden(database=f"sqlite:///{mount.path}/jobs.db")
    warden.write("job", once("one", marking(warden.work)))
    warden.cli("db", "upgrade").ok()
    mount.read_only()
    refused = warden.cli("run", str(warden.manifests), "--state-dir", str(warden.state), "--until-idle")
    assert refused.code == 3, refused
    assert "read" in refused.err.lower(), refused
    assert "Traceback" not in refused.err, refused
    assert marks(warden.work) == []


def test_a_full_disk_under_the_database_loses_nothing_and_repeats_nothing(make_warden: Make, mount: Mount) -> None:
    """What ran ends as it ended, what was due is made up for once there is space, and it says when it is over."""
    warden = make_warden(database=f"sqlite:///{mount.path}/jobs.db")
    warden.write("tick", ticking(warden))
    warden.write("long", once("long", marking(warden.work, "sleep 3"), onInterruption="Fail"))
    warden.start("--state-dir", str(warden.state))
    warden.wait_run("tick", "Succeeded", count=2)
    mount.fill()
    warden.write("late", once("late", marking(warden.work), onInterruption="Fail"))
    hears(warden, "disk is full", "disk I/O")
    assert warden.process is not None
    mount.free()
    goes_on(warden)
    warden.wait_run("late", "Succeeded")
    hears(warden, " recovered ")
    account = wind_up(warden)
    assert account.crashed() == 0
    assert account.states("long") == account.states("late") == ["Succeeded"]


def test_dying_on_a_full_disk_is_put_right_once_there_is_space(make_warden: Make, mount: Mount) -> None:
    """A start without space is refused in words; one with space resolves what was open."""
    warden = make_warden(database=f"sqlite:///{mount.path}/jobs.db")
    again = warden.work / "again"
    work = marking(warden.work, f"test -e {again} || exec sleep 600")
    warden.write("jobs", once("fail", work, onInterruption="Fail"), once("rerun", work, onInterruption="Rerun"))
    warden.start("--state-dir", str(warden.state))
    warden.wait_for(lambda: len(marks(warden.work)) == 2, "both to run")
    mount.fill()
    warden.kill9()
    again.touch()
    refused = warden.cli("run", str(warden.manifests), "--state-dir", str(warden.state), "--until-idle", deadline=120)
    assert refused.code == 3, refused
    assert "Traceback" not in refused.err, refused
    mount.free()
    warden.run_until_idle("--state-dir", str(warden.state))
    account = Account(warden)
    account.check()
    assert account.states("fail") == ["Crashed"]
    assert account.states("rerun") == ["Crashed", "Succeeded"]


def test_a_full_disk_under_the_run_logs_harms_no_run(warden: Warden, mount: Mount) -> None:
    """The run succeeds, its tail is kept, its row says that the log is incomplete, and later logs are whole again."""
    warden.write("jobs", job("loud", marking(warden.work, "head -c 300000 /dev/zero | tr '\\\\0' x; echo the end")))
    warden.start("--log-dir", str(mount.path), applied=("loud",))
    mount.fill()
    warden.trigger("loud", "--wait").ok()
    (run,) = warden.wait_run("loud", "Succeeded")
    assert "log" in (run["status"]["message"] or ""), run["status"]
    assert run["status"]["output"]["stdout"].endswith("the end\n")
    mount.free()
    warden.trigger("loud", "--wait").ok()
    later = warden.wait_run("loud", "Succeeded", count=2)[-1]
    assert not later["status"]["message"], later["status"]
    assert len(warden.cli("logs", later["metadata"]["name"]).ok().out) > 300_000
    assert warden.stop() == 0


def test_a_damaged_database_is_refused_in_words(warden: Warden) -> None:
    """Something that is no database is neither overwritten nor a traceback."""
    warden.write("job", once("one", marking(warden.work)))
    warden.run_until_idle()
    file = database_of(warden)
    shutil.copy(file, warden.folder / "kept")
    file.write_bytes(b"this is no database" * 1000)
    refused = warden.cli("run", str(warden.manifests), "--until-idle")
    assert refused.code == 3, refused
    assert "Traceback" not in refused.err, refused
    assert file.read_bytes().startswith(b"this is no database")
    assert warden.cli("get", "runs").code == 3
