"""`jobwarden completion` and `jobwarden version`.

Invariant: the script that is printed asks this same command for what to offer, so it never goes stale.
"""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from controller.cli import printing
from controller.cli.settings import output_option

_PROGRAM, _VARIABLE = "jobwarden", "_JOBWARDEN_COMPLETE"


@click.command(
    epilog="\b\nExample:\n  jobwarden completion bash > ~/.local/share/bash-completion/completions/jobwarden\n"
    '  jobwarden completion zsh > "${fpath[1]}/_jobwarden"\n'
    "  jobwarden completion fish > ~/.config/fish/completions/jobwarden.fish"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell: verbs, options, and the names of what exists."""
    found = get_completion_class(shell)
    assert found is not None
    # The class asks for the command itself only when it completes, not for its script.
    made = found(click.get_current_context().find_root().command, {}, _PROGRAM, _VARIABLE)
    click.echo(made.source_template % made.source_vars())


@click.command(epilog="\b\nExample:\n  jobwarden version -o json")
@output_option("text", "json", "yaml")
def version(output: str) -> None:
    """Print the version of the command."""
    try:
        found = installed("jobwarden")
    except PackageNotFoundError:
        found = _of_checkout()
    printing.answer({"version": found}, output, f"jobwarden {found}")


def _of_checkout() -> str:
    """The version that a checkout would be installed as."""
    import tomllib  # noqa: PLC0415 - only where nothing is installed

    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    try:
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, KeyError, ValueError):
        return "unknown"
