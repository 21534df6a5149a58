"""Programs that issue credentials: what they see, what they print, and that nothing of them stays."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from controller.domain.trust import TrustLevel
from controller.providers import programs
from controller.providers.calling import Caller
from controller.providers.exec_credential import ExecCredential
from controller.providers.protocol import Refused, Secret, Session, Unavailable
from tests.harness.waiting import wait_for
from tests.integration.providers.conftest import CANARY, request, surroundings

GOOD = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}


def provider(script: str, timeout: timedelta = timedelta(seconds=60), **options: object) -> Caller:
    """A shell script."""
    around = surroundings(environment={"ISSUER_KEY": CANARY})
    config = {"command": "/bin/sh", "args": ["-c", script], **options}
    return Caller(ExecCredential(config, around), around, timeout)


def prints(status: object, **fields: object) -> str:
    return f"cat <<'END'\n{json.dumps({**GOOD, 'status': status, **fields})}\nEND\n"


async def test_a_token_and_its_end_are_taken() -> None:
    """As kubectl takes them."""
    answer = await provider(prints({"token": CANARY, "expirationTimestamp": "2100-01-01T00:00:00Z"})).resolve(request())
    assert isinstance(answer, Session)
    assert answer.credentials == {"token": Secret(CANARY)}
    assert answer.expires_at == datetime(2100, 1, 1, tzinfo=UTC)


async def test_a_client_certificate_comes_with_its_key() -> None:
    """Under the names that Secrets of the type tls have; one can be wanted alone."""
    script = prints({"clientCertificateData": "PEM", "clientKeyData": CANARY})
    answer = await provider(script).resolve(request())
    assert isinstance(answer, Session)
    assert answer.credentials == {"tls.crt": Secret("PEM"), "tls.key": Secret(CANARY)}
    answer = await provider(script).resolve(request(keys=("tls.crt",)))
    assert isinstance(answer, Session)
    assert set(answer.credentials) == {"tls.crt"}


async def test_it_sees_what_it_is_given_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the controller, no input, no folder of its; descriptors are the usual three."""
    monkeypatch.setenv("LEAKED", CANARY)
    script = (
        "import json, os, sys; held = sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1];"
        "seen = [sorted(os.environ), os.getcwd(), sys.stdin.read(), held, os.environ['KUBERNETES_EXEC_INFO'], os.environ['KEY']];"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential', 'status': {'token': json.dumps(seen)}}))"
    )
    env = [{"name": "REGION", "value": "eu"}, {"name": "KEY", "valueFrom": {"envRef": {"name": "ISSUER_KEY"}}}]
    around = surroundings(environment={"ISSUER_KEY": CANARY})
    config = {"command": sys.executable, "args": ["-I", "-c", script], "env": env}
    with open("/dev/null") as inherited:  # noqa: PTH123
        os.set_inheritable(inherited.fileno(), True)
        answer = await Caller(ExecCredential(config, around), around, timedelta(seconds=60)).resolve(request())
    assert isinstance(answer, Session), answer
    names, folder, stdin, held, info, key = json.loads(answer.credentials["token"].reveal())
    assert set(names) - {"LC_CTYPE"} == {
        "JOBWARDEN_LIFETIME",
        "JOBWARDEN_PRINCIPAL",
        "JOBWARDEN_PROVIDER_CALL",
        "KEY",
        "KUBERNETES_EXEC_INFO",
        "REGION",
    }
    assert (folder, stdin, held, key) == ("/", "", [0, 1, 2], CANARY)
    assert json.loads(info) == {**GOOD, "spec": {"interactive": False}}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo hello", "no ExecCredential"),
        ("printf '\\377\\376'", "no ExecCredential"),
        (prints({"token": CANARY}, kind="Secret"), "no ExecCredential"),
        (prints({"token": CANARY}, apiVersion="client.authentication.k8s.io/v9"), "no ExecCredential"),
        (prints({}), "without status.token"),
        (prints(None), "without status.token"),
        (prints({"token": 7}), "no ExecCredential"),
        (prints({"clientCertificateData": CANARY}), "without its key"),
        (prints({"token": CANARY, "expirationTimestamp": "2001-01-01T00:00:00Z"}), "had ended"),
        (prints({"token": CANARY, "expirationTimestamp": "soon"}), "no ExecCredential"),
        ("head -c 1000000 /dev/zero", "prints more than"),
        ("yes", "prints more than"),
    ],
)
async def test_what_is_no_credential_is_refused_and_not_quoted(script: str, why: str) -> None:
    """Whatever a program prints; one that never stops printing is ended."""
    answer = await provider(f"PATH=/usr/bin:/bin\n{script}").resolve(request())
    assert isinstance(answer, Refused)
    assert why in answer.message
    assert CANARY not in answer.message


async def test_a_failure_is_an_outage_and_quotes_nothing() -> None:
    """What it complains about may be the very credential, which nobody else knows yet."""
    answer = await provider(f"echo {CANARY}; echo no session for {CANARY} >&2; exit 3").resolve(request())
    assert isinstance(answer, Unavailable)
    assert "/bin/sh ended with exit code 3" in answer.message
    assert "session" not in answer.message
    killed = await provider("kill -9 $$").resolve(request())
    assert isinstance(killed, Unavailable)
    assert "signal 9" in killed.message


async def test_a_program_that_cannot_be_started_is_a_refusal() -> None:
    """With its name and the reason."""
    around = surroundings()
    for config, why in (
        ({"command": "/no/such/program"}, "No such file"),
        ({"command": "/etc/passwd"}, "Permission denied"),
        ({"command": "/bin/true", "args": ["\0"]}, "cannot be passed on"),
    ):
        answer = await Caller(ExecCredential(config, around), around, timedelta(seconds=60)).resolve(request())
        assert isinstance(answer, Refused)
        assert why in answer.message


def annotated(token: str, **said: str) -> str:
    """A script that prints a token, and what is not in the shape; the shell expands both."""
    annotations = {f"jobwarden.dev/{name.replace('_', '-')}": text for name, text in said.items()}
    shape = {**GOOD, "metadata": {"annotations": annotations}, "status": {"token": token}}
    return f"cat <<END\n{json.dumps(shape)}\nEND\n"


async def test_it_is_told_what_is_asked_for_and_says_what_it_gives() -> None:
    """Scopes, principal and level of the credential; what less is to be made of is shown to it, live."""
    script = "PATH=/usr/bin:/bin\n" + annotated(
        "$JOBWARDEN_SUBJECT_TOKEN+$JOBWARDEN_SCOPES",
        scopes="$JOBWARDEN_SCOPES",
        principal="$JOBWARDEN_PRINCIPAL",
        trust_level="Restricted",
    )
    asked = provider(script)
    wide = await asked.resolve(request("read", "write"))
    assert isinstance(wide, Session), wide
    assert (wide.scopes, wide.principal, wide.level) == (("read", "write"), "svc", TrustLevel.Restricted)
    half = await asked.downscope(request("write"), wide)
    assert isinstance(half, Session), half
    assert half.scopes == ("write",)
    assert half.credentials == {"token": Secret("+read write+write")}


async def test_it_is_told_what_is_to_be_attested_and_says_what_is() -> None:
    """In words with spaces between them; a program that says nothing attests nothing."""
    wanted = request()
    assert wanted.identity is not None
    wanted = msgspec.structs.replace(wanted, identity=msgspec.structs.replace(wanted.identity, attestation="gold"))
    script = "PATH=/usr/bin:/bin\n" + annotated(CANARY, attestation="bronze ${JOBWARDEN_ATTESTATION-nothing}")
    told = await provider(script).resolve(wanted)
    assert isinstance(told, Session), told
    assert told.attestations == ("bronze", "gold")
    unasked = await provider(script).resolve(request())
    assert isinstance(unasked, Session), unasked
    assert unasked.attestations == ("bronze", "nothing")
    silent = await provider("PATH=/usr/bin:/bin\n" + annotated(CANARY)).resolve(wanted)
    assert isinstance(silent, Refused), silent
    assert "says nothing of attestations" in silent.message


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (annotated(CANARY), "does not say which of the scopes payments"),
        (annotated(CANARY, scopes="payments admin"), "granted admin, which nobody asked for"),
        (annotated(CANARY, scopes="payments", principal="somebody"), "answered for 'somebody'"),
        (annotated(CANARY, scopes="payments", trust_level="Superhuman"), "none of Untrusted"),
        (annotated(CANARY, refused="no payments on Sundays"), "no payments on Sundays"),
    ],
)
async def test_scopes_that_it_does_not_speak_of_are_not_had(script: str, why: str) -> None:
    """Nor those that nobody asked for, nor another principal; and it may say no, in words for people."""
    answer = await provider(f"PATH=/usr/bin:/bin\n{script}").resolve(request("payments"))
    assert isinstance(answer, Refused)
    assert why in answer.message
    assert CANARY not in answer.message


def _alive(path: Path) -> list[int]:
    return [pid for pid in map(int, path.read_text().split()) if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


TREE = """
PATH=/usr/bin:/bin
echo $$ >> {pids}
sleep 1000 & echo $! >> {pids}
setsid sh -c 'echo $$ >> {pids}; trap "" TERM; sleep 1000 & wait' &
(setsid sleep 1001 & echo $! >> {pids})
while [ "$(wc -l < {pids})" -lt 4 ]; do sleep 0.01; done
"""


async def test_at_the_timeout_it_ends_with_everything_that_it_has_started(tmp_path: Path) -> None:
    """Children, those in sessions of their own, and those whose parent is gone."""
    pids = tmp_path / "pids"
    answer = await provider(TREE.format(pids=pids) + "exec sleep 1000", timedelta(seconds=3)).resolve(request())
    assert isinstance(answer, Unavailable)
    assert "no answer within 3s" in answer.message
    await asyncio.to_thread(wait_for, lambda: not _alive(pids), "the whole tree to be gone")
    assert len(pids.read_text().split()) == 4


async def test_what_it_leaves_running_is_ended_and_does_not_hold_up_the_answer(tmp_path: Path) -> None:
    """A daemon that inherits the pipes would otherwise be waited for."""
    pids = tmp_path / "pids"
    answer = await provider(TREE.format(pids=pids) + prints({"token": CANARY})).resolve(request())
    assert isinstance(answer, Session)
    await asyncio.to_thread(wait_for, lambda: not _alive(pids), "what it left behind to be gone")
    assert len(pids.read_text().split()) == 4


async def test_a_cancelled_caller_leaves_no_process(tmp_path: Path) -> None:
    """A run that is cancelled while its credentials come."""
    pids = tmp_path / "pids"
    script = TREE.format(pids=pids) + f"touch {tmp_path / 'ready'}; exec sleep 1000"
    waiting = asyncio.ensure_future(provider(script).resolve(request()))
    await asyncio.to_thread(wait_for, (tmp_path / "ready").exists, "the program to be ready")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.to_thread(wait_for, lambda: not _alive(pids), "the whole tree to be gone")


async def test_who_is_cancelled_before_it_is_known_that_the_program_runs_leaves_nothing(tmp_path: Path) -> None:
    """It begins at once, and asyncio tells only some turns of the loop later."""
    pids = tmp_path / "pids"
    script = TREE.format(pids=pids) + f"touch {tmp_path / 'ready'}; exec sleep 1000"
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    starting = asyncio.ensure_future(programs.run(("/bin/sh", "-c", script), {}, most=1000))
    while children.read_text() == before:
        await asyncio.sleep(0)
    wait_for((tmp_path / "ready").exists, "the program to be ready, while the loop stands still")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.to_thread(wait_for, lambda: not _alive(pids), "the whole tree to be gone")


CONTROLLER = """
import asyncio, sys
from controller.domain.trust import TrustLevel
from controller.providers import programs
asyncio.run(programs.run(("/bin/sh", "-c", sys.argv[1]), {}, most=1000))
"""


async def test_what_a_killed_controller_left_running_is_ended_by_the_next(tmp_path: Path) -> None:
    """All of it; programs of a controller that lives are left alone."""
    pids, others = tmp_path / "pids", tmp_path / "others"
    dead = subprocess.Popen([sys.executable, "-c", CONTROLLER, TREE.format(pids=pids) + "exec sleep 1000"])
    living = asyncio.ensure_future(provider(TREE.format(pids=others) + "exec sleep 1000").resolve(request()))
    for path in (pids, others):
        await asyncio.to_thread(
            wait_for, lambda path=path: path.exists() and len(_alive(path)) == 4, "the tree to be there"
        )
    dead.kill()
    dead.wait()
    await asyncio.to_thread(
        wait_for, lambda: programs.end_orphans() == 0 and not _alive(pids), "the orphans to be gone"
    )
    assert len(_alive(others)) == 4
    living.cancel()
    await asyncio.wait({living})
    await asyncio.to_thread(wait_for, lambda: not _alive(others), "the rest to be gone")
