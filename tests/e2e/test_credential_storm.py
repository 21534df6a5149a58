"""kill -9 of a controller whose jobs are given credentials, by real providers, and print them: nothing is left of them anywhere.

JOBWARDEN_TEST_KILLS multiplies the number of kills.
"""

import base64
import contextlib
import http.client
import json
import os
import random
import secrets
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.accounts import Account, marking, marks
from tests.e2e.canaries import Canaries, folders_left
from tests.e2e.test_kill_at_instants import DIED, run_with_trap
from tests.harness import Warden, job, once
from tests.harness.manifests import API_VERSION, Document, document
from tests.harness.ports import free_port

KILLS = int(50 * float(os.environ.get("JOBWARDEN_TEST_KILLS", "1")))
SEED = int(os.environ.get("JOBWARDEN_TEST_SEED", str(random.SystemRandom().randrange(10**6))))

# Plain, coded, split over lines, on both streams; and something for the next job.
PRINT = """
printf '%s\\n' "$TOKEN" "$MADE" "$TAKEN"; cat "$CREDENTIALS_DIRECTORY/deep/key"; echo
printf %s "$TOKEN" | base64 -w 0; echo; base64 "$CREDENTIALS_DIRECTORY/deep/key"; printf %s "$MADE" | fold -w 20; echo
printf 'user:%s' "$MADE" | base64 >&2; echo "token=$TOKEN" > "$JOBWARDEN_OUTPUT"
"""
NOUNS = (
    *("jobs", "runs", "queue", "approvals", "pools", "targets", "sources"),
    *("identities", "credentialpolicies", "contracts", "policies", "providers"),
)
TOKEN = "canaries-may-not-sing"
ENDS = {"Succeeded", "Failed", "TimedOut", "Cancelled", "Crashed"}


class Company:
    """An installation whose jobs get a variable, a file and what a program makes."""

    def __init__(self, warden: Warden, memory: Path) -> None:
        """`memory` is a folder in memory, for this installation alone: controllers of other tests would tidy it up."""
        self.warden, mark = warden, secrets.token_hex(8)
        warden.environment["XDG_RUNTIME_DIR"] = str(memory)
        # What is searched lies beside, not around, the places where the values come from.
        self.vault = warden.folder / "vault"
        self.vault.mkdir()
        self.values = {
            "env": f"cnry-env-{mark}/+?=&".encode(),
            "file": b"-----BEGIN %b-----\n%b\n-----END-----"
            % (mark.encode(), base64.b64encode(secrets.token_bytes(60))),
            "exec": f"cnry-exec-{secrets.token_hex(24)}".encode(),
        }
        self.canaries = Canaries(*self.values.values())
        warden.environment["CANARY"] = self.values["env"].decode()
        for name in ("file", "exec"):
            (self.vault / name).write_bytes(self.values[name])
        settings = {"allowEnv": ["CANARY"], "allowFiles": [str(self.vault)]}
        config = {"apiVersion": API_VERSION, "kind": "ControllerConfiguration", "settings": settings}
        self.config = warden.folder / "jobwarden.yaml"
        self.config.write_text(yaml.safe_dump(config))
        self.arguments = ("--config", str(self.config), "--status-dir", str(warden.folder / "status"))

    def providers(self, delay: str = "0") -> list[Document]:
        """All three, and the policy that delivers from them. The program takes its time."""
        answer = json.dumps(
            {
                "apiVersion": "client.authentication.k8s.io/v1",
                "kind": "ExecCredential",
                "status": {"token": "%s"},
            }
        )
        script = f"/bin/sleep {delay}; printf '{answer}' \"$(/bin/cat {self.vault}/exec)\""
        deliver = [
            {"name": "token", "providerRef": {"name": "from-env"}, "env": "TOKEN"},
            {"name": "key", "providerRef": {"name": "from-file"}, "file": "deep/key"},
            {"name": "made", "providerRef": {"name": "from-exec"}, "env": "MADE"},
        ]
        return [
            document("CredentialProvider", "from-env", {"env": {"keys": {"token": "CANARY"}}}),
            document("CredentialProvider", "from-file", {"file": {"keys": {"key": f"{self.vault}/file"}}}),
            document("CredentialProvider", "from-exec", {"exec": {"command": "/bin/sh", "args": ["-c", script]}}),
            document("CredentialPolicy", "all", {"deliver": deliver}),
        ]

    def job(self, name: str, then: str, **spec: Any) -> Document:
        """A job that says that it runs, prints what it was given, and goes on."""
        given = {"credentialPolicyRef": {"name": "all"}, "trustContract": {"evidence": {"level": "Full"}}}
        given["env"] = [{"name": "TAKEN", "valueFrom": {"credentialRef": {"name": "key"}}}]
        history = {"succeeded": 10_000, "failed": 10_000}
        return job(name, marking(self.warden.work, PRINT + then), history=history, **(given | spec))

    def kept(self) -> list[Path]:
        """Every folder where something of a run or of the controller may rest."""
        return [self.warden.folder / name for name in ("state", "status", "run", "home", "work", "manifests")]

    def programs(self) -> list[int]:
        """Programs of providers that live."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str(self.vault).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found


@pytest.fixture
def make_company(make_warden: Callable[[], Warden]) -> Iterator[Callable[[], Company]]:
    """Makes as many as a test wants, each with memory of its own."""
    with contextlib.ExitStack() as memories:
        yield lambda: Company(make_warden(), Path(memories.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))))


@pytest.fixture
def company(make_company: Callable[[], Company]) -> Company:
    """With an installation."""
    return make_company()


def ticking(company: Company, *, suspend: bool = False) -> list[Document]:
    """One of each end, every second."""
    every = {"schedule": {"every": "1s"}, "suspend": suspend}
    return [
        company.job("good", "true", **every),
        company.job("bad", "exit 3", **every),
        company.job("late", "exec sleep 600", timeout="1s", terminationGracePeriod="1s", **every),
        company.job("replaced", "exec sleep 600", concurrency={"policy": "Replace"}, **every),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_fifty_kill_9_no_credential_is_left_and_no_canary_is_found(company: Company) -> None:
    """Runs that print what they were given, in all stages of their lives; at the end every run is accounted for, and nothing else is left."""
    warden, chance = company.warden, random.Random(SEED)
    sys.stdout.write(f"seed {SEED}, {KILLS} kills\n")
    warden.write("providers", *company.providers(delay="0.1"))
    warden.write("jobs", *ticking(company))
    left = 0
    for number in range(KILLS):
        before = len(marks(warden.work))
        warden._spawn(company.arguments)
        # Half of the kills come early: the start and the recovery of the one before are moments, too.
        if number % 2:
            warden.wait_for(lambda before=before: len(marks(warden.work)) > before, "it to start something")
        time.sleep(chance.uniform(0.0, 0.7))
        assert warden.process is not None
        assert warden.process.poll() is None, f"it ended by itself\n{warden.story()}"
        assert company.canaries.in_titles((*warden.processes(), *company.programs())) == {}
        warden.kill9()
        left += bool(company.canaries.left_in_memory(warden.environment))
    assert left, "no kill has left anything: this test tests nothing"

    warden.write("jobs", *ticking(company, suspend=True))
    port, history = free_port(), free_port()
    (warden.folder / "token").write_text(TOKEN)
    warden.start(
        *(*company.arguments, "--metrics-addr", f"127.0.0.1:{port}"),
        *("--history-addr", f"127.0.0.1:{history}", "--history-token-file", str(warden.folder / "token")),
    )
    warden.wait_for(lambda: all(one["spec"]["suspend"] for one in warden.jobs()), "the ticks to be suspended")
    warden.wait_for(lambda: not warden.queue(), "nothing to wait")
    for run in warden.runs("replaced", state="Running"):
        warden.cli("cancel", run["metadata"]["name"]).ok()
    warden.wait_for(lambda: not warden.runs(state="Running"), "everything to be over")
    assert company.canaries.in_titles((*warden.processes(), *company.programs())) == {}
    shown = [(what, text) for what, text in said(warden, port, history) if company.canaries.found_in(text)]
    assert shown == []
    assert warden.stop() == 0

    assert company.canaries.found_below(company.kept()) == {}
    assert company.canaries.found_in(warden.log.read_bytes()) == []
    assert company.canaries.left_in_memory(warden.environment) == []
    assert folders_left(warden.environment, warden.log.read_bytes()) == []
    assert company.programs() == []
    account = Account(warden)
    account.check()
    ended = {run["status"]["state"] for run in account.runs}
    sys.stdout.write(f"{len(account.runs)} runs, {account.crashed()} cut short, {left} kills left something\n")
    assert ended == ENDS, "not every end has been seen: this test tests less than it says"


def said(warden: Warden, metrics: int, history: int) -> list[tuple[str, bytes]]:
    """Everything that can be asked: every view of one run of each end, the metrics, and the API itself."""
    runs = {(one["spec"]["job"], one["status"]["state"]): one["metadata"]["name"] for one in warden.runs()}
    asked: list[tuple[str, ...]] = [("get", noun, "-o", "yaml") for noun in NOUNS]
    asked += [("describe", "job", "good"), ("explain", "good"), ("explain", "bad", "-o", "json")]
    asked += [
        ("describe", "provider", "from-exec"),
        ("describe", "credentialpolicy", "all"),
        ("trust", "check", "late"),
    ]
    asked += [("evidence", "export", "--job", "good"), ("history", "late"), ("tree", runs["good", "Succeeded"])]
    for run in runs.values():
        asked += [("describe", "run", run), ("logs", run), ("trust", "explain", run), ("evidence", "show", run)]
    answers = [warden.cli(*arguments) for arguments in asked]
    assert [str(one) for one in answers if one.code != 0] == []
    texts = [(" ".join(one.command), one.text.encode()) for one in answers]
    (printed,) = [text for what, text in texts if what == f"logs {runs['good', 'Succeeded']}"]
    assert b"***" in printed, printed
    asked_api = ("/v1/views/jobs", "/v1/views/runs", f"/v1/logs/{runs['bad', 'Failed']}")
    texts += [(path, fetched(history, path, {"X-Jobwarden-Token": TOKEN})) for path in asked_api]
    texts.append(("metrics", fetched(metrics, "/metrics")))
    return texts


def fetched(port: int, path: str, headers: dict[str, str] | None = None) -> bytes:
    """The body of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers or {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        response: http.client.HTTPResponse = answer
        return response.read()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_dying_between_delivery_start_end_and_cleanup_leaves_nothing(make_company: Callable[[], Company]) -> None:
    """What was left is removed by the next start, and the run is told as cut short, once."""
    left = []
    for trap in (
        # Each file is closed to writing when it is whole: the first is there, then both are.
        *("before-chmod:1", "after-chmod:1", "after-chmod:2", "before-spawn:1", "after-spawn:1"),
        # The folder is opened for its removal, and is gone.
        *("after-reap:1", "before-chmod:3", "after-rmdir:1"),
    ):
        company = make_company()
        warden = company.warden
        both = [{"name": name, "providerRef": {"name": "from-file"}, "file": name} for name in ("one", "two")]
        reading = marking(warden.work, "cat $CREDENTIALS_DIRECTORY/*")
        warden.write("jobs", *company.providers(), once("given", reading, credentialPolicy={"deliver": both}))
        assert run_with_trap(warden, trap, *company.arguments) == DIED, (trap, warden.story())
        left.append(len(company.canaries.left_in_memory(warden.environment)))
        warden.run_until_idle(*company.arguments)
        assert company.canaries.left_in_memory(warden.environment) == [], trap
        assert folders_left(warden.environment, warden.log.read_bytes()) == [], trap
        assert company.canaries.found_below(company.kept()) == {}, trap
        account = Account(warden)
        account.check()
        account.check_fails("given")
        warden.close()
    assert left == [1, 1, 2, 2, 2, 2, 2, 0], "what each death left is not what it is about"


def test_what_a_provider_of_a_killed_controller_had_started_is_ended_by_the_next(company: Company) -> None:
    """It hangs, with what it knows; nobody reads what it says any more, and the run that waited for it is told as cut short."""
    warden = company.warden
    warden.write(
        "jobs", *company.providers(delay="600"), company.job("waits", "true", schedule={"at": "2024-01-01T00:00:00Z"})
    )
    warden.start(*company.arguments, applied=("waits",))
    # The shell, and what it waits for, which names nothing of ours.
    warden.wait_for(company.programs, "the program to run")
    warden.kill9()
    (program,) = company.programs()
    below = Path(f"/proc/{program}/task/{program}/children").read_text().split()
    assert below
    warden.start(*company.arguments)
    warden.wait_for(lambda: not company.programs(), "it to be gone")
    assert not [
        pid
        for pid in below
        if Path(f"/proc/{pid}/cmdline").exists() and b"600" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    warden.wait_run("waits", "Crashed")
    assert marks(warden.work) == []
    assert warden.stop() == 0


def command_of(pid: str) -> str:
    """The command line of a process; "" for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""
