"""What happens to folders and repositories under a running controller: gone, broken, swapped, pushed over, contested."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.e2e.accounts import marking, marks
from tests.harness import Warden, job
from tests.harness.manifests import shell

Make = Callable[..., Warden]
BOMB = b"".join(
    [
        b"apiVersion: jobwarden.dev/v1alpha1\nkind: ScheduledJob\nmetadata: {name: job}\nspec: {shell: {script: 'true'}}\na0: &a0 [x, x]\n",
        *(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)),
    ]
)


def script_of(warden: Warden, name: str) -> str:
    """What a job would run now; "" while there is none."""
    found = [one for one in warden.jobs() if one["metadata"]["name"] == name]
    return str(found[0]["spec"]["shell"]["script"]) if found else ""


def runs(warden: Warden, script: str, name: str = "job") -> None:
    """Wait until a job would run this, and see that it does."""
    warden.wait_for(lambda: script_of(warden, name) == script, f"{name} to be {script!r}")
    warden.trigger(name, "--wait").ok()


def names(warden: Warden) -> set[str]:
    """The jobs that there are."""
    return {one["metadata"]["name"] for one in warden.jobs()}


def says(warden: Warden, words: str) -> None:
    """Wait until the controller says so."""
    warden.wait_for(lambda: words in warden.log.read_text(errors="replace"), f"it to say {words!r}")


def test_a_folder_that_is_removed_prunes_nothing_and_is_followed_again(warden: Warden) -> None:
    """Gone is not empty: jobs go on; when it is back, what it says then counts."""
    warden.write("one", job("job", "true"))
    warden.write("two", job("other", "true"))
    warden.start(applied=("job", "other"))
    aside = warden.folder / "aside"
    warden.manifests.rename(aside)
    says(warden, "cannot be read")
    assert names(warden) == {"job", "other"}
    warden.trigger("job", "--wait").ok()
    aside.rename(warden.manifests)
    says(warden, "can be read again")
    warden.write("one", job("job", "echo back"))
    runs(warden, "echo back")
    shutil.rmtree(warden.manifests)
    warden.manifests.mkdir()
    warden.write("one", job("job", "echo anew"))
    runs(warden, "echo anew")
    warden.wait_for(lambda: names(warden) == {"job"}, "the other to be pruned")
    assert warden.stop() == 0


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"kind: [unclosed\n", id="malformed"),
        pytest.param(bytes(range(256)) * 100, id="binary"),
        pytest.param(b"# " + b"x" * 10_000_000, id="ten megabytes"),
        pytest.param(BOMB, id="alias bomb"),
    ],
)
def test_a_broken_file_changes_nothing_but_is_told(warden: Warden, content: bytes) -> None:
    """The old version keeps running, nothing is pruned, file and line are named; the repaired file counts at once."""
    warden.write("job", job("job", "true"))
    warden.write("other", job("other", "true"))
    warden.start(applied=("job", "other"))
    (warden.manifests / "job.yaml").write_bytes(content)
    says(warden, "job.yaml")
    assert names(warden) == {"job", "other"}
    warden.trigger("job", "--wait").ok()
    warden.write("job", job("job", "echo repaired"))
    runs(warden, "echo repaired")
    assert warden.stop() == 0


def test_two_sources_that_claim_one_job_are_both_named(warden: Warden) -> None:
    """The first one's version stays; once one of the two gives it up, the other one's counts."""
    second = warden.folder / "second"
    second.mkdir()
    warden.write("job", job("job", "echo first"))
    warden.start(str(second), applied=("job",))
    document = (warden.manifests / "job.yaml").read_text().replace("echo first", "echo second")
    (second / "job.yaml").write_text(document)
    says(warden, "OwnershipConflict") if "OwnershipConflict" in warden.log.read_text() else says(warden, "second")
    assert script_of(warden, "job") == "echo first"
    warden.remove("job")
    runs(warden, "echo second")
    assert warden.stop() == 0


def test_a_swapped_symlink_changes_everything_at_once(warden: Warden) -> None:
    """As a mounted ConfigMap and git-sync do it: `..data` points to a new folder in one step; never is half of it applied."""
    warden.manifests.rmdir()
    mounted = warden.manifests
    mounted.mkdir()

    def publish(version: int) -> None:
        data = mounted / f"..{version}"
        data.mkdir()
        for name in ("job", "other"):
            (data / f"{name}.yaml").write_text(yaml.safe_dump(job(name, f"echo {version}")))
        link = mounted / "..data_tmp"
        link.symlink_to(data.name)
        link.replace(mounted / "..data")
        for name in ("job", "other"):
            here = mounted / f"{name}.yaml"
            if not here.is_symlink():
                here.symlink_to(f"..data/{name}.yaml")
        if version > 1:
            shutil.rmtree(mounted / f"..{version - 1}")

    publish(1)
    warden.start(applied=("job", "other"))
    for version in (2, 3):
        publish(version)
        runs(warden, f"echo {version}")
        runs(warden, f"echo {version}", "other")
    assert names(warden) == {"job", "other"}
    assert warden.stop() == 0


class Repository:
    """A bare repository and a clone to push from."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.clone = folder / "jobs.git", folder / "clone"
        self.git("init", "--quiet", "--bare", "-b", "main", str(self.bare), where=folder)
        self.git("clone", "--quiet", str(self.bare), str(self.clone), where=folder)
        self.git("checkout", "-q", "-b", "main")

    def git(self, *arguments: str, where: Path | None = None) -> str:
        """Run git as somebody."""
        who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=where or self.clone, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def push(self, script: str, *arguments: str) -> str:
        """Change what the job does, commit and push; gives the commit."""
        document = {
            "apiVersion": "jobwarden.dev/v1alpha1",
            "kind": "ScheduledJob",
            "metadata": {"name": "job"},
            "spec": {"shell": shell(script)},
        }
        (self.clone / "job.yaml").write_text(yaml.safe_dump(document))
        self.git("add", "-A")
        self.git("commit", "-q", "-m", script)
        self.git("push", "-q", *arguments, "origin", "main")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with one job."""
    made = Repository(tmp_path)
    made.push("echo one")
    return made


def start_on(warden: Warden, repository: Repository) -> None:
    """Start the controller on a repository alone."""
    warden._spawn(("--git", str(repository.bare), "--branch", "main", "--interval", "1s"))
    warden.wait_for(lambda: "job" in names(warden), "the repository to be applied")


def test_a_push_changes_what_runs(warden: Warden, repository: Repository) -> None:
    """A plain push, a forced one over it, and the revision is shown; a broken one is told and changes nothing."""
    start_on(warden, repository)
    runs(warden, "echo one")
    second = repository.push("echo two")
    runs(warden, "echo two")
    assert any(second[:7] in str(one) for one in warden.items("sources"))
    repository.git("reset", "-q", "--hard", "HEAD~1")
    repository.push("echo forced", "--force")
    runs(warden, "echo forced")
    (repository.clone / "job.yaml").write_text("kind: [")
    repository.git("commit", "-q", "-am", "broken")
    repository.git("push", "-q", "origin", "main")
    says(warden, "job.yaml")
    runs(warden, "echo forced")
    assert warden.stop() == 0


def test_a_remote_that_is_gone_keeps_the_last_revision(warden: Warden, repository: Repository) -> None:
    """Also over a restart; when it is back it is followed again."""
    start_on(warden, repository)
    aside = repository.bare.with_name("aside")
    repository.bare.rename(aside)
    says(warden, "cannot be read")
    runs(warden, "echo one")
    warden.kill9()
    warden._spawn(("--git", str(repository.bare), "--branch", "main", "--interval", "1s"))
    warden.wait_for(lambda: warden.cli("trigger", "job", "--wait").code == 0, "it to run")
    aside.rename(repository.bare)
    repository.push("echo back")
    runs(warden, "echo back")
    assert warden.stop() == 0


def test_edits_under_load_are_applied_whole_and_the_last_one_wins(warden: Warden) -> None:
    """Two hundred quick edits of one file while its job runs every second: no run of a version that never was."""

    def version(number: int) -> None:
        warden.write(
            "job",
            job("job", marking(warden.work, f"echo {number} >> {warden.work}/versions"), schedule={"every": "1s"}),
        )

    version(0)
    warden.start(applied=("job",))
    for number in range(1, 200):
        version(number)
    known = len(marks(warden.work))
    warden.wait_for(lambda: "echo 199 " in script_of(warden, "job"), "the last one to be applied")
    warden.wait_for(lambda: len(marks(warden.work)) > known + 1, "it to run")
    warden.wait_for(lambda: (warden.work / "versions").read_text().splitlines()[-1] == "199", "the last version to run")
    seen = [int(line) for line in (warden.work / "versions").read_text().splitlines()]
    assert seen == sorted(seen)
    assert warden.stop() == 0
