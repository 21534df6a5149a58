"""A folder of manifests becomes rows: what is created, changed, kept and removed, and what never is."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import select

from controller.base.clock import SystemClock
from controller.base.errors import StoreUnavailable
from controller.domain.records import Dispatch
from controller.domain.states import Cause, DispatchState
from controller.reconcile.desired import Desired
from controller.reconcile.pipeline import Reconciler
from controller.reconcile.records import CancelRequested, Counts, Key, RunRequested
from controller.sources.directory import Directory
from controller.sources.snapshot import Hint
from controller.store import dispatches, jobs, schema
from controller.store.database import open_store
from tests.harness.manifests import child, document, job, once, pool, webhook

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class StillClock(SystemClock):
    """A wall clock that moves only when told."""

    def __init__(self):
        self.at = NOW

    def now(self):
        return self.at


class World:
    """Folders, a database and one reconciler a folder."""

    def __init__(self, tmp_path, url):
        self.tmp, self.clock = tmp_path, StillClock()
        self.url = url or f"sqlite:///{tmp_path}/state.db"
        self.store = open_store(self.url)
        self.desired = Desired()
        self.reconcilers = {}
        self.obeyed = []

    def folder(self, source="main"):
        folder = self.tmp / source
        folder.mkdir(exist_ok=True)
        return folder

    def write(self, path, *documents, source="main", text=None):
        full = self.folder(source) / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text if text is not None else "\n---\n".join(json.dumps(one) for one in documents))

    def remove(self, path, source="main"):
        (self.folder(source) / path).unlink()

    def reconciler(self, source="main", **options):
        if source not in self.reconcilers:
            directory = Directory(source, str(self.folder(source)), **options)
            self.reconcilers[source] = Reconciler(
                directory, self.store, self.desired, self.clock, obey=lambda _tx, intent: self.obeyed.append(intent)
            )
        return self.reconcilers[source]

    async def sync(self, source="main", **options):
        return await self.reconciler(source, **options).sync()

    def restart(self):
        self.desired, self.reconcilers = Desired(), {}

    def rows(self, table, *where):
        return self.store.read_now(lambda tx: tx.execute(select(table).where(*where)).all())

    def names(self, table=schema.jobs):
        return sorted(row.name for row in self.rows(table))

    def job(self, name, namespace="default"):
        (row,) = self.rows(schema.jobs, schema.jobs.c.name == name, schema.jobs.c.namespace == namespace)
        return row

    def resource(self, name):
        (row,) = self.rows(schema.resources, schema.resources.c.name == name)
        return row

    def source(self, name="main"):
        (row,) = self.rows(schema.sources, schema.sources.c.name == name)
        return row

    def errors(self, name="main"):
        return [(one["file"], one["reason"]) for one in msgspec.json.decode(self.source(name).errors or b"[]")]


@contextmanager
def opened(tmp_path, url=None):
    world = World(tmp_path, url)
    try:
        yield world
    finally:
        world.store.close()


@pytest.fixture
def world(tmp_path):
    with opened(tmp_path) as one:
        yield one


def annotated(name, annotations, **spec):
    return job(
        name, metadata={"annotations": {f"jobwarden.dev/{key}": value for key, value in annotations.items()}}, **spec
    )


CRON = {"schedule": {"cron": "0 * * * *"}}


# coming, changing, going


async def test_documents_become_rows_and_lose_them_again(tmp_path, database):
    """Create, change, keep and remove, with the counts that say so; on both databases."""
    with opened(tmp_path, database) as world:
        world.write("a.yaml", job("a", **CRON), child("b", "a"), pool("p", 3), webhook("t", "https://example.org/x"))
        assert (await world.sync()).counts == Counts(created=4)
        assert (world.job("a").next_fire_at, world.job("a").schedule_text) == (NOW + timedelta(hours=1), "0 * * * *")
        assert [(row.parent, row.when) for row in world.rows(schema.triggers)] == [("a", "Succeeded")]
        assert [row.slots for row in world.rows(schema.pools)] == [3]
        before = world.resource("a")
        world.write("a.yaml", job("a", "echo", **CRON), child("b", "a", when="Failed"), pool("p", 5))
        outcome = await world.sync()
        assert outcome.counts == Counts(updated=3, removed=1)
        after = world.resource("a")
        assert (after.uid, after.generation) == (before.uid, before.generation + 1)
        assert [(row.parent, row.when) for row in world.rows(schema.triggers)] == [("a", "Failed")]
        assert [row.slots for row in world.rows(schema.pools)] == [5]
        assert not world.rows(schema.targets)
        world.write("a.yaml", child("b", "a", when="Failed"))
        assert (await world.sync()).counts == Counts(removed=2, kept=1)
        assert (world.names(), world.job("b").blocked_reason) == (["b"], "ReferenceNotFound")


async def test_reading_the_same_again_changes_nothing(world):
    """Neither in this process nor after a restart, which does not even read the files again."""
    world.write("a.yaml", job("a", **CRON), job("b"))
    await world.sync()
    before = world.rows(schema.resources), world.rows(schema.jobs)
    assert not (await world.sync()).changed
    world.restart()
    outcome = await world.sync()
    assert (outcome.changed, outcome.errors) == (False, ())
    assert world.reconciler().index.claims.keys() == world.desired.entries.keys()
    assert (world.rows(schema.resources), world.rows(schema.jobs)) == before


async def test_a_description_changes_the_generation_but_not_the_schedule(world):
    """What already fired, and what was anchored, stays as it was."""
    world.write("a.yaml", job("a", schedule={"every": "1h"}))
    await world.sync()
    before = world.job("a")
    world.clock.at += timedelta(minutes=20)
    world.write("a.yaml", job("a", schedule={"every": "1h"}, description="hourly"))
    await world.sync()
    after = world.job("a")
    for column in ("anchor_at", "fired_through", "next_fire_at", "fire_digest", "effective_digest"):
        assert getattr(before, column) == getattr(after, column)
    assert after.generation == 2


async def test_a_new_schedule_begins_at_now(world):
    """Nothing of the past is owed, except an `at` that nobody fired."""
    world.write("a.yaml", job("a", schedule={"every": "1h"}))
    await world.sync()
    world.clock.at += timedelta(minutes=20)
    world.write("a.yaml", job("a", schedule={"every": "2h"}), once("b"))
    await world.sync()
    a, b = world.job("a"), world.job("b")
    assert (a.anchor_at, a.fired_through, a.next_fire_at) == (
        world.clock.at,
        world.clock.at,
        world.clock.at + timedelta(hours=2),
    )
    assert b.next_fire_at < world.clock.at
    assert b.fired_through < b.next_fire_at


async def test_a_job_that_completed_never_fires_again_though_it_was_deleted(world):
    """The tombstone is found by name and fireDigest; another instant is another digest."""
    world.write("a.yaml", once("a"))
    await world.sync()
    first = world.store.read_now(lambda tx: jobs.get(tx, "default", "a"))
    await world.store.write(lambda tx: (jobs.complete(tx, first.id, NOW), jobs.bury(tx, [first], NOW)))
    world.remove("a.yaml")
    await world.sync()
    assert world.names() == []
    world.write("a.yaml", once("a", description="again"))
    await world.sync()
    again = world.job("a")
    assert (again.completed_at, again.next_fire_at) == (NOW, None)
    assert again.uid != first.uid
    world.write("a.yaml", once("a", at="2026-02-01T00:00:00Z"))
    await world.sync()
    assert world.job("a").completed_at is None
    assert world.job("a").next_fire_at == datetime(2026, 2, 1, tzinfo=UTC)


async def test_a_schedule_whose_window_is_over_is_completed(world):
    """endAt in the past: there is nothing to wait for."""
    world.write("a.yaml", job("a", schedule={"every": "1h", "endAt": "2026-01-01T00:00:00Z"}))
    await world.sync()
    assert (world.job("a").completed_at, world.job("a").next_fire_at) == (NOW, None)


# pruning


async def test_a_document_that_goes_takes_its_job_with_it(world):
    """Also when the whole file goes, and none of its neighbours."""
    world.write("a.yaml", job("a"), job("b"))
    world.write("c.yaml", job("c"))
    await world.sync()
    world.write("a.yaml", job("b"))
    world.remove("c.yaml")
    assert (await world.sync()).counts.removed == 2
    assert world.names() == ["b"]


async def test_a_file_that_is_not_yaml_prunes_nothing_anywhere(world):
    """Its last good version runs on, and documents that left other files wait until it can be read."""
    world.write("a.yaml", job("a"))
    world.write("b.yaml", job("b"))
    await world.sync()
    world.write("a.yaml", text="kind: [")
    world.remove("b.yaml")
    outcome = await world.sync()
    assert [error.reason for error in outcome.errors] == ["SyntaxError"]
    assert (world.names(), outcome.counts.removed) == (["a", "b"], 0)
    world.restart()
    await world.sync()
    assert world.names() == ["a", "b"]
    world.write("a.yaml", job("a"))
    outcome = await world.sync()
    assert (world.names(), outcome.counts.removed, outcome.errors) == (["a"], 1, ())


@pytest.mark.parametrize(
    "content", [b"\x00\x01\x02", b"\xff\xfe", b"#" * (5 * 1024 * 1024), b"a: &a [*a, *a]\n  b", b"{"]
)
async def test_content_that_is_no_manifest_is_an_error_of_its_file_alone(world, content):
    """Binary, another encoding, ten megabytes, broken: told with the file's name; everything else works."""
    world.write("good.yaml", job("good"))
    (world.folder() / "bad.yaml").write_bytes(content)
    outcome = await world.sync()
    assert {error.file for error in outcome.errors} == {"bad.yaml"}
    assert (world.names(), outcome.counts.created) == (["good"], 1)


async def test_a_folder_that_is_gone_prunes_nothing_and_comes_back(world):
    """The source says why and since when; afterwards it says nothing any more."""
    world.write("a.yaml", job("a"))
    first = await world.sync()
    folder = world.folder()
    folder.rename(world.tmp / "away")
    outcome = await world.sync()
    assert str(folder) in outcome.unavailable
    world.clock.at += timedelta(minutes=1)
    await world.sync()
    row = world.source()
    assert (row.reason, row.failing_since, row.revision) == ("SourceUnavailable", NOW, first.revision)
    assert world.names() == ["a"]
    (world.tmp / "away").rename(folder)
    await world.sync()
    row = world.source()
    assert (row.reason, row.message, row.failing_since, world.names()) == (None, None, None, ["a"])


async def test_an_annotated_document_stays_when_it_goes(world):
    """`jobwarden.dev/prune: disabled`: the job runs on as an orphan, and can be taken up again."""
    world.write("a.yaml", annotated("a", {"prune": "disabled"}))
    await world.sync()
    world.remove("a.yaml")
    assert (await world.sync()).counts.removed == 0
    assert (world.names(), world.resource("a").path) == (["a"], None)
    world.restart()
    await world.sync()
    assert world.names() == ["a"]
    world.write("b.yaml", annotated("a", {"prune": "disabled"}))
    await world.sync()
    assert world.resource("a").path == "b.yaml"
    world.write("b.yaml", job("a"))
    await world.sync()
    world.remove("b.yaml")
    await world.sync()
    assert world.names() == []


async def test_a_document_that_moves_to_another_file_stays_the_same(world):
    """Only where it is written changes."""
    world.write("a.yaml", job("a"))
    await world.sync()
    before = world.resource("a")
    world.remove("a.yaml")
    world.write("b.yaml", job("x"), job("a"))
    assert (await world.sync()).counts == Counts(created=1, kept=1)
    after = world.resource("a")
    assert (after.uid, after.generation, after.path) == (before.uid, before.generation, "b.yaml")


# bad documents


@pytest.mark.parametrize(
    "bad",
    [
        {"schedule": {"cron": "61 * * * *"}},
        {"schedule": {"cron": "0 0 31 2 *"}},
        {"schedule": {"cron": "0 * * * *", "timeZone": "Mars/Olympus"}},
        {"schedule": {"cron": "0 * * * *"}, "unknown": 1},
        {"timeout": 5},
    ],
)
async def test_a_bad_version_leaves_the_last_good_one_running_and_says_so(world, bad):
    """Whether its shape or its meaning is wrong; its neighbours in the file are taken."""
    world.write("a.yaml", job("a", **CRON))
    await world.sync()
    before = world.job("a")
    world.write("a.yaml", job("a", **bad), job("b"))
    outcome = await world.sync()
    assert outcome.counts.rejected == 1
    assert (world.names(), world.job("a")) == (["a", "b"], before)
    (error, *_) = msgspec.json.decode(world.resource("a").rejection)
    assert (error["file"], error["name"], bool(error["pointer"])) == ("a.yaml", "a", True)
    assert world.errors()
    world.restart()
    await world.sync()
    assert (world.job("a"), world.resource("a").rejection is not None) == (before, True)
    world.write("a.yaml", job("a", **CRON), job("b"))
    assert (await world.sync()).errors == ()
    assert (world.resource("a").rejection, world.errors()) == (None, [])


async def test_an_error_of_meaning_points_at_line_and_column(world):
    """As exactly as an error of shape does."""
    world.write(
        "a.yaml",
        text="apiVersion: jobwarden.dev/v1alpha1\nkind: ScheduledJob\nmetadata:\n  name: a\nspec:\n"
        '  shell: {script: "true"}\n  schedule:\n    cron: "0 25 * * *"\n',
    )
    (error,) = (await world.sync()).errors
    assert (error.file, error.line, error.column, error.pointer) == ("a.yaml", 8, 5, "/spec/schedule/cron")
    assert "character 3" in error.message


async def test_a_condition_that_is_no_cel_is_an_error_of_the_document(world):
    """It names the field and what it may use."""
    world.write("a.yaml", job("a"), child("b", "a", trigger={"if": "nobody.knows"}))
    (error,) = (await world.sync()).errors
    assert (error.name, error.pointer, world.names()) == ("b", "/spec/trigger/if", ["a"])


# together


async def test_all_copies_of_a_duplicate_are_rejected_and_the_last_good_version_stays(world):
    """Each error names all places; when one copy goes the other counts, without being touched."""
    world.write("a.yaml", job("a", "one"))
    await world.sync()
    before = world.job("a")
    world.write("b.yaml", job("a", "two"))
    outcome = await world.sync()
    assert {(error.file, error.reason) for error in outcome.errors} == {
        ("a.yaml", "DuplicateResource"),
        ("b.yaml", "DuplicateResource"),
    }
    assert all("a.yaml:1, b.yaml:1" in error.message for error in outcome.errors)
    assert world.job("a") == before
    world.restart()
    assert len((await world.sync()).errors) == 2
    world.remove("a.yaml")
    assert (await world.sync()).errors == ()
    assert world.job("a").spec != before.spec
    assert world.resource("a").generation == 2


async def test_two_documents_of_one_name_in_one_file_are_duplicates_too(world):
    """Neither is created; both can be seen in the source's errors."""
    world.write("a.yaml", job("a", "one"), job("a", "two"))
    outcome = await world.sync()
    assert [error.reason for error in outcome.errors] == ["DuplicateResource"] * 2
    assert (world.names(), len(world.errors())) == ([], 2)


async def test_two_sources_that_claim_one_job_are_an_error_that_names_both(world):
    """The owner keeps it; when it gives the job up, the other takes over by itself."""
    world.write("a.yaml", job("a", "one"), source="first")
    world.write("a.yaml", job("a", "two"), job("b"), source="second")
    await world.sync("first")
    outcome = await world.sync("second")
    (error,) = outcome.errors
    assert error.reason == "OwnershipConflict"
    assert "source second" in error.message
    assert "source first" in error.message
    assert (world.job("a").source, world.names()) == ("first", ["a", "b"])
    assert world.resource("a").rejection is None
    world.remove("a.yaml", source="first")
    assert (await world.sync("first")).counts.removed == 1
    assert (await world.reconciler("second").sync(Hint(frozenset()))).counts.created == 1
    assert (world.job("a").source, world.errors("second")) == ("second", [])


async def test_what_a_source_that_nobody_serves_owned_can_be_taken_over(world):
    """A renamed source adopts its resources: identity and history stay."""
    world.write("a.yaml", job("a"), source="old")
    await world.sync("old")
    before = world.resource("a")
    await world.store.write(lambda tx: tx.execute(schema.sources.update().values(served=False)))
    world.restart()
    world.write("a.yaml", job("a"), source="new")
    assert (await world.sync("new")).errors == ()
    after = world.resource("a")
    assert (after.uid, after.generation, after.source, world.job("a").source) == (before.uid, 1, "new", "new")


async def test_a_source_forces_its_namespace_and_refuses_kinds(world):
    """Both are the source's, not the document's."""
    world.write("a.yaml", job("a", metadata={"namespace": "other"}), pool("p"))
    outcome = await world.sync(namespace="forced", allowed_kinds=frozenset({"ScheduledJob"}))
    assert world.job("a", "forced")
    assert [error.kind for error in outcome.errors] == ["ResourcePool"]


@pytest.mark.parametrize("size", [2, 3])
async def test_a_cycle_is_rejected_with_its_way_and_heals(world, size):
    """All documents of it are named; once it is broken they are accepted, though only one of them was edited."""
    ring = [child(f"j{index}", f"j{(index + 1) % size}") for index in range(size)]
    for index, one in enumerate(ring):
        world.write(f"{index}.yaml", one)
    outcome = await world.sync()
    assert [error.name for error in outcome.errors] == [f"j{index}" for index in range(size)]
    assert all("→" in error.message for error in outcome.errors)
    assert world.names() == []
    world.write("0.yaml", job("j0"))
    assert (await world.sync()).errors == ()
    assert len(world.names()) == size


async def test_a_change_that_closes_a_cycle_leaves_the_last_good_versions(world):
    """Only the document that closed it is wrong."""
    world.write("a.yaml", job("a"))
    world.write("b.yaml", child("b", "a"), child("c", "b"))
    await world.sync()
    world.write("a.yaml", child("a", "c"))
    outcome = await world.sync()
    assert [error.name for error in outcome.errors] == ["a"]
    assert "a → b → c → a" in outcome.errors[0].message
    assert world.job("a").schedule_text == "on request"


async def test_a_chain_is_bounded_and_the_whole_moved_subtree_counts(world):
    """Depth 10 is accepted, 11 is not; moving a job counts what hangs on it (W21)."""
    world.write("a.yaml", job("j0"), *(child(f"j{depth}", f"j{depth - 1}") for depth in range(1, 12)))
    outcome = await world.sync()
    assert [error.name for error in outcome.errors] == ["j11"]
    assert "11 triggers" in outcome.errors[0].message
    world.write("b.yaml", job("x0"), *(child(f"x{depth}", f"x{depth - 1}") for depth in range(1, 6)))
    await world.sync()
    world.write("b.yaml", child("x0", "j5"), *(child(f"x{depth}", f"x{depth - 1}") for depth in range(1, 6)))
    outcome = await world.sync()
    assert [error.name for error in outcome.errors] == ["j11", "x0"]
    assert "x5" in outcome.errors[1].message
    assert world.job("x0").schedule_text == "on request"


# references


async def test_a_job_waits_for_what_it_names_and_becomes_ready_by_itself(world):
    """Parent, pool, target and watched job; in any file, and of any source."""
    world.write(
        "a.yaml",
        child("b", "a"),
        job("c", concurrency={"pools": [{"name": "p", "slots": 2}]}),
        job("d", notifications=[{"events": ["Failed"], "targetRef": {"name": "t"}}]),
        document("ScheduledJob", "e", {"watchdog": {"job": "a", "maxDuration": "1h"}}),
    )
    assert (await world.sync()).errors == ()
    for name, missing in (("b", "default/a"), ("c", "default/p"), ("d", "default/t"), ("e", "default/a")):
        assert (world.job(name).blocked_reason, missing in world.job(name).blocked_message) == (
            "ReferenceNotFound",
            True,
        )
    world.write("x.yaml", job("a"), pool("p", 2), webhook("t", "https://example.org/x"), source="second")
    await world.sync("second")
    assert [world.job(name).blocked_reason for name in "bcde"] == [None] * 4
    world.write("x.yaml", pool("p", 1), webhook("t", "https://example.org/x"), source="second")
    await world.sync("second")
    assert [world.job(name).blocked_reason for name in "bcde"] == [
        "ReferenceNotFound",
        "InsufficientSlots",
        None,
        "ReferenceNotFound",
    ]
    world.restart()
    assert not (await world.sync()).changed


async def test_a_cluster_pool_admits_the_namespaces_it_names(world):
    """And no others."""
    needs = {"concurrency": {"pools": [{"name": "p", "kind": "ClusterResourcePool"}]}}
    world.write("a.yaml", job("a", **needs), job("b", metadata={"namespace": "data"}, **needs))
    world.write("p.yaml", document("ClusterResourcePool", "p", {"slots": 1, "allowedNamespaces": ["data"]}))
    await world.sync()
    assert world.job("b", "data").blocked_reason is None
    assert "does not admit jobs of namespace default" in world.job("a").blocked_message
    world.write("p.yaml", document("ClusterResourcePool", "p", {"slots": 1, "allowedNamespaces": ["*"]}))
    await world.sync()
    assert world.job("a").blocked_reason is None


def takes_output(name, parent, of):
    source = {"name": "x", "valueFrom": {"parentOutput": {"job": of, "key": "k"}}}
    return child(name, parent, parameters=[source])


async def test_outputs_come_from_ancestors_only(world):
    """A stranger's output is an error; a missing ancestor means waiting; one that stops to be an ancestor blocks."""
    world.write("a.yaml", job("a"), job("s"))
    world.write("b.yaml", child("b", "a"))
    world.write("c.yaml", takes_output("c", "b", "a"))
    world.write("d.yaml", takes_output("d", "b", "s"))
    world.write("e.yaml", takes_output("e", "missing", "s"))
    outcome = await world.sync()
    assert [(error.name, error.pointer) for error in outcome.errors] == [
        ("d", "/spec/parameters/0/valueFrom/parentOutput/job")
    ]
    assert (world.job("c").blocked_reason, world.job("e").blocked_reason) == (None, "ReferenceNotFound")
    world.write("b.yaml", child("b", "s"))
    await world.sync()
    assert "no ancestor" in world.job("c").blocked_message
    assert world.job("d").blocked_reason is None


# work that is there already


def waiting(world, name, state=DispatchState.Pending, minutes=0):
    row = world.job(name)
    at = NOW + timedelta(minutes=minutes)
    return Dispatch(
        id=f"{name}-{minutes}", job_id=row.id, namespace="default", job=name, cause=Cause.Manual, state=state,
        scheduled_for=at, not_before=at, created_at=at,
    )  # fmt: skip


async def test_deleting_a_job_ends_what_waits_and_asks_what_runs_to_end(tmp_path, database):
    """`deletionPolicy: Orphan` lets what runs run on."""
    with opened(tmp_path, database) as world:
        world.write("a.yaml", job("a"), job("b", deletionPolicy="Orphan"))
        await world.sync()

        def work(tx):
            for name in ("a", "b"):
                dispatches.insert_all(tx, [waiting(world, name)])
                tx.execute(schema.runs.insert().values(run_row(world, name)))

        await world.store.write(work)
        world.remove("a.yaml")
        await world.sync()
        assert {(row.job, row.state, row.reason) for row in world.rows(schema.dispatches)} == {
            ("a", "Cancelled", "JobDeleted"),
            ("b", "Cancelled", "JobDeleted"),
        }
        assert {(row.job, row.cancel_requested_by) for row in world.rows(schema.runs)} == {
            ("a", "deletionPolicy"),
            ("b", None),
        }
        world.write("a.yaml", job("c"))
        await world.sync()
        assert world.job("c").id not in {row.job_id for row in world.rows(schema.runs)}, "ids are never used again"


def run_row(world, name):
    row = world.job(name)
    return {
        "name": f"{name}-run", "job_id": row.id, "job_uid": row.uid, "namespace": "default", "job": name,
        "dispatch": "x", "cause": "Manual", "state": "Running", "exclusive": True, "rerun": False, "spec": row.spec,
        "root": f"{name}-run", "attempt": 1, "scheduled_for": NOW, "created_at": NOW, "owner": "me",
    }  # fmt: skip


async def test_a_job_that_changes_withdraws_the_questions_about_it(world):
    """They were asked for what no longer exists; a new description is no such change."""
    world.write("a.yaml", job("a", approval={"required": True}))
    await world.sync()

    def ask(tx):
        dispatches.insert_all(tx, [waiting(world, "a", DispatchState.AwaitingApproval)])
        row = world.job("a")
        tx.execute(
            schema.approvals.insert().values(
                name="q",
                namespace="default",
                job="a",
                job_id=row.id,
                dispatch="a-0",
                gate="Approval",
                state="Pending",
                digest=row.effective_digest,
                scheduled_for=NOW,
                required=1,
                allow_self=True,
                message="",
                on_timeout="Reject",
                created_at=NOW,
                expires_at=NOW + timedelta(days=1),
            )
        )

    await world.store.write(ask)
    world.write("a.yaml", job("a", approval={"required": True}, description="the same"))
    await world.sync()
    assert [row.state for row in world.rows(schema.approvals)] == ["Pending"]
    world.write("a.yaml", job("a", "echo other", approval={"required": True}))
    await world.sync()
    assert [row.state for row in world.rows(schema.approvals)] == ["Superseded"]
    assert [(row.state, row.reason) for row in world.rows(schema.dispatches)] == [("Cancelled", "Superseded")]


# pauses and requests


async def test_suspend_rests_the_schedule_and_resuming_begins_at_now(world):
    """Instants meanwhile are one Skipped row and are never caught up."""
    world.write("a.yaml", job("a", suspend=True, **CRON))
    await world.sync()
    assert world.job("a").next_fire_at is None
    world.clock.at += timedelta(hours=3, minutes=30)
    world.write("a.yaml", job("a", **CRON))
    await world.sync()
    row = world.job("a")
    assert (row.fired_through, row.next_fire_at) == (world.clock.at, NOW + timedelta(hours=4))
    (skipped,) = world.rows(schema.dispatches)
    assert (skipped.state, skipped.reason, skipped.instants) == ("Skipped", "Suspended", 3)
    world.write("a.yaml", job("a", suspend=True, **CRON))
    await world.sync()
    assert (world.job("a").next_fire_at, world.job("a").suspend) == (None, True)


async def test_a_hold_annotation_holds_until_it_goes(world):
    """With reason and end; also from the first moment of a job."""
    world.write("a.yaml", annotated("a", {"hold": "audit until 2026-03-02T00:00:00Z"}, **CRON))
    await world.sync()
    row = world.job("a")
    assert (row.hold_reason, row.hold_until, row.next_fire_at) == ("audit", datetime(2026, 3, 2, tzinfo=UTC), None)
    world.write("a.yaml", job("a", **CRON))
    await world.sync()
    assert (world.job("a").hold_reason, world.job("a").next_fire_at) == (None, NOW + timedelta(hours=1))
    world.write("a.yaml", annotated("a", {"hold": "until further notice"}, **CRON))
    await world.sync()
    assert (world.job("a").hold_reason, world.job("a").hold_until) == ("until further notice", None)


async def test_a_release_by_hand_is_not_undone_by_reading_the_same_annotation_again(world):
    """Only another value holds again; a hold by hand is not lifted by an annotation that goes."""
    world.write("a.yaml", annotated("a", {"hold": "audit"}, **CRON))
    await world.sync()
    held = world.store.read_now(lambda tx: jobs.get(tx, "default", "a"))
    await world.store.write(lambda tx: jobs.set_hold(tx, held.id, None))
    world.write("a.yaml", annotated("a", {"hold": "audit"}, description="edited", **CRON))
    await world.sync()
    world.restart()
    await world.sync()
    assert world.job("a").hold_reason is None
    world.write("a.yaml", annotated("a", {"hold": "second audit"}, **CRON))
    await world.sync()
    assert world.job("a").hold_reason == "second audit"
    by_hand = msgspec.structs.replace(held.hold, by="alice", reason="mine")
    await world.store.write(lambda tx: jobs.set_hold(tx, held.id, by_hand))
    world.write("a.yaml", job("a", **CRON))
    await world.sync()
    assert (world.job("a").hold_by, world.job("a").hold_reason) == ("alice", "mine")


async def test_request_annotations_are_obeyed_once_for_each_new_value(world):
    """What stands there when the job is first seen is recorded, not obeyed; so it is after a restart."""
    world.write("a.yaml", annotated("a", {"run-requested-at": "1"}))
    assert (await world.sync()).intents == ()
    world.write("a.yaml", annotated("a", {"run-requested-at": "2", "cancel-requested-at": "x"}))
    outcome = await world.sync()
    assert set(outcome.intents) == {RunRequested("default", "a", "2"), CancelRequested("default", "a", "x")}
    assert world.obeyed == list(outcome.intents)
    world.write("a.yaml", annotated("a", {"run-requested-at": "2", "cancel-requested-at": "x"}, description="edited"))
    world.restart()
    assert (await world.sync()).intents == ()


# the store


async def test_nothing_happens_by_half_when_the_database_refuses(world, monkeypatch):
    """A failed transaction leaves rows and memory as they were, and the next attempt does all of it."""
    world.write("a.yaml", job("a"))
    await world.sync()
    world.write("a.yaml", job("a", "echo"))
    world.write("b.yaml", job("b"))
    real = world.store.write

    async def refuse(function):
        def fail(tx):
            function(tx)
            raise StoreUnavailable("disk full")

        return await real(fail)

    monkeypatch.setattr(world.store, "write", refuse)
    with pytest.raises(StoreUnavailable):
        await world.sync()
    assert (world.names(), world.resource("a").generation) == (["a"], 1)
    monkeypatch.setattr(world.store, "write", real)
    outcome = await world.reconciler().sync(Hint(frozenset()))
    assert outcome.counts == Counts(created=1, updated=1)
    assert (world.names(), world.resource("a").generation) == (["a", "b"], 2)


async def test_one_changed_file_among_many_touches_nothing_else(world):
    """Neither in the plan nor in the rows."""
    for index in range(300):
        world.write(f"{index}.yaml", job(f"j{index}", **CRON))
    await world.sync()
    before = {row.name: row for row in world.rows(schema.resources)}
    world.write("7.yaml", job("j7", "echo", **CRON))
    outcome = await world.reconciler().sync(Hint(frozenset({"7.yaml"})))
    assert outcome.counts == Counts(updated=1, kept=299)
    after = {row.name: row for row in world.rows(schema.resources)}
    assert {name for name in after if after[name] != before[name]} == {"j7"}


async def test_thousands_of_documents_in_few_files_are_taken_at_once(world):
    """Volume is no special case; a duplicate among them is found."""
    for part in range(10):
        world.write(f"{part}.yaml", *(job(f"j{part}-{index}") for index in range(300)))
    world.write("x.yaml", job("j3-7"))
    outcome = await world.sync()
    assert (outcome.counts.created, len(outcome.errors)) == (2999, 2)
    assert Key("ScheduledJob", "default", "j3-7") not in world.desired.entries


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_hundred_thousand_documents_are_taken_and_found_again_after_a_restart(world):
    """One transaction; then a restart reads none of them, and one changed file costs one file."""
    for part in range(200):
        world.write(f"{part}.yaml", *(job(f"j{part}-{index}") for index in range(500)))
    assert (await world.sync()).counts == Counts(created=100_000)
    world.restart()
    assert not (await world.sync()).changed
    world.write("7.yaml", *(job(f"j7-{index}") for index in range(499)))
    assert (await world.sync()).counts == Counts(removed=1, kept=99_999)
