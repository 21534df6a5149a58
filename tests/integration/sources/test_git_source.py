"""A Git repository as a source, with the real git: branches, tags, commits, force-pushes, signatures, and remotes that go away."""

import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from controller.base.errors import InvalidInput, SourceUnavailable
from controller.sources.git import GitRevision, GitSource
from controller.sources.snapshot import MAX_FILE, Hint

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
PATIENCE = timedelta(minutes=2)


class Repository:
    """A working tree with a bare remote beside it."""

    def __init__(self, folder):
        self.tree, self.bare = folder / "tree", folder / "remote.git"
        self.tree.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Somebody")
        self.git("config", "user.email", "somebody@example.org")
        self.git("config", "commit.gpgsign", "false")
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare)], check=True)
        self.git("remote", "add", "origin", str(self.bare))

    def git(self, *arguments):
        done = subprocess.run(["git", *arguments], cwd=self.tree, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, files, *, push=("origin", "HEAD"), options=()):
        for path, text in files.items():
            full = self.tree / path
            if text is None:
                full.unlink()
                continue
            full.parent.mkdir(parents=True, exist_ok=True)
            full.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=change", *options)
        if push:
            self.git("push", "--quiet", "--force", *push)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


@pytest.fixture
def make(repository, tmp_path):
    def make_source(url=None, **options):
        return GitSource("main", str(url or repository.bare), tmp_path / "cache", timeout=PATIENCE, **options)

    return make_source


async def test_a_snapshot_is_the_folder_at_the_head_of_the_branch(repository, make):
    """Files outside the folder, hidden ones and others are not part of it; the revision is the commit."""
    commit = repository.commit(
        {
            "jobs/a.yaml": "one",
            "jobs/deep/b.yml": "two",
            "jobs/.hidden.yaml": "x",
            "other/c.yaml": "x",
            "jobs/README": "x",
        }
    )
    snapshot = await make(path="jobs", revision=GitRevision(branch="main")).fetch({})
    assert snapshot.changed == {"a.yaml": b"one", "deep/b.yml": b"two"}
    assert snapshot.revision == commit
    assert len((await make().fetch({})).files) == 3


async def test_later_commits_are_told_as_a_difference(repository, make):
    """Only what changed is read again."""
    repository.commit({"a.yaml": "one", "b.yaml": "two", "c.yaml": "three"})
    source = make()
    first = await source.fetch({})
    repository.commit({"a.yaml": "four", "b.yaml": None})
    second = await source.fetch(first.files)
    assert (second.changed, second.removed) == ({"a.yaml": b"four"}, ("b.yaml",))


async def test_a_force_push_is_followed(repository, make):
    """History that was rewritten is the desired state like any other."""
    repository.commit({"a.yaml": "one"})
    source = make()
    first = await source.fetch({})
    repository.commit({"a.yaml": "rewritten"}, options=("--amend",))
    assert (await source.fetch(first.files)).changed == {"a.yaml": b"rewritten"}


async def test_tags_and_commits_can_be_followed(repository, make):
    """A tag or commit stays where it is when the branch moves on; an annotated tag counts as its commit."""
    old = repository.commit({"a.yaml": "one"})
    repository.git("tag", "-a", "v1", "-m", "first")
    repository.git("push", "--quiet", "origin", "v1")
    repository.commit({"a.yaml": "two"})
    for revision in (GitRevision(tag="v1"), GitRevision(commit=old)):
        snapshot = await make(revision=revision).fetch({})
        assert (snapshot.changed, snapshot.revision) == ({"a.yaml": b"one"}, old)


async def test_a_remote_that_is_gone_is_an_error_and_comes_back(repository, make):
    """Nothing is pruned meanwhile; a later fetch goes on as before."""
    repository.commit({"a.yaml": "one"})
    source = make()
    first = await source.fetch({})
    repository.bare.rename(repository.bare.with_name("away"))
    with pytest.raises(SourceUnavailable, match="last good revision"):
        await source.fetch(first.files)
    repository.bare.with_name("away").rename(repository.bare)
    assert (await source.fetch(first.files)).changed == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"revision": GitRevision(branch="missing")}, "branch missing"),
        ({"revision": GitRevision(tag="missing")}, "tag missing"),
        ({"revision": GitRevision(commit="0" * 40)}, "0" * 40),
        ({"path": "missing"}, "there is no folder missing in commit"),
    ],
)
async def test_what_does_not_exist_is_an_error_that_names_it(repository, make, options, message):
    """A branch, tag, commit or folder that is not there is never an empty snapshot."""
    repository.commit({"a.yaml": "one"})
    with pytest.raises(SourceUnavailable, match=message):
        await make(**options).fetch({})


async def test_links_in_the_repository_are_followed_inside_it_only(repository, make):
    """A link to a file of the repository is that file, once; one that leads out is an error."""
    repository.commit({"shared/pool.yaml": "pool", "jobs/a.yaml": "one"})
    (repository.tree / "jobs" / "pool.yaml").symlink_to("../shared/pool.yaml")
    (repository.tree / "jobs" / "again.yaml").symlink_to("a.yaml")
    repository.commit({})
    snapshot = await make(path="jobs").fetch({})
    assert snapshot.changed == {"a.yaml": b"one", "pool.yaml": b"pool"}
    (repository.tree / "jobs" / "evil.yaml").symlink_to("/etc/passwd")
    repository.commit({})
    with pytest.raises(SourceUnavailable, match=r"link jobs/evil\.yaml leads to no file"):
        await make(path="jobs").fetch({})


async def test_a_file_that_is_too_large_is_named_but_not_read(repository, make):
    """Its size is known from the tree."""
    repository.commit({"a.yaml": "one", "big.yaml": "#" * (MAX_FILE + 1)})
    snapshot = await make().fetch({})
    assert (dict(snapshot.changed), dict(snapshot.oversized)) == ({"a.yaml": b"one"}, {"big.yaml": MAX_FILE + 1})


async def test_a_url_is_never_an_option_or_a_command(make):
    """What git would run instead of fetching is refused."""
    for url in ("--upload-pack=touch /tmp/x", "ext::sh -c true"):
        with pytest.raises(InvalidInput):
            make(url)
    with pytest.raises(InvalidInput, match="outside the repository"):
        make(path="../x")


async def test_a_transport_that_runs_commands_is_refused_also_behind_an_alias(repository, make, monkeypatch):
    """`url.….insteadOf` of the user cannot bring ext:: back."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url.ext::sh -c touch% pwned .insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "alias:")
    monkeypatch.setenv("GIT_CONFIG_KEY_1", "protocol.allow")
    monkeypatch.setenv("GIT_CONFIG_VALUE_1", "always")
    with pytest.raises(SourceUnavailable, match="ext"):
        await make("alias:x").fetch({})


async def test_a_password_in_the_url_never_shows(repository, make, monkeypatch):
    """Neither in the location nor in an error, though git repeats the URL."""
    monkeypatch.setenv("no_proxy", "*")
    source = make("http://me:s3cret@127.0.0.1:9/x.git")
    with pytest.raises(SourceUnavailable) as caught:
        await source.fetch({})
    assert "s3cret" not in str(caught.value) + source.location


async def test_git_that_hangs_is_ended(tmp_path, monkeypatch):
    """A call takes its timeout at most, and leaves no process behind."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "git").write_text('#!/bin/sh\nsleep 600 & echo $! > "$0.child"; wait\n')
    (fake / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    source = GitSource("main", "https://example.org/x.git", tmp_path / "cache", timeout=timedelta(seconds=2))
    with pytest.raises(SourceUnavailable, match="within 2 s"):
        await source.fetch({})
    child = int((fake / "git.child").read_text())
    status = Path(f"/proc/{child}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()


async def test_a_missing_git_is_said(tmp_path, monkeypatch):
    """The message says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    source = GitSource("main", "https://example.org/x.git", tmp_path / "cache")
    with pytest.raises(SourceUnavailable, match="git is not installed"):
        await source.fetch({})


async def test_a_cache_left_behind_by_a_killed_git_is_repaired(repository, make, tmp_path):
    """Stale locks and broken caches heal by themselves."""
    repository.commit({"a.yaml": "one"})
    await make().fetch({})
    (cache,) = (tmp_path / "cache").iterdir()
    (cache / "shallow.lock").touch()
    (cache / "refs" / "jobwarden" / "target.lock").touch()
    repository.commit({"a.yaml": "two"})
    assert (await make().fetch({})).changed == {"a.yaml": b"two"}
    (cache / "config").write_text("nonsense [")
    shutil.rmtree(cache / "objects")
    assert (await make().fetch({})).changed == {"a.yaml": b"two"}


async def test_a_hook_of_the_cache_never_runs(repository, make, tmp_path):
    """Not even one that somebody put there."""
    repository.commit({"a.yaml": "one"})
    await make().fetch({})
    (cache,) = (tmp_path / "cache").iterdir()
    (cache / "hooks").mkdir(exist_ok=True)
    (cache / "hooks" / "reference-transaction").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (cache / "hooks" / "reference-transaction").chmod(0o755)
    repository.commit({"a.yaml": "two"})
    await make().fetch({})
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
async def test_only_signed_commits_are_used_when_that_is_asked_for(repository, make, tmp_path, monkeypatch):
    """An unsigned commit on top leaves the last good revision in force; where it is not asked for, who signed is told, if that one is trusted."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text()
    (tmp_path / "signers").write_text(f"somebody@example.org {public}")
    (tmp_path / "gitconfig").write_text(
        f'[gpg]\n\tformat = ssh\n[gpg "ssh"]\n\tallowedSignersFile = {tmp_path}/signers\n'
    )
    repository.git("config", "gpg.format", "ssh")
    repository.git("config", "user.signingkey", str(key))
    signed = repository.commit({"a.yaml": "one"}, options=("-S",))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    source, easy = make(verify_commit=True), make()
    assert (await source.fetch({})).revision == signed
    assert (await easy.fetch({})).signer == "somebody@example.org"
    repository.commit({"a.yaml": "two"})
    with pytest.raises(SourceUnavailable, match="does not accept the signature"):
        await source.fetch({})
    assert (await easy.fetch({})).signer is None
    (tmp_path / "signers").write_text(f"somebody-else@example.org {_other_key(tmp_path)}")
    repository.commit({"a.yaml": "three"}, options=("-S",))
    assert (await easy.fetch({})).signer is None


def _other_key(folder: Path) -> str:
    key = folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key.with_suffix(".pub").read_text()


async def test_hints_come_at_once_and_at_every_interval(make):
    """Git is asked regularly; nothing else wakes it."""
    hints = make(interval=timedelta(milliseconds=10)).changes()
    assert [await anext(hints) for _ in range(3)] == [Hint()] * 3
    await hints.aclose()
