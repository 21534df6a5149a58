"""The command by itself: help, wrong usage, exit codes, what it imports."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from controller.base.errors import Conflict, ControllerUnreachable, InvalidInput, NotFound, StoreHeld, StoreUnavailable
from controller.cli.failures import exit_code, wants_json
from controller.cli.main import VERBS, jobwarden, main

NESTED = {
    "db": ("upgrade", "backup", "restore", "check"),
    "evidence": ("show", "verify", "export"),
    "schema": ("generate",),
    "import": ("cronjob",),
}
EVERY = [(verb,) for verb in VERBS] + [(verb, sub) for verb, subs in NESTED.items() for sub in subs]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here meets the database or the controller of whoever runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("JOBWARDEN_DB", raising=False)


@pytest.mark.parametrize("words", EVERY, ids="-".join)
def test_the_help_of_every_verb_has_an_example_that_uses_it(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A person who does not know a verb sees how it is written."""
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example" in text
    assert f"jobwarden {words[0]}" in text.partition("Example")[2]


def test_the_help_of_the_command_lists_every_verb_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """In the order in which people meet them."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in VERBS)
    assert all(verb.summary.endswith(".") for verb in VERBS.values())


def test_the_version_is_told_either_way(capsys: pytest.CaptureFixture[str]) -> None:
    """By the verb, and by the option that people try first."""
    assert main(["version"]) == 0
    told = capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == told


@pytest.mark.parametrize("name", list(VERBS))
def test_what_the_list_says_of_a_verb_is_there(name: str) -> None:
    """The table names modules and attributes that exist, and commands that are called as listed."""
    command = jobwarden.get_command(click.Context(jobwarden), name)
    assert command is not None
    assert command.name == name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "there is no verb 'frobnicate'"),
        (["aprove", "x"], "did you mean 'approve'?"),
        (["get", "job", "a", "b"], "unexpected extra argument"),
        (["get", "jbos"], "did you mean 'jobs'?"),
        (["get", "jobs", "-o", "sonnet"], "'sonnet'"),
        (["trigger"], "Missing argument 'NAME'"),
        (["trigger", "a", "-p", "novalue"], "'novalue' is not key=value"),
        (["hold", "a"], "Missing option '--reason'"),
        (["hold", "a", "--reason", "x", "--until", "soon"], "'soon' is neither an instant"),
        (["hold", "a", "--reason", "x", "--until", "2026-01-01T00:00:00"], "names no time zone"),
        (["cancel"], "name either a run or"),
        (["run"], "no source of manifests is given"),
        (["run", ".", "--branch", "b"], "--branch needs --git URL"),
        (["run", "--git", "u", "--branch", "b", "--tag", "t"], "exclude each other"),
        (["run", "no/such/folder"], "does not exist"),
        (["run", ".", "--for", "0s"], "longer than 0"),
        (["run", ".", "--for", "1 hour"], "is not a duration"),
        (["run", ".", "--metrics-addr", "nowhere"], "is not HOST:PORT"),
        (["describe", "job"], "which job? a name is missing"),
        (["completion", "tcsh"], "'tcsh'"),
        (["db", "upgraid"], "upgraid"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong_and_what_to_do(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output stays empty; there is always a hint."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert words.lower() in said.err.lower()
    assert "\nhint: " in said.err


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_a_database_that_cannot_be_used_is_refused_without_showing_a_password(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what would do."""
    assert main(["get", "jobs", "--db", url]) == 2
    said = capsys.readouterr().err
    assert "sqlite:///FILE" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "arguments", [["get", "jobs"], ["logs", "x"], ["trigger", "x"], ["explain", "x"], ["reconcile"]]
)
def test_a_database_that_is_not_there_is_3_for_every_verb(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made by asking."""
    assert main(arguments) == 3
    assert "jobwarden run" in capsys.readouterr().err


def test_who_asked_for_json_gets_an_error_as_json_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    """One object on standard output, the words for people on standard error."""
    assert main(["get", "nonsense", "-o", "json"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith('{"error": {"reason": "Usage", "message": "there is no kind of thing')
    assert said.err.startswith("error: ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput, 1),
        (NotFound, 1),
        (Conflict, 1),
        (ControllerUnreachable, 3),
        (StoreUnavailable, 3),
        (StoreHeld, 3),
    ],
)
def test_each_error_has_the_exit_code_that_scripts_rely_on(error: type[Exception], code: int) -> None:
    """1: the answer is no. 3: nobody could be asked."""
    assert exit_code(error("x")) == code


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["-o", "json"], True),
        (["-ojson"], True),
        (["--output=json"], True),
        (["--output", "json"], True),
        (["-o"], False),
        (["json"], False),
    ],
)
def test_json_is_recognised_also_in_arguments_that_cannot_be_parsed(arguments: list[str], wanted: bool) -> None:
    """Every spelling that click accepts."""
    assert wants_json(arguments) is wanted


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It asks the command itself for what to offer."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_JOBWARDEN_COMPLETE={shell}_complete" in script


def test_completion_offers_verbs_and_kinds_and_survives_the_absence_of_everything(tmp_path: Path) -> None:
    """Names come from a controller; without one nothing is offered and nothing is printed."""
    for words, number, expected in (
        ("jobwarden ex", 1, "plain,explain\n"),
        ("jobwarden get poo", 2, "plain,pools\n"),
        ("jobwarden get jobs x", 3, ""),
    ):
        environment = {
            "_JOBWARDEN_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(number),
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "XDG_RUNTIME_DIR": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-m", "controller.cli.main"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout.strip() == expected.strip(), done
        assert done.stderr == ""


def test_listing_jobs_imports_nothing_that_is_slow_to_import(tmp_path: Path) -> None:
    """Start-up time is a promise: no SQLAlchemy, aiohttp, pydantic, rich or msgspec for the command that is used most."""
    script = (
        "import sys; from controller.cli.main import main; from controller.cli import get; "
        "print([m for m in ('sqlalchemy','aiohttp','pydantic','rich','msgspec','asyncio','yaml','croniter') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As text and as JSON."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("jobwarden 0.")
    assert main(["version", "-o", "json"]) == 0
    assert '"version": "0.' in capsys.readouterr().out
