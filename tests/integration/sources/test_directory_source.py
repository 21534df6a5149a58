"""A folder as a source, on a real file system: whole snapshots, links, things that vanish, and hearing of changes."""

import asyncio
import os
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from controller.base.errors import SourceUnavailable
from controller.sources import directory as directory_module
from controller.sources import watch as watch_module
from controller.sources.directory import Directory
from controller.sources.scan import Vanished, scan
from controller.sources.snapshot import MAX_FILE, Hint

DEADLINE = 30.0


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    return folder


def source(root, **options):
    return Directory("main", str(root), **options)


async def names(directory):
    return sorted((await directory.fetch({})).files)


@asynccontextmanager
async def hints_of(directory):
    """The source's hints in a queue, the first (watching has begun) already answered by a fetch."""
    queue: asyncio.Queue[Hint] = asyncio.Queue()

    async def follow():
        async for hint in directory.changes():
            queue.put_nowait(hint)

    task = asyncio.create_task(follow())
    try:
        await asyncio.wait_for(queue.get(), DEADLINE)
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(queue, directory, known, condition):
    """Fetch at each hint until the condition holds; gives the snapshots on the way."""
    snapshots = []
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                snapshots.append(await directory.fetch(known, await queue.get()))
            except SourceUnavailable as error:
                snapshots.append(error)
            if condition(snapshots[-1]):
                return snapshots


async def test_manifests_are_found_in_all_folders_and_nothing_else_is(root):
    """Suffix decides; hidden files and folders are passed over."""
    (root / "deep" / "er").mkdir(parents=True)
    (root / ".git").mkdir()
    for path in ("a.yaml", "b.yml", "c.json", "deep/er/d.yaml", ".hidden.yaml", ".git/x.yaml", "notes.txt", "e.yaml~"):
        (root / path).write_text("x")
    assert await names(source(root)) == ["a.yaml", "b.yml", "c.json", "deep/er/d.yaml"]


async def test_only_contents_that_the_caller_does_not_have_are_handed_over(root):
    """A snapshot is told as a difference, and the difference is complete."""
    (root / "a.yaml").write_text("one")
    (root / "b.yaml").write_text("two")
    directory = source(root)
    first = await directory.fetch({})
    assert first.changed == {"a.yaml": b"one", "b.yaml": b"two"}
    (root / "a.yaml").write_text("three")
    (root / "b.yaml").unlink()
    second = await directory.fetch(first.files)
    assert (second.changed, second.removed) == ({"a.yaml": b"three"}, ("b.yaml",))
    assert second.revision != first.revision
    assert (await directory.fetch({})).changed == {"a.yaml": b"three"}


async def test_a_file_rewritten_with_the_same_size_at_once_is_noticed(root):
    """Timestamps too coarse to show a second write do not hide it."""
    (root / "a.yaml").write_text("one")
    directory = source(root)
    first = await directory.fetch({})
    before = (root / "a.yaml").stat()
    (root / "a.yaml").write_text("two")
    os.utime(root / "a.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (await directory.fetch(first.files)).changed == {"a.yaml": b"two"}


async def test_a_missing_folder_is_an_error_that_names_it_and_not_an_empty_snapshot(root):
    """Removing the folder prunes nothing; restoring it goes on as before."""
    (root / "a.yaml").write_text("one")
    directory = source(root)
    first = await directory.fetch({})
    root.rename(root.with_name("away"))
    with pytest.raises(SourceUnavailable, match=str(root)):
        await directory.fetch(first.files)
    root.with_name("away").rename(root)
    again = await directory.fetch(first.files)
    assert (again.revision, again.changed, again.removed) == (first.revision, {}, ())


async def test_an_unreadable_file_makes_the_whole_source_unavailable(root, monkeypatch):
    """One file that cannot be read must not look like one that was removed."""
    (root / "a.yaml").write_text("one")
    (root / "b.yaml").symlink_to("b.yaml")
    with pytest.raises(SourceUnavailable, match=r"b\.yaml"):
        await source(root).fetch({})
    (root / "b.yaml").unlink()
    if os.getuid() != 0:
        (root / "a.yaml").chmod(0)
        with pytest.raises(SourceUnavailable, match=r"a\.yaml cannot be read: Permission denied"):
            await source(root).fetch({})


async def test_an_unreadable_folder_makes_the_whole_source_unavailable(root, monkeypatch):
    """So does a folder that cannot be listed."""
    (root / "deep").mkdir()
    real = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceUnavailable, match="deep cannot be read: Permission denied"):
        await source(root).fetch({})


async def test_a_link_to_nothing_is_reported_and_not_taken_for_a_removal(root):
    """A manifest that is a dangling link is part of the desired state that cannot be read."""
    (root / "a.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(SourceUnavailable, match=r"a\.yaml"):
        await source(root).fetch({})


async def test_a_name_that_is_not_text_is_reported(root):
    """A database cannot hold it, so it is named instead of being skipped."""
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.yaml")).write_text("x")
    with pytest.raises(SourceUnavailable, match="not UTF-8"):
        await source(root).fetch({})


async def test_a_file_that_is_too_large_is_named_but_not_read(root):
    """Ten megabytes are not taken into memory, and are part of the snapshot."""
    with (root / "big.yaml").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    snapshot = await source(root).fetch({})
    assert (dict(snapshot.changed), dict(snapshot.oversized)) == ({}, {"big.yaml": MAX_FILE + 1})
    assert "big.yaml" in snapshot.files


async def test_pipes_and_sockets_are_passed_over(root):
    """Opening a pipe would wait for ever."""
    os.mkfifo(root / "pipe.yaml")
    (root / "a.yaml").write_text("x")
    assert await names(source(root)) == ["a.yaml"]


async def test_a_configmap_volume_gives_each_file_once_and_follows_its_swap(root):
    """`a.yaml → ..data/a.yaml`, `..data → ..2024`: the timestamp folders themselves are not read."""

    def publish(stamp, text):
        (root / stamp).mkdir()
        (root / stamp / "a.yaml").write_text(text)
        (root / "..tmp").symlink_to(stamp)
        (root / "..tmp").rename(root / "..data")

    publish("..1", "one")
    (root / "a.yaml").symlink_to("..data/a.yaml")
    directory = source(root)
    async with hints_of(directory) as queue:
        first = await directory.fetch({})
        assert first.changed == {"a.yaml": b"one"}
        publish("..2", "two")
        last = await eventually(queue, directory, first.files, lambda snapshot: snapshot.changed)
        assert last[-1].changed == {"a.yaml": b"two"}
        assert all(not snapshot.removed for snapshot in last)


async def test_a_git_sync_folder_follows_the_swap_of_the_root_itself(tmp_path):
    """The root is a link that is replaced; the parent is watched."""
    for stamp in ("1", "2"):
        (tmp_path / ".worktrees" / stamp).mkdir(parents=True)
        (tmp_path / ".worktrees" / stamp / "a.yaml").write_text(stamp)
    (tmp_path / "current").symlink_to(".worktrees/1")
    directory = source(tmp_path / "current")
    async with hints_of(directory) as queue:
        first = await directory.fetch({})
        (tmp_path / "next").symlink_to(".worktrees/2")
        (tmp_path / "next").rename(tmp_path / "current")
        last = await eventually(queue, directory, first.files, lambda snapshot: snapshot.changed)
        assert last[-1].changed == {"a.yaml": b"2"}


async def test_a_file_that_can_be_reached_in_several_ways_is_taken_once(root):
    """Its real place wins over links, and links to folders over nothing; loops end."""
    (root / "releases" / "1").mkdir(parents=True)
    (root / "releases" / "1" / "a.yaml").write_text("x")
    (root / "current").symlink_to("releases/1")
    (root / "again.yaml").symlink_to("releases/1/a.yaml")
    (root / "releases" / "loop").symlink_to("..")
    (root / "releases" / "self").symlink_to("self")
    assert await names(source(root)) == ["releases/1/a.yaml"]


async def test_a_link_that_leads_out_of_the_folder_is_followed(root, tmp_path):
    """What several folders share may live elsewhere; its changes are heard too."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "pool.yaml").write_text("one")
    (root / "pool.yaml").symlink_to(shared / "pool.yaml")
    directory = source(root)
    async with hints_of(directory) as queue:
        first = await directory.fetch({})
        assert first.changed == {"pool.yaml": b"one"}
        (shared / "pool.yaml").write_text("two")
        last = await eventually(queue, directory, first.files, lambda snapshot: snapshot.changed)
        assert last[-1].changed == {"pool.yaml": b"two"}


async def test_a_file_that_vanishes_during_the_look_means_another_look(root, monkeypatch):
    """Torn snapshots are never given."""
    for name in ("a.yaml", "b.yaml"):
        (root / name).write_text("x")
    looks = []

    def torn(path, enter):
        looks.append(path)
        seen = scan(path, enter)
        if len(looks) == 1:
            (root / "b.yaml").unlink()
        return seen

    monkeypatch.setattr(directory_module, "scan", torn)
    assert await names(source(root)) == ["a.yaml"]
    assert len(looks) >= 2


def test_a_swap_during_the_look_is_noticed(root, monkeypatch):
    """A ConfigMap that is exchanged between two files does not give half of each."""
    (root / "..1").mkdir()
    (root / "..data").symlink_to("..1")
    (root / "deep").mkdir()

    def swap(full, _relative):
        if full.endswith("deep"):
            (root / "..data").unlink()
            (root / "..data").symlink_to("..2")

    with pytest.raises(Vanished):
        scan(str(root), swap)


async def test_a_written_file_is_heard_of_by_its_path_and_read_alone(root, monkeypatch):
    """One changed file among many costs one look at that file."""
    for index in range(50):
        (root / f"{index}.yaml").write_text("x")
    directory = source(root)
    async with hints_of(directory) as queue:
        first = await directory.fetch({})
        monkeypatch.setattr(directory_module, "scan", lambda *_: pytest.fail("looked at everything"))
        (root / "7.yaml").write_text("changed")
        hint = await asyncio.wait_for(queue.get(), DEADLINE)
        assert hint.paths == {"7.yaml"}
        second = await directory.fetch(first.files, hint)
        assert (second.changed, second.removed) == ({"7.yaml": b"changed"}, ())
        (root / "8.yaml").unlink()
        (root / "new.yaml.tmp").write_text("moved")
        (root / "new.yaml.tmp").rename(root / "new.yaml")
        known, gone, come = second.files, set(), set()
        while not (gone and come):
            snapshot = await directory.fetch(known, await asyncio.wait_for(queue.get(), DEADLINE))
            known, gone, come = snapshot.files, gone | set(snapshot.removed), come | set(snapshot.changed)
        assert (gone, come) == ({"8.yaml"}, {"new.yaml"})
        monkeypatch.undo()
        assert (await directory.fetch({})).revision == snapshot.revision


async def test_a_wrong_hint_does_no_harm(root):
    """Hints only say where to look; nothing is believed of them."""
    (root / "a.yaml").write_text("x")
    directory = source(root)
    first = await directory.fetch({})
    for paths in ({"a.yaml"}, {"missing.yaml"}, {"no/such/folder.yaml"}, {"."}, set()):
        snapshot = await directory.fetch(first.files, Hint(frozenset(paths)))
        assert (snapshot.files, snapshot.changed, snapshot.removed) == (first.files, {}, ())


async def test_files_in_a_folder_that_was_just_made_are_found(root):
    """A new folder is watched before it is listed."""
    directory = source(root)
    async with hints_of(directory) as queue:
        first = await directory.fetch({})
        (root / "deep" / "er").mkdir(parents=True)
        (root / "deep" / "er" / "a.yaml").write_text("x")
        await eventually(queue, directory, first.files, lambda snapshot: "deep/er/a.yaml" in snapshot.changed)


@pytest.mark.parametrize("parents", [False, True], ids=["the folder", "and its parent"])
async def test_a_folder_that_is_removed_and_restored_never_looks_empty(tmp_path, parents):
    """On the way there are errors, but no snapshot without the file; afterwards changes are heard again."""
    root = tmp_path / "parent" / "jobs"
    root.mkdir(parents=True)
    (root / "a.yaml").write_text("one")
    directory = source(root)
    async with hints_of(directory) as queue:
        first = await directory.fetch({})
        (root / "a.yaml").unlink()
        root.rmdir()
        if parents:
            root.parent.rmdir()
        seen = await eventually(queue, directory, first.files, lambda got: isinstance(got, SourceUnavailable))
        assert all(isinstance(got, SourceUnavailable) or not got.removed for got in seen)
        root.mkdir(parents=True)
        (root / "a.yaml").write_text("two")
        seen = await eventually(
            queue, directory, first.files, lambda got: not isinstance(got, SourceUnavailable) and got.changed
        )
        (root / "a.yaml").write_text("three")
        known = seen[-1].files
        if seen[-1].changed != {"a.yaml": b"three"}:
            await eventually(queue, directory, known, lambda got: got.changed == {"a.yaml": b"three"})


async def test_without_events_a_rescan_finds_what_changed(root, monkeypatch):
    """Where the kernel tells nothing, looking regularly does."""
    monkeypatch.setattr(watch_module, "Inotify", lambda: (_ for _ in ()).throw(OSError(24, "Too many open files")))
    (root / "a.yaml").write_text("one")
    directory = source(root)
    async with hints_of(directory) as queue:
        first = await directory.fetch({})
        (root / "a.yaml").write_text("two")
        await eventually(queue, directory, first.files, lambda snapshot: snapshot.changed == {"a.yaml": b"two"})


async def test_rescans_come_by_themselves(root):
    """A file system that tells the kernel nothing (NFS) is still read."""
    directory = source(root, rescan_interval=timedelta(milliseconds=50))
    async with hints_of(directory) as queue:
        assert await asyncio.wait_for(queue.get(), DEADLINE) == Hint()


async def test_a_file_in_the_middle_of_being_rewritten_is_waited_for(root, monkeypatch):
    """A rescan that meets a truncated file does not take it for an empty one."""
    path = root / "a.yaml"
    path.write_text("one")
    directory = source(root)
    first = await directory.fetch({})
    path.write_text("")
    pauses = []

    class Moment:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time_ns():
            return path.stat().st_mtime_ns + (10**9 if pauses else 10**6)

        @staticmethod
        def sleep(seconds):
            pauses.append(seconds)
            path.write_text("two")

    monkeypatch.setattr(directory_module, "time", Moment)
    assert (await directory.fetch(first.files)).changed == {"a.yaml": b"two"}
    assert pauses


async def test_a_polled_folder_tells_of_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel's events cannot be relied on, watchfiles looks, and a change is found all the same."""
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    source = Directory("polled", str(tmp_path), rescan_interval=timedelta(minutes=10))
    await source.fetch({})
    hints = source.changes()
    await asyncio.wait_for(anext(hints), 30)
    following = asyncio.ensure_future(anext(hints))
    for attempt in range(100):
        (tmp_path / f"a{attempt}.yaml").write_text("x: 1")
        done, _ = await asyncio.wait((following,), timeout=0.5)
        if done:
            break
    assert following.done()
    assert following.result().paths is None
    await hints.aclose()  # type: ignore[attr-defined]
