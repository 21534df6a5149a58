"""A policy that asks who signed the commit that a job stands in."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.e2e.test_source_faults import Repository
from tests.harness import Warden, job

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")

ANN = "ann@example.org"
POLICY = {
    "apiVersion": "jobwarden.dev/v1alpha1",
    "kind": "ClusterAuthorizationPolicy",
    "metadata": {"name": "signed-only"},
    "spec": {"rules": [{"name": "by-ann", "if": f'source.signed && source.signer == "{ANN}"', "decision": "Permit"}]},
}


def keys(folder: Path) -> Path:
    """Ann's key, and a configuration of git that trusts it."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "signers").write_text(f"{ANN} {key.with_suffix('.pub').read_text()}")
    (folder / "gitconfig").write_text(
        f'[gpg]\n\tformat = ssh\n[gpg "ssh"]\n\tallowedSignersFile = {folder}/signers\n[user]\n\tsigningkey = {key}\n'
    )
    return folder / "gitconfig"


def test_only_what_stands_in_a_signed_commit_runs(warden: Warden, tmp_path: Path) -> None:
    """An unsigned commit on top takes the right to run away, and so does a refused file: nobody knows who signed the version that is in force."""
    repository = Repository(tmp_path)
    config = keys(tmp_path)
    warden.environment["GIT_CONFIG_GLOBAL"] = str(config)

    def push(documents: str, *options: str) -> str:
        (repository.clone / "jobs.yaml").write_text(documents)
        repository.git("add", "-A")
        repository.git("-c", f"include.path={config}", "commit", "-q", "-m", "change", *options)
        repository.git("push", "-q", "origin", "main")
        return repository.git("rev-parse", "HEAD")

    def applied(commit: str) -> None:
        def told() -> bool:
            return commit in [one["status"]["revision"] for one in warden.items("sources")]

        warden.wait_for(told, f"{commit} to be applied")

    def asked() -> str:
        warden.trigger("job", "--wait")
        return str(warden.runs("job")[-1]["status"]["state"])

    def written(script: str) -> str:
        return yaml.safe_dump_all([POLICY, job("job", script)])

    first = push(written("echo one"), "-S")
    warden._spawn(("--git", str(repository.bare), "--branch", "main", "--interval", "1s"))
    warden.wait_for(lambda: warden.cli("get", "sources").code == 0, "the controller")
    applied(first)
    assert asked() == "Succeeded"
    assert ANN in [one["status"]["signedBy"] for one in warden.items("sources")]
    applied(push(written("echo two")))
    assert asked() == "Denied"
    applied(push(written("echo three"), "-S"))
    assert asked() == "Succeeded"
    applied(push(written("echo four")))
    applied(push(written("echo five").replace("script:", "skript:"), "-S"))
    assert asked() == "Denied"
