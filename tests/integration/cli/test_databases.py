"""Every view and every verb on both databases: statements that one of them would not take, or would answer otherwise."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from controller.store import schema
from tests.integration.cli.place import Place


@pytest.fixture
def each(database: str | None) -> Iterator[Place]:
    """An installation on SQLite, then on PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="jw-"))
    made = Place(folder, database)
    made.source()
    yield made
    made.store.close()
    shutil.rmtree(folder, ignore_errors=True)


def test_every_view_answers_on_both_databases(each: Place) -> None:
    """As a table and as JSON, with everything in it that there can be."""
    pool = each.resource("ResourcePool", "narrow", {"slots": 2}, {})
    each.insert(schema.pools, {"id": pool, "namespace": "default", "name": "narrow", "slots": 2, "held": 1})
    target = each.resource("NotificationTarget", "team", {"webhook": {"url": "http://h"}}, {})
    each.insert(schema.targets, {"id": target, "namespace": "default", "name": "team", "spec": b"{}"})
    number = each.job("work", labels={"team": "x"}, rejection=b'{"message":"m"}')
    for minute in range(12):
        earlier = each.now - timedelta(minutes=minute)
        each.ran(f"work-{minute}", "work", number, created_at=earlier, scheduled_for=earlier)
    each.ran("work-r", "work", number, cause="Manual", state="Running", finished_at=None)
    each.insert(schema.pool_holds, {"run": "work-r", "pool": pool, "slots": 1})
    each.dispatch("d-a", "work", number, state="AwaitingApproval", approval="ask")
    each.approval("ask", "work", number, "d-a")
    each.insert(schema.waits, {"dispatch": "d-a", "key": "pool:default/narrow"})
    for noun in ("jobs", "runs", "queue", "approvals", "pools", "targets", "sources"):
        for form in ("table", "wide", "json", "name"):
            done = each.run("get", noun, "-o", form, *(["-A"] if form == "wide" else []))
            assert (done.returncode, done.stderr) == (0, ""), (noun, form, done)
            assert done.stdout
    assert each.run("get", "jobs", "-l", "team=x", "-o", "name").stdout == "job/work\n"
    for arguments in (("history", "work"), ("tree", "work-r"), ("explain", "work"), ("describe", "job", "work"), ("describe", "pool", "narrow")):  # fmt: skip
        assert each.run(*arguments).returncode == 0
    status = json.loads(each.run("get", "job", "work", "-o", "json").stdout)["status"]
    assert [one["name"] for one in status["recentRuns"]] == [f"work-{minute}" for minute in range(10)]
    assert [one["name"] for one in status["activeRuns"]] == ["work-r"]
    assert (status["queued"], status["pendingApproval"], status["ready"]) == (1, "ask", "False")
    assert each.run("get", "runs", "--limit", "3", "-o", "name").stdout.split()[-1] == "run/work-1"


def test_every_verb_does_its_work_on_both_databases(each: Place) -> None:
    """Without a controller, in a transaction of its own."""
    number = each.job("work")
    assert each.run("trigger", "work", "--key", "k").returncode == 0
    assert each.run("hold", "work", "--reason", "r").returncode == 0
    assert each.run("release", "work").returncode == 0
    each.ran("work-1", "work", number, state="Running", finished_at=None)
    assert each.run("cancel", "work-1").returncode == 0
    each.dispatch("d-a", "work", number, state="AwaitingApproval", approval="ask")
    each.approval("ask", "work", number, "d-a")
    assert each.run("approve", "ask").returncode == 0
    assert each.count(schema.audit) == 5
    assert each.run("db", "check").returncode == 0
    assert each.run("db", "backup", "copy.db").returncode == 0
