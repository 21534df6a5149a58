"""Wake-ups between replicas: NOTIFY and LISTEN on a real PostgreSQL that may go away."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from controller.base.errors import InvalidInput
from controller.store.database import open_store
from controller.store.listen import EVERYTHING, Listener, notify
from tests.harness import Postgres


class Heard:
    """Topics in order of arrival."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.topics: list[str] = []

    def __call__(self, topic: str) -> None:
        with self._changed:
            self.topics.append(topic)
            self._changed.notify_all()

    def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.topics), timeout=60), self.topics
            return list(self.topics)


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as one:
        yield one


def test_a_committed_notice_is_heard_and_an_undone_one_is_not(url: str):
    """Topics arrive with the commit, the same one once a transaction; first of all comes EVERYTHING."""
    heard = Heard()
    store = open_store(url)
    with Listener(url, heard):
        heard.until(lambda topics: topics == [EVERYTHING])

        def undone(tx):
            notify(tx, "never")
            raise RuntimeError

        with pytest.raises(RuntimeError):
            store.submit(undone).result(60)
        store.submit(lambda tx: (notify(tx, "outbox"), notify(tx, "outbox"), notify(tx, "due"))).result(60)
        topics = heard.until(lambda topics: "due" in topics)
    store.close()
    assert topics == [EVERYTHING, "outbox", "due"]


def test_many_notices_all_arrive(url: str):
    """None stays in a buffer until the next one comes."""
    heard = Heard()
    store = open_store(url)
    with Listener(url, heard):
        heard.until(lambda topics: len(topics) == 1)
        for number in range(300):
            store.submit(lambda tx, number=number: notify(tx, f"topic-{number}"))
        heard.until(lambda topics: len(topics) == 301)
    store.close()


def test_after_a_lost_connection_everything_is_told(url: str):
    """What was told meanwhile is lost, so everybody looks; then topics arrive again."""
    heard = Heard()
    store = open_store(url)
    with Listener(url, heard):
        heard.until(lambda topics: topics == [EVERYTHING])
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'jobwarden-listener' AND datname = current_database()"
            )
        heard.until(lambda topics: topics == [EVERYTHING, EVERYTHING])
        store.submit(lambda tx: notify(tx, "outbox")).result(60)
        heard.until(lambda topics: topics[-1] == "outbox")
    store.close()


def test_a_database_that_is_not_there_is_waited_for(postgres: Postgres):
    """The listener starts before the database exists and hears once it does."""
    url = postgres.create_database()
    postgres.drop_database(url)
    heard = Heard()
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    with Listener(url, heard):
        time.sleep(0.1)  # a first attempt that fails; without it the test only proves less
        assert heard.topics == []
        with psycopg.connect(url.replace(name, "postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        heard.until(lambda topics: topics == [EVERYTHING])
    postgres.drop_database(url)


def test_stopping_does_not_wait_for_a_notice(url: str):
    """The thread ends though nothing arrives."""
    heard = Heard()
    listener = Listener(url, heard)
    listener.start()
    heard.until(lambda topics: len(topics) == 1)
    listener.stop()
    assert not any(thread.name == "store-listener" for thread in threading.enumerate())


def test_on_sqlite_notices_are_nothing(tmp_path: Path):
    """Whoever writes need not ask which database it is; listening to it is refused by URL."""
    store = open_store(f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db")
    store.submit(lambda tx: notify(tx, "outbox")).result(60)
    store.close()
    with pytest.raises(InvalidInput, match="PostgreSQL"):
        Listener(f"sqlite:///{tmp_path}/x.db", lambda _topic: None)
