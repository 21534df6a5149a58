"""`jobwarden schema generate`: the JSON Schemas and CRDs that the models give.

Invariant: with `--check` nothing is written.
"""

from pathlib import Path

import click

from controller.cli.failures import NO


@click.group(epilog="\b\nExample:\n  jobwarden schema generate --to .")
def schema() -> None:
    """Write the schemas of the resources."""


@schema.command(epilog="\b\nExample:\n  jobwarden schema generate --to .\n  jobwarden schema generate --check")
@click.option(
    "--to",
    "root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="Where schemas/ and crds/ are (default: here).",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file is not what the models give.")
def generate(root: Path, *, check: bool) -> int:
    """Write schemas/*.json for editors and validation, and crds/*.yaml for clusters."""
    # Pydantic and every model: 150 ms that help and other verbs need not wait for.
    from controller.kinds import generate as files  # noqa: PLC0415

    if check:
        stale = files.stale(root)
        for path in stale:
            click.echo(f"{path} is stale", err=True)
        if stale:
            click.echo("hint: run `jobwarden schema generate`", err=True)
        return NO if stale else 0
    for path in files.write(root):
        click.echo(path)
    return 0
