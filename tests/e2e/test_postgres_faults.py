"""PostgreSQL stopped, its connections ended, the network cut: what one controller makes of it.

Decided here: an outage shorter than the lease harms no run. In a longer one the controller ends what it runs before its lease does, because another
replica may take over; `onInterruption` decides what follows. A commit whose answer was lost is found out about: what it opened is started once, what it
finished is not finished again.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.accounts import Account, marking, marks
from tests.e2e.proxy import Proxy
from tests.harness import Postgres, Warden, job, once

Make = Callable[..., Warden]


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server that this test may stop."""
    server = Postgres(tmp_path / "postgres")
    yield server
    server.start()
    server.close()


def ticking(warden: Warden, *, suspend: bool = False) -> dict[str, Any]:
    """A job that marks every second, through outages as well."""
    schedule = {"every": "1s", "catchUp": {"policy": "All"}}
    concurrency = {"policy": "Queue", "maxQueued": 1000}
    return job(
        "tick",
        marking(warden.work),
        schedule=schedule,
        suspend=suspend,
        concurrency=concurrency,
        history={"succeeded": 1000},
    )


def goes_on(warden: Warden) -> None:
    """Wait until more is run."""
    before = len(marks(warden.work))
    warden.wait_for(lambda: len(marks(warden.work)) >= before + 3, "it to go on", deadline=90)


def hears(warden: Warden, words: str, deadline: float = 60) -> None:
    """Wait until the controller says so."""
    warden.wait_for(lambda: words in warden.log.read_text(errors="replace"), f"it to say {words}", deadline=deadline)


def wind_up(warden: Warden) -> Account:
    """Let no more ticks come, let everything end, stop, and see that the books balance."""
    warden.write("tick", ticking(warden, suspend=True))
    warden.wait_for(lambda: warden.job("tick")["spec"]["suspend"], "the ticks to be suspended")
    warden.wait_for(lambda: not warden.queue(), "the queue to be empty", deadline=120)
    assert warden.stop() == 0
    account = Account(warden)
    account.check()
    account.check_instants("tick", 1)
    instants = [when for name, _, when in account.marks if name == "tick"]
    assert len(instants) == len(set(instants))
    return account


def test_a_server_that_is_restarted_harms_no_run(make_warden: Make, own_postgres: Postgres) -> None:
    """What runs goes on and is told as it ended; what was due meanwhile is made up for."""
    warden = make_warden(database=own_postgres.create_database())
    warden.write("tick", ticking(warden))
    warden.write("long", once("long", marking(warden.work, "sleep 5"), onInterruption="Fail"))
    warden.start()
    goes_on(warden)
    own_postgres.stop()
    hears(warden, "StoreUnavailable")
    assert warden.cli("get", "runs").code == 3
    own_postgres.start()
    goes_on(warden)
    account = wind_up(warden)
    assert account.crashed() == 0
    assert account.states("long") == ["Succeeded"]


def test_an_outage_longer_than_the_lease_interrupts_what_runs(make_warden: Make, own_postgres: Postgres) -> None:
    """It is ended before the lease is, and told as interrupted once the server is back; then everything goes on."""
    warden = make_warden(database=own_postgres.create_database())
    again = warden.work / "again"
    hang = marking(warden.work, f"test -e {again} || exec sleep 600")
    warden.write("jobs", once("fail", hang, onInterruption="Fail"), once("rerun", hang, onInterruption="Rerun"))
    warden.write("tick", ticking(warden))
    warden.start()
    warden.wait_for(lambda: {"fail", "rerun"} <= {name for name, _, _ in marks(warden.work)}, "both to run")
    own_postgres.stop()
    again.touch()
    warden.wait_for(lambda: len(warden.processes()) == 1, "what runs to be ended")
    own_postgres.start()
    goes_on(warden)
    account = wind_up(warden)
    assert account.states("fail") == ["Crashed"]
    assert account.states("rerun") == ["Crashed", "Succeeded"]


@pytest.mark.slow
def test_connections_that_are_ended_under_load_lose_nothing_and_repeat_nothing(
    make_warden: Make, postgres: Postgres
) -> None:
    """Hundreds of runs while every connection is ended again and again, in the middle of commits as well."""
    with postgres.database() as url:
        warden = make_warden(database=url)
        fails, reruns = [f"fail-{n}" for n in range(150)], [f"rerun-{n}" for n in range(150)]
        warden.write("fails", *(once(name, marking(warden.work, "sleep 0.2"), onInterruption="Fail") for name in fails))
        warden.write(
            "reruns", *(once(name, marking(warden.work, "sleep 0.2"), onInterruption="Rerun") for name in reruns)
        )
        over, ended, chance = threading.Event(), [0], random.Random(len(url))

        def end_connections() -> None:
            with psycopg.connect(url, autocommit=True, application_name="saboteur") as connection:
                while not over.wait(chance.uniform(0.2, 1.5)):
                    ended[0] += len(
                        connection.execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobwarden' AND datname = current_database()"
                        ).fetchall()
                    )

        warden._spawn(("--max-running", "8"))
        warden.wait_for(lambda: marks(warden.work), "it to begin")
        saboteur = threading.Thread(target=end_connections)
        saboteur.start()
        try:
            warden.wait_for(
                lambda: len(marks(warden.work)) >= 250 or ended[0] > 60, "most of it to be done", deadline=120
            )
        finally:
            over.set()
            saboteur.join()
        warden.wait_for(lambda: len({name for name, _, _ in marks(warden.work)}) == 300, "all of it to be done")
        warden.wait_for(
            lambda: all(one["status"]["state"] != "Running" for one in warden.runs()), "everything to have ended"
        )
        assert warden.stop() == 0
        account = Account(warden)
        account.check()
        assert ended[0] > 10
        assert account.crashed() == 0
        account.check_fails(*fails)
        account.check_reruns(*reruns)


@pytest.mark.parametrize("how", ["cut", "swallow"])
def test_a_network_that_is_gone_for_a_while_harms_no_run(make_warden: Make, postgres: Postgres, how: str) -> None:
    """Shorter than the lease: nothing is interrupted, nothing is lost, and it goes on by itself."""
    with postgres.database() as url, Proxy(url) as proxy:
        warden = make_warden(database=proxy.url)
        warden.write("tick", ticking(warden))
        warden.write("long", once("long", marking(warden.work, "sleep 5"), onInterruption="Fail"))
        warden.start()
        goes_on(warden)
        getattr(proxy, how)()
        time.sleep(4)
        proxy.mend()
        goes_on(warden)
        account = wind_up(warden)
        assert account.crashed() == 0
        assert account.states("long") == ["Succeeded"]
        warden.close()


@pytest.mark.slow
def test_a_black_hole_longer_than_the_lease_ends_what_runs_and_does_not_hold_up_a_stop(
    make_warden: Make, postgres: Postgres
) -> None:
    """The replica cannot prove that it lives: its runs end in time, and whoever asks it to stop is not kept waiting for the network."""
    with postgres.database() as url, Proxy(url) as proxy:
        warden = make_warden(database=proxy.url)
        warden.write("job", once("hangs", marking(warden.work, "exec sleep 600"), onInterruption="Fail"))
        warden.start()
        warden.wait_for(lambda: marks(warden.work), "it to run")
        proxy.swallow()
        warden.wait_for(lambda: len(warden.processes()) == 1, "what runs to be ended")
        code = warden.stop(deadline=150)
        assert code in (0, 3), code
        proxy.mend()
        warden.run_until_idle()
        account = Account(warden)
        account.check()
        assert account.states("hangs") == ["Crashed"]
        warden.close()


def test_a_server_that_is_away_at_the_start_is_told_in_words(make_warden: Make, own_postgres: Postgres) -> None:
    """Exit code 3 and one message, without a traceback and without a password."""
    url = own_postgres.create_database()
    own_postgres.stop()
    warden = make_warden(database=url.replace("postgres:@", "postgres:secret-word@"))
    refused = warden.cli("run", str(warden.manifests))
    assert refused.code == 3, refused
    assert "Traceback" not in refused.err
    assert "secret-word" not in refused.text
    with contextlib.suppress(Exception):
        own_postgres.start()
