"""Canaries: secrets that jobs print in every way are searched for wherever something of a run is kept or shown."""

import base64
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from controller.executors.credentials import Given
from tests.e2e.canaries import Canaries
from tests.harness import Warden, job, once
from tests.harness.manifests import child
from tests.harness.warden import ROOT

GIVING = Path(__file__).with_name("giving.py")

# Prints every variable and file that it is told of, in every way that comes to mind; nothing of it holds a value.
PRINTER = r"""
import base64, json, os, sys, time
from urllib.parse import quote, quote_plus
found = [os.environb[name.encode()] for name in sys.argv[1].split(",")]
folder = os.environ.get("CREDENTIALS_DIRECTORY")
if folder:
    found += [open(os.path.join(base, name), "rb").read() for base, _, names in os.walk(folder) for name in names]
def say(data, where=sys.stdout.buffer):
    where.write(data + b"\n"); where.flush()
for value in found:
    text = value.decode("utf-8", "surrogateescape")
    for way in (value, value.hex().encode(), value.hex().upper().encode(), quote(value).encode(), quote_plus(value).encode()):
        say(b"-> " + way)
    for way in (json.dumps({"token": text}), repr(text), json.dumps(text, ensure_ascii=True)):
        say(way.encode("utf-8", "backslashreplace"), sys.stderr.buffer)
    for before in range(3):
        say(base64.b64encode(b"user: "[: 3 + before] + value + b"\n")); say(base64.urlsafe_b64encode(b"x" * before + value))
        say(base64.encodebytes(b"x" * (50 + before) + value + b"y" * 50), sys.stderr.buffer)
    for line in value.splitlines():
        say(b"line: " + line)
    for at in range(0, len(value), 7):
        sys.stdout.buffer.write(value[at : at + 7]); sys.stdout.buffer.flush(); time.sleep(0.002)
    say(b"")
    say(b"\n".join(value[at : at + 60] for at in range(0, len(value), 60)))
with open(os.environ["JOBWARDEN_OUTPUT"], "wb") as file:
    file.write(b"token=" + found[0] + b"\n" + b"coded=" + base64.b64encode(found[0]) + b"\n")
say(b"the last words: " + found[0], sys.stderr.buffer)
sys.exit(int(sys.argv[2]))
"""


class Planted:
    """The values, and where they come from."""

    def __init__(self, warden: Warden) -> None:
        mark = secrets.token_hex(6)
        self.env = f"cnry-{mark}/+?=&<\"' é".encode()
        self.file = (
            b"-----BEGIN CNRY-----\n" + base64.b64encode(secrets.token_bytes(60)) + b"\nshort\n-----END CNRY-----"
        )
        self.given = f"given-{mark}-%\\".encode()
        self.binary = secrets.token_bytes(48)
        self.warden = warden
        folder = warden.folder / "allowed"
        folder.mkdir()
        (folder / "secret").write_bytes(self.file)
        config: dict[str, Any] = {"settings": {"allowEnv": ["CANARY"], "allowFiles": [str(folder)]}}
        self.config = warden.folder / "jobwarden.yaml"
        self.config.write_text(
            yaml.safe_dump({"apiVersion": "jobwarden.dev/v1alpha1", "kind": "ControllerConfiguration", **config})
        )
        warden.environment["CANARY"] = self.env.decode()
        self.giving = warden.folder / "given.json"
        given = (Given("a", self.given, env="GIVEN", file="deep/given"), Given("b", self.binary, file="binary"))
        self.giving.write_bytes(msgspec.json.encode(given))
        self.variables = [
            {"name": "TOKEN", "valueFrom": {"envRef": {"name": "CANARY"}}},
            {"name": "KEY", "valueFrom": {"fileRef": {"path": str(folder / "secret")}}},
        ]
        (warden.folder / "printer.py").write_text(PRINTER)
        self.printer = str(warden.folder / "printer.py")
        self.search = Canaries(self.env, self.file, self.given, self.binary)

    def printing(self, names: str, code: int = 0) -> dict[str, Any]:
        """Fields of a job that prints these variables, and all files that it is given."""
        command = [sys.executable, self.printer, names, str(code)]
        return {"exec": {"command": command}, "shell": None, "env": self.variables}


@pytest.fixture
def planted(warden: Warden) -> Planted:
    """With an installation."""
    return Planted(warden)


def start(planted: Planted, *arguments: str) -> "subprocess.Popen[bytes]":
    """The controller, whose runs are given something."""
    warden = planted.warden
    with warden.log.open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, str(GIVING), str(planted.giving), "run", str(warden.manifests)),
                *("--config", str(planted.config), "--status-dir", str(warden.folder / "status"), *arguments),
            ],
            env=warden.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def clean(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.timeout(300)
def test_no_canary_is_found_where_anything_rests_or_is_shown(planted: Planted) -> None:
    """State folder with database and logs, status files, the controller's words, everything that the command shows, command lines of processes."""
    warden = planted.warden
    fields = planted.printing("TOKEN,KEY,GIVEN")
    handed_on = {"name": "token", "valueFrom": {"parentOutput": {"job": "good", "key": "token"}}}
    failing = planted.printing("TOKEN,KEY,GIVEN", 1)
    warden.write(
        "jobs",
        {**once("good"), "spec": clean({**once("good")["spec"], **fields})},
        {**once("bad"), "spec": clean({**once("bad")["spec"], **failing})},
        child("after", "good", 'echo "handed on: $JOBWARDEN_PARAM_TOKEN"', parameters=[handed_on]),
        once("lost", "true", env=[*planted.variables, {"name": "PATH", "valueFrom": {"envRef": {"name": "CANARY"}}}]),
        once("long", f"echo > {warden.work}/long; read x < {warden.folder}/fifo", env=planted.variables),
    )
    os.mkfifo(warden.folder / "fifo")
    controller = start(planted)
    try:
        warden.wait_for(lambda: warden.cli("get", "sources").code == 0, "the controller")
        for name, state in (("good", "Succeeded"), ("bad", "Failed"), ("after", "Succeeded"), ("lost", "Succeeded")):
            warden.wait_run(name, state)
        warden.wait_for((warden.work / "long").exists, "the long one to run")
        assert planted.search.in_titles((*warden.processes(), controller.pid)) == {}
        (warden.folder / "fifo").write_text("\n")
        warden.wait_run("long", "Succeeded")
        shown = [
            ("get", "runs", "-o", "json"),
            ("get", "jobs", "-o", "json"),
            ("logs", "good"),
            ("logs", "bad"),
            ("logs", "-f", "after"),
            ("describe", "run", warden.runs("good")[0]["metadata"]["name"]),
            ("describe", "job", "bad"),
            ("explain", "bad"),
        ]
        said = [warden.cli(*arguments) for arguments in shown]
    finally:
        controller.send_signal(signal.SIGINT)
        controller.wait(60)
    assert [one.command for one in said if one.code != 0] == []
    assert [(one.command, found) for one in said if (found := planted.search.found_in(one.text.encode()))] == []
    logged = warden.cli("logs", "good").ok()
    assert logged.out.count("***") > 30
    assert "the last words: ***" in logged.text
    assert "handed on: ***" in warden.cli("logs", "after").ok().out
    (good,) = [one for one in warden.runs("good") if one["status"]["state"] == "Succeeded"]
    assert "***" in str(good["status"]), good
    kept = [warden.state, warden.folder / "status", warden.folder / "run", warden.folder / "home", warden.work]
    assert planted.search.found_below(kept) == {}
    assert not planted.search.found_in(warden.log.read_bytes())
    assert not planted.search.left_in_memory(warden.environment)


@pytest.mark.timeout(300)
def test_after_a_storm_of_kill_9_no_credential_is_left(planted: Planted) -> None:
    """A controller that dies with runs in all stages; the next start leaves nothing, however often."""
    warden = planted.warden
    reading = 'cat "$CREDENTIALS_DIRECTORY/deep/given" > /dev/null'
    warden.write(
        "jobs",
        *(job(f"short-{n}", f"{reading} && sleep 0.0{n}", schedule={"every": "1s"}) for n in range(1, 4)),
        job("hangs", f"{reading} && echo > {warden.work}/hangs; exec sleep 600", schedule={"every": "1s"}),
    )
    left = 0
    for _ in range(8):
        controller = start(planted)
        warden.wait_for((warden.work / "hangs").exists, "a run to have begun")
        (warden.work / "hangs").unlink()
        controller.kill()
        controller.wait()
        # A controller of another test that starts just now removes it as well.
        left += bool(planted.search.left_in_memory(warden.environment))
    assert left >= 4
    warden.remove("jobs")
    warden.run_for("1s")
    assert not planted.search.left_in_memory(warden.environment)


def test_a_run_sees_nothing_of_the_controllers_own_secrets(warden: Warden) -> None:
    """Neither variables, nor the folder of credentials that the controller itself was started with. Source: weakness W38."""
    own = {
        "JOBWARDEN_DB_PASSWORD": "canary-own",
        "JOBWARDEN_TOKEN": "canary-own",
        "OPENCLAW_GATEWAY_TOKEN": "canary-own",
        "GATEWAY_TOKEN": "canary-own",
        "CREDENTIALS_DIRECTORY": "/canary-own",
        "VAULT_TOKEN": "canary-own",
        "KUBECONFIG": "/canary-own",
        "SSH_AUTH_SOCK": "/canary-own",
        "NOTIFY_SOCKET": "/canary-own",
        "DBUS_SESSION_BUS_ADDRESS": "canary-own",
        "PGPASSWORD": "canary-own",
        "AWS_SECRET_ACCESS_KEY": "canary-own",
    }
    warden.environment.update(own)
    warden.write("jobs", once("prints", "tr '\\0' '\\n' < /proc/self/environ; env; ls -l /proc/self/fd"))
    warden.run_until_idle()
    printed = warden.cli("logs", "prints").ok().out
    assert "JOBWARDEN_RUN_ID=" in printed
    assert "canary-own" not in printed
    names = {line.partition("=")[0] for line in printed.splitlines() if "=" in line}
    assert not names & set(own)
