"""Credentials that end sooner than their run: a file gets new contents in time, a variable keeps what it had, and all of it is masked."""

import json
import re
import secrets
from typing import Any

import pytest

from tests.e2e.canaries import Canaries
from tests.harness import Warden, once
from tests.harness.manifests import child, document

# Waits for the file to change twice, and prints each content in two ways.
READS = """
file="$CREDENTIALS_DIRECTORY/deep/token"; last=""; seen=0
while [ $seen -lt 3 ]; do
  now="$(cat "$file")" || exit 9
  if [ "$now" != "$last" ]; then last="$now"; seen=$((seen + 1)); echo "file: $now"; printf %s "$now" | base64; stat -c %a "$file"; fi
  sleep 0.05
done
echo "variable: $TOKEN"; ls -A "$CREDENTIALS_DIRECTORY/deep"
"""


def test_a_file_is_renewed_while_its_run_lasts(warden: Warden) -> None:
    """Three tokens, of six seconds each, all masked; the run sees one file, read-only, and nothing beside it."""
    mark = f"renewed-{secrets.token_hex(8)}"
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": f"{mark}-%s", "expirationTimestamp": "%s"},
    }
    script = f"n=$(/bin/date +%N); echo \"{mark}-$n\" >> {warden.folder}/given; printf '{json.dumps(answer)}' $n"
    script += " \"$(/bin/date -u -d '+6 seconds' +%Y-%m-%dT%H:%M:%SZ)\""
    provider = {"providerRef": {"name": "issuer"}}
    deliver = [{"name": "file", "file": "deep/token", **provider}, {"name": "variable", "env": "TOKEN", **provider}]
    warden.write(
        "all",
        document("CredentialProvider", "issuer", {"exec": {"command": "/bin/sh", "args": ["-c", script]}}),
        once("reads", READS, credentialPolicy={"deliver": deliver}),
    )
    warden.run_until_idle()
    [run] = warden.runs("reads")
    assert run["status"]["state"] == "Succeeded", warden.story()
    # At the end of base64 is what its neighbours decide.
    printed = re.sub(r"\*\*\*[A-Za-z]==", "***", warden.cli("logs", "reads").ok().out)
    assert printed.split() == [*["file:", "***", "***", "400"] * 3, "variable:", "***", "token"]
    given = (warden.folder / "given").read_bytes().split()
    assert len(given) >= 4
    canaries = Canaries(*given)
    assert canaries.found_below([warden.state, warden.folder / "home", warden.folder / "run"]) == {}
    assert canaries.found_in(warden.log.read_bytes()) == []
    assert canaries.left_in_memory(warden.environment) == []


def test_a_run_goes_on_with_what_it_has_when_its_provider_is_away(warden: Warden) -> None:
    """People are told; when the provider is back the run gets what it gives."""
    away = warden.folder / "away"
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "issued-%s", "expirationTimestamp": "%s"},
    }
    script = f"[ ! -e {away} ] || exit 7; printf '{json.dumps(answer)}' $(/bin/date +%N)"
    script += " \"$(/bin/date -u -d '+6 seconds' +%Y-%m-%dT%H:%M:%SZ)\""
    reading = f"""
    file="$CREDENTIALS_DIRECTORY/token"; first="$(cat "$file")"; echo > {away}; echo > {warden.work}/ready
    while [ "$(cat "$file")" = "$first" ]; do sleep 0.05; done
    """
    warden.write(
        "all",
        document("CredentialProvider", "issuer", {"exec": {"command": "/bin/sh", "args": ["-c", script]}}),
        once(
            "reads",
            reading,
            credentialPolicy={"deliver": [{"name": "t", "file": "token", "providerRef": {"name": "issuer"}}]},
        ),
    )
    warden.start()
    warden.wait_for((warden.work / "ready").exists, "the run to have read it")
    words = b"a credential could not be renewed"
    warden.wait_for(lambda: words in warden.log.read_bytes(), "the failure to be told")
    assert len(warden.runs(state="Running")) == 1
    away.unlink()
    warden.wait_run("reads", "Succeeded")
    assert warden.stop() == 0


@pytest.mark.parametrize("children", [{"children": "Inherit"}, {"children": "Downscope", "childScopes": ["read"]}])
def test_what_a_child_has_in_the_name_of_its_parent_is_renewed_too(warden: Warden, children: dict[str, Any]) -> None:
    """Its own documents do not name the provider that stands behind it; its grant does."""
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "metadata": {"annotations": {"jobwarden.dev/scopes": "%s"}},
        "status": {"token": "issued-%s", "expirationTimestamp": "%s"},
    }
    script = f"printf '{json.dumps(answer)}' \"$JOBWARDEN_SCOPES\" $(/bin/date +%N)"
    script += " \"$(/bin/date -u -d '+6 seconds' +%Y-%m-%dT%H:%M:%SZ)\""
    changes = (
        'f="$CREDENTIALS_DIRECTORY/t"; first="$(cat "$f")"; while [ "$(cat "$f")" = "$first" ]; do sleep 0.05; done'
    )
    ledger = {"subject": {"kind": "Service", "principal": "ledger"}, "scopes": ["read", "write"]}
    deliver = {"deliver": [{"name": "t", "file": "t"}]}
    warden.write(
        "all",
        document("CredentialProvider", "issuer", {"exec": {"command": "/bin/sh", "args": ["-c", script]}}),
        document("IdentityProfile", "ledger", {**ledger, "providerRef": {"name": "issuer"}}),
        once("parent", identityRef={"name": "ledger"}, credentialPolicy=children),
        child("heir", "parent", changes, credentialPolicy=deliver, timeout="1m"),
    )
    warden.run_until_idle()
    [run] = warden.runs("heir")
    assert run["status"]["state"] == "Succeeded", warden.story()
    told = warden.cli("trust", "explain", run["metadata"]["name"]).ok().out
    assert "CredentialProvider default/issuer  sha256:" in told
