"""What `plan` and `validate` say, without changing anything."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from controller.base.clock import SystemClock
from controller.base.errors import InvalidInput, SourceUnavailable
from controller.reconcile.desired import Desired
from controller.reconcile.pipeline import Reconciler
from controller.reconcile.preview import dry_run, validate
from controller.reconcile.records import Key
from controller.sources.directory import Directory
from controller.sources.snapshot import Hint
from controller.store.database import open_store
from tests.harness.manifests import child, job, pool

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DEADLINE = 30.0


class StillClock(SystemClock):
    def now(self):
        return NOW


def write(path, *documents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n---\n".join(json.dumps(one) for one in documents))


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"sqlite:///{tmp_path}/state.db")
    yield opened
    opened.close()


def keys(documents):
    return [document.entry.key.name for document in documents]


async def test_a_plan_tells_what_applying_would_do_and_changes_nothing(tmp_path, store):
    """Create, update, remove, next instants, errors; asked again it says the same."""
    root = tmp_path / "jobs"
    write(root / "a.yaml", job("a", schedule={"every": "1h"}), job("b"), job("c"))
    source = Directory("main", str(root))
    await Reconciler(source, store, Desired(), StillClock()).sync()
    later = NOW + timedelta(minutes=20)
    write(
        root / "a.yaml",
        job("a", schedule={"every": "1h"}, description="x"),
        job("b"),
        job("d", schedule={"cron": "0 0 * * *"}),
    )
    write(root / "e.yaml", job("e", schedule={"cron": "0 0 31 2 *"}))
    for _ in range(2):
        preview = await dry_run(Directory("main", str(root)), store, later)
        plan = preview.plan
        assert (keys(plan.create), keys(plan.update), [entry.key.name for entry in plan.remove]) == (
            ["d"],
            ["a"],
            ["c"],
        )
        assert [error.name for error in preview.errors] == ["e"]
        assert preview.fires[Key("ScheduledJob", "default", "a")][0] == NOW + timedelta(hours=1), "the anchor stays"
        assert preview.fires[Key("ScheduledJob", "default", "d")][0] == datetime(2026, 3, 2, tzinfo=UTC)


async def test_a_plan_needs_no_database(tmp_path):
    """Everything would be created."""
    write(tmp_path / "jobs" / "a.yaml", job("a"), child("b", "a"))
    preview = await dry_run(Directory("main", str(tmp_path / "jobs")), None, NOW)
    assert keys(preview.plan.create) == ["a", "b"]
    with pytest.raises(SourceUnavailable):
        await dry_run(Directory("main", str(tmp_path / "missing")), None, NOW)


def test_validate_tells_everything_that_is_wrong_across_files(tmp_path):
    """Shape, meaning, duplicates, cycles, missing names: each with its file as it was given."""
    write(tmp_path / "jobs" / "a.yaml", job("a", schedule={"cron": "x"}), job("dup"))
    write(tmp_path / "jobs" / "b.yaml", child("c", "d"), child("d", "c"), job("dup"), {"kind": "ScheduledJob", "x": 1})
    write(
        tmp_path / "c.yaml",
        child("e", "nobody"),
        job("f", concurrency={"pools": [{"name": "p", "slots": 3}]}),
        pool("p", 2),
    )
    found = validate([tmp_path / "jobs", tmp_path / "c.yaml"])
    assert {(error.name, error.reason) for error in found if error.name} == {
        ("a", "Invalid"),
        ("c", "Invalid"),
        ("d", "Invalid"),
        ("dup", "DuplicateResource"),
        ("e", "ReferenceNotFound"),
        ("f", "InsufficientSlots"),
    }
    assert {error.file for error in found} == {
        str(tmp_path / "jobs" / "a.yaml"),
        str(tmp_path / "jobs" / "b.yaml"),
        str(tmp_path / "c.yaml"),
    }
    assert all(error.line >= 1 and error.column >= 1 and error.message for error in found)
    assert not {error.name for error in validate([tmp_path / "c.yaml"], references=False)}


def test_validate_points_into_every_document_and_list_item(tmp_path):
    """Line, column and pointer of the item itself."""
    path = tmp_path / "a.yaml"
    path.write_text(
        "apiVersion: jobwarden.dev/v1alpha1\nkind: List\nitems:\n"
        "- {apiVersion: jobwarden.dev/v1alpha1, kind: ScheduledJob, metadata: {name: a}, spec: {shell: {script: x}}}\n"
        "- apiVersion: jobwarden.dev/v1alpha1\n  kind: ScheduledJob\n  metadata: {name: b}\n  spec:\n"
        "    shell: {script: x}\n    schedule:\n      cron: nonsense\n"
    )
    (error,) = validate([path])
    assert (error.name, error.line, error.column, error.pointer) == ("b", 11, 7, "/items/1/spec/schedule/cron")


def test_validate_says_what_cannot_be_read(tmp_path):
    """A missing path and a link to nothing are wrong use, not valid manifests."""
    with pytest.raises(InvalidInput, match="does not exist"):
        validate([tmp_path / "missing"])
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.yaml").symlink_to("nowhere")
    with pytest.raises(InvalidInput, match=r"a\.yaml"):
        validate([tmp_path / "jobs"])


async def test_hints_of_a_reconciler_are_joined_while_nobody_looks(tmp_path, store):
    """A burst is one sync; a conflict that another source ended wakes without any file event."""
    write(tmp_path / "one" / "a.yaml", job("a"))
    write(tmp_path / "two" / "a.yaml", job("a"))
    desired = Desired()
    one = Reconciler(Directory("one", str(tmp_path / "one")), store, desired, StillClock())
    two = Reconciler(Directory("two", str(tmp_path / "two")), store, desired, StillClock())
    hints = two.hints()
    await asyncio.wait_for(anext(hints), DEADLINE)
    await one.sync()
    assert [error.reason for error in (await two.sync()).errors] == ["OwnershipConflict"]
    (tmp_path / "one" / "a.yaml").unlink()
    await one.sync()
    assert await asyncio.wait_for(anext(hints), DEADLINE) == Hint(frozenset())
    assert (await two.sync(Hint(frozenset()))).counts.created == 1
    waiting = asyncio.ensure_future(anext(hints))
    for name in ("b", "c"):
        write(tmp_path / "two" / f"{name}.yaml", job(name))
    created = 0
    async with asyncio.timeout(DEADLINE):
        while created < 2:
            created += (await two.sync(await waiting)).counts.created
            waiting = asyncio.ensure_future(anext(hints))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await hints.aclose()


async def test_a_source_that_cannot_be_watched_is_told_and_not_swallowed(tmp_path, store, monkeypatch):
    """A defect in watching ends the hints with its own error."""
    source = Directory("one", str(tmp_path))

    async def broken():
        raise RuntimeError("no events")
        yield Hint()

    monkeypatch.setattr(source, "changes", broken)
    with pytest.raises(RuntimeError, match="no events"):
        await anext(Reconciler(source, store, Desired(), StillClock()).hints())
