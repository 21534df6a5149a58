"""What is planned, for any sequence of folders: the rules that hold whatever the documents are."""

import json
from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.reconcile.desired import Desired
from controller.reconcile.index import SourceIndex
from controller.reconcile.plan import decide
from controller.reconcile.read import Rules, read
from controller.reconcile.records import Entry, Key
from tests.harness.manifests import child, job, pool

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = "abcd"

documents = st.one_of(
    st.builds(job, st.sampled_from(NAMES), st.sampled_from(["one", "two"])),
    st.builds(child, st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.builds(pool, st.sampled_from(NAMES), st.integers(1, 2)),
    st.builds(lambda name: job(name, schedule={"cron": "never"}), st.sampled_from(NAMES)),
    st.builds(
        lambda name: job(name, metadata={"annotations": {"jobwarden.dev/prune": "disabled"}}), st.sampled_from(NAMES)
    ),
)
file_contents = st.one_of(st.just(None), st.lists(documents, min_size=1, max_size=3))
folders = st.dictionaries(st.sampled_from(["x.yaml", "y.yaml", "z.yaml"]), file_contents)


def text(content):
    return b"{" if content is None else b"\n---\n".join(json.dumps(one).encode() for one in content)


class Machine:
    """Applies plans to memory as `apply` applies them to rows."""

    def __init__(self):
        self.desired = Desired()
        self.desired.load([], {})
        self.indexes = {"main": SourceIndex(), "other": SourceIndex()}
        self.ids = 0

    def sync(self, folder, source="main", paths=None):
        index = self.indexes[source]
        files = {path: text(content) for path, content in folder.items()}
        changed = [
            path
            for path, data in files.items()
            if index.digests.get(path) != repr(data) and (paths is None or path in paths)
        ]
        removed = [path for path in index.digests if path not in files]
        change = index.propose([read(path, repr(files[path]), files[path], Rules(source)) for path in changed], removed)
        decision = decide(source, index, change, self.desired)
        plan = decision.plan
        stored: dict[Key, Entry | None] = {entry.key: None for entry in plan.remove}
        for document in plan.create:
            self.ids += 1
            stored[document.entry.key] = msgspec.structs.replace(document.entry, id=self.ids)
        stored.update((document.entry.key, document.entry) for document in plan.update)
        stored.update((entry.key, entry) for entry in plan.move)
        stored.update((entry.key, msgspec.structs.replace(entry, path=None)) for entry in plan.orphan)
        self.desired.commit(stored, plan.blocked)
        index.commit(change, decision.rejected, decision.held, decision.unclaimed)
        assert not decision.reread
        return decision


def claims(folder, source="main"):
    """Key to the entries that a folder declares, and the keys whose documents are broken."""
    found, broken = {}, set()
    for path, content in folder.items():
        file = read(path, "", text(content), Rules(source))
        for document in file.documents:
            found.setdefault(document.entry.key, []).append(document.entry)
        broken |= {Key(e.kind, e.namespace or "", e.name) for e in file.errors if e.kind and e.name}
    return found, broken


@settings(max_examples=80, deadline=None)
@given(st.lists(folders, min_size=1, max_size=4))
def test_after_a_plan_every_document_is_in_force_or_rejected(history):
    """What is observed equals what is desired for every valid document, and whoever is not in force has errors that say why."""
    machine = Machine()
    for folder in history:
        decision = machine.sync(folder)
        declared, broken = claims(folder)
        for key, entries in declared.items():
            if key in decision.rejected:
                assert decision.rejected[key]
                continue
            assert len(entries) == 1
            assert machine.desired.entries[key].same_content(entries[0])
        for key in broken:
            assert decision.rejected[key]


@settings(max_examples=80, deadline=None)
@given(st.lists(folders, min_size=1, max_size=4))
def test_planning_the_same_folder_again_plans_nothing(history):
    """Whatever led there."""
    machine = Machine()
    for folder in history:
        machine.sync(folder)
    again = machine.sync(history[-1]).plan
    assert not again.changes
    assert not again.reject


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["main", "other"]), folders), min_size=1, max_size=6))
def test_a_source_changes_and_removes_only_what_it_owns(history):
    """Two sources that declare the same things never take them from each other."""
    machine = Machine()
    for source, folder in history:
        owners = {key: entry.source for key, entry in machine.desired.entries.items()}
        plan = machine.sync(folder, source).plan
        touched = [entry.key for entry in (*plan.remove, *plan.move, *plan.orphan)]
        touched += [document.entry.key for document in plan.update]
        assert all(owners[key] == source for key in touched)
        assert all(document.entry.key not in owners for document in plan.create)


@settings(max_examples=80, deadline=None)
@given(st.lists(folders, min_size=2, max_size=4))
def test_nothing_is_removed_while_a_file_cannot_be_read(history):
    """Nor what is broken, nor what is annotated to stay."""
    machine = Machine()
    for folder in history:
        before = dict(machine.desired.entries)
        plan = machine.sync(folder).plan
        declared, broken = claims(folder)
        if None in folder.values():
            assert not plan.remove
        for entry in plan.remove:
            assert entry.key not in declared
            assert entry.key not in broken
            assert not before[entry.key].facts.kept


@settings(max_examples=80, deadline=None)
@given(st.lists(folders, min_size=1, max_size=4))
def test_what_is_in_force_has_no_cycle_and_blocked_is_exactly_who_misses_something(history):
    """Incrementally kept, it equals what a look at everything would say."""
    machine = Machine()
    for folder in history:
        machine.sync(folder)
        jobs = {
            key.name: entry.facts.parents
            for key, entry in machine.desired.entries.items()
            if entry.key.kind == "ScheduledJob"
        }
        for name in jobs:
            above, queue = set(), [name]
            while queue:
                for parent in jobs.get(queue.pop(), ()):
                    assert parent != name, "a cycle is in force"
                    if parent not in above:
                        above.add(parent)
                        queue.append(parent)
        missing = {name for name, parents in jobs.items() if any(parent not in jobs for parent in parents)}
        assert {key.name for key in machine.desired.blocked} == missing


@settings(max_examples=60, deadline=None)
@given(st.lists(folders, min_size=1, max_size=3), folders)
def test_the_way_does_not_matter_once_everything_is_fine(history, last):
    """Without disputes and broken files, what is in force depends on the last folder alone."""
    machine, fresh = Machine(), Machine()
    for folder in history:
        machine.sync(folder)
    after, anew = machine.sync(last), fresh.sync(last)
    kept = {key for key, entry in machine.desired.entries.items() if entry.path is None}
    if not after.rejected and not anew.rejected and None not in last.values():
        assert {key: entry.digest for key, entry in machine.desired.entries.items() if key not in kept} == {
            key: entry.digest for key, entry in fresh.desired.entries.items()
        }
