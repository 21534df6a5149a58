"""KUBECONFIG as kubectl reads it: several files, what comes first stands, paths count from their own file."""

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.base.errors import InvalidInput, SourceUnavailable
from controller.kubernetes import kubeconfig
from controller.kubernetes.api import Api


def config(folder: Path, name: str = "config", **sections: Any) -> Path:
    """A file; sections map names to values."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {"clusters": "cluster", "users": "user", "contexts": "context"}
    found: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"}
    for section, word in words.items():
        found[section] = [{"name": key, word: value} for key, value in sections.get(section, {}).items()]
    found["current-context"] = sections.get("current", "")
    (folder / name).write_text(yaml.safe_dump(found), encoding="utf-8")
    return folder / name


@pytest.fixture(autouse=True)
def no_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not in a Pod, and nobody's own configuration."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_files_are_merged_and_the_first_word_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `kubectl config view` shows them; a file that is not there is passed over."""
    one = config(
        tmp_path / "one",
        clusters={"c": {"server": "https://one"}},
        contexts={"a": {"cluster": "c", "user": "u", "namespace": "team-a"}},
    )
    two = config(
        tmp_path / "two",
        clusters={"c": {"server": "https://two"}, "d": {"server": "https://d"}},
        users={"u": {"token": "t"}},
        contexts={"b": {"cluster": "d", "user": "u"}},
        current="b",
    )
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/nowhere:{one}::{two}")
    chosen = kubeconfig.find("a")
    assert (chosen.cluster.server, chosen.namespace) == ("https://one", "team-a")
    assert chosen.user is not None
    assert chosen.user.token == "t"
    current = kubeconfig.find()
    assert (current.context_name, current.cluster.server, current.namespace) == ("b", "https://d", "default")


def test_paths_count_from_their_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever file comes first, and wherever the command is typed."""
    one = config(
        tmp_path / "one",
        clusters={"c": {"server": "https://c", "certificate-authority": "ca.crt"}},
        contexts={"a": {"cluster": "c", "user": "u"}},
        current="a",
    )
    user = {"client-certificate": "keys/me.crt", "client-key": "/abs/me.key", "tokenFile": "token"}
    two = config(tmp_path / "two", users={"u": user})
    monkeypatch.setenv("KUBECONFIG", f"{one}:{two}")
    chosen = kubeconfig.find()
    assert chosen.user is not None
    assert chosen.cluster.certificate_auth == str(tmp_path / "one/ca.crt")
    assert chosen.user.client_cert == str(tmp_path / "two/keys/me.crt")
    assert chosen.user.client_key == "/abs/me.key"
    assert chosen.user.token_file == str(tmp_path / "two/token")


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "there is no file"), ("", "is empty"), ("a: [", "is not YAML"), ("clusters: []\n", "current context")],
)
def test_what_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, words: str
) -> None:
    """With the file that was looked at."""
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(InvalidInput, match=words) as raised:
        kubeconfig.find()
    assert str(file) in str(raised.value)


def plug_in(folder: Path, script: str) -> dict[str, Any]:
    """A user who has a credential plug-in beside the file."""
    program = folder / "plug-in"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plug-in"}}


def test_a_credential_plug_in_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the version that managed clusters use; its command counts from the file as well."""
    user = plug_in(tmp_path, """echo '{"status": {"token": "from-the-plug-in"}}'""")
    file = config(
        tmp_path,
        clusters={"c": {"server": "https://127.0.0.1:1"}},
        users={"u": user},
        contexts={"a": {"cluster": "c", "user": "u"}},
        current="a",
    )
    monkeypatch.setenv("KUBECONFIG", str(file))
    chosen = kubeconfig.find()
    assert chosen.user is not None
    assert chosen.user.exec is not None
    assert kubeconfig.token_of(chosen.user.exec) == ("from-the-plug-in", None)
    assert Api().server == "https://127.0.0.1:1"


def test_a_plug_in_that_fails_is_told_without_what_it_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have printed a credential."""
    user = plug_in(tmp_path, "echo hush; exit 1")
    file = config(
        tmp_path,
        clusters={"c": {"server": "https://c"}},
        users={"u": user},
        contexts={"a": {"cluster": "c", "user": "u"}},
        current="a",
    )
    monkeypatch.setenv("KUBECONFIG", str(file))
    chosen = kubeconfig.find()
    assert chosen.user is not None
    assert chosen.user.exec is not None
    with pytest.raises(SourceUnavailable, match="gave no token") as raised:
        kubeconfig.token_of(chosen.user.exec)
    assert "hush" not in str(raised.value)
