"""References of targets: only what the settings allow is read, failures are clear, and no secret is in them."""

import json
import os
from pathlib import Path

import pytest

from controller.base.errors import DeliveryFailed, Retry
from controller.base.references import Allowed
from controller.notifications.errors import DeliveryRefused
from controller.notifications.targets import AppriseTarget, Resolved, WebhookTarget, permits, resolve

CANARY = "canary-5e3c1b"


def webhook(**fields: object) -> bytes:
    return json.dumps({"webhook": fields}).encode()


def env(name: str) -> dict[str, object]:
    return {"envRef": {"name": name}}


def file(path: Path) -> dict[str, object]:
    return {"fileRef": {"path": str(path)}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "key").write_text(CANARY + "\n")
    return secrets


def test_everything_of_a_webhook_is_resolved():
    """URL, headers and keys come from where the target says."""
    spec = webhook(
        urlFrom=env("URL"), headersFrom=[{"name": "Authorization", "valueFrom": env("AUTH")}], signingKeyFrom=env("KEY")
    )
    values = {"URL": "https://host/abc", "AUTH": "Bearer token-1", "KEY": "new-key\nold-key"}
    resolved = resolve(spec, Allowed(env=frozenset(values)), values)
    assert resolved.target == WebhookTarget(
        "https://host/abc", {"Authorization": "Bearer token-1"}, ("new-key", "old-key")
    )
    assert {"https://host/abc", "Bearer token-1", "token-1", "new-key", "old-key"} <= set(resolved.secrets)


def test_a_plain_url_is_no_secret():
    """An inline URL may be named in messages."""
    resolved = resolve(webhook(url="https://host/abc"), Allowed(), {})
    assert resolved == Resolved(WebhookTarget("https://host/abc"), ())


def test_a_file_is_read_without_its_final_line_break(folder: Path):
    """As every editor and every `echo` writes it."""
    spec = json.dumps({"appriseURLFrom": file(folder / "key")}).encode()
    assert resolve(spec, Allowed(folders=(folder,)), {}).target == AppriseTarget(CANARY)


def test_links_inside_of_the_folder_are_followed(folder: Path):
    """Mounted Kubernetes secrets are links within their folder."""
    (folder / "link").symlink_to(folder / "key")
    spec = json.dumps({"appriseURLFrom": file(folder / "link")}).encode()
    assert resolve(spec, Allowed(folders=(folder,)), {}).target == AppriseTarget(CANARY)


def not_allowed(tmp_path: Path, folder: Path) -> list[Path]:
    outside = tmp_path / "outside"
    outside.write_text(CANARY)
    (folder / "escape").symlink_to(outside)
    sibling = tmp_path / "secrets-too"
    sibling.mkdir()
    (sibling / "key").write_text(CANARY)
    return [outside, folder / "escape", folder / ".." / "outside", sibling / "key", tmp_path / "missing"]


def test_files_outside_of_the_folders_are_refused_for_good(tmp_path: Path, folder: Path):
    """Directly, through a link, through dots, in a folder whose name begins alike; whether they exist is not told."""
    for path in not_allowed(tmp_path, folder):
        with pytest.raises(
            DeliveryRefused, match=r"in no folder that may be read: add its folder to settings\.allowFiles"
        ) as caught:
            resolve(webhook(urlFrom=file(path)), Allowed(folders=(folder,)), {})
        assert "spec.webhook.urlFrom.fileRef" in str(caught.value)


def test_nothing_is_allowed_by_default(folder: Path):
    """Variables and files alike."""
    with pytest.raises(DeliveryRefused, match=r"settings\.allowEnv"):
        resolve(webhook(urlFrom=env("HOME")), Allowed(), dict(os.environ))
    with pytest.raises(DeliveryRefused, match=r"settings\.allowFiles"):
        resolve(webhook(urlFrom=file(folder / "key")), Allowed(), {})


def bad_files(folder: Path) -> dict[str, str]:
    (folder / "empty").write_text(" \n")
    (folder / "binary").write_bytes(b"\xff\xfe" + CANARY.encode())
    (folder / "huge").write_bytes(b"x" * 65537)
    os.mkfifo(folder / "pipe")
    (folder / "closed").mkdir()
    return {
        "empty": "empty",
        "binary": "not UTF-8",
        "huge": "larger than 65536 bytes",
        "pipe": "not a regular file",
        "closed": "Is a directory",
        "missing": "there is no file",
    }


def test_what_is_wrong_with_a_file_is_told_without_its_content(folder: Path):
    """Empty, binary, huge, a pipe, a folder, missing: a clear error, none of them hangs, none shows a secret."""
    for name, words in bad_files(folder).items():
        with pytest.raises(DeliveryFailed, match=words) as caught:
            resolve(webhook(url="https://h/", signingKeyFrom=file(folder / name)), Allowed(folders=(folder,)), {})
        assert CANARY not in str(caught.value)


def test_a_missing_variable_can_be_mended():
    """So it is tried again, unlike one that is not allowed."""
    with pytest.raises(DeliveryFailed, match="has no variable URL") as caught:
        resolve(webhook(urlFrom=env("URL")), Allowed(env=frozenset({"URL"})), {})
    assert caught.value.retry is Retry.Backoff


def test_a_header_with_a_line_break_is_refused():
    """It would be two headers. The value is not shown."""
    spec = webhook(url="https://h/", headersFrom=[{"name": "X-Key", "valueFrom": env("KEY")}])
    with pytest.raises(DeliveryRefused, match="X-Key has a line break") as caught:
        resolve(spec, Allowed(env=frozenset({"KEY"})), {"KEY": f"a\r\nX-Other: {CANARY}"})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "spec", [b"{}", b'{"webhook": {}}', b"not json", b'{"appriseURLFrom": {}}', b'{"webhook": {"url": 1}}']
)
def test_a_damaged_spec_is_refused(spec: bytes):
    """Nothing is sent to a target that cannot be understood."""
    with pytest.raises(DeliveryRefused):
        resolve(spec, Allowed(), {})


def test_secrets_are_in_no_repr():
    """What ends up in a debugger's or a test's output shows no secret."""
    resolved = resolve(webhook(urlFrom=env("URL")), Allowed(env=frozenset({"URL"})), {"URL": f"https://h/{CANARY}"})
    assert CANARY not in repr(resolved)
    assert CANARY not in repr(resolved.target)
    assert CANARY not in repr(AppriseTarget(CANARY))


def test_parts_of_a_secret_url_are_secrets():
    """User, password, token in host, path or query: libraries show them alone."""
    url = "slack://tokenhost123/pathtoken9/x?key=querytoken7&to=%23channel-name"
    resolved = resolve(
        json.dumps({"appriseURLFrom": env("URL")}).encode(), Allowed(env=frozenset({"URL"})), {"URL": url}
    )
    assert {"tokenhost123", "pathtoken9", "querytoken7", "#channel-name"} <= set(resolved.secrets)
    login = resolve(webhook(urlFrom=env("U")), Allowed(env=frozenset({"U"})), {"U": "https://someuser:pw12@host/"})
    assert {"someuser", "pw12"} <= set(login.secrets)


@pytest.mark.parametrize(
    ("listed", "namespace", "verdict"), [([], "a", False), (["a"], "a", True), (["a"], "b", False), (["*"], "b", True)]
)
def test_cluster_targets_say_whose_jobs_may_use_them(listed: list[str], namespace: str, verdict: bool):
    """Nobody by default."""
    assert (
        permits(json.dumps({"webhook": {"url": "https://h/"}, "allowedNamespaces": listed}).encode(), namespace)
        is verdict
    )
