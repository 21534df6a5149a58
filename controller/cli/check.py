"""`jobwarden validate` and `jobwarden plan`: what is wrong with manifests, and what applying them would change. Neither changes anything.

Invariant: both read as the controller reads, so what they accept is what it accepts.
"""

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from controller.app.options import source_names
from controller.base import paths
from controller.cli import printing
from controller.cli.columns import align
from controller.cli.failures import NO
from controller.cli.paint import paint
from controller.cli.settings import current, namespace_option, output_option, verb
from controller.kinds.records import ManifestError
from controller.reconcile import preview
from controller.reconcile.preview import Preview
from controller.reconcile.records import Key
from controller.sources.directory import Directory
from controller.status.shapes import API_VERSION, listed
from controller.status.text import rfc3339
from controller.store.database import open_store
from controller.store.store import Store

_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "remove": ("-", "red"), "orphan": ("!", "yellow")}


@click.command(epilog="\b\nExample:\n  jobwarden validate manifests/\n  jobwarden validate job.yaml -o json")
@click.argument("places", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@namespace_option
@output_option("text", "json", "yaml")
def validate(places: tuple[Path, ...], output: str) -> int:
    """Check files and folders of manifests, taken together: every problem with its place and what to do. Exits with 1 if there is any."""
    problems = preview.validate(places, namespace=current().namespace)
    if output in printing.DOCUMENTS:
        printing.show(msgspec.json.encode(listed("Problem", [msgspec.to_builtins(one) for one in problems])), output)
    else:
        _say(problems)
        if not problems:
            click.echo("no problems")
    return NO if problems else 0


@verb("jobwarden plan manifests/", local=True)
@click.argument(
    "folders",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@output_option("text", "json", "yaml")
def plan(folders: tuple[Path, ...], output: str) -> int:
    """Show what `jobwarden run` would create, change and remove, and when jobs would fire next. Exits with 1 if a document is not valid."""
    found = asyncio.run(_previews(folders))
    if output in printing.DOCUMENTS:
        items = [item for one in found for item in _items(one)]
        problems = [msgspec.to_builtins(problem) for one in found for problem in one.errors]
        answer = {**listed("Plan", items), "apiVersion": API_VERSION, "problems": problems}
        printing.show(msgspec.json.encode(answer), output)
    else:
        for one in found:
            _tell(one)
    return NO if any(one.errors for one in found) else 0


async def _previews(folders: Sequence[Path]) -> list[Preview]:
    store = _existing_store()
    try:
        names = source_names([folder.absolute() for folder in folders])
        sources = [
            Directory(name, str(folder), namespace=current().namespace)
            for name, folder in zip(names, folders, strict=True)
        ]
        now = datetime.now(UTC)
        return [await preview.dry_run(source, store, now) for source in sources]
    finally:
        if store is not None:
            store.close()


def _existing_store() -> Store | None:
    """The database if there is one: a plan before the first run is against an empty one, and makes none."""
    file = paths.sqlite_file(current().database)
    if file is not None and not file.exists():
        return None
    return open_store(current().database, create=False, upgrade=False)


def _changes(found: Preview) -> Iterator[tuple[str, Key]]:
    for document in found.plan.create:
        yield "create", document.entry.key
    for document in found.plan.update:
        yield "update", document.entry.key
    for entry in found.plan.remove:
        yield "remove", entry.key
    for entry in found.plan.orphan:
        yield "orphan", entry.key


def _items(found: Preview) -> Iterator[dict[str, Any]]:
    for action, key in _changes(found):
        metadata = {"name": key.name, **({"namespace": key.namespace} if key.namespace else {})}
        fires = [rfc3339(instant) for instant in found.fires.get(key, ())]
        yield {
            "apiVersion": API_VERSION,
            "kind": key.kind,
            "metadata": metadata,
            "status": {"action": action, "nextRunsAt": fires},
        }


def _tell(found: Preview) -> None:
    rows, colours = [], []
    for action, key in _changes(found):
        sign, colour = _SIGNS[action]
        fires = ", ".join(rfc3339(instant) for instant in found.fires.get(key, ()))
        rows.append([sign, action, str(key), f"next {fires}" if fires else ""])
        colours.append(colour)
    for line, colour in zip(align([], rows), colours, strict=True):
        click.echo(paint(line.rstrip(), colour, sys.stdout))
    counts = (
        f"{len(found.plan.create)} to create, {len(found.plan.update)} to change, {len(found.plan.remove)} to remove, "
        f"{found.plan.keep + len(found.plan.move)} unchanged"
    )
    if found.plan.orphan:
        counts += f", {len(found.plan.orphan)} kept although their documents are gone"
    click.echo(counts)
    _say(found.errors)


def _say(problems: Iterable[ManifestError]) -> None:
    """Problems as compilers write them: the place first, so that editors can jump there."""
    for one in problems:
        place = paint(f"{one.file}:{one.line}:{one.column}:", "bold", sys.stdout)
        who = "/".join(part for part in (one.kind, one.namespace, one.name) if part)
        where = " ".join(part for part in (who, one.pointer) if part)
        click.echo(f"{place} {paint(one.reason, 'red', sys.stdout)}: {where + ': ' if where else ''}{one.message}")
        if one.hint:
            click.echo(f"  hint: {one.hint}")
