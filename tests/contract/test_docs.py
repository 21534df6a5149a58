"""The documents say what is so: paths and functions exist, generated parts are current, commands can be run, and no document names a place of one machine."""

import importlib
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import yaml

from controller.cli.main import VERBS, jobwarden
from tests.contract import generate
from tests.harness import Warden
from tests.harness.warden import ROOT

DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "DECISIONS.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "PROVIDERS.md",
    "BENCHMARKS.md",
]
_FOLDERS = ("controller/", "tests/", "schemas/", "manifests/", "crds/", "charts/")


def text(name: str) -> str:
    """One document."""
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*DOCUMENTS, "LICENSE"])
def test_every_document_is_there(name: str) -> None:
    """A fresh clone has them all, with something in them."""
    assert len(text(name)) > 500


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_names_a_place_of_one_machine(name: str) -> None:
    """Paths are relative, or of a kind that every machine has."""
    found = re.findall(r"(?<![\w$}.])/(?:home|root|Users|work|tmp|mnt|workspace)/\S*", text(name))
    assert found == []
    assert not re.search(r"[\w.]+@(?!HOST|db\.example)[\w-]+\.[a-z]{2,}\b(?<!example\.org)", text(name)), "an address"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    """Links into the repository name files that exist, and headings that exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text(name)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        document = ROOT / (path or name)
        assert document.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in _anchors(document.read_text()), f"{name} links to {target}"


def _anchors(document: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "")).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", generate.DOCUMENTS)
def test_generated_parts_are_current(name: str) -> None:
    """What follows from the code is what the code says: `make generate` writes it."""
    assert generate.names(text(name)), "no generated part is left"
    assert text(name) == generate.rendered(text(name)), "run `make generate`"


def test_every_generated_part_is_in_a_document() -> None:
    """No table is made that nobody reads."""
    used = [block for name in generate.DOCUMENTS for block in generate.names(text(name))]
    assert sorted(used) == sorted(generate.BLOCKS)


# ARCHITECTURE.md


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_in_the_documents_exist(name: str) -> None:
    """Every path in backticks that begins with one of our folders is there."""
    paths = [one for one in re.findall(r"`([^`\s]+)`", text(name)) if one.startswith(_FOLDERS)]
    assert [path for path in paths if "…" not in path and not (ROOT / path).exists()] == []


def test_the_path_of_a_job_names_functions_that_exist() -> None:
    """Each step of the table names at least one, and each can be imported."""
    section = text("ARCHITECTURE.md").partition("## The path of one ScheduledJob")[2].partition("\n## ")[0]
    steps = [line for line in section.splitlines() if re.match(r"\| \d+ ", line)]
    assert [int(step.split()[1]) for step in steps] == list(range(1, 15))
    for step in steps:
        named = re.findall(r"`(controller\.[\w.]+)`", step)
        assert named, step
        for one in named:
            _resolve(one)
    for one in re.findall(r"`(controller\.[\w.]+)`", section):
        _resolve(one)


def _resolve(dotted: str) -> object:
    """The object of a dotted name. Errors: AssertionError when there is none."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            assert hasattr(found, attribute), f"there is no {dotted}"
            found = getattr(found, attribute)
        return found
    raise AssertionError(f"there is no {dotted}")


def test_the_code_map_has_a_paragraph_with_an_invariant_for_every_folder() -> None:
    """A folder that nobody has described has no purpose yet."""
    section = text("ARCHITECTURE.md").partition("## Code map")[2].partition("\n## ")[0]
    described = {
        found[1]: found[2] for found in re.finditer(r"### `controller/(\w+)`\n(.*?)(?=\n### |\Z)", section, re.DOTALL)
    }
    folders = {path.parent.name for path in ROOT.glob("controller/*/__init__.py")}
    assert set(described) == folders
    for folder, paragraph in described.items():
        assert "**Invariant:**" in paragraph, folder


def test_the_test_map_has_every_folder() -> None:
    """Whoever adds a folder of tests says what it is for."""
    section = text("ARCHITECTURE.md").partition("## Test map")[2]
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(re.findall(r"\| `tests/(\w+)`", section)) == folders


# DECISIONS.md


def test_decisions_are_numbered_dated_and_end_with_a_rule() -> None:
    """Title, status, context, decision, consequences, rule; and a runner-up where something was chosen."""
    decisions = re.split(r"^## ", text("DECISIONS.md"), flags=re.MULTILINE)[1:]
    assert [int(one.partition(".")[0]) for one in decisions] == list(range(1, len(decisions) + 1))
    for one in decisions:
        parts = re.findall(r"^\*\*(\w+)[.:]\*\*", one, re.MULTILINE)
        assert parts == ["Status", "Context", "Decision", "Consequences", "Rule"], one.splitlines()[0]
        assert re.search(r"\*\*Status:\*\* (proposed|accepted|superseded by \d+), \d{4}-\d\d-\d\d\.", one)


def test_every_dependency_has_been_decided_about() -> None:
    """What pyproject.toml asks for and the code imports is named in a decision."""
    imported = set(
        re.findall(
            r"^\s*(?:import|from) (\w+)",
            "\n".join(path.read_text() for path in (ROOT / "controller").rglob("*.py")),
            re.MULTILINE,
        )
    )
    names = {"yaml": "PyYAML", "cel": "common-expression-language", "jsonschema_rs": "jsonschema-rs"}
    ours = {"prometheus_client": "prometheus-client", "sqlalchemy": "SQLAlchemy", "alembic": "Alembic", **names}
    known = {"aiohttp", "apprise", "click", "croniter", "jsonschema", "msgspec", "pydantic", "rfc8785", "watchfiles"}
    for module in (known | ours.keys()) & imported:
        assert ours.get(module, module).lower() in text("DECISIONS.md").lower(), module


# Commands


def _commands(name: str) -> Iterator[str]:
    for block in re.findall(r"```sh\n(.*?)```", text(name), re.DOTALL):
        for line in block.splitlines():
            yield from (part.strip() for part in line.partition("  #")[0].split("&&"))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_that_are_named_exist(name: str) -> None:
    """`make WORD` in prose and in blocks."""
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"`(?:\w+=\d+ )?make ([a-z-]+)`", text(name)))
    named |= {command.split()[1] for command in _commands(name) if command.startswith("make ")}
    assert named <= targets
    assert {"run", "test"} <= named


def test_the_two_commands_of_a_fresh_clone_come_first() -> None:
    """`make run` and `make test` stand in the first block of the README."""
    first = re.search(r"```sh\n(.*?)```", text("README.md"), re.DOTALL)
    assert first is not None
    assert re.findall(r"^make (\w+)", first[1], re.MULTILINE) == ["run", "test"]


@pytest.mark.parametrize(
    "command", [one for one in _commands("README.md") if one.startswith("jobwarden ")], ids=lambda one: one[10:40]
)
def test_every_command_of_the_readme_can_be_parsed(command: str, tmp_path: Path) -> None:
    """Verbs, options and the shape of their values, as the command itself reads them."""
    (tmp_path / "manifests").mkdir()
    arguments = shlex.split(command.replace("manifests/", f"{tmp_path}/manifests/"))[1:]
    group = jobwarden
    context = group.make_context("jobwarden", arguments, resilient_parsing=False)
    while isinstance(context.command, click.Group):
        name, found, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        context = found.make_context(name, list(rest), parent=context)


def _leaves() -> Iterator[list[str]]:
    for name in VERBS:
        command = jobwarden.get_command(click.Context(jobwarden), name)
        if isinstance(command, click.Group):
            yield from ([name, inner] for inner in command.list_commands(click.Context(command)))
        else:
            yield [name]


@pytest.mark.parametrize("path", list(_leaves()), ids=" ".join)
def test_every_help_has_an_example_that_can_be_parsed(path: list[str]) -> None:
    """What `--help` shows is wanted by nobody who would get an error from it."""
    command: click.Command = jobwarden
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    examples = re.findall(r"^\s*jobwarden (.+)$", command.epilog or "", re.MULTILINE)
    assert examples
    assert all(example.split()[: len(path)] == path for example in examples)


def test_the_sixty_seconds_of_the_readme_are_what_happens(make_warden: Callable[..., Warden]) -> None:
    """The manifest and the session of the README: the same words in the same order, whatever the names and times."""
    warden = make_warden()
    manifest = _example("jobs/backup.yaml", "yaml")
    assert len(list(yaml.safe_load_all(manifest))) == 2
    warden.write("backup", manifest)
    session = _example("session", "console")
    shown = session.partition("$ jobwarden tree")[0].splitlines()[1:]
    # The story does not say when the controller can be asked.
    warden._spawn(("--log-format", "story"))
    warden.wait_for(lambda: len(warden.jobs()) == 2, "both jobs to be applied")
    warden.wait_run("verify", "Succeeded")
    warden.stop()
    happened = [_bare(line) for line in warden.log.read_text().splitlines()]
    expected = [_bare(line) for line in shown]
    assert [line for line in expected if line not in happened] == []
    run = warden.runs("verify")[0]["metadata"]["name"]
    tree = session.partition("$ jobwarden tree")[2].splitlines()[1:5]
    assert [_bare(line) for line in warden.cli("tree", run).ok().out.splitlines()] == [_bare(line) for line in tree]
    assert warden.cli("logs", "verify").ok().out == session.splitlines()[-1] + "\n"


def _example(name: str, language: str) -> str:
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```{language}\n(.*?)```", text("README.md"), re.DOTALL)
    assert found is not None
    return found[1]


def _bare(line: str) -> str:
    """A line without what differs from run to run: times, durations, the ends of names, and the name of the source."""
    line = re.sub(r"\b\d\d:\d\d:\d\d\b", "TIME", line)
    line = re.sub(r"\b\d+(\.\d+)?m?s\b", "SPAN", line)
    line = re.sub(r"\b(backup|verify)-[a-z0-9]{8}\b", r"\1-NAME", line)
    return re.sub(r"(applied\s+)\S+", r"\1SOURCE", line).strip()


def test_the_wheel_has_schemas_and_migrations() -> None:
    """The build is told to put the schemas where the installed package looks for them; migrations are part of the package."""
    build = tomllib.loads(text("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["packages"] == ["controller"]
    assert build["force-include"] == {"schemas": "controller/kinds/schemas"}
    assert (ROOT / "controller/store/migrations/env.py").is_file()
